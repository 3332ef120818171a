//! What `/metrics` shows of the front door.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The type of the text that [`Metrics::encode`] makes.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Seconds.
const LATENCY_BUCKETS: [f64; 12] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    service: &'static str,
    operation: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Called {
    service: &'static str,
    operation: &'static str,
}

/// The process's metrics. Every room may register its own.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<Outcome, Counter<u64, AtomicU64>>,
    latency: Family<Called, Histogram, fn() -> Histogram>,
    pub(crate) in_flight: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) websockets: Gauge,
    pub(crate) refused_connections: Counter,
    pub(crate) panics: Counter,
}

impl Metrics {
    /// A registry that holds the front door's own metrics.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let metrics = Self {
            registry: Mutex::default(),
            requests: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS)),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            websockets: Gauge::default(),
            refused_connections: Counter::default(),
            panics: Counter::default(),
        };
        let door = registry.sub_registry_with_prefix("longshore_http");
        door.register("requests", "Requests answered, by error code (OK without one)", metrics.requests.clone());
        door.register(
            "request_duration_seconds",
            "Time from a request's headers to its answer",
            metrics.latency.clone(),
        );
        door.register("requests_in_flight", "Requests under way", metrics.in_flight.clone());
        door.register("connections", "Connections open, WebSockets among them", metrics.connections.clone());
        door.register("websockets", "WebSockets open", metrics.websockets.clone());
        door.register("refused_connections", "Connections refused at the limit", metrics.refused_connections.clone());
        door.register("panics", "Requests answered with InternalFailure after a panic", metrics.panics.clone());
        *metrics.registry.lock().unwrap_or_else(PoisonError::into_inner) = registry;
        metrics
    }

    /// Lets a room register its metrics.
    pub fn register(&self, room: impl FnOnce(&mut Registry)) {
        room(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All metrics as OpenMetrics text, which Prometheus reads.
    #[must_use]
    pub fn encode(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        if prometheus_client::encoding::text::encode(&mut text, &registry).is_err() {
            // Only a metric of a room that fails to write itself gets here.
            let _ = writeln!(text, "# incomplete");
        }
        text
    }

    pub(crate) fn answered(&self, service: &'static str, operation: &'static str, code: &'static str, took: Duration) {
        self.requests.get_or_create(&Outcome { service, operation, code }).inc();
        self.latency.get_or_create(&Called { service, operation }).observe(took.as_secs_f64());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts something up for as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Counted {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
