//! A world's processor and its time: one thread, and whose turn it is comes from the seed.
//!
//! Futures belong to processes. A process is killed by dropping its futures between two polls, as
//! kill -9 would: nothing of it runs any more, and nobody is told but by what it held. Time stands
//! still while anything can run, and then jumps to the next timer.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use longshore_seams::{BoxFuture, Clock, Random, SeededRandom, Spawner, Timestamp};

/// When every world begins.
const BEGINNING: Timestamp = Timestamp::from_secs(1_795_311_935);

/// Polls without time passing after which something must be going round in circles.
const RESTLESS: u32 = 30_000;

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What can be killed on its own. The numbers have no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process(u64);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Sorted: whoever wakes first must not matter, because not every library we use wakes in a fixed order.
    ready: Mutex<Vec<u64>>,
    random: SeededRandom,
}

#[derive(Default)]
struct State {
    tasks: BTreeMap<u64, Task>,
    timers: BTreeMap<(Duration, u64), Waker>,
    now: Duration,
    made: u64,
    polls: u64,
}

impl Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("tasks", &self.tasks.len()).field("now", &self.now).finish_non_exhaustive()
    }
}

struct Task {
    process: Process,
    name: &'static str,
    /// Absent while it is polled.
    future: Option<BoxFuture<'static, ()>>,
}

struct Turn {
    id: u64,
    shared: Arc<Shared>,
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        let mut ready = locked(&self.shared.ready);
        if let Err(place) = ready.binary_search(&self.id) {
            ready.insert(place, self.id);
        }
    }
}

/// The executor. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Executor(Arc<Shared>);

impl Executor {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            ready: Mutex::default(),
            random: SeededRandom::new(seed ^ 0x7069_636b),
        }))
    }

    /// A new process, with nothing running in it yet.
    pub fn process(&self) -> Process {
        let mut state = locked(&self.0.state);
        state.made += 1;
        Process(state.made)
    }

    /// Time since the beginning.
    pub fn now(&self) -> Duration {
        locked(&self.0.state).now
    }

    /// Polls so far: two runs that have done the same agree in it.
    pub fn polls(&self) -> u64 {
        locked(&self.0.state).polls
    }

    /// Runs `work` as part of `process`.
    pub fn spawn(&self, process: Process, name: &'static str, work: BoxFuture<'static, ()>) {
        let id = {
            let mut state = locked(&self.0.state);
            state.made += 1;
            let id = state.made;
            state.tasks.insert(id, Task { process, name, future: Some(work) });
            id
        };
        Arc::new(Turn { id, shared: self.0.clone() }).wake();
    }

    /// Ends a process, here and now.
    pub fn kill(&self, process: Process) {
        let killed: Vec<Task> = {
            let mut state = locked(&self.0.state);
            let ids: Vec<u64> =
                state.tasks.iter().filter(|(_, task)| task.process == process).map(|(id, _)| *id).collect();
            ids.iter().filter_map(|id| state.tasks.remove(id)).collect()
        };
        // Outside of the lock: what they hold wakes others.
        drop(killed);
    }

    /// Ends everything.
    pub fn clear(&self) {
        loop {
            let (tasks, timers) = {
                let mut state = locked(&self.0.state);
                (std::mem::take(&mut state.tasks), std::mem::take(&mut state.timers))
            };
            // What they hold may start more.
            if tasks.is_empty() && timers.is_empty() {
                return;
            }
            drop(timers);
            drop(tasks);
        }
    }

    /// Resolves after so much time.
    pub fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut state = locked(&self.0.state);
        state.made += 1;
        let key = (state.now.saturating_add(duration), state.made);
        drop(state);
        Box::pin(Sleep { shared: self.0.clone(), key })
    }

    /// Lets everything run that can without time passing.
    ///
    /// # Errors
    /// It never comes to rest: the name of what ran last.
    pub fn settle(&self) -> Result<(), &'static str> {
        let mut last = "";
        for _ in 0..RESTLESS {
            let id = {
                let mut ready = locked(&self.0.ready);
                if ready.is_empty() {
                    return Ok(());
                }
                let place = usize::try_from(self.0.random.below(ready.len() as u64)).unwrap_or(0);
                ready.remove(place)
            };
            last = self.poll(id).unwrap_or(last);
        }
        Err(last)
    }

    /// Moves time to the next timer, but not beyond `end`; answers whether it has come to the end.
    pub fn advance(&self, end: Duration) -> bool {
        let due: Vec<Waker> = {
            let mut state = locked(&self.0.state);
            let next = state.timers.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = next.filter(|next| *next < end) else {
                state.now = end;
                return true;
            };
            state.now = next;
            let mut due = Vec::new();
            while let Some(entry) = state.timers.first_entry().filter(|entry| entry.key().0 <= next) {
                due.push(entry.remove());
            }
            due
        };
        due.into_iter().for_each(Waker::wake);
        false
    }

    /// Polls a task; answers its name, unless it has ended before.
    fn poll(&self, id: u64) -> Option<&'static str> {
        let taken = {
            let mut state = locked(&self.0.state);
            state.polls += 1;
            state.tasks.get_mut(&id).and_then(|task| Some((task.name, task.future.take()?)))
        };
        let (name, mut future) = taken?;
        let waker = Waker::from(Arc::new(Turn { id, shared: self.0.clone() }));
        let done = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let mut state = locked(&self.0.state);
        if done {
            state.tasks.remove(&id);
        } else if let Some(task) = state.tasks.get_mut(&id) {
            task.future = Some(future);
            return Some(name);
        }
        drop(state);
        drop(future);
        Some(name)
    }
}

