//! Images from archives: OCI layouts (a directory, or a tar of one) and `docker save` archives, old and new.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{
    Hashing, Image, ImageConfig, ImageError, ImageResult, ImageStore, Prepared, chain_ids, is_digest, normalize, sha256,
};
use crate::PullProgress;

/// This machine's architecture in the words of the image specification.
pub(super) const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// Longest manifest, index or configuration, bytes.
const MAX_DOCUMENT: u64 = 4 << 20;
/// Most layers of an image; overlayfs takes 500.
const MAX_LAYERS: usize = 256;
/// Deepest nesting of indexes.
const MAX_DEPTH: u32 = 4;

/// Where the members of an archive are.
enum Source {
    Directory(PathBuf),
    Tar { file: File, members: BTreeMap<String, Member> },
}

#[derive(Clone, Debug)]
enum Member {
    File { offset: u64, size: u64 },
    Link(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// An index has `manifests`, a manifest has `config` and `layers`.
#[derive(Deserialize)]
struct OciDocument {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    config: Option<ImageConfig>,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// Reads all images of `archive` into `store`, without naming them yet.
pub(super) fn read(
    store: &ImageStore,
    archive: &Path,
    name: Option<&str>,
    progress: &dyn Fn(PullProgress),
) -> ImageResult<Vec<Prepared>> {
    let source = open(store, archive)?;
    let import = Import { store, source: &source, name, progress, shown: archive.display().to_string() };
    if source.has("manifest.json")? {
        import.docker()
    } else if source.has("index.json")? {
        import.oci()
    } else {
        Err(import.bad("it has neither a manifest.json (docker save) nor an index.json (OCI layout)"))
    }
}

struct Import<'a> {
    store: &'a ImageStore,
    source: &'a Source,
    name: Option<&'a str>,
    progress: &'a dyn Fn(PullProgress),
    shown: String,
}

impl Import<'_> {
    fn bad(&self, why: impl std::fmt::Display) -> ImageError {
        ImageError::BadArchive(format!("{} can not be imported: {why}", self.shown))
    }

    fn docker(&self) -> ImageResult<Vec<Prepared>> {
        let manifests: Vec<DockerManifest> = self.document("manifest.json", None)?;
        let mut images = Vec::new();
        for manifest in manifests {
            let bytes = self.bytes(&manifest.config, None)?;
            let id = format!("sha256:{}", sha256(&bytes));
            let tags = manifest.repo_tags.unwrap_or_default();
            let names = if tags.is_empty() { vec![self.own_name()?] } else { normalize_all(&tags)? };
            let layers = manifest.layers.into_iter().map(|path| (path, None)).collect();
            images.push(Prepared { names, digest: None, image: self.image(id, &bytes, layers)? });
        }
        Ok(images)
    }

    fn oci(&self) -> ImageResult<Vec<Prepared>> {
        let index: OciDocument = self.document("index.json", None)?;
        let mut images = Vec::new();
        for descriptor in index.manifests.unwrap_or_default() {
            let names = vec![self.oci_name(&descriptor)?];
            let Some((digest, manifest)) = self.manifest(&descriptor, 0)? else {
                return Err(self.bad(format!("image {} is not for linux/{ARCHITECTURE}", names[0])));
            };
            let config = manifest.config.ok_or_else(|| self.bad("a manifest without a configuration"))?;
            let bytes = self.bytes(&blob(&config.digest)?, Some(&config.digest))?;
            let layers = manifest.layers.unwrap_or_default();
            let layers = layers
                .into_iter()
                .map(|layer| Ok((blob(&layer.digest)?, Some(layer.digest))))
                .collect::<ImageResult<Vec<_>>>()?;
            let image = self.image(config.digest, &bytes, layers)?;
            images.push(Prepared { names, digest: Some(digest), image });
        }
        if images.is_empty() {
            return Err(self.bad("it holds no image"));
        }
        Ok(images)
    }

    /// The manifest for this machine that `descriptor` leads to, with its digest.
    fn manifest(&self, descriptor: &Descriptor, depth: u32) -> ImageResult<Option<(String, OciDocument)>> {
        if depth > MAX_DEPTH {
            return Err(self.bad("its indexes are nested too deeply"));
        }
        let document: OciDocument = self.document(&blob(&descriptor.digest)?, Some(&descriptor.digest))?;
        let Some(nested) = document.manifests else {
            return Ok(Some((descriptor.digest.clone(), document)));
        };
        let fits = |descriptor: &&Descriptor| {
            descriptor.media_type.contains("image.index")
                || descriptor.platform.as_ref().is_none_or(|p| p.os == "linux" && p.architecture == ARCHITECTURE)
        };
        for descriptor in nested.iter().filter(fits) {
            if let Some(found) = self.manifest(descriptor, depth + 1)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn own_name(&self) -> ImageResult<String> {
        let missing = || self.bad("it names no image: give it a name with --name");
        normalize(self.name.ok_or_else(missing)?)
    }

    fn oci_name(&self, descriptor: &Descriptor) -> ImageResult<String> {
        let annotation = |key: &str| descriptor.annotations.as_ref()?.get(key).cloned();
        if let Some(full) = annotation("io.containerd.image.name") {
            return normalize(&full);
        }
        match annotation("org.opencontainers.image.ref.name") {
            // Most tools write only a tag here.
            Some(tag) if !tag.contains(['/', ':']) && self.name.is_some() => {
                let own = self.own_name()?;
                let untagged = self.name.is_some_and(|name| normalize(&format!("{name}:{tag}")).is_ok());
                let name = self.name.unwrap_or_default();
                if untagged && !has_tag(name) { normalize(&format!("{name}:{tag}")) } else { Ok(own) }
            }
            Some(name) => normalize(&name),
            None => self.own_name(),
        }
    }

    /// Unpacks the layers that are not there yet.
    fn image(&self, id: String, configuration: &[u8], layers: Vec<(String, Option<String>)>) -> ImageResult<Image> {
        let Configuration { config, architecture, os, rootfs } = serde_json::from_slice(configuration)
            .map_err(|error| self.bad(format!("configuration {id} is not as it should be: {error}")))?;
        if (!os.is_empty() && os != "linux") || (!architecture.is_empty() && architecture != ARCHITECTURE) {
            return Err(self.bad(format!("image {id} is for {os}/{architecture}, not for linux/{ARCHITECTURE}")));
        }
        if rootfs.diff_ids.len() != layers.len() || layers.len() > MAX_LAYERS {
            let (files, ids) = (layers.len(), rootfs.diff_ids.len());
            return Err(
                self.bad(format!("image {id} has {files} layers and {ids} layer digests (at most {MAX_LAYERS})"))
            );
        }
        if let Some(wrong) = rootfs.diff_ids.iter().find(|diff_id| !is_digest(diff_id)) {
            return Err(self.bad(format!("image {id} has the layer digest {wrong:?}, which is no sha256 digest")));
        }
        let chain = chain_ids(&rootfs.diff_ids);
        let mut size_bytes = 0;
        for ((path, digest), (diff_id, chain_id)) in layers.iter().zip(rootfs.diff_ids.iter().zip(&chain)) {
            size_bytes += match self.store.layer_size(chain_id)? {
                Some(size) => {
                    self.verify(path, digest.as_deref())?;
                    size
                }
                None => self.layer(path, digest.as_deref(), diff_id, chain_id)?,
            };
            let action = "imported".to_owned();
            (self.progress)(PullProgress { layer: diff_id.clone(), action, done_bytes: size_bytes, total_bytes: 0 });
        }
        Ok(Image { id, config: config.unwrap_or_default(), layers: chain, size_bytes })
    }

    /// Checks a layer that is there already: a damaged archive is refused whatever was imported before.
    fn verify(&self, path: &str, digest: Option<&str>) -> ImageResult<()> {
        let Some(digest) = digest else { return Ok(()) };
        let raw = self.source.open(path).map_err(ImageError::io(format!("{}: reading {path}", self.shown)))?;
        let actual = Hashing::new(raw).finish().map_err(ImageError::io(format!("{}: reading {path}", self.shown)))?;
        if digest == format!("sha256:{actual}") {
            return Ok(());
        }
        Err(self.bad(format!("{path} has the digest sha256:{actual}")))
    }

    fn layer(&self, path: &str, digest: Option<&str>, diff_id: &str, chain_id: &str) -> ImageResult<u64> {
        let raw = self.source.open(path).map_err(ImageError::io(format!("{}: reading {path}", self.shown)))?;
        let mut raw = Hashing::new(raw);
        let plain = decompress(&mut raw).map_err(ImageError::io(format!("{}: decompressing {path}", self.shown)))?;
        let size = self.store.add_layer(chain_id, diff_id, plain)?;
        let actual = raw.finish().map_err(ImageError::io(format!("{}: reading {path}", self.shown)))?;
        if digest.is_some_and(|digest| digest != format!("sha256:{actual}")) {
            return Err(self.bad(format!("{path} has the digest sha256:{actual}")));
        }
        Ok(size)
    }

    fn document<T: DeserializeOwned>(&self, path: &str, digest: Option<&str>) -> ImageResult<T> {
        let bytes = self.bytes(path, digest)?;
        serde_json::from_slice(&bytes).map_err(|error| self.bad(format!("{path} is not as it should be: {error}")))
    }

    /// A small member, checked against its digest.
    fn bytes(&self, path: &str, digest: Option<&str>) -> ImageResult<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.source.open(path).and_then(|member| member.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes));
        read.map_err(ImageError::io(format!("{}: reading {path}", self.shown)))?;
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(self.bad(format!("{path} is longer than {MAX_DOCUMENT} bytes")));
        }
        let actual = format!("sha256:{}", sha256(&bytes));
        if digest.is_some_and(|digest| digest != actual) {
            return Err(self.bad(format!("{path} has the digest {actual}")));
        }
        Ok(bytes)
    }
}

