//! Reporting state changes: at once, in order for each task, at most ten tasks at a time, until taken.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore_seams::Seams;
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use crate::backoff::Backoff;
use crate::context;
use crate::plane::{CallError, ControlPlane, TaskStateChange};
use crate::task::actor::TaskMessage;

/// Calls at a time.
const PARALLEL: usize = 10;
/// A report that is waiting takes later ones of its task in, so a queue holds at most these.
const LONGEST_QUEUE: usize = 4;

#[derive(Debug)]
struct Report {
    change: TaskStateChange,
    /// Who hears that it was taken.
    tell: Option<mpsc::Sender<TaskMessage>>,
}

#[derive(Debug)]
struct Inner {
    plane: Arc<dyn ControlPlane>,
    seams: Seams,
    queues: Mutex<BTreeMap<String, VecDeque<Report>>>,
    calls: Semaphore,
    retry_now: Notify,
    shutdown: watch::Receiver<bool>,
}

/// The reporter. Clones share one set of queues.
#[derive(Clone, Debug)]
pub(crate) struct Reporter(Arc<Inner>);

impl Reporter {
    pub fn new(plane: Arc<dyn ControlPlane>, seams: Seams, shutdown: watch::Receiver<bool>) -> Self {
        Self(Arc::new(Inner {
            plane,
            seams,
            queues: Mutex::default(),
            calls: Semaphore::new(PARALLEL),
            retry_now: Notify::new(),
            shutdown,
        }))
    }

    /// Sends a report, after those of the same task that were given before it.
    pub fn submit(&self, change: TaskStateChange, tell: Option<mpsc::Sender<TaskMessage>>) {
        let task = change.task.clone();
        let mut queues = self.queues();
        let idle = !queues.contains_key(&task);
        let queue = queues.entry(task.clone()).or_default();
        let report = Report { change, tell };
        // The first may be on its way: it stays as it is.
        match queue.len() {
            length if length < LONGEST_QUEUE => queue.push_back(report),
            _ => merge(queue.back_mut().expect("the queue is not empty"), report),
        }
        drop(queues);
        if idle {
            let reporter = self.clone();
            self.0.seams.spawner.spawn("task reports", Box::pin(async move { reporter.drain(task).await }));
        }
    }

    /// Tries again at once what waits to be tried again: the control plane is back.
    pub fn retry_now(&self) {
        self.0.retry_now.notify_waiters();
    }

    async fn drain(&self, task: String) {
        loop {
            let change = {
                let mut queues = self.queues();
                match queues.get(&task).and_then(VecDeque::front) {
                    Some(report) => report.change.clone(),
                    None => {
                        queues.remove(&task);
                        return;
                    }
                }
            };
            if !self.send(&change).await {
                return;
            }
            let report = self.queues().get_mut(&task).and_then(VecDeque::pop_front);
            if let Some(Report { change, tell: Some(tell) }) = report {
                // The task is gone: nobody needs to know.
                let _ = tell.send(TaskMessage::Accepted(Box::new(change))).await;
            }
        }
    }

    /// Sends until it is taken or never will be. Answers false when the agent ended before.
    async fn send(&self, change: &TaskStateChange) -> bool {
        let mut busy = Backoff::new(Duration::from_millis(45), 2.0, Duration::from_secs(30));
        let mut refused = Backoff::new(Duration::from_secs(1), 1.3, Duration::from_secs(30));
        loop {
            let result = {
                let _permit = self.0.calls.acquire().await;
                self.0.plane.submit_task_state_change(change.clone()).await
            };
            let error = match result {
                Ok(()) => return true,
                Err(error) => error,
            };
            if error.code() == "InvalidParameterException" {
                tracing::error!(task = %change.task, status = change.status.as_str(), %error, "report dropped");
                return true;
            }
            let random = &*self.0.seams.random;
            let wait = match error {
                CallError::Refused { .. } => refused.next(random),
                CallError::Busy { .. } | CallError::Unreachable { .. } => busy.next(random),
            };
            tracing::warn!(task = %change.task, status = change.status.as_str(), %error, ?wait, "report will be sent again");
            tokio::select! {
                biased;
                () = self.0.seams.clock.sleep(wait) => {}
                () = self.0.retry_now.notified() => {}
                () = context::ended(self.0.shutdown.clone()) => return false,
            }
        }
    }

    fn queues(&self) -> MutexGuard<'_, BTreeMap<String, VecDeque<Report>>> {
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a later report of the same task into one that has not been sent.
fn merge(earlier: &mut Report, later: Report) {
    let mut containers = std::mem::take(&mut earlier.change.containers);
    for news in later.change.containers {
        containers.retain(|old| (&old.container_name, old.status) != (&news.container_name, news.status));
        containers.push(news);
    }
    earlier.change = TaskStateChange { containers, ..later.change };
    earlier.tell = later.tell;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plane::ReportedStatus;
    use crate::testing::{self, SimPlane};

    fn change(task: &str, status: ReportedStatus) -> TaskStateChange {
        TaskStateChange { task: task.into(), status, ..TaskStateChange::default() }
    }

    #[tokio::test]
    async fn reports_of_a_task_go_in_order_and_are_sent_again_until_taken() {
        let world = testing::Seamed::new();
        let plane = SimPlane::new();
        let reporter = Reporter::new(plane.clone(), world.seams.clone(), testing::running());
        plane.fail_calls(2, "ServerException");
        reporter.submit(change("a", ReportedStatus::Running), None);
        reporter.submit(change("a", ReportedStatus::Stopped), None);
        reporter.submit(change("b", ReportedStatus::Running), None);
        world.run_until(|| plane.reports().len() == 3).await;
        let of_a: Vec<_> =
            plane.reports().iter().filter(|report| report.task == "a").map(|report| report.status).collect();
        assert_eq!(of_a, [ReportedStatus::Running, ReportedStatus::Stopped]);
    }

    #[tokio::test]
    async fn a_report_with_an_invalid_parameter_is_dropped_and_the_next_one_sent() {
        let world = testing::Seamed::new();
        let plane = SimPlane::new();
        let reporter = Reporter::new(plane.clone(), world.seams.clone(), testing::running());
        plane.refuse_calls(1, "InvalidParameterException");
        reporter.submit(change("a", ReportedStatus::Running), None);
        reporter.submit(change("a", ReportedStatus::Stopped), None);
        world.run_until(|| plane.reports().len() == 1).await;
        assert_eq!(plane.reports()[0].status, ReportedStatus::Stopped);
    }

    #[tokio::test]
    async fn a_long_silence_keeps_queues_short_and_loses_no_container() {
        let world = testing::Seamed::new();
        let plane = SimPlane::new();
        let reporter = Reporter::new(plane.clone(), world.seams.clone(), testing::running());
        plane.set_down(true);
        for number in 0..20 {
            let news = crate::plane::ContainerStateChange {
                container_name: format!("c{number}"),
                status: ReportedStatus::Stopped,
                ..Default::default()
            };
            reporter.submit(TaskStateChange { containers: vec![news], ..change("a", ReportedStatus::Running) }, None);
        }
        plane.set_down(false);
        reporter.retry_now();
        world.run_until(|| plane.reports().iter().map(|report| report.containers.len()).sum::<usize>() == 20).await;
        assert!(plane.reports().len() <= LONGEST_QUEUE);
    }
}
