//! What a scrape tells of the network threads.

use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, IntCounter, IntGaugeVec, Opts};

/// One network thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct CoreGauges {
    /// Connections that it serves.
    pub connections: usize,
    /// Time that it has been running.
    pub cpu: Duration,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct CoresGauges {
    /// In their order.
    pub each: Vec<CoreGauges>,
    /// How often a connection went from one to another.
    pub moved: u64,
}

pub(super) struct CoreMetrics {
    connections: IntGaugeVec,
    cpu_seconds: CounterVec,
    moved: IntCounter,
}

impl CoreMetrics {
    pub(super) fn new() -> prometheus::Result<Self> {
        let labels = &["core"];
        Ok(Self {
            connections: IntGaugeVec::new(
                Opts::new(
                    "portcullis_core_connections",
                    "Open connections, by network thread.",
                ),
                labels,
            )?,
            cpu_seconds: CounterVec::new(
                Opts::new(
                    "portcullis_core_cpu_seconds_total",
                    "CPU time of each network thread; one that gains a second a second is at its end.",
                ),
                labels,
            )?,
            moved: IntCounter::new(
                "portcullis_connections_moved_total",
                "How often a connection went from one network thread to another.",
            )?,
        })
    }

    pub(super) fn desc(&self) -> Vec<&Desc> {
        let mut all = self.connections.desc();
        all.extend(self.cpu_seconds.desc());
        all.extend(self.moved.desc());
        all
    }

    pub(super) fn collect(&self, cores: &CoresGauges) -> Vec<MetricFamily> {
        for (index, core) in cores.each.iter().enumerate() {
            let label = index.to_string();
            let connections = i64::try_from(core.connections).unwrap_or(i64::MAX);
            self.connections
                .with_label_values(&[&label])
                .set(connections);
            let seconds = self.cpu_seconds.with_label_values(&[&label]);
            seconds.inc_by((core.cpu.as_secs_f64() - seconds.get()).max(0.0));
        }
        self.moved
            .inc_by(cores.moved.saturating_sub(self.moved.get()));
        let mut all = self.connections.collect();
        all.extend(self.cpu_seconds.collect());
        all.extend(self.moved.collect());
        all
    }
}
