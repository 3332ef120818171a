//! Images on disk: configurations by digest, layers by chain id, an index of names.
//!
//! Another process may import while this one runs: an index is replaced atomically under a lock, a layer appears by
//! one rename, and what no image and no container uses is removed only under the same lock.

mod archive;
mod build;
mod unpack;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use longshore_seams::Random;
use serde::{Deserialize, Serialize};

use super::layout::{Layout, create_dir, read_record, remove_dir, remove_file, write_record};
use super::record::ContainerRecord;
use crate::reference::Reference;
use crate::{ImageInfo, PullProgress};

pub use build::{ImageFile, ImageFileKind};

/// The settings of an image that containers take over: the `config` member of an image's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageConfig {
    /// `user[:group]`; root when absent.
    pub user: Option<String>,
    /// `NAME=value`.
    pub env: Option<Vec<String>>,
    /// Entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Command, or arguments of the entry point.
    pub cmd: Option<Vec<String>>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// Directories that are volumes; the values are empty objects.
    pub volumes: Option<BTreeMap<String, serde_json::Value>>,
    /// Signal that asks to stop.
    pub stop_signal: Option<String>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
}

/// An image as the store knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Image {
    /// Digest of its configuration, `sha256:…`.
    pub(crate) id: String,
    pub(crate) config: ImageConfig,
    /// Chain ids, lowest first: names of directories.
    pub(crate) layers: Vec<String>,
    pub(crate) size_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Index {
    /// Full reference → image.
    names: BTreeMap<String, Name>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Name {
    id: String,
    /// Manifest digest.
    digest: Option<String>,
}

/// Why an image could not be read, written or found.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The name is no image reference.
    #[error("{reference:?} is no image reference: {why}")]
    BadReference {
        /// The name.
        reference: String,
        /// What is wrong with it.
        why: String,
    },
    /// The archive is not what it should be.
    #[error("{0}")]
    BadArchive(String),
    /// A file could not be read or written.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl ImageError {
    fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}

type ImageResult<T> = Result<T, ImageError>;

/// The images of one runtime root.
#[derive(Clone, Debug)]
pub(crate) struct ImageStore {
    layout: Layout,
    random: Arc<dyn Random>,
}

/// An image ready to be named, made by an import or a build.
#[derive(Debug)]
struct Prepared {
    names: Vec<String>,
    digest: Option<String>,
    image: Image,
}

