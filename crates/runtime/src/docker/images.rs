//! Images: what is present, pulls, imports.

use std::io::{self, Write};
use std::path::Path;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::{CreateImageInfo, ImageInspect};
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ImportImageOptionsBuilder, ListImagesOptions, RemoveImageOptions, TagImageOptionsBuilder,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::sync::{mpsc, watch};

use super::error::{engine_error, is_missing, message, status};
use super::layout::Archive;
use crate::reference::Reference;
use crate::{ImageInfo, PullProgress, RegistryAuth, RuntimeError, RuntimeResult};

/// What Docker Hub calls itself in credentials.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// Pieces of an archive on their way to Docker: this many of [`CHUNK_BYTES`].
const CHUNKS_IN_FLIGHT: usize = 8;
const CHUNK_BYTES: usize = 128 * 1024;

/// The image, when it is present.
pub(super) async fn find(docker: &Docker, reference: &str) -> RuntimeResult<Option<ImageInfo>> {
    match docker.inspect_image(reference).await {
        Ok(found) => Ok(Some(image_info(reference, found))),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(engine_error(error)),
    }
}

fn image_info(reference: &str, found: ImageInspect) -> ImageInfo {
    ImageInfo {
        reference: reference.to_owned(),
        id: found.id.unwrap_or_default(),
        digest: repository_digest(reference, &found.repo_digests.unwrap_or_default()),
        size_bytes: found.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
    }
}

/// The manifest digest under the repository of `reference`, else under any.
fn repository_digest(reference: &str, repo_digests: &[String]) -> Option<String> {
    let repository = |text: &str| {
        let parsed = Reference::parse(text).ok()?;
        Some((parsed.registry, parsed.repository))
    };
    let wanted = repository(reference);
    let same = repo_digests.iter().find(|candidate| wanted.is_some() && repository(candidate) == wanted);
    same.or(repo_digests.first()).and_then(|found| Some(found.split_once('@')?.1.to_owned()))
}

/// Every name under which an image is present.
pub(super) async fn list(docker: &Docker) -> RuntimeResult<Vec<ImageInfo>> {
    let found = docker.list_images(None::<ListImagesOptions>).await.map_err(engine_error)?;
    let mut images = Vec::new();
    for image in found {
        let tags = image.repo_tags.iter().filter(|tag| !tag.starts_with("<none>")).collect::<Vec<_>>();
        // An image that was pulled by digest has no tag.
        let names = if tags.is_empty() { image.repo_digests.iter().collect() } else { tags };
        for name in names.into_iter().filter(|name| !name.starts_with("<none>")) {
            images.push(ImageInfo {
                reference: name.clone(),
                id: image.id.clone(),
                digest: repository_digest(name, &image.repo_digests),
                size_bytes: u64::try_from(image.size).unwrap_or(0),
            });
        }
    }
    images.sort_by(|a, b| a.reference.cmp(&b.reference));
    Ok(images)
}

/// Removes the name `reference`, and the image with its last name.
pub(super) async fn remove(docker: &Docker, reference: &str) -> RuntimeResult<()> {
    match docker.remove_image(reference, None::<RemoveImageOptions>, None).await {
        Err(error) if is_missing(&error) => Ok(()),
        other => other.map(drop).map_err(engine_error),
    }
}

/// Pulls `reference`.
pub(super) async fn pull(
    docker: &Docker,
    reference: &str,
    auth: Option<RegistryAuth>,
    progress: &(dyn Fn(PullProgress) + Send + Sync),
) -> RuntimeResult<ImageInfo> {
    let (repository, tag) = split_reference(reference);
    let options = CreateImageOptionsBuilder::default().from_image(repository).tag(tag).build();
    let credentials = auth.map(|auth| DockerCredentials {
        username: Some(auth.username),
        password: Some(auth.password),
        serveraddress: Some(server_address(reference)),
        ..DockerCredentials::default()
    });
    let mut steps = std::pin::pin!(docker.create_image(Some(options), None, credentials));
    while let Some(step) = steps.next().await {
        let step = step.map_err(|error| pull_error(reference, error))?;
        if let Some(text) = step.error_detail.as_ref().and_then(|detail| detail.message.clone()) {
            return Err(RuntimeError::Pull(text));
        }
        progress(pull_progress(step));
    }
    find(docker, reference).await?.ok_or_else(|| RuntimeError::Pull(format!("Docker pulled no image {reference}")))
}

fn pull_error(reference: &str, error: Error) -> RuntimeError {
    match &error {
        Error::DockerResponseServerError { .. } | Error::DockerStreamError { .. } => {
            RuntimeError::Pull(message(&error))
        }
        _ => RuntimeError::Unavailable(format!("Docker, while it pulled {reference}: {}", message(&error))),
    }
}

fn pull_progress(step: CreateImageInfo) -> PullProgress {
    let bytes = |value: Option<i64>| value.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
    let detail = step.progress_detail.unwrap_or_default();
    PullProgress {
        layer: step.id.unwrap_or_default(),
        action: step.status.unwrap_or_default(),
        done_bytes: bytes(detail.current),
        total_bytes: bytes(detail.total),
    }
}

fn server_address(reference: &str) -> String {
    match Reference::parse(reference) {
        Ok(parsed) if parsed.registry != "docker.io" => parsed.registry,
        _ => DOCKER_HUB.to_owned(),
    }
}

/// Repository, and tag or digest; without one the tag is `latest`, since Docker would pull all tags.
fn split_reference(reference: &str) -> (&str, &str) {
    let (named, digest) = match reference.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (reference, None),
    };
    let after_registry = named.rfind('/').map_or(0, |slash| slash + 1);
    let (repository, tag) = match named[after_registry..].rfind(':') {
        Some(colon) => (&named[..after_registry + colon], &named[after_registry + colon + 1..]),
        None => (named, "latest"),
    };
    (repository, digest.unwrap_or(tag))
}

