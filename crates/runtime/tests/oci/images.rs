//! The image store on disk, used by more than one process.

use std::collections::BTreeMap;
use std::path::Path;

use longshore_runtime::oci::{ImageConfig, ImageFile, build_image, import_image};
use longshore_runtime::{ContainerRuntime, ContainerSpec, RuntimeError};
use longshore_seams::Seams;

use crate::world::{IMAGE, World, running, words};

fn layers(world: &World) -> usize {
    std::fs::read_dir(world.dir.path().join("runtime/layers")).unwrap().count()
}

fn busybox(extra: &str) -> Vec<ImageFile> {
    let busybox = std::fs::read("/bin/busybox").unwrap();
    vec![
        ImageFile::file("/bin/busybox", 0o755, busybox),
        ImageFile::symlink("/bin/cat", "busybox"),
        ImageFile::symlink("/bin/sleep", "busybox"),
        ImageFile::file("/extra", 0o644, extra.as_bytes().to_vec()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_another_process_brings_in_can_be_run_at_once() {
    let Some(world) = World::open().await else { return };
    let root = world.dir.path().join("runtime");
    let config = ImageConfig { cmd: Some(words("cat /extra")), ..ImageConfig::default() };
    let built = build_image(&root, "other:1", &busybox("from elsewhere\n"), &config, &Seams::system()).unwrap();
    assert_eq!(built.reference, "docker.io/library/other:1");
    let spec = ContainerSpec { image: "other:1".to_owned(), command: None, ..running("elsewhere", "") };
    let state = world.run(&spec).await;
    assert_eq!((state.exit_code, state.image_id), (Some(0), built.id));
    assert_eq!(world.output(&state.id).await, "from elsewhere\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_files_make_the_same_image_and_share_a_layer() {
    let Some(world) = World::open().await else { return };
    let before = layers(&world);
    let build =
        async |name: &str| world.runtime.build_image(name, busybox("same"), ImageConfig::default()).await.unwrap();
    let (one, two) = (build("one").await, build("two").await);
    assert_eq!(one.id, two.id);
    assert_eq!(layers(&world), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_layers_of_a_removed_image_stay_until_its_last_container_is_gone() {
    let Some(world) = World::open().await else { return };
    let config = ImageConfig { cmd: Some(words("sleep 1000")), ..ImageConfig::default() };
    world.runtime.build_image("going", busybox("going"), config).await.unwrap();
    let with_it = layers(&world);
    let spec = ContainerSpec { image: "going".to_owned(), command: None, ..running("user", "") };
    let state = world.start(&spec).await;
    world.runtime.remove_image("going").await.unwrap();
    assert_eq!(world.runtime.image("going").await.unwrap(), None);
    assert_eq!(layers(&world), with_it);
    world.runtime.remove(&state.id).await.unwrap();
    world.runtime.remove_image("going").await.unwrap();
    assert_eq!(layers(&world), with_it - 1);
    let error = world.runtime.create(&ContainerSpec { name: "late".to_owned(), ..spec }).await.unwrap_err();
    assert!(matches!(error, RuntimeError::NoSuchImage(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_was_killed_is_swept_away() {
    let Some(world) = World::open().await else { return };
    let half = world.dir.path().join("runtime/layers/tmp-0123");
    std::fs::create_dir_all(half.join("diff/dir")).unwrap();
    let again = world.reopen().await;
    let swept = async {
        while half.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::world::PATIENCE, swept).await.unwrap();
    assert!(again.image(IMAGE).await.unwrap().is_some());
}

/// Appends a member to a tar.
fn member(tar: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, path, content).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_docker_archive_whose_images_share_a_layer_by_a_link_is_imported() {
    let Some(world) = World::open().await else { return };
    let mut layer = tar::Builder::new(Vec::new());
    member(&mut layer, "greeting", b"hello\n");
    let layer = layer.into_inner().unwrap();
    let path = world.dir.path().join("old.tar");
    write_old_archive(&path, &layer, &BTreeMap::from([("one:1", "a"), ("two:1", "b")]));
    let root = world.dir.path().join("runtime");
    let images = import_image(&root, &path, None, &Seams::system(), &|_| ()).unwrap();
    let names: Vec<&str> = images.iter().map(|image| image.reference.as_str()).collect();
    assert_eq!(names, ["docker.io/library/one:1", "docker.io/library/two:1"]);
    assert_ne!(images[0].id, images[1].id);
}

/// As `docker save` wrote them before version 25: the second image's layer is a link to the first one's.
fn write_old_archive(path: &Path, layer: &[u8], images: &BTreeMap<&str, &str>) {
    use aws_lc_rs::digest::{SHA256, digest};
    let hex: String = digest(&SHA256, layer).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut archive = tar::Builder::new(Vec::new());
    let mut manifests = Vec::new();
    for (index, (name, variable)) in images.iter().enumerate() {
        let config = serde_json::json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": { "Env": [format!("V={variable}")], "Cmd": null },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{hex}")] },
        });
        member(&mut archive, &format!("{index}.json"), config.to_string().as_bytes());
        let path = format!("{index}/layer.tar");
        if index == 0 {
            member(&mut archive, &path, layer);
        } else {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            archive.append_link(&mut header, &path, "../0/layer.tar").unwrap();
        }
        manifests.push(serde_json::json!({ "Config": format!("{index}.json"), "RepoTags": [name], "Layers": [path] }));
    }
    member(&mut archive, "manifest.json", serde_json::Value::from(manifests).to_string().as_bytes());
    std::fs::write(path, archive.into_inner().unwrap()).unwrap();
}
