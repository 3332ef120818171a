//! Who this agent is: container instance, cluster, keys.
//!
//! Kept twice, in the cache (`agent/identity.json`) and in the runtime root
//! (`runtime/identity.json`), so that the cache may be deleted; the later of the two counts.

use std::io;
use std::path::{Path, PathBuf};

use longshore_seams::{Disk, Timestamp};
use serde::{Deserialize, Serialize};

use crate::plane::AgentCredentials;

/// The agent's identity. Files are mode 0600.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Identity {
    /// Counts saves: the copy with the higher number is the later one.
    pub revision: u64,
    /// Cluster it has registered in.
    pub cluster: String,
    /// Region it signs for.
    pub region: String,
    /// The container instance, once registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_instance_arn: Option<String>,
    /// Its keys, when they are its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<AgentCredentials>,
    /// When it got them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_since: Option<Timestamp>,
}

fn paths(data_dir: &Path) -> [PathBuf; 2] {
    [data_dir.join("runtime").join("identity.json"), data_dir.join("agent").join("identity.json")]
}

impl Identity {
    /// What was saved, or an empty identity.
    ///
    /// # Errors
    /// When a copy is there and neither can be read.
    pub fn load(disk: &dyn Disk, data_dir: &Path) -> io::Result<Self> {
        let mut best: Option<Self> = None;
        let mut failed = None;
        for path in paths(data_dir) {
            let Some(bytes) = disk.read(&path)? else { continue };
            match serde_json::from_slice::<Self>(&bytes) {
                Ok(identity) if best.as_ref().is_none_or(|best| best.revision < identity.revision) => {
                    best = Some(identity);
                }
                Ok(_) => {}
                Err(error) => failed = Some(io::Error::other(format!("{}: {error}", path.display()))),
            }
        }
        match (best, failed) {
            (Some(identity), _) => Ok(identity),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(Self::default()),
        }
    }

    /// Saves both copies, durably, the one that counts first.
    ///
    /// # Errors
    /// Whatever the file system answers.
    pub fn save(&mut self, disk: &dyn Disk, data_dir: &Path) -> io::Result<()> {
        self.revision += 1;
        let bytes = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        for path in paths(data_dir) {
            disk.create_dir_all(path.parent().unwrap_or(data_dir))?;
            disk.write_atomically(&path, &bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_seams::MemoryDisk;

    #[test]
    fn the_identity_is_recovered_from_either_copy() {
        let disk = MemoryDisk::default();
        let dir = Path::new("/d");
        assert_eq!(Identity::load(&disk, dir).unwrap(), Identity::default());
        let mut identity = Identity { container_instance_arn: Some("arn:i".into()), ..Identity::default() };
        identity.save(&disk, dir).unwrap();
        for lost in paths(dir) {
            let disk = disk.crash();
            disk.remove(&lost).unwrap();
            assert_eq!(Identity::load(&disk, dir).unwrap(), identity);
        }
    }

    #[test]
    fn the_later_copy_counts_and_a_damaged_one_does_not() {
        let disk = MemoryDisk::default();
        let dir = Path::new("/d");
        let mut identity = Identity { cluster: "old".into(), ..Identity::default() };
        identity.save(&disk, dir).unwrap();
        let stale = disk.read(&paths(dir)[1]).unwrap().unwrap();
        identity.cluster = "new".into();
        identity.save(&disk, dir).unwrap();
        disk.write_atomically(&paths(dir)[1], &stale).unwrap();
        assert_eq!(Identity::load(&disk, dir).unwrap().cluster, "new");
        disk.write_atomically(&paths(dir)[0], b"{").unwrap();
        assert_eq!(Identity::load(&disk, dir).unwrap().cluster, "old");
        disk.write_atomically(&paths(dir)[1], b"{").unwrap();
        assert!(Identity::load(&disk, dir).is_err());
    }
}
