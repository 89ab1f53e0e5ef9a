//! Nodes: how many, and how each one is.

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::node::{Node, NodeStatus};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, GaugeVec, IntCounter, Result};

use crate::exporters::rows::{Column, families, label};
use crate::exporters::table::Table;

/// Nodes that have series of their own.
const MOST_NODES: usize = 1000;

pub(super) struct NodeMetrics {
    by_status: GaugeVec,
    known: Gauge,
    unlisted: Gauge,
    lost: IntCounter,
}

/// How a node is.
struct Seen {
    up: bool,
    quiet_seconds: f64,
    active: u32,
    slots: u32,
    disk_free: Option<f64>,
}

type Of = Column<Seen>;

const COLUMNS: &[Of] = &[
    Of::gauge("ffrtmp_node_up", "1 while the heartbeats of the node come, 0 when it is lost", |it| {
        Some(f64::from(u8::from(it.up)))
    }),
    Of::gauge("ffrtmp_node_heartbeat_age_seconds", "Time since the last sign of life of the node, seconds", |it| {
        Some(it.quiet_seconds)
    }),
    Of::gauge("ffrtmp_node_active_jobs", "Attempts under way on the node", |it| Some(f64::from(it.active))),
    Of::gauge("ffrtmp_node_slots", "Attempts that the node runs at once", |it| Some(f64::from(it.slots))),
    Of::gauge("ffrtmp_node_disk_free_ratio", "Free part of the disk of the node, 0 to 1", |it| it.disk_free),
];

impl Seen {
    fn of(node: &Node, now: Timestamp) -> Self {
        let (free, total) = (node.telemetry.disk_available_bytes, node.telemetry.disk_total_bytes);
        Self {
            up: node.is_alive(),
            quiet_seconds: now.since(node.last_heartbeat).as_secs_f64(),
            active: node.active_jobs,
            slots: node.about.max_concurrent_jobs,
            disk_free: (total > 0).then(|| free as f64 / total as f64),
        }
    }
}

impl NodeMetrics {
    pub(super) fn new(table: &Table) -> Result<Self> {
        Ok(Self {
            by_status: table.gauges("ffrtmp_nodes_total", "Nodes, by status", &["status"])?,
            known: table.gauge("scheduler_nodes_total", "Nodes known")?,
            unlisted: table.gauge("ffrtmp_nodes_unlisted", "Nodes without series of their own")?,
            lost: table.count("ffrtmp_nodes_lost_total", "Nodes given up for want of heartbeats")?,
        })
    }

    pub(super) fn lost(&self, nodes: u64) {
        self.lost.inc_by(nodes);
    }

    pub(super) fn read(&self, nodes: &[Node], now: Timestamp) -> Vec<MetricFamily> {
        self.known.set(nodes.len() as f64);
        self.unlisted.set(nodes.len().saturating_sub(MOST_NODES) as f64);
        for status in NodeStatus::ALL {
            let count = nodes.iter().filter(|node| node.status == *status).count();
            self.by_status.with_label_values(&[status.as_str()]).set(count as f64);
        }
        let names = |node: &Node| vec![label("node_id", &node.id.to_string()), label("node", &node.about.name)];
        let seen: Vec<_> = nodes.iter().take(MOST_NODES).map(|node| (names(node), Seen::of(node, now))).collect();
        families(COLUMNS, seen.iter().map(|(labels, seen)| (labels.clone(), seen)))
    }
}
