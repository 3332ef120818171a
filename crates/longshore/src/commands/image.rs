//! `longshore image`: images of this machine's runtime.

use longshore_runtime::{ImageInfo, PullProgress};
use longshore_seams::Seams;
use serde_json::{Value, json};
use std::sync::Mutex;

use crate::cli::{ImageCommand, OutputFormat};
use crate::datadir::DataDir;
use crate::output::{self, Failure, Progress};
use crate::{demo, runtimes};

fn failed(error: &longshore_runtime::RuntimeError) -> Failure {
    match error {
        longshore_runtime::RuntimeError::NoSuchImage(_) => Failure::not_found(error.to_string()),
        _ => Failure::failed(error.to_string()),
    }
}

fn directory(path: &std::path::Path, seams: &Seams) -> Result<DataDir, Failure> {
    match DataDir::look(path)? {
        Some(dir) => Ok(dir),
        // Nothing runs here yet: make the directory, so that images can be there before the first start.
        None => Ok(DataDir::open(path, &*seams.random)?),
    }
}

fn json_of(image: &ImageInfo) -> Value {
    json!({"reference": image.reference, "id": image.id, "digest": image.digest, "sizeBytes": image.size_bytes})
}

fn table(images: &[ImageInfo]) -> String {
    let size = |bytes: u64| format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10);
    let row = |image: &ImageInfo| {
        let id = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
        vec![image.reference.clone(), id.chars().take(12).collect(), size(image.size_bytes)]
    };
    output::table(&["IMAGE", "ID", "SIZE"], &images.iter().map(row).collect::<Vec<_>>())
}

/// Images.
///
/// # Errors
/// The runtime or the archive can't be used.
pub async fn image(command: &ImageCommand, format: OutputFormat, seams: &Seams) -> Result<(), Failure> {
    match command {
        ImageCommand::Import { archive, name, demo, data_dir, runtime } => {
            let dir = directory(&data_dir.path(), seams)?;
            let runtime = runtimes::open_images(runtime.runtime, &dir, seams).await?;
            let made = if *demo { Some(demo::archive(dir.path())?) } else { None };
            let archive = match (&made, archive) {
                (Some(made), _) => made.path(),
                (None, Some(archive)) => archive,
                (None, None) => return Err(Failure::usage("name an archive to import, or give --demo")),
            };
            let progress = Mutex::new(Progress::start(format));
            let show = |step: PullProgress| {
                let layer = if step.layer.is_empty() { String::new() } else { format!(" {}", step.layer) };
                let amount = match step.total_bytes {
                    0 => String::new(),
                    total => format!(" {}%", step.done_bytes.saturating_mul(100) / total),
                };
                if let Ok(mut progress) = progress.lock() {
                    progress.show(format, &format!("{}{layer}{amount}", step.action));
                }
            };
            let imported = runtime.import(archive, name.as_deref(), &show).await;
            if let Ok(progress) = progress.lock() {
                progress.finish();
            }
            let images = imported.map_err(|error| failed(&error))?;
            let answer = json!({"images": images.iter().map(json_of).collect::<Vec<_>>()});
            output::print(format, &answer, |_| table(&images))
        }
        ImageCommand::List { data_dir, runtime } => {
            let dir = directory(&data_dir.path(), seams)?;
            let images = runtimes::open_images(runtime.runtime, &dir, seams).await?.images().await;
            let images = images.map_err(|error| failed(&error))?;
            let answer = json!({"images": images.iter().map(json_of).collect::<Vec<_>>()});
            output::print(format, &answer, |_| table(&images))
        }
        ImageCommand::Remove { reference, data_dir, runtime } => {
            let dir = directory(&data_dir.path(), seams)?;
            let runtime = runtimes::open_images(runtime.runtime, &dir, seams).await?;
            if runtime.image(reference).await.map_err(|error| failed(&error))?.is_none() {
                return Err(Failure::not_found(format!(
                    "there is no image {reference}: 'longshore image list' shows those there are"
                )));
            }
            runtime.remove_image(reference).await.map_err(|error| failed(&error))?;
            output::print(format, &json!({"removed": reference}), |_| format!("Removed {reference}."))
        }
    }
}
