//! The Docker runtime pulls from a registry. The registry is ours: an OCI layout behind a few lines of HTTP.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use longshore_runtime::conformance::image::{Compression, TestImage};
use longshore_runtime::docker::{DockerRuntime, detect};
use longshore_runtime::{ContainerRuntime as _, RegistryAuth, RuntimeError};
use longshore_seams::Seams;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// `user:secret`, as HTTP's basic authentication carries it.
const AUTHORIZATION: &str = "authorization: basic dxnlcjpzzwnyzxq=";

/// A registry with one image, for those who know the password.
struct Registry {
    address: String,
    repository: String,
    manifest_digest: String,
    _layout: tempfile::TempDir,
}

impl Registry {
    async fn start() -> Self {
        let layout = tempfile::tempdir().unwrap();
        TestImage::named("web:1").write_oci_layout(layout.path(), Compression::Gzip).unwrap();
        let index: serde_json::Value =
            serde_json::from_slice(&std::fs::read(layout.path().join("index.json")).unwrap()).unwrap();
        let manifest_digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (directory, digest) = (layout.path().to_owned(), manifest_digest.clone());
        Seams::system().spawner.spawn(
            "registry",
            Box::pin(async move {
                while let Ok((client, _)) = listener.accept().await {
                    // A client that hangs up early is no fault of the registry.
                    let _ = answer(client, &directory, &digest).await;
                }
            }),
        );
        let repository = format!("team/web-{}", &Seams::system().random.hex32()[..8]);
        Self { address, repository, manifest_digest, _layout: layout }
    }

    fn reference(&self, suffix: &str) -> String {
        format!("{}/{}{suffix}", self.address, self.repository)
    }
}

async fn answer(mut client: TcpStream, layout: &Path, manifest_digest: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(&mut client).lines();
    let request = lines.next_line().await?.unwrap_or_default();
    let mut authorized = false;
    while let Some(line) = lines.next_line().await?.filter(|line| !line.is_empty()) {
        authorized |= line.to_ascii_lowercase() == AUTHORIZATION;
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (status, kind, body) = if authorized {
        content(path, layout, manifest_digest)
    } else {
        ("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"test\"", "application/json", Vec::new())
    };
    let body_length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {body_length}\r\n\
         Docker-Content-Digest: {manifest_digest}\r\nConnection: close\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await?;
    if !request.starts_with("HEAD") {
        client.write_all(&body).await?;
    }
    client.shutdown().await
}

fn content(path: &str, layout: &Path, manifest_digest: &str) -> (&'static str, &'static str, Vec<u8>) {
    let blob = |digest: &str| std::fs::read(layout.join("blobs").join(digest.replace(':', "/")));
    let found = match path.rsplit_once('/') {
        Some(("/v2", "")) => Ok(Vec::new()),
        Some((before, "1")) if before.ends_with("/manifests") => blob(manifest_digest),
        Some((_, digest)) if digest.starts_with("sha256:") => blob(digest),
        _ => Err(std::io::ErrorKind::NotFound.into()),
    };
    let kind = if path.contains("/manifests/") {
        "application/vnd.oci.image.manifest.v1+json"
    } else {
        "application/octet-stream"
    };
    match found {
        Ok(body) => ("200 OK", kind, body),
        Err(_) => {
            let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
            ("404 Not Found", "application/json", body.to_vec())
        }
    }
}

async fn runtime() -> DockerRuntime {
    let seams = Seams::system();
    let socket: PathBuf = detect(&seams).await.expect("these tests need a running Docker Engine");
    let root_id = seams.random.hex32();
    DockerRuntime::connect(&socket, &root_id, seams).await.unwrap()
}

fn password() -> Option<RegistryAuth> {
    Some(RegistryAuth { username: "user".to_owned(), password: "secret".to_owned() })
}

// spec: 05-022
#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_by_tag_and_by_digest_with_credentials() {
    let (registry, runtime) = (Registry::start().await, runtime().await);
    for suffix in [":1".to_owned(), format!("@{}", registry.manifest_digest)] {
        let reference = registry.reference(&suffix);
        let told = Arc::new(Mutex::new(Vec::new()));
        let pulled = {
            let told = told.clone();
            let progress = move |step| told.lock().unwrap().push(step);
            runtime.pull(&reference, password(), &progress).await.unwrap()
        };
        assert_eq!(pulled.digest.as_ref(), Some(&registry.manifest_digest), "{reference}");
        assert_eq!(runtime.image(&reference).await.unwrap(), Some(pulled));
        assert!(told.lock().unwrap().iter().any(|step| !step.layer.is_empty()));
        runtime.remove_image(&reference).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_without_credentials_or_of_a_missing_tag_fails() {
    let (registry, runtime) = (Registry::start().await, runtime().await);
    for (reference, auth) in [(registry.reference(":1"), None), (registry.reference(":2"), password())] {
        let error = runtime.pull(&reference, auth, &|_| ()).await.unwrap_err();
        assert!(matches!(error, RuntimeError::Pull(_)), "{reference}: {error:?}");
        assert_eq!(runtime.image(&reference).await.unwrap(), None);
    }
}