fn normalize_all(tags: &[String]) -> ImageResult<Vec<String>> {
    tags.iter().map(|tag| normalize(tag)).collect()
}

fn has_tag(name: &str) -> bool {
    name.rsplit('/').next().is_some_and(|last| last.contains([':', '@']))
}

/// Path of a blob in a layout; the digest is checked, because it becomes a path.
fn blob(digest: &str) -> ImageResult<String> {
    if !is_digest(digest) {
        return Err(ImageError::BadArchive(format!("{digest:?} is no sha256 digest")));
    }
    Ok(format!("blobs/sha256/{}", &digest["sha256:".len()..]))
}

/// The tar stream in `raw`, which may be gzip- or zstd-compressed.
fn decompress<'a>(raw: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut raw = BufReader::with_capacity(1 << 16, raw);
    let magic = io::BufRead::fill_buf(&mut raw)?;
    if magic.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(raw)))
    } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Ok(Box::new(zstd::stream::read::Decoder::with_buffer(raw)?))
    } else {
        Ok(Box::new(raw))
    }
}

fn open(store: &ImageStore, archive: &Path) -> ImageResult<Source> {
    let doing = || format!("opening {}", archive.display());
    let metadata = std::fs::metadata(archive).map_err(ImageError::io(doing()))?;
    if metadata.is_dir() {
        return Ok(Source::Directory(archive.to_owned()));
    }
    let tar = || -> io::Result<Source> {
        let mut file = File::open(archive)?;
        let mut magic = [0; 4];
        let count = file.read(&mut magic)?;
        file.seek(SeekFrom::Start(0))?;
        if magic[..count].starts_with(&[0x1f, 0x8b]) || magic[..count] == [0x28, 0xb5, 0x2f, 0xfd] {
            // Members are read out of order, so the whole is decompressed first.
            let path = store.layout.images().join(store.temporary_name());
            let mut plain = File::options().read(true).write(true).create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            io::copy(&mut decompress(file)?, &mut plain)?;
            file = plain;
        }
        let members = members(&mut file)?;
        Ok(Source::Tar { file, members })
    };
    tar().map_err(ImageError::io(doing()))
}

