//! Docker's samples in our words. Pure.

use bollard::models::ContainerStatsResponse;

use crate::ContainerStats;

/// One sample.
pub(super) fn container_stats(sample: ContainerStatsResponse) -> ContainerStats {
    let mut stats = ContainerStats {
        cpu_nanos: sample.cpu_stats.and_then(|cpu| cpu.cpu_usage?.total_usage).unwrap_or(0),
        ..ContainerStats::default()
    };
    if let Some(memory) = sample.memory_stats {
        // The page cache is called `cache` by cgroup v1 and `file` by v2.
        let details = memory.stats.unwrap_or_default();
        let cache = details.get("cache").or_else(|| details.get("file")).copied().unwrap_or(0);
        stats.memory_bytes = memory.usage.unwrap_or(0).saturating_sub(cache);
    }
    for interface in sample.networks.unwrap_or_default().into_values() {
        let received = [interface.rx_bytes, interface.rx_packets, interface.rx_errors, interface.rx_dropped];
        let sent = [interface.tx_bytes, interface.tx_packets, interface.tx_errors, interface.tx_dropped];
        for (total, value) in stats.rx.iter_mut().zip(received).chain(stats.tx.iter_mut().zip(sent)) {
            *total += value.unwrap_or(0);
        }
    }
    for entry in sample.blkio_stats.and_then(|blkio| blkio.io_service_bytes_recursive).unwrap_or_default() {
        let bytes = entry.value.unwrap_or(0);
        match entry.op.as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("read") => stats.read_bytes += bytes,
            Some("write") => stats.write_bytes += bytes,
            _ => {}
        }
    }
    stats
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn page_cache_is_not_memory_in_use_and_interfaces_add_up() {
        let sample = json!({
            "cpu_stats": {"cpu_usage": {"total_usage": 7}},
            "memory_stats": {"usage": 100, "stats": {"cache": 30}},
            "networks": {"eth0": {"rx_bytes": 1, "tx_dropped": 2}, "eth1": {"rx_bytes": 3}},
            "blkio_stats": {"io_service_bytes_recursive": [
                {"op": "Read", "value": 5}, {"op": "Write", "value": 6}, {"op": "Total", "value": 11}]}
        });
        let stats = container_stats(serde_json::from_value(sample).unwrap());
        let expected = ContainerStats {
            cpu_nanos: 7,
            memory_bytes: 70,
            rx: [4, 0, 0, 0],
            tx: [0, 0, 0, 2],
            read_bytes: 5,
            write_bytes: 6,
        };
        assert_eq!(stats, expected);
    }
}
