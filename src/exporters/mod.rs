//! What is told of a node or a master as metrics beside its own: exporters on ports of their own, and
//! the parts that all metrics are made of.
//!
//! | file | subject |
//! |---|---|
//! | `rows` | families whose rows come and go, and how many rows there may be |
//! | `table` | families that are there from the start |
//! | `exemplars` | which job was the latest in each bucket of a histogram |
//! | `openmetrics` | the text format that has them, for those who ask for it |
//! | `port` | serving one exporter; a port in use is a warning |
//! | `results`, `qoe`, `cost` | what jobs of each scenario gave, by a master |
//! | `predictions` | whether there is a trained model, by a master |
//! | `rapl`, `gpu` | energy and graphics processors of a machine, by an agent |
//!
//! What is not here: the metrics of a master and of an agent themselves, which lie beside them. Every
//! name is in `docs/metrics.md`.

pub(crate) mod cost;
pub(crate) mod exemplars;
pub(crate) mod gpu;
pub(crate) mod openmetrics;
#[cfg(test)]
pub(crate) mod page;
pub(crate) mod port;
pub(crate) mod predictions;
pub(crate) mod qoe;
pub(crate) mod rapl;
pub(crate) mod results;
pub(crate) mod rows;
pub(crate) mod table;

use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;

/// Values of a tenant or a scenario that have series of their own.
pub(crate) const MOST_VALUES: usize = 100;
/// The label under which all others are added up.
pub(crate) const OTHER: &str = "other";

/// Something that can be scraped.
pub(crate) trait Exporter: Send + Sync + 'static {
    /// Everything that it tells now. May look at drivers, so it is called where blocking is allowed.
    fn families(&self) -> Vec<MetricFamily>;
}

/// The text format; what cannot be written is left out and told in the log.
pub(crate) fn text(families: &[MetricFamily]) -> String {
    TextEncoder::new().encode_to_string(families).unwrap_or_else(|error| {
        tracing::error!(%error, "cannot write metrics");
        String::new()
    })
}