struct Sleep {
    shared: Arc<Shared>,
    key: (Duration, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = locked(&self.shared.state);
        if state.now >= self.key.0 {
            return Poll::Ready(());
        }
        state.timers.insert(self.key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        // The waker goes outside of the lock: it may hold a task.
        let waker = locked(&self.shared.state).timers.remove(&self.key);
        drop(waker);
    }
}

/// A process's way to run work.
#[derive(Debug)]
pub(crate) struct ProcessSpawner {
    pub executor: Executor,
    pub process: Process,
}

impl Spawner for ProcessSpawner {
    fn spawn(&self, name: &'static str, work: BoxFuture<'static, ()>) {
        self.executor.spawn(self.process, name, work);
    }
}

/// A machine's clock: the world's time, and how far its wall clock is off.
#[derive(Debug)]
pub(crate) struct SimClock {
    executor: Executor,
    off_millis: std::sync::atomic::AtomicI64,
}

impl SimClock {
    pub fn new(executor: Executor) -> Self {
        Self { executor, off_millis: std::sync::atomic::AtomicI64::new(0) }
    }

    /// Sets the wall clock wrong by so many milliseconds.
    pub fn set_off(&self, millis: i64) {
        self.off_millis.store(millis, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let off = self.off_millis.load(std::sync::atomic::Ordering::Relaxed);
        Timestamp::from_millis(BEGINNING.plus(self.executor.now()).as_millis().saturating_add(off))
    }

    fn monotonic(&self) -> Duration {
        self.executor.now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.executor.sleep(duration)
    }
}

/// A random duration in `[least, most)`.
pub(crate) fn between(random: &dyn Random, least: Duration, most: Duration) -> Duration {
    let spread = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(0);
    least + Duration::from_micros(random.below(spread))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(seed: u64) -> Vec<u32> {
        let executor = Executor::new(seed);
        let process = executor.process();
        let seen = Arc::new(Mutex::new(Vec::new()));
        for number in 0..20 {
            let (seen, sleep) = (seen.clone(), executor.sleep(Duration::from_secs(1)));
            executor.spawn(
                process,
                "sleeper",
                Box::pin(async move {
                    sleep.await;
                    locked(&seen).push(number);
                }),
            );
        }
        executor.settle().unwrap();
        while !executor.advance(Duration::from_secs(5)) {
            executor.settle().unwrap();
        }
        locked(&seen).clone()
    }

    #[test]
    fn the_seed_decides_whose_turn_it_is() {
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        assert_eq!(order(1).len(), 20);
    }

    #[test]
    fn nothing_of_a_killed_process_runs_any_more() {
        let executor = Executor::new(1);
        let process = executor.process();
        let (ends, mut ended) = tokio::sync::oneshot::channel::<()>();
        let sleep = executor.sleep(Duration::from_secs(1));
        executor.spawn(
            process,
            "sleeper",
            Box::pin(async move {
                sleep.await;
                let _ = ends.send(());
            }),
        );
        executor.settle().unwrap();
        executor.kill(process);
        while !executor.advance(Duration::from_secs(5)) {
            executor.settle().unwrap();
        }
        assert!(matches!(ended.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Closed)));
        assert_eq!(executor.now(), Duration::from_secs(5));
    }
}