fn members(file: &mut File) -> io::Result<BTreeMap<String, Member>> {
    file.seek(SeekFrom::Start(0))?;
    let mut archive = tar::Archive::new(&*file);
    let mut members = BTreeMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        let kind = entry.header().entry_type();
        if kind.is_file() {
            members.insert(name, Member::File { offset: entry.raw_file_position(), size: entry.size() });
        } else if (kind.is_symlink() || kind.is_hard_link())
            && let Some(target) = entry.link_name()?
        {
            // `docker save` of old writes a layer once and links to it from the other images.
            let base = if kind.is_symlink() { Path::new(&name).parent() } else { None };
            let target = lexical(&base.unwrap_or(Path::new("")).join(target));
            members.insert(name, Member::Link(target));
        }
    }
    Ok(members)
}

/// `path` without `.` and `..`.
fn lexical(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for component in path.components() {
        match component {
            std::path::Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            std::path::Component::ParentDir => drop(parts.pop()),
            _ => {}
        }
    }
    parts.join("/")
}

impl Source {
    fn has(&self, path: &str) -> ImageResult<bool> {
        match self {
            Self::Directory(root) => Ok(root.join(path).is_file()),
            Self::Tar { members, .. } => Ok(members.contains_key(path)),
        }
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>> {
        match self {
            // Only names made here come this way: `index.json`, `manifest.json` and blobs; or those of a
            // docker archive that was unpacked, which must stay below its directory.
            Self::Directory(root) => {
                let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
                let directory = File::open(root)?;
                let resolve = rustix::fs::ResolveFlags::BENEATH;
                let file = rustix::fs::openat2(&directory, path, flags, rustix::fs::Mode::empty(), resolve)?;
                Ok(Box::new(File::from(file)))
            }
            Self::Tar { file, members } => {
                let mut member = members.get(path);
                // A chain of links longer than this is a circle.
                for _ in 0..8 {
                    match member {
                        Some(Member::Link(target)) => member = members.get(target),
                        _ => break,
                    }
                }
                let Some(Member::File { offset, size }) = member else {
                    return Err(io::Error::new(io::ErrorKind::NotFound, "the archive has no such member"));
                };
                let mut file = file.try_clone()?;
                file.seek(SeekFrom::Start(*offset))?;
                Ok(Box::new(file.take(*size)))
            }
        }
    }
}
