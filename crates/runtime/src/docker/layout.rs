//! Image archives for Docker's load call: `docker save` archives as they are, OCI layouts (which
//! Docker before 25 does not take) converted on the way. Blocking I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek as _, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::image::{Arch, Descriptor, ImageIndex, ImageManifest, MediaType, Os};
use serde::de::DeserializeOwned;

/// Most bytes of a JSON document in an archive.
const MOST_JSON_BYTES: u64 = 8 * 1024 * 1024;
/// Most levels of image indexes in image indexes.
const MOST_INDEX_DEPTH: u32 = 4;

/// An archive that Docker can load, as it is or converted.
#[derive(Debug)]
pub(super) enum Archive {
    /// A `docker save` archive.
    Docker(Arc<File>, u64),
    /// The images of an OCI layout.
    Layout(Layout),
}

/// Images of an OCI layout that fit this machine.
#[derive(Debug)]
pub(super) struct Layout {
    blobs: Blobs,
    images: Vec<LayoutImage>,
}

#[derive(Debug)]
struct LayoutImage {
    name: String,
    manifest: ImageManifest,
}

#[derive(Debug)]
enum Blobs {
    Directory(PathBuf),
    /// A tar: where each file in it begins, and how long it is.
    Tar(Arc<File>, BTreeMap<String, (u64, u64)>),
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl Archive {
    /// Opens a file or directory; `name` names an image that carries no name of its own.
    ///
    /// # Errors
    /// When it can't be read or is neither kind of archive.
    pub(super) fn open(path: &Path, name: Option<&str>) -> io::Result<Self> {
        if std::fs::metadata(path)?.is_dir() {
            return Ok(Self::Layout(Layout::read(Blobs::Directory(path.to_owned()), name)?));
        }
        let file = Arc::new(decompressed(File::open(path)?)?);
        let files = tar_index(&file)?;
        if let Some(manifest) = files.get("manifest.json") {
            let size = file.metadata()?.len();
            check_names(Section::of(&file, *manifest), name)?;
            return Ok(Self::Docker(file, size));
        }
        if !files.contains_key("index.json") {
            return Err(invalid("it holds neither manifest.json (docker save) nor index.json (OCI layout)".to_owned()));
        }
        Ok(Self::Layout(Layout::read(Blobs::Tar(file, files), name)?))
    }

    /// About as many bytes as will be written.
    pub(super) fn size_bytes(&self) -> u64 {
        match self {
            Self::Docker(_, size) => *size,
            Self::Layout(layout) => {
                layout.images.iter().flat_map(|image| image.manifest.layers()).map(Descriptor::size).sum()
            }
        }
    }

    /// Writes what Docker loads.
    ///
    /// # Errors
    /// Those of reading and writing, and of an incomplete layout.
    pub(super) fn write_docker_archive(self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Docker(file, size) => io::copy(&mut Section::of(&file, (0, size)), out).map(drop),
            Self::Layout(layout) => layout.write_docker_archive(out),
        }
    }
}

/// Docker loads an image without a name and leaves it lying: one that nobody names is refused before.
fn check_names(manifest: Section, name: Option<&str>) -> io::Result<()> {
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(rename = "RepoTags", default)]
        names: Option<Vec<String>>,
    }
    let entries: Vec<Entry> = json("manifest.json", manifest)?;
    let nameless = entries.iter().filter(|entry| entry.names.as_ref().is_none_or(Vec::is_empty)).count();
    match (nameless, name) {
        (0, _) | (1, Some(_)) => Ok(()),
        (_, None) => Err(invalid("an image in it carries no name: give it one".to_owned())),
        (_, Some(name)) => Err(invalid(format!("{nameless} images in it carry no name, and {name} can name only one"))),
    }
}

fn json<T: DeserializeOwned>(what: &str, source: impl Read) -> io::Result<T> {
    serde_json::from_reader(source.take(MOST_JSON_BYTES)).map_err(|error| invalid(format!("{what}: {error}")))
}

/// The file itself, or what a gzip or zstd file holds, in a file without name.
fn decompressed(file: File) -> io::Result<File> {
    let mut magic = [0; 4];
    let length = file.read_at(&mut magic, 0)?;
    let mut plain = match &magic[..length] {
        [0x1f, 0x8b, ..] => copy_to_temporary(&mut flate2::read::MultiGzDecoder::new(file))?,
        [0x28, 0xb5, 0x2f, 0xfd] => copy_to_temporary(&mut zstd::Decoder::new(file)?)?,
        _ => return Ok(file),
    };
    plain.rewind()?;
    Ok(plain)
}

fn copy_to_temporary(source: &mut impl Read) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(std::env::temp_dir(), flags, Mode::RUSR | Mode::WUSR)?);
    io::copy(source, &mut file)?;
    Ok(file)
}

fn tar_index(file: &File) -> io::Result<BTreeMap<String, (u64, u64)>> {
    let mut archive = tar::Archive::new(file);
    let mut files = BTreeMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        files.insert(path, (entry.raw_file_position(), entry.size()));
    }
    Ok(files)
}

