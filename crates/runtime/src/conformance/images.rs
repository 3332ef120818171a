//! Images.

use super::World;
use super::image::{Compression, TestImage, pack};
use crate::{ContainerSpec, RuntimeError};

fn reference(world: &World) -> String {
    format!("localhost/{}:1", world.unique("image"))
}

async fn remove(world: &World, reference: &str) {
    world.runtime.cleanup().await.unwrap();
    world.runtime.remove_image(reference).await.unwrap();
    assert_eq!(world.runtime.image(reference).await.unwrap(), None);
}

async fn runs(world: &World, reference: &str) {
    let spec = ContainerSpec { image: reference.to_owned(), ..world.spec(&["cat", "/data/greeting"]) };
    assert_eq!(world.output(&spec).await, "hello");
}

/// A `docker save` archive, plain or compressed, is imported under its own name.
pub async fn a_docker_archive_is_imported(world: &World) {
    let reference = reference(world);
    assert_eq!(world.runtime.image(&reference).await.unwrap(), None);
    let imported = world.import(&TestImage::named(&reference)).await;
    assert_eq!(imported.reference, reference);
    assert!(imported.id.starts_with("sha256:") && imported.size_bytes > 500_000, "{imported:?}");
    assert_eq!(world.runtime.image(&reference).await.unwrap(), Some(imported.clone()));
    let listed = world.runtime.images().await.unwrap();
    assert!(listed.iter().any(|image| image.reference == reference && image.id == imported.id), "{listed:?}");
    runs(world, &reference).await;
    remove(world, &reference).await;
    world.runtime.remove_image(&reference).await.unwrap();
}

/// Importing tells how far it is.
pub async fn importing_tells_its_progress(world: &World) {
    let reference = reference(world);
    let path = world.scratch.path().join("image.tar");
    TestImage::named(&reference).write_docker_archive(&path).unwrap();
    let told = std::sync::Mutex::new(Vec::new());
    world.runtime.import(&path, None, &|progress| told.lock().unwrap().push(progress)).await.unwrap();
    let told = told.into_inner().unwrap();
    assert!(told.last().is_some_and(|last| last.done_bytes > 0 && !last.action.is_empty()), "{told:?}");
    remove(world, &reference).await;
}

/// An image without a name takes the given one; without one it is refused.
pub async fn an_image_without_a_name_takes_the_given_one(world: &World) {
    let reference = reference(world);
    let path = world.scratch.path().join("image.tar");
    let image = TestImage { environment: [("ONLY".to_owned(), reference.clone())].into(), ..TestImage::default() };
    image.write_docker_archive(&path).unwrap();
    let imported = world.import_archive(&path, Some(&reference)).await.unwrap();
    assert_eq!(imported[0].reference, reference);
    remove(world, &reference).await;
    let error = world.import_archive(&path, None).await.unwrap_err();
    assert!(matches!(&error, RuntimeError::Import(text) if text.contains("name")), "{error:?}");
}

/// An OCI layout in a directory, with layers compressed in every usual way.
pub async fn an_oci_layout_is_imported(world: &World) {
    for (index, compression) in [Compression::None, Compression::Gzip, Compression::Zstd].into_iter().enumerate() {
        let reference = reference(world);
        let layout = world.scratch.path().join(format!("layout-{index}"));
        TestImage::named(&reference).write_oci_layout(&layout, compression).unwrap();
        let imported = world.import_archive(&layout, None).await.unwrap();
        assert_eq!(imported[0].reference, reference, "{compression:?}");
        runs(world, &reference).await;
        remove(world, &reference).await;
    }
}

/// A tar of an OCI layout, compressed or not.
pub async fn an_oci_archive_is_imported(world: &World) {
    for compression in [Compression::None, Compression::Gzip] {
        let reference = reference(world);
        let (layout, path) = (world.scratch.path().join("layout"), world.scratch.path().join("layout.tar"));
        TestImage::default().write_oci_layout(&layout, Compression::Gzip).unwrap();
        pack(&layout, &path, compression).unwrap();
        let imported = world.import_archive(&path, Some(&reference)).await.unwrap();
        assert_eq!(imported[0].reference, reference, "{compression:?}");
        std::fs::remove_dir_all(&layout).unwrap();
        remove(world, &reference).await;
    }
}

/// Upper layers replace and remove what lower ones hold.
pub async fn upper_layers_cover_lower_ones(world: &World) {
    let script = "cat /layered/replaced; ls -A /layered /layered/opaque";
    let output = world.output(&world.shell(script)).await;
    assert_eq!(output, "upper\n/layered:\nopaque\nreplaced\n\n/layered/opaque:\nnew");
}

/// What is no archive is refused by name.
pub async fn what_is_no_archive_is_refused(world: &World) {
    let empty = world.scratch.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let text = world.scratch.path().join("text.tar");
    std::fs::write(&text, "no archive").unwrap();
    let missing = world.scratch.path().join("missing.tar");
    for path in [&empty, &text, &missing] {
        let error = world.import_archive(path, None).await.unwrap_err();
        let name = path.to_string_lossy();
        assert!(matches!(&error, RuntimeError::Import(text) if text.contains(&*name)), "{error:?}");
    }
}

/// A damaged layer is refused, and leaves no image.
pub async fn a_damaged_layer_is_refused(world: &World) {
    let reference = reference(world);
    let layout = world.scratch.path().join("layout");
    TestImage::named(&reference).write_oci_layout(&layout, Compression::None).unwrap();
    let blobs = std::fs::read_dir(layout.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    let layer = blobs.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&layer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&layer, bytes).unwrap();
    let error = world.import_archive(&layout, None).await.unwrap_err();
    assert!(matches!(error, RuntimeError::Import(_)), "{error:?}");
    assert_eq!(world.runtime.image(&reference).await.unwrap(), None);
}

/// A registry that can't be reached is an error of the pull.
pub async fn an_unreachable_registry_fails_the_pull(world: &World) {
    let error = world.runtime.pull("127.0.0.1:1/none/such:1", None, &|_| ()).await.unwrap_err();
    assert!(matches!(&error, RuntimeError::Pull(text) if text.contains("127.0.0.1:1")), "{error:?}");
}
