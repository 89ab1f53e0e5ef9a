//! Port 9505. There is no trained model in this version, and nothing is made up instead of one.

use prometheus::proto::MetricFamily;

use super::{Exporter, rows};

/// Tells that there is no model.
pub(crate) struct Predictions;

impl Exporter for Predictions {
    fn families(&self) -> Vec<MetricFamily> {
        vec![rows::one("ml_exporter_up", "1 once there is a trained model, 0 until then", 0.0)]
    }
}
