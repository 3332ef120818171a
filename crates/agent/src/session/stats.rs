//! Sampling what containers use.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use longshore_protocol::tcs::{ContainerMetric, CounterStatsSet, NetworkStatsSet, StatsSet, StorageStatsSet};
use longshore_runtime::ContainerStats;
use tokio::sync::watch;

use crate::context::Context;

/// Between two samples: four a telemetry round keep an idle host idle.
const PERIOD: Duration = Duration::from_secs(5);
/// Containers sampled at a time.
const PARALLEL: usize = 4;

#[derive(Debug)]
struct Sampled {
    last: ContainerStats,
    at: Duration,
    metric: ContainerMetric,
}

/// Samples every running container; telemetry takes what has gathered.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    containers: Mutex<BTreeMap<String, Sampled>>,
}

impl Sampler {
    /// What has gathered since the last time, by container id. Containers sampled only once have nothing yet.
    pub fn take(&self) -> BTreeMap<String, ContainerMetric> {
        let mut containers = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
        let gathered = containers.iter_mut().filter(|(_, sampled)| sampled.metric.cpu_stats_set.is_some());
        gathered.map(|(id, sampled)| (id.clone(), std::mem::take(&mut sampled.metric))).collect()
    }

    /// Samples until the agent ends.
    pub async fn run(self: Arc<Self>, context: Arc<Context>, mut shutdown: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                biased;
                () = context.seams.clock.sleep(PERIOD) => self.sample(&context).await,
                _ = shutdown.changed() => return,
            }
        }
    }

    async fn sample(&self, context: &Context) {
        let tasks = context.registry.tasks();
        let running = tasks.iter().flat_map(|task| &task.containers).filter(|container| container.running);
        let ids: Vec<String> = running.filter_map(|container| container.runtime_id.clone()).collect();
        self.containers.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| ids.contains(id));
        let stats = futures_util::stream::iter(ids).map(|id| async move {
            let stats = context.runtime.stats(&id).await;
            (id, stats)
        });
        let mut stats = stats.buffer_unordered(PARALLEL);
        while let Some((id, stats)) = stats.next().await {
            match stats {
                Ok(stats) => self.note(id, stats, context.seams.clock.monotonic(), context.config.cores),
                Err(error) => tracing::debug!(container = %id, %error, "not sampled"),
            }
        }
    }

    fn note(&self, id: String, stats: ContainerStats, at: Duration, cores: u32) {
        let mut containers = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sampled) = containers.get_mut(&id) else {
            containers.insert(id, Sampled { last: stats, at, metric: ContainerMetric::default() });
            return;
        };
        sampled.add(&stats, at, cores);
        sampled.last = stats;
        sampled.at = at;
    }
}

impl Sampled {
    fn add(&mut self, now: &ContainerStats, at: Duration, cores: u32) {
        let elapsed = at.saturating_sub(self.at).as_secs_f64();
        let last = &self.last;
        if elapsed <= 0.0 || now.cpu_nanos < last.cpu_nanos {
            // Restarted in between: its counters began anew.
            return;
        }
        let used = Duration::from_nanos(now.cpu_nanos - last.cpu_nanos).as_secs_f64();
        let metric = &mut self.metric;
        sample(&mut metric.cpu_stats_set, used / elapsed / f64::from(cores.max(1)) * 100.0);
        // At most petabytes: exact in a double.
        #[expect(clippy::cast_precision_loss, reason = "whole MiB, far below 2^53")]
        sample(&mut metric.memory_stats_set, (now.memory_bytes >> 20) as f64);
        let storage = metric.storage_stats_set.get_or_insert_with(StorageStatsSet::default);
        count(&mut storage.read_size_bytes, now.read_bytes, last.read_bytes);
        count(&mut storage.write_size_bytes, now.write_bytes, last.write_bytes);
        let network = metric.network_stats_set.get_or_insert_with(NetworkStatsSet::default);
        let rx = [&mut network.rx_bytes, &mut network.rx_packets, &mut network.rx_errors, &mut network.rx_dropped];
        for ((set, now), last) in rx.into_iter().zip(now.rx).zip(last.rx) {
            count(set, now, last);
        }
        let tx = [&mut network.tx_bytes, &mut network.tx_packets, &mut network.tx_errors, &mut network.tx_dropped];
        for ((set, now), last) in tx.into_iter().zip(now.tx).zip(last.tx) {
            count(set, now, last);
        }
        rate(&mut network.rx_bytes_per_second, now.rx[0], last.rx[0], elapsed);
        rate(&mut network.tx_bytes_per_second, now.tx[0], last.tx[0], elapsed);
    }
}

fn sample(set: &mut Option<StatsSet>, value: f64) {
    let set = set.get_or_insert_with(|| StatsSet { min: value, max: value, sum: 0.0, sample_count: 0 });
    set.min = set.min.min(value);
    set.max = set.max.max(value);
    set.sum += value;
    set.sample_count += 1;
}

fn count(set: &mut Option<CounterStatsSet>, now: u64, last: u64) {
    let grown = i64::try_from(now.saturating_sub(last)).unwrap_or(i64::MAX);
    let set = set.get_or_insert_with(|| CounterStatsSet { min: grown, max: grown, ..CounterStatsSet::default() });
    set.min = set.min.min(grown);
    set.max = set.max.max(grown);
    set.sum = set.sum.saturating_add(grown);
    set.sample_count += 1;
}

fn rate(set: &mut Option<StatsSet>, now: u64, last: u64, elapsed: f64) {
    #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
    let grown = now.saturating_sub(last) as f64;
    sample(set, grown / elapsed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_percent_of_the_whole_host() {
        let sampler = Sampler::default();
        let at = Duration::from_secs;
        let stats = |cpu_secs: u64, memory_mib: u64, rx: u64| ContainerStats {
            cpu_nanos: cpu_secs * 1_000_000_000,
            memory_bytes: memory_mib << 20,
            rx: [rx, 0, 0, 0],
            ..ContainerStats::default()
        };
        sampler.note("c".into(), stats(0, 10, 0), at(0), 2);
        assert!(sampler.take().is_empty());
        sampler.note("c".into(), stats(5, 20, 500), at(5), 2);
        sampler.note("c".into(), stats(15, 30, 500), at(10), 2);
        let metric = sampler.take().remove("c").unwrap();
        let cpu = metric.cpu_stats_set.unwrap();
        assert_eq!((cpu.min, cpu.max, cpu.sum, cpu.sample_count), (50.0, 100.0, 150.0, 2));
        assert_eq!(metric.memory_stats_set.unwrap().sum, 50.0);
        let network = metric.network_stats_set.unwrap();
        assert_eq!(network.rx_bytes.unwrap().sum, 500);
        assert_eq!(network.rx_bytes_per_second.unwrap().max, 100.0);
        assert!(sampler.take().is_empty());
    }
}
