//! Images for tests, made from this machine's static busybox: no registry needed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

/// Names a static busybox elsewhere than in the usual places.
const BUSYBOX_VARIABLE: &str = "LONGSHORE_BUSYBOX";

/// An image for tests: busybox with all its applets in `/bin`, users `root` and `app` (uid 1000,
/// group `staff`, gid 50), and what the other fields say.
///
/// It has two layers. The upper one replaces `/layered/replaced` (its content is `upper`) and
/// removes `/layered/removed` and all that `/layered/opaque` held but `new`.
/// `/data/greeting` belongs to `app` and holds `hello`.
#[derive(Clone, Debug, Default)]
pub struct TestImage {
    /// Name and tag; none makes an archive without a name.
    pub reference: Option<String>,
    /// Entry point.
    pub entrypoint: Vec<String>,
    /// Command.
    pub command: Vec<String>,
    /// Environment beside `PATH`.
    pub environment: BTreeMap<String, String>,
    /// Working directory.
    pub working_dir: String,
    /// User.
    pub user: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Signal that asks its containers to stop.
    pub stop_signal: Option<String>,
    /// Health check, as Docker's `Test`.
    pub health_check: Option<Vec<String>>,
}

/// How the layers of an OCI layout are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

fn hex_digest(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl TestImage {
    /// An image named `reference` whose command is a shell.
    #[must_use]
    pub fn named(reference: &str) -> Self {
        Self { reference: Some(reference.to_owned()), command: vec!["sh".to_owned()], ..Self::default() }
    }

    /// Writes a `docker save` archive to `path`.
    ///
    /// # Errors
    /// Those of the file system, and when this machine has no busybox.
    pub fn write_docker_archive(&self, path: &Path) -> io::Result<()> {
        let layers = layers()?;
        let config = serde_json::to_vec(&self.config(&layers))?;
        let config_path = format!("{}.json", hex_digest(&config));
        let layer_path = |layer: &Vec<u8>| format!("{}/layer.tar", hex_digest(layer));
        let manifest = json!([{
            "Config": config_path,
            "RepoTags": self.reference.iter().collect::<Vec<_>>(),
            "Layers": layers.iter().map(layer_path).collect::<Vec<_>>(),
        }]);
        let mut archive = Tar::new();
        archive.file(&config_path, 0o644, &config)?;
        for layer in &layers {
            archive.file(&layer_path(layer), 0o644, layer)?;
        }
        archive.file("manifest.json", 0o644, &serde_json::to_vec(&manifest)?)?;
        File::create(path)?.write_all(&archive.finish()?)
    }

    /// Writes an OCI layout into `directory`, which is made.
    ///
    /// # Errors
    /// Those of the file system, and when this machine has no busybox.
    pub fn write_oci_layout(&self, directory: &Path, compression: Compression) -> io::Result<()> {
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs)?;
        let put = |media_type: &str, bytes: &[u8]| -> io::Result<Value> {
            let hex = hex_digest(bytes);
            fs::write(blobs.join(&hex), bytes)?;
            Ok(json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len()}))
        };
        let layers = layers()?;
        let mut descriptors = Vec::new();
        for layer in &layers {
            let suffix = match compression {
                Compression::None => "",
                Compression::Gzip => "+gzip",
                Compression::Zstd => "+zstd",
            };
            let media_type = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
            descriptors.push(put(&media_type, &compress(layer, compression)?)?);
        }
        let config = serde_json::to_vec(&self.config(&layers))?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": put("application/vnd.oci.image.config.v1+json", &config)?,
            "layers": descriptors,
        });
        let mut entry = put("application/vnd.oci.image.manifest.v1+json", &serde_json::to_vec(&manifest)?)?;
        if let Some(reference) = &self.reference {
            entry["annotations"] = json!({"org.opencontainers.image.ref.name": reference});
        }
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        fs::write(directory.join("index.json"), serde_json::to_vec(&index)?)?;
        fs::write(directory.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    fn config(&self, layers: &[Vec<u8>]) -> Value {
        let mut environment = vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
        environment.extend(self.environment.iter().map(|(name, value)| format!("{name}={value}")));
        let mut config = json!({
            "Env": environment,
            "Entrypoint": self.entrypoint,
            "Cmd": self.command,
            "WorkingDir": self.working_dir,
            "User": self.user,
            "Labels": self.labels,
        });
        if let Some(signal) = &self.stop_signal {
            config["StopSignal"] = json!(signal);
        }
        if let Some(test) = &self.health_check {
            config["Healthcheck"] = json!({"Test": test, "Interval": 100_000_000, "Retries": 1});
        }
        json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": config,
            "rootfs": {
                "type": "layers",
                "diff_ids": layers.iter().map(|layer| format!("sha256:{}", hex_digest(layer))).collect::<Vec<_>>(),
            },
            "history": layers.iter().map(|_| json!({"created_by": "test"})).collect::<Vec<_>>(),
        })
    }
}