/// Imports a `docker save` archive or an OCI layout.
pub(super) async fn import(
    docker: &Docker,
    path: &Path,
    name: Option<&str>,
    progress: &(dyn Fn(PullProgress) + Send + Sync),
) -> RuntimeResult<Vec<ImageInfo>> {
    let import_error = |text: String| RuntimeError::Import(format!("cannot import {}: {text}", path.display()));
    let (owned_path, owned_name) = (path.to_owned(), name.map(str::to_owned));
    let archive = tokio::task::spawn_blocking(move || Archive::open(&owned_path, owned_name.as_deref()))
        .await
        .map_err(|error| import_error(error.to_string()))?
        .map_err(|error| import_error(error.to_string()))?;
    let total_bytes = archive.size_bytes();
    let (chunks, received) = mpsc::channel::<io::Result<Bytes>>(CHUNKS_IN_FLIGHT);
    let (sent, mut sent_changed) = watch::channel(0_u64);
    let writing = tokio::task::spawn_blocking(move || {
        let mut writer = io::BufWriter::with_capacity(CHUNK_BYTES, ChunkWriter { chunks, sent });
        match archive.write_docker_archive(&mut writer).and_then(|()| writer.flush()) {
            // Nobody reads on: what Docker answered says why.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                let _ = writer.get_ref().chunks.blocking_send(Err(io::Error::other(error.to_string())));
                Err(error)
            }
            _ => Ok(()),
        }
    });
    let body = stream::unfold(received, |mut received| async move { Some((received.recv().await?, received)) });
    let options = ImportImageOptionsBuilder::default().quiet(true).build();
    let mut steps = std::pin::pin!(docker.import_image_stream(options, body, None));
    let mut loaded = Vec::new();
    let outcome = loop {
        tokio::select! {
            Ok(()) = sent_changed.changed() => progress(PullProgress {
                layer: String::new(),
                action: "Importing".to_owned(),
                done_bytes: *sent_changed.borrow_and_update(),
                total_bytes,
            }),
            step = steps.next() => match step {
                Some(Ok(step)) => loaded.extend(step.stream.as_deref().and_then(loaded_image)),
                Some(Err(error)) => break Err(import_error(message(&error))),
                None => break Ok(()),
            },
        }
    };
    // A fault of the archive says more than Docker's complaint about a body that broke off.
    writing.await.map_err(|error| import_error(error.to_string()))?.map_err(|error| import_error(error.to_string()))?;
    outcome?;
    named_images(docker, loaded, name, import_error).await
}

/// An image that Docker has loaded: by its name, or by its id when it has none.
#[derive(Debug, PartialEq, Eq)]
enum Loaded {
    Named(String),
    Id(String),
}

fn loaded_image(line: &str) -> Option<Loaded> {
    let line = line.trim_end();
    let named = line.strip_prefix("Loaded image: ").map(|name| Loaded::Named(name.to_owned()));
    named.or_else(|| line.strip_prefix("Loaded image ID: ").map(|id| Loaded::Id(id.to_owned())))
}

async fn named_images(
    docker: &Docker,
    loaded: Vec<Loaded>,
    name: Option<&str>,
    import_error: impl Fn(String) -> RuntimeError,
) -> RuntimeResult<Vec<ImageInfo>> {
    let mut images = Vec::new();
    for image in loaded {
        let reference = match (image, name) {
            (Loaded::Named(reference), _) => reference,
            (Loaded::Id(id), Some(name)) => {
                let (repository, tag) = split_reference(name);
                let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
                docker.tag_image(&id, Some(options)).await.map_err(|error| match status(&error) {
                    Some(_) => import_error(message(&error)),
                    None => engine_error(error),
                })?;
                name.to_owned()
            }
            (Loaded::Id(id), None) => {
                return Err(import_error(format!("image {id} carries no name: give it one")));
            }
        };
        images.extend(find(docker, &reference).await?);
    }
    if images.is_empty() {
        return Err(import_error("Docker found no image in it".to_owned()));
    }
    Ok(images)
}

/// Hands what is written to an asynchronous body.
struct ChunkWriter {
    chunks: mpsc::Sender<io::Result<Bytes>>,
    sent: watch::Sender<u64>,
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunks.blocking_send(Ok(Bytes::copy_from_slice(bytes))).map_err(|_| io::ErrorKind::BrokenPipe)?;
        self.sent.send_modify(|sent| *sent += bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_splits_into_repository_and_tag_or_digest() {
        let digest = "sha256:9d81";
        let cases = [
            ("busybox", ("busybox", "latest")),
            ("busybox:1.36", ("busybox", "1.36")),
            ("localhost:5000/web", ("localhost:5000/web", "latest")),
            ("localhost:5000/web:2", ("localhost:5000/web", "2")),
            ("quay.io/a/b@sha256:9d81", ("quay.io/a/b", digest)),
            ("quay.io/a/b:1@sha256:9d81", ("quay.io/a/b", digest)),
        ];
        for (reference, expected) in cases {
            assert_eq!(split_reference(reference), expected);
        }
    }

    #[test]
    fn credentials_name_the_registry() {
        assert_eq!(server_address("busybox"), DOCKER_HUB);
        assert_eq!(server_address("localhost:5000/web:2"), "localhost:5000");
    }

    #[test]
    fn the_digest_is_that_of_the_repository_asked_for() {
        let hex = "a".repeat(64);
        let digests = [format!("quay.io/x/busybox@sha256:{}", "b".repeat(64)), format!("busybox@sha256:{hex}")];
        assert_eq!(repository_digest("busybox:1", &digests), Some(format!("sha256:{hex}")));
    }
}