/// A part of a file.
struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Section {
    /// The part of `file` that begins at the first number and is as long as the second.
    fn of(file: &Arc<File>, (at, size): (u64, u64)) -> Self {
        Self { file: file.clone(), at, end: at.saturating_add(size) }
    }
}

impl Read for Section {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(bytes.len());
        let count = self.file.read_at(&mut bytes[..most], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Blobs {
    fn open(&self, path: &str) -> io::Result<Box<dyn Read>> {
        match self {
            Self::Directory(directory) => Ok(Box::new(
                File::open(directory.join(path))
                    .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?,
            )),
            Self::Tar(file, files) => {
                let place = *files.get(path).ok_or_else(|| invalid(format!("it lacks {path}")))?;
                Ok(Box::new(Section::of(file, place)))
            }
        }
    }

    fn blob(&self, descriptor: &Descriptor) -> io::Result<Box<dyn Read>> {
        let digest = descriptor.digest();
        self.open(&format!("blobs/{}/{}", digest.algorithm(), digest.digest()))
    }
}

impl Layout {
    fn read(blobs: Blobs, name: Option<&str>) -> io::Result<Self> {
        let index: ImageIndex = json("index.json", blobs.open("index.json")?)?;
        let mut images = Vec::new();
        for descriptor in index.manifests().iter().filter(|descriptor| fits(descriptor)) {
            let Some(manifest) = read_manifest(&blobs, descriptor, 0)? else { continue };
            let name = own_name(descriptor)
                .or_else(|| name.map(str::to_owned))
                .ok_or_else(|| invalid(format!("image {} in it carries no name: give it one", descriptor.digest())))?;
            images.push(LayoutImage { name, manifest });
        }
        if images.is_empty() {
            return Err(invalid(format!("it holds no image for linux/{}", Arch::default())));
        }
        Ok(Self { blobs, images })
    }

    fn write_docker_archive(self, out: &mut impl Write) -> io::Result<()> {
        let mut archive = tar::Builder::new(out);
        let mut written = BTreeSet::new();
        let mut manifests = Vec::new();
        for image in &self.images {
            let config = image.manifest.config();
            let config_path = format!("{}.json", config.digest().digest());
            if written.insert(config_path.clone()) {
                append_blob(&mut archive, &config_path, config, self.blobs.blob(config)?)?;
            }
            let mut layers = Vec::new();
            for layer in image.manifest.layers() {
                let path = format!("{}/layer.tar", layer.digest().digest());
                if written.insert(path.clone()) {
                    self.append_layer(&mut archive, &path, layer)?;
                }
                layers.push(path);
            }
            manifests.push(serde_json::json!({ "Config": config_path, "RepoTags": [image.name], "Layers": layers }));
        }
        let manifests = serde_json::to_vec(&manifests)?;
        append(&mut archive, "manifest.json", manifests.len() as u64, &mut manifests.as_slice())?;
        archive.finish()
    }

    /// Docker takes gzip layers as they are, and zstd ones only since 23.
    fn append_layer(&self, archive: &mut tar::Builder<impl Write>, path: &str, layer: &Descriptor) -> io::Result<()> {
        let blob = self.blobs.blob(layer)?;
        if !matches!(layer.media_type(), MediaType::ImageLayerZstd) {
            return append_blob(archive, path, layer, blob);
        }
        let mut blob = Digested::new(blob);
        let plain = Arc::new(copy_to_temporary(&mut zstd::Decoder::new(&mut blob)?)?);
        blob.check(layer)?;
        let size = plain.metadata()?.len();
        append(archive, path, size, &mut Section::of(&plain, (0, size)))
    }
}

fn append(archive: &mut tar::Builder<impl Write>, path: &str, size: u64, content: &mut impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    archive.append_data(&mut header, path, content.take(size))
}

/// Docker trusts a layer that it has already, so what comes instead is checked here.
fn append_blob(
    archive: &mut tar::Builder<impl Write>,
    path: &str,
    descriptor: &Descriptor,
    blob: Box<dyn Read>,
) -> io::Result<()> {
    let mut blob = Digested::new(blob);
    append(archive, path, descriptor.size(), &mut blob)?;
    blob.check(descriptor)
}

/// Content whose digest and size are taken while it is read.
struct Digested {
    content: Box<dyn Read>,
    digest: aws_lc_rs::digest::Context,
    size: u64,
}

impl Digested {
    fn new(content: Box<dyn Read>) -> Self {
        Self { content, digest: aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256), size: 0 }
    }

    /// Reads what is left; an error unless it all was what `descriptor` describes.
    fn check(mut self, descriptor: &Descriptor) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink())?;
        let hex: String = self.digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = descriptor.digest();
        if self.size != descriptor.size() || format!("sha256:{hex}") != expected.to_string() {
            return Err(invalid(format!("{expected} is damaged: it has {} bytes and digest sha256:{hex}", self.size)));
        }
        Ok(())
    }
}

impl Read for Digested {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(bytes)?;
        self.digest.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }
}