/// Packs the directory `layout` into a tar at `path`.
///
/// # Errors
/// Those of the file system.
pub fn pack(layout: &Path, path: &Path, compression: Compression) -> io::Result<()> {
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_dir_all(".", layout)?;
    File::create(path)?.write_all(&compress(&archive.into_inner()?, compression)?)
}

fn compress(bytes: &[u8], compression: Compression) -> io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(bytes.to_vec()),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes)?;
            encoder.finish()
        }
        Compression::Zstd => zstd::encode_all(bytes, 1),
    }
}

/// A static busybox of this machine.
fn busybox() -> io::Result<PathBuf> {
    let named = std::env::var_os(BUSYBOX_VARIABLE).map(PathBuf::from);
    let usual = ["/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static"].map(PathBuf::from);
    named.into_iter().chain(usual).find(|path| path.is_file()).ok_or_else(|| {
        let hint = format!("no static busybox: install busybox-static, or name one in {BUSYBOX_VARIABLE}");
        io::Error::new(io::ErrorKind::NotFound, hint)
    })
}

/// The layers, lowest first.
fn layers() -> io::Result<[Vec<u8>; 2]> {
    let busybox = busybox()?;
    let mut lower = Tar::new();
    for directory in
        ["bin", "dev", "etc", "home", "layered", "layered/opaque", "proc", "root", "sys", "usr", "usr/bin", "var"]
    {
        lower.directory(directory, 0o755, 0)?;
    }
    lower.directory("tmp", 0o1777, 0)?;
    lower.file("bin/busybox", 0o755, &fs::read(&busybox)?)?;
    let applets = Command::new(&busybox).arg("--list").output()?;
    for applet in String::from_utf8_lossy(&applets.stdout).lines().filter(|applet| *applet != "busybox") {
        lower.symlink(&format!("bin/{applet}"), "busybox")?;
    }
    lower.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:50:app:/home:/bin/sh\n")?;
    lower.file("etc/group", 0o644, b"root:x:0:\nstaff:x:50:\nwheel:x:51:app\n")?;
    lower.file("layered/replaced", 0o644, b"lower\n")?;
    lower.file("layered/removed", 0o644, b"lower\n")?;
    lower.file("layered/opaque/old", 0o644, b"lower\n")?;
    let mut upper = Tar::new();
    upper.directory("data", 0o755, 1000)?;
    upper.owned_file("data/greeting", 0o644, 1000, b"hello\n")?;
    upper.file("layered/replaced", 0o644, b"upper\n")?;
    upper.file("layered/.wh.removed", 0o644, b"")?;
    upper.directory("layered/opaque", 0o755, 0)?;
    upper.file("layered/opaque/.wh..wh..opq", 0o644, b"")?;
    upper.file("layered/opaque/new", 0o644, b"upper\n")?;
    Ok([lower.finish()?, upper.finish()?])
}

/// A tar in memory whose bytes depend on its content only.
struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn header(kind: tar::EntryType, mode: u32, owner: u64, size: usize) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(if owner == 0 { 0 } else { 50 });
        header.set_mtime(1_700_000_000);
        header.set_size(size as u64);
        header
    }

    fn directory(&mut self, path: &str, mode: u32, owner: u64) -> io::Result<()> {
        let mut header = Self::header(tar::EntryType::Directory, mode, owner, 0);
        self.0.append_data(&mut header, format!("{path}/"), io::empty())
    }

    fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.owned_file(path, mode, 0, content)
    }

    fn owned_file(&mut self, path: &str, mode: u32, owner: u64, content: &[u8]) -> io::Result<()> {
        let mut header = Self::header(tar::EntryType::Regular, mode, owner, content.len());
        self.0.append_data(&mut header, path, content)
    }

    fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        let mut header = Self::header(tar::EntryType::Symlink, 0o777, 0, 0);
        self.0.append_link(&mut header, path, target)
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        self.0.into_inner()
    }
}
