//! The embedded runtime keeps every promise of the conformance suite. Needs root.

use std::path::PathBuf;
use std::sync::Arc;

use longshore_runtime::conformance::Subject;
use longshore_runtime::oci::{OciOptions, OciRuntime};
use longshore_runtime::{ContainerRuntime, RuntimeResult, conformance_tests};
use longshore_seams::{BoxFuture, Seams};

struct Embedded {
    dir: tempfile::TempDir,
    root_id: String,
}

impl Subject for Embedded {
    fn open(&self) -> BoxFuture<'_, RuntimeResult<Arc<dyn ContainerRuntime>>> {
        Box::pin(async {
            let exe = PathBuf::from(env!("CARGO_BIN_EXE_longshore-shim"));
            let root = self.dir.path().join("runtime");
            let runtime = OciRuntime::open(root, &self.root_id, OciOptions::new(exe), Seams::system()).await?;
            Ok(Arc::new(runtime) as Arc<dyn ContainerRuntime>)
        })
    }
}

fn subject() -> Embedded {
    let dir = tempfile::Builder::new().prefix("longshore-oci-").tempdir().unwrap();
    Embedded { dir, root_id: Seams::system().random.hex32()[..8].to_owned() }
}

conformance_tests!(subject);
