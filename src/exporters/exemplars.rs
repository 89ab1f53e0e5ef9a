//! Exemplars: of each bucket of a histogram the latest job whose trace is recorded, so that whoever sees
//! a slow bucket finds out what was slow. One of each bucket and no more. `openmetrics` writes them.

use std::collections::BTreeMap;
use std::num::NonZeroU128;
use std::sync::{Arc, Mutex, PoisonError};

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::job::Job;
use prometheus::HistogramVec;

/// One job in a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Exemplar {
    pub(crate) trace: NonZeroU128,
    pub(crate) value: f64,
    pub(crate) at: Timestamp,
}

/// By family and by the value of its label, one place for each bucket; the last has no bound.
pub(crate) type Places = BTreeMap<&'static str, BTreeMap<String, Vec<Option<Exemplar>>>>;

/// The exemplars of a registry.
#[derive(Default)]
pub(crate) struct Exemplars(Mutex<Places>);

impl Exemplars {
    /// As they are now.
    pub(crate) fn all(&self) -> Places {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A histogram, of one label or of none, that remembers jobs.
pub(crate) struct Traced {
    name: &'static str,
    bounds: &'static [f64],
    histograms: HistogramVec,
    exemplars: Arc<Exemplars>,
}

impl Traced {
    pub(super) fn new(
        name: &'static str,
        bounds: &'static [f64],
        histograms: HistogramVec,
        exemplars: Arc<Exemplars>,
    ) -> Self {
        Self { name, bounds, histograms, exemplars }
    }

    /// Counts a value of a job, under the label `of`.
    pub(crate) fn observe(&self, of: Option<&str>, value: f64, job: &Job) {
        let labels: Vec<&str> = of.into_iter().collect();
        self.histograms.with_label_values(&labels).observe(value);
        let trace = job.trace.filter(|trace| trace.sampled);
        if let (Some(trace), Some(at), true) = (trace, job.changed_at(), value.is_finite()) {
            self.remember(of.unwrap_or_default(), Exemplar { trace: trace.trace, value, at });
        }
    }

    fn remember(&self, of: &str, exemplar: Exemplar) {
        let bucket = self.bounds.partition_point(|bound| *bound < exemplar.value);
        let mut places = self.exemplars.0.lock().unwrap_or_else(PoisonError::into_inner);
        let family = places.entry(self.name).or_default();
        let buckets = match family.get_mut(of) {
            Some(buckets) => buckets,
            None => family.entry(of.to_owned()).or_insert_with(|| vec![None; self.bounds.len() + 1]),
        };
        buckets[bucket] = Some(exemplar);
    }
}
