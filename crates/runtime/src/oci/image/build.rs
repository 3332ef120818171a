//! Images made here, from files.

use super::{Image, ImageConfig, ImageError, ImageResult, ImageStore, Prepared, chain_ids, normalize, sha256};

/// An entry of an image made with [`crate::oci::OciRuntime::build_image`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFile {
    /// Path in the image; parents are made.
    pub path: String,
    /// What it is.
    pub kind: ImageFileKind,
}

/// What an [`ImageFile`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageFileKind {
    /// A file: mode and content.
    File(u32, Vec<u8>),
    /// A directory: mode.
    Directory(u32),
    /// A symbolic link: target.
    Symlink(String),
}

impl ImageFile {
    /// A file.
    #[must_use]
    pub fn file(path: &str, mode: u32, content: Vec<u8>) -> Self {
        Self { path: path.to_owned(), kind: ImageFileKind::File(mode, content) }
    }

    /// A directory.
    #[must_use]
    pub fn directory(path: &str, mode: u32) -> Self {
        Self { path: path.to_owned(), kind: ImageFileKind::Directory(mode) }
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(path: &str, target: &str) -> Self {
        Self { path: path.to_owned(), kind: ImageFileKind::Symlink(target.to_owned()) }
    }
}

/// Makes the layer and answers the image that is to be named.
pub(super) fn make(store: &ImageStore, name: &str, files: &[ImageFile], config: &ImageConfig) -> ImageResult<Prepared> {
    let names = vec![normalize(name)?];
    let layer = layer(files).map_err(ImageError::io(format!("building image {name}")))?;
    let diff_id = format!("sha256:{}", sha256(&layer));
    let layers = chain_ids(std::slice::from_ref(&diff_id));
    let size_bytes = match store.layer_size(&layers[0])? {
        Some(size) => size,
        None => store.add_layer(&layers[0], &diff_id, &layer[..])?,
    };
    let configuration = serde_json::json!({
        "architecture": super::archive::ARCHITECTURE,
        "os": "linux",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    });
    let id = format!("sha256:{}", sha256(configuration.to_string().as_bytes()));
    Ok(Prepared { names, digest: None, image: Image { id, config: config.clone(), layers, size_bytes } })
}

fn layer(files: &[ImageFile]) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_gnu();
        // Fixed, so that the same files make the same image.
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        let path = file.path.trim_start_matches('/');
        match &file.kind {
            ImageFileKind::File(mode, content) => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(*mode);
                header.set_size(content.len() as u64);
                tar.append_data(&mut header, path, &content[..])?;
            }
            ImageFileKind::Directory(mode) => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(*mode);
                tar.append_data(&mut header, path, std::io::empty())?;
            }
            ImageFileKind::Symlink(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                tar.append_link(&mut header, path, target)?;
            }
        }
    }
    tar.into_inner()
}
