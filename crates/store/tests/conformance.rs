//! The conformance suite, against every back end.

use std::sync::Arc;

use longshore_seams::Seams;
use longshore_store::conformance::{LOG_REVISIONS, Subject, WATCH_LIMITS};
use longshore_store::embedded::{Embedded, EmbeddedOptions};
use longshore_store::memory::{Memory, MemoryOptions};

fn in_memory() -> Subject {
    let options = MemoryOptions { log_revisions: LOG_REVISIONS, watch: WATCH_LIMITS };
    Subject { store: Arc::new(Memory::new(options)), keep: Box::new(()) }
}

fn on_disk() -> Subject {
    let directory = tempfile::tempdir().unwrap();
    let options =
        EmbeddedOptions { log_revisions: LOG_REVISIONS as u64, watch: WATCH_LIMITS, ..EmbeddedOptions::default() };
    let store = Embedded::open(&directory.path().join("store.redb"), options, &Seams::system()).unwrap();
    Subject { store: Arc::new(store), keep: Box::new(directory) }
}

mod memory {
    longshore_store::conformance_tests!(super::in_memory);
}

mod embedded {
    longshore_store::conformance_tests!(super::on_disk);
}
