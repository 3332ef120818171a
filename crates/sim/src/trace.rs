//! What happened, line by line; and a number that two runs share only when they went the same way.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use crate::executor::{Executor, locked};

/// Most lines that are kept: the last ones.
const KEPT: usize = 2_000;

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<String>,
    said: BTreeSet<String>,
    hash: u64,
}

/// The trace. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace(Arc<Mutex<Lines>>);

impl Trace {
    /// Adds a line.
    pub fn say(&self, executor: &Executor, line: impl std::fmt::Display) {
        let now = executor.now();
        let line = format!("{:>10.3}s {line}", now.as_secs_f64());
        let mut lines = locked(&self.0);
        // FNV-1a
        let mut hash = lines.hash ^ 0xcbf2_9ce4_8422_2325;
        for byte in line.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        lines.hash = hash;
        lines.kept.push_back(line);
        if lines.kept.len() > KEPT {
            lines.kept.pop_front();
        }
    }

    /// Adds a line, unless one with this key was added before.
    pub fn once(&self, executor: &Executor, key: String, line: impl std::fmt::Display) {
        let first = locked(&self.0).said.insert(key);
        if first {
            self.say(executor, line);
        }
    }

    /// The last lines.
    pub fn lines(&self) -> Vec<String> {
        locked(&self.0).kept.iter().cloned().collect()
    }

    /// A number that stands for all lines.
    pub fn fingerprint(&self) -> u64 {
        locked(&self.0).hash
    }
}