/// Whether an index's entry is for this machine, or doesn't say what it is for.
fn fits(descriptor: &Descriptor) -> bool {
    descriptor
        .platform()
        .as_ref()
        .is_none_or(|platform| *platform.os() == Os::Linux && *platform.architecture() == Arch::default())
}

fn read_manifest(blobs: &Blobs, descriptor: &Descriptor, depth: u32) -> io::Result<Option<ImageManifest>> {
    let what = descriptor.digest().to_string();
    match descriptor.media_type() {
        MediaType::ImageIndex => {}
        MediaType::Other(kind) if kind == "application/vnd.docker.distribution.manifest.list.v2+json" => {}
        _ => return json(&what, blobs.blob(descriptor)?).map(Some),
    }
    if depth >= MOST_INDEX_DEPTH {
        return Err(invalid(format!("{what}: more than {MOST_INDEX_DEPTH} indexes inside each other")));
    }
    let index: ImageIndex = json(&what, blobs.blob(descriptor)?)?;
    match index.manifests().iter().find(|descriptor| fits(descriptor)) {
        Some(inner) => read_manifest(blobs, inner, depth + 1),
        None => Ok(None),
    }
}

/// The name that a layout gives an image. A tag alone, as some builders write, is not a name.
fn own_name(descriptor: &Descriptor) -> Option<String> {
    let annotations = descriptor.annotations().as_ref()?;
    let full = annotations.get("io.containerd.image.name");
    let reference = annotations.get("org.opencontainers.image.ref.name").filter(|name| name.contains(['/', ':']));
    let name = full.or(reference)?;
    let last = name.rsplit('/').next().unwrap_or(name);
    Some(if last.contains([':', '@']) { name.clone() } else { format!("{name}:latest") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

    /// A layout whose blobs are the given documents; their digests are their places in `blobs`, counted from 1.
    fn layout(entries: &Value, blobs: &[Value]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let blob_directory = directory.path().join("blobs/sha256");
        std::fs::create_dir_all(&blob_directory).unwrap();
        for (index, blob) in blobs.iter().enumerate() {
            std::fs::write(blob_directory.join(hex(index + 1)), blob.to_string()).unwrap();
        }
        let index = json!({"schemaVersion": 2, "manifests": entries});
        std::fs::write(directory.path().join("index.json"), index.to_string()).unwrap();
        directory
    }

    fn hex(number: usize) -> String {
        format!("{number:064x}")
    }

    fn entry(media_type: &str, number: usize) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", hex(number)), "size": 1})
    }

    fn entry_for(architecture: &str, number: usize) -> Value {
        let mut entry = entry(MANIFEST, number);
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    }

    /// A manifest that is told from others by the digest of its configuration.
    fn manifest(config: usize) -> Value {
        let config = entry("application/vnd.oci.image.config.v1+json", config);
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []})
    }

    fn opened(layout: &tempfile::TempDir, name: Option<&str>) -> io::Result<Vec<(String, String)>> {
        match Archive::open(layout.path(), name)? {
            Archive::Layout(layout) => Ok(layout
                .images
                .into_iter()
                .map(|image| (image.name, image.manifest.config().digest().digest().to_owned()))
                .collect()),
            Archive::Docker(..) => panic!("taken for a docker save archive"),
        }
    }

    #[test]
    fn this_machine_s_platform_is_taken_from_nested_indexes() {
        let own = Arch::default().to_string();
        let inner = json!({"schemaVersion": 2, "mediaType": INDEX,
            "manifests": [entry_for("s390x", 2), entry_for(&own, 3), entry_for("unknown", 4)]});
        let layout = layout(&json!([entry(INDEX, 1)]), &[inner, manifest(20), manifest(30), manifest(40)]);
        assert_eq!(opened(&layout, Some("web:1")).unwrap(), [("web:1".to_owned(), hex(30))]);
    }

    #[test]
    fn a_layout_for_other_machines_is_refused() {
        let layout = layout(&json!([entry_for("s390x", 1)]), &[manifest(10)]);
        let error = opened(&layout, Some("web:1")).unwrap_err();
        assert!(error.to_string().contains("holds no image for linux/"), "{error}");
    }

    #[test]
    fn a_full_name_wins_and_a_tag_alone_is_none() {
        let cases = [
            (json!({"io.containerd.image.name": "docker.io/library/web:2"}), "docker.io/library/web:2"),
            (json!({"org.opencontainers.image.ref.name": "quay.io/a/web:3"}), "quay.io/a/web:3"),
            (json!({"org.opencontainers.image.ref.name": "quay.io/a/web"}), "quay.io/a/web:latest"),
            (json!({"org.opencontainers.image.ref.name": "latest"}), "given:1"),
            (json!({}), "given:1"),
        ];
        for (annotations, expected) in cases {
            let mut entry = entry(MANIFEST, 1);
            entry["annotations"] = annotations;
            let layout = layout(&json!([entry]), &[manifest(10)]);
            assert_eq!(opened(&layout, Some("given:1")).unwrap()[0].0, expected);
        }
    }
}
