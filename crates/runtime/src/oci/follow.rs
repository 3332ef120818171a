//! Wakes those who follow logs: one inotify instance for all of them, because a user has few.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longshore_seams::Seams;
use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// The watched directories, by inotify's descriptors.
type Watched = BTreeMap<i32, watch::Sender<u64>>;

/// Tells when something is written in a directory.
#[derive(Debug)]
pub(crate) struct Watcher {
    inotify: Arc<AsyncFd<OwnedFd>>,
    watched: Arc<Mutex<Watched>>,
}

fn locked(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watcher {
    pub(crate) fn new(seams: &Seams) -> io::Result<Self> {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        #[expect(deprecated, reason = "sound for an owned descriptor, whose number cannot change")]
        let inotify = Arc::new(AsyncFd::new(inotify)?);
        let watched = Arc::new(Mutex::new(BTreeMap::new()));
        seams.spawner.spawn("log watcher", Box::pin(listen(Arc::clone(&inotify), Arc::clone(&watched))));
        Ok(Self { inotify, watched })
    }

    /// A receiver that changes whenever something is written in `directory`. Its first value counts as seen.
    pub(crate) fn watch(&self, directory: &Path) -> io::Result<watch::Receiver<u64>> {
        use inotify::WatchFlags;
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::ONLYDIR;
        let mut watched = locked(&self.watched);
        // The same directory gets the same descriptor.
        let descriptor = inotify::add_watch(self.inotify.get_ref(), directory, flags)?;
        Ok(watched.entry(descriptor).or_insert_with(|| watch::channel(0).0).subscribe())
    }
}

async fn listen(inotify: Arc<AsyncFd<OwnedFd>>, watched: Arc<Mutex<Watched>>) {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    loop {
        let Ok(mut ready) = inotify.readable().await else { return };
        let mut reader = inotify::Reader::new(inotify.get_ref(), &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let mut watched = locked(&watched);
                    if event.events().contains(inotify::ReadFlags::IGNORED) {
                        // The directory is gone; so is what was written in it.
                        watched.remove(&event.wd());
                    } else if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                        watched.values().for_each(|sender| sender.send_modify(|count| *count += 1));
                    } else if let Some(sender) = watched.get(&event.wd()) {
                        sender.send_modify(|count| *count += 1);
                    }
                }
                Err(_) => {
                    ready.clear_ready();
                    break;
                }
            }
        }
        // Everybody is gone but this task.
        if Arc::strong_count(&watched) == 1 {
            return;
        }
    }
}
