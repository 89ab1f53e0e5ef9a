//! Families that are there from the start: made once, each with its help, in one registry.

use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts,
    Registry, Result,
};

use super::exemplars::{Exemplars, Traced};

/// Seconds from a store's answer to a long night's encode.
pub(crate) const LONG: &[f64] =
    &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0];
/// Seconds of a call of a database.
pub(crate) const SHORT: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// Seconds of output made per second.
pub(crate) const SPEED: &[f64] = &[0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0];
/// Bytes of input per byte of output.
pub(crate) const RATIO: &[f64] = &[0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 50.0, 100.0];

/// A registry, and the label that everything in it has.
#[derive(Default)]
pub(crate) struct Table {
    registry: Registry,
    exemplars: Arc<Exemplars>,
    of: Option<(&'static str, String)>,
}

impl Table {
    /// One whose every series has this label.
    pub(crate) fn of(label: &'static str, value: String) -> Self {
        Self { of: Some((label, value)), ..Self::default() }
    }

    pub(crate) fn gauge(&self, name: &str, help: &str) -> Result<Gauge> {
        self.keep(Gauge::with_opts(self.opts(name, help))?)
    }

    /// One that is not a number until it is known: what no sensor tells is not 0.
    pub(crate) fn unknown(&self, name: &str, help: &str) -> Result<Gauge> {
        let gauge = self.gauge(name, help)?;
        gauge.set(f64::NAN);
        Ok(gauge)
    }

    pub(crate) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
        self.keep(GaugeVec::new(self.opts(name, help), labels)?)
    }

    pub(crate) fn count(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.keep(IntCounter::with_opts(self.opts(name, help))?)
    }

    pub(crate) fn counts(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.keep(IntCounterVec::new(self.opts(name, help), labels)?)
    }

    /// Counts of a closed set, each there from the start, so that the first one is seen as a rise.
    pub(crate) fn counts_of(&self, name: &str, help: &str, label: &str, values: &[&str]) -> Result<IntCounterVec> {
        let counts = self.counts(name, help, &[label])?;
        values.iter().for_each(|value| drop(counts.with_label_values(&[value])));
        Ok(counts)
    }

    pub(crate) fn sum(&self, name: &str, help: &str) -> Result<Counter> {
        self.keep(Counter::with_opts(self.opts(name, help))?)
    }

    pub(crate) fn sums_of(&self, name: &str, help: &str, label: &str, values: &[&str]) -> Result<CounterVec> {
        let sums = self.keep(CounterVec::new(self.opts(name, help), &[label])?)?;
        values.iter().for_each(|value| drop(sums.with_label_values(&[value])));
        Ok(sums)
    }

    pub(crate) fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram> {
        self.keep(Histogram::with_opts(self.buckets(name, help, buckets))?)
    }

    pub(crate) fn histograms_of(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        label: &str,
        values: &[&str],
    ) -> Result<HistogramVec> {
        let histograms = self.keep(HistogramVec::new(self.buckets(name, help, buckets), &[label])?)?;
        values.iter().for_each(|value| drop(histograms.with_label_values(&[value])));
        Ok(histograms)
    }

    /// A histogram that remembers the latest traced job of each bucket; with a label, its values are all
    /// there from the start.
    pub(crate) fn traced(
        &self,
        name: &'static str,
        help: &str,
        buckets: &'static [f64],
        label: Option<(&str, &[&str])>,
    ) -> Result<Traced> {
        let (names, values): (Vec<_>, _) = label.map(|(name, values)| (vec![name], values)).unwrap_or_default();
        let histograms = self.keep(HistogramVec::new(self.buckets(name, help, buckets), &names)?)?;
        match label {
            Some(_) => values.iter().for_each(|value| drop(histograms.with_label_values(&[value]))),
            None => drop(histograms.with_label_values::<&str>(&[])),
        }
        Ok(Traced::new(name, buckets, histograms, Arc::clone(&self.exemplars)))
    }

    /// The exemplars of all of them.
    pub(crate) fn exemplars(&self) -> &Exemplars {
        &self.exemplars
    }

    /// Every family that has a series, by name.
    pub(crate) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        let opts = Opts::new(name, help);
        self.of.iter().fold(opts, |opts, (label, value)| opts.const_label(*label, value.clone()))
    }

    fn buckets(&self, name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
        HistogramOpts { common_opts: self.opts(name, help), buckets: buckets.to_vec() }
    }

    fn keep<C: Collector + Clone + 'static>(&self, metric: C) -> Result<C> {
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}