/// Held while layers are made: what is half made is not swept away.
struct Importing(#[expect(dead_code, reason = "the lock lives as long as the file")] File);

/// The full form of a reference: `busybox` is `docker.io/library/busybox:latest`.
///
/// # Errors
/// [`ImageError::BadReference`].
pub(crate) fn normalize(reference: &str) -> ImageResult<String> {
    let parsed = Reference::parse(reference)
        .map_err(|error| ImageError::BadReference { reference: reference.to_owned(), why: error.to_string() })?;
    Ok(parsed.to_string())
}

/// Lower-case hexadecimal SHA-256 of `bytes`.
fn sha256(bytes: &[u8]) -> String {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    hex(context.finish().as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads through to `inner`, hashing what passes.
struct Hashing<R> {
    inner: R,
    context: Context,
}

impl<R: Read> Hashing<R> {
    fn new(inner: R) -> Self {
        Self { inner, context: Context::new(&SHA256) }
    }

    /// Digest of everything, having read the rest.
    fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(hex(self.context.finish().as_ref()))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.context.update(&buffer[..count]);
        Ok(count)
    }
}

impl ImageStore {
    pub(crate) fn new(layout: Layout, random: Arc<dyn Random>) -> Self {
        Self { layout, random }
    }

    /// The image named `reference`, or whose id it is.
    pub(crate) fn find(&self, reference: &str) -> ImageResult<Option<(ImageInfo, Image)>> {
        let index = self.index()?;
        let named = if is_id(reference) {
            let name = index.names.values().find(|name| name.id == reference);
            name.map(|name| (name.clone(), reference.to_owned()))
        } else {
            lookup(&index, reference)?.map(|name| (name.clone(), reference.to_owned()))
        };
        let Some((name, reference)) = named else { return Ok(None) };
        Ok(self.image(&name.id)?.map(|image| (info(reference, &name, &image), image)))
    }

    /// All named images.
    pub(crate) fn list(&self) -> ImageResult<Vec<ImageInfo>> {
        let mut images = Vec::new();
        for (reference, name) in self.index()?.names {
            if let Some(image) = self.image(&name.id)? {
                images.push(info(reference, &name, &image));
            }
        }
        Ok(images)
    }

    /// Takes a name away; then removes every image and layer that nothing uses any more.
    pub(crate) fn remove(&self, reference: &str) -> ImageResult<()> {
        let _lock = self.lock()?;
        let mut index = self.index()?;
        if is_id(reference) {
            index.names.retain(|_, name| name.id != reference);
        } else {
            index.names.remove(&normalize(reference)?);
        }
        self.write_index(&index)?;
        let Some(_quiet) = self.try_quiet()? else { return Ok(()) };
        self.collect(&index)
    }

    /// Imports the images of an archive.
    pub(crate) fn import(
        &self,
        archive: &Path,
        name: Option<&str>,
        progress: &dyn Fn(PullProgress),
    ) -> ImageResult<Vec<ImageInfo>> {
        let importing = self.importing()?;
        let prepared = archive::read(self, archive, name, progress)?;
        let infos = self.commit(prepared);
        drop(importing);
        infos
    }

    /// Makes an image of one layer from `files`.
    pub(crate) fn build(&self, name: &str, files: &[ImageFile], config: &ImageConfig) -> ImageResult<ImageInfo> {
        let importing = self.importing()?;
        let prepared = build::make(self, name, files, config)?;
        let infos = self.commit(vec![prepared])?;
        drop(importing);
        infos.into_iter().next().ok_or_else(|| ImageError::BadArchive("nothing was built".to_owned()))
    }

    /// Removes what an import that was killed left behind, and what nothing uses.
    pub(crate) fn sweep(&self) -> ImageResult<()> {
        // While somebody imports, the next sweep will do.
        let Some(_quiet) = self.try_quiet()? else { return Ok(()) };
        for dir in [self.layout.layers(), self.layout.images()] {
            for name in names_in(&dir)? {
                if name.starts_with(TEMPORARY) {
                    let path = dir.join(name);
                    let removed = if path.is_dir() { remove_dir(&path) } else { remove_file(&path) };
                    removed.map_err(ImageError::io(format!("removing {}", path.display())))?;
                }
            }
        }
        let _lock = self.lock()?;
        self.collect(&self.index()?)
    }

    /// Runs `work` with the image named `reference` while nobody can remove it.
    pub(crate) fn with_image<T>(
        &self,
        reference: &str,
        work: impl FnOnce(&Image) -> io::Result<T>,
    ) -> ImageResult<Option<T>> {
        let file = self.lock_file("lock")?;
        file.lock_shared().map_err(ImageError::io("locking the image store"))?;
        let Some((_, image)) = self.find(reference)? else { return Ok(None) };
        work(&image).map(Some).map_err(ImageError::io("writing the container's record"))
    }

    /// Makes the layer `chain_id` from a plain tar stream unless it is there; answers its size and checks `diff_id`.
    fn add_layer(&self, chain_id: &str, diff_id: &str, stream: impl Read) -> ImageResult<u64> {
        let layers = self.layout.layers();
        let temporary = layers.join(self.temporary_name());
        let doing = || format!("unpacking layer {diff_id}");
        let unpack = || -> io::Result<(u64, String)> {
            create_dir(&temporary)?;
            let diff = temporary.join("diff");
            create_dir(&diff)?;
            fs::set_permissions(&diff, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
            let mut stream = Hashing::new(stream);
            let size = unpack::unpack(&mut stream, &diff)?;
            Ok((size, stream.finish()?))
        };
        let unpacked = unpack().map_err(ImageError::io(doing()));
        let added = unpacked.and_then(|(size, actual)| {
            if format!("sha256:{actual}") != diff_id {
                return Err(ImageError::BadArchive(format!("layer {diff_id} has the digest sha256:{actual}")));
            }
            write_record(&temporary.join("layer.json"), &LayerRecord { size_bytes: size })
                .map_err(ImageError::io(doing()))?;
            match fs::rename(&temporary, layers.join(chain_id)) {
                Ok(()) => Ok(size),
                // Another process made it meanwhile.
                Err(_) if layers.join(chain_id).is_dir() => Ok(size),
                Err(error) => Err(ImageError::io(doing())(error)),
            }
        });
        // Gone after a rename; else there is nothing to keep.
        if let Err(error) = remove_dir(&temporary) {
            tracing::warn!(path = %temporary.display(), %error, "could not remove a half-made layer");
        }
        added
    }

    /// Size of a layer that is there.
    fn layer_size(&self, chain_id: &str) -> ImageResult<Option<u64>> {
        let path = self.layout.layers().join(chain_id).join("layer.json");
        let record: Option<LayerRecord> =
            read_record(&path).map_err(ImageError::io(format!("reading {}", path.display())))?;
        Ok(record.map(|record| record.size_bytes))
    }

    fn temporary_name(&self) -> String {
        format!("{TEMPORARY}{}", self.random.hex32())
    }

    fn commit(&self, prepared: Vec<Prepared>) -> ImageResult<Vec<ImageInfo>> {
        let _lock = self.lock()?;
        let mut index = self.index()?;
        let mut infos = Vec::new();
        for Prepared { names, digest, image } in prepared {
            write_record(&self.image_path(&image.id), &image).map_err(ImageError::io("writing an image's record"))?;
            for reference in names {
                let name = Name { id: image.id.clone(), digest: digest.clone() };
                infos.push(info(reference.clone(), &name, &image));
                index.names.insert(reference, name);
            }
        }
        self.write_index(&index)?;
        Ok(infos)
    }

    /// Removes images without a name, and layers that neither an image nor a container uses.
    ///
    /// The caller has both locks: layers of an import under way are in no image's record yet.
    fn collect(&self, index: &Index) -> ImageResult<()> {
        let kept: BTreeSet<&String> = index.names.values().map(|name| &name.id).collect();
        let mut layers: BTreeSet<String> = BTreeSet::new();
        for name in names_in(&self.layout.images())? {
            let Some(digest) = name.strip_suffix(".json").filter(|digest| digest.len() == 64) else { continue };
            let id = format!("sha256:{digest}");
            if kept.contains(&id) {
                layers.extend(self.image(&id)?.map(|image| image.layers).unwrap_or_default());
            } else {
                remove_file(&self.image_path(&id)).map_err(ImageError::io("removing an image's record"))?;
            }
        }
        let containers =
            ContainerRecord::read_all(&self.layout.containers()).map_err(ImageError::io("reading containers"))?;
        layers.extend(containers.into_values().flat_map(|container| container.layers));
        for name in names_in(&self.layout.layers())? {
            if !layers.contains(&name) && !name.starts_with(TEMPORARY) {
                let path = self.layout.layers().join(&name);
                remove_dir(&path).map_err(ImageError::io(format!("removing layer {name}")))?;
            }
        }
        Ok(())
    }

    fn image(&self, id: &str) -> ImageResult<Option<Image>> {
        read_record(&self.image_path(id)).map_err(ImageError::io(format!("reading the record of image {id}")))
    }

    fn image_path(&self, id: &str) -> PathBuf {
        self.layout.images().join(format!("{}.json", id.strip_prefix("sha256:").unwrap_or(id)))
    }

    fn index(&self) -> ImageResult<Index> {
        let index = read_record(&self.layout.images().join("index.json"));
        Ok(index.map_err(ImageError::io("reading the index of images"))?.unwrap_or_default())
    }

    fn write_index(&self, index: &Index) -> ImageResult<()> {
        write_record(&self.layout.images().join("index.json"), index)
            .map_err(ImageError::io("writing the index of images"))
    }

    fn lock(&self) -> ImageResult<File> {
        let file = self.lock_file("lock")?;
        file.lock().map_err(ImageError::io("locking the image store"))?;
        Ok(file)
    }

    fn importing(&self) -> ImageResult<Importing> {
        let file = self.lock_file("import.lock")?;
        file.lock_shared().map_err(ImageError::io("locking the image store"))?;
        Ok(Importing(file))
    }

    /// A lock that is had while nobody imports.
    fn try_quiet(&self) -> ImageResult<Option<File>> {
        let file = self.lock_file("import.lock")?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(ImageError::io("locking the image store")(error)),
        }
    }

    fn lock_file(&self, name: &str) -> ImageResult<File> {
        let path = self.layout.images().join(name);
        File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(ImageError::io(format!("opening {}", path.display())))
    }
}

const TEMPORARY: &str = "tmp-";

#[derive(Debug, Serialize, Deserialize)]
struct LayerRecord {
    size_bytes: u64,
}

/// Chain ids of layers by their diff ids (the image specification's formula), without `sha256:`.
fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.strip_prefix("sha256:").unwrap_or(diff_id).to_owned(),
            Some(parent) => sha256(format!("sha256:{parent} {diff_id}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}

fn is_id(reference: &str) -> bool {
    is_digest(reference)
}

fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// By name; else, when the reference has a digest, any tag of the same repository with that digest.
fn lookup<'a>(index: &'a Index, reference: &str) -> ImageResult<Option<&'a Name>> {
    let whole = normalize(reference)?;
    if let Some(name) = index.names.get(&whole) {
        return Ok(Some(name));
    }
    let Some((_, digest)) = whole.split_once('@') else { return Ok(None) };
    let repository =
        |reference: &str| Reference::parse(reference).ok().map(|parsed| (parsed.registry, parsed.repository));
    let wanted = repository(&whole);
    let same = |(tag, name): &(&String, &Name)| name.digest.as_deref() == Some(digest) && repository(tag) == wanted;
    Ok(index.names.iter().find(same).map(|(_, name)| name))
}

fn info(reference: String, name: &Name, image: &Image) -> ImageInfo {
    ImageInfo { reference, id: image.id.clone(), digest: name.digest.clone(), size_bytes: image.size_bytes }
}

fn names_in(dir: &Path) -> ImageResult<Vec<String>> {
    let list = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    };
    list().map_err(ImageError::io(format!("listing {}", dir.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_completed_as_docker_does() {
        let table = [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("team/app", "docker.io/team/app:latest"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("registry.example.com/team/app:v1", "registry.example.com/team/app:v1"),
        ];
        for (short, full) in table {
            assert_eq!(normalize(short).unwrap(), full);
        }
        assert!(normalize("team/UPPER").is_err());
    }

    #[test]
    fn the_chain_id_of_the_lowest_layer_is_its_diff_id() {
        let diff_ids = ["sha256:aa".to_owned(), "sha256:bb".to_owned()];
        let chain = chain_ids(&diff_ids);
        assert_eq!(chain[0], "aa");
        assert_eq!(chain[1], sha256(b"sha256:aa sha256:bb"));
    }
}
