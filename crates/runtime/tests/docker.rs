//! The Docker runtime keeps every promise of the conformance suite. Needs a running Docker Engine.

use std::sync::Arc;

use longshore_runtime::conformance::Subject;
use longshore_runtime::docker::{DockerRuntime, detect};
use longshore_runtime::{ContainerRuntime, RuntimeError, RuntimeResult, conformance_tests};
use longshore_seams::{BoxFuture, Seams};

struct Docker {
    root_id: String,
}

impl Subject for Docker {
    fn open(&self) -> BoxFuture<'_, RuntimeResult<Arc<dyn ContainerRuntime>>> {
        Box::pin(async {
            let seams = Seams::system();
            let missing = || RuntimeError::Unavailable("these tests need a running Docker Engine".to_owned());
            let socket = detect(&seams).await.ok_or_else(missing)?;
            let runtime = DockerRuntime::connect(&socket, &self.root_id, seams).await?;
            Ok(Arc::new(runtime) as Arc<dyn ContainerRuntime>)
        })
    }
}

fn subject() -> Docker {
    Docker { root_id: Seams::system().random.hex32() }
}

conformance_tests!(subject);
