//! Families whose rows come and go: one column per family, one row per label value. Columns are a
//! table in the source, so that names, kinds and help stand in one place.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

use super::OTHER;

/// Bytes of a label value.
const LONGEST: usize = 64;
/// A value that nobody used for so long gives its place to a new one.
const IDLE: Duration = Duration::from_secs(3600);

/// One family, or one part of a family that is divided by a further label.
pub(crate) struct Column<R> {
    name: &'static str,
    kind: MetricType,
    help: &'static str,
    part: Option<(&'static str, &'static str)>,
    value: fn(&R) -> Option<f64>,
}

impl<R> Column<R> {
    pub(crate) const fn gauge(name: &'static str, help: &'static str, value: fn(&R) -> Option<f64>) -> Self {
        Self { name, kind: MetricType::GAUGE, help, part: None, value }
    }

    pub(crate) const fn counter(name: &'static str, help: &'static str, value: fn(&R) -> Option<f64>) -> Self {
        Self { name, kind: MetricType::COUNTER, help, part: None, value }
    }

    /// The part of the family with this label. Parts of one family stand one after the other.
    pub(crate) const fn part(self, label: &'static str, value: &'static str) -> Self {
        Self { part: Some((label, value)), ..self }
    }
}

/// The families of a table. What a row does not know has no series.
pub(crate) fn families<'a, R: 'a>(
    columns: &[Column<R>],
    rows: impl Iterator<Item = (Vec<LabelPair>, &'a R)> + Clone,
) -> Vec<MetricFamily> {
    let mut families = Vec::<MetricFamily>::with_capacity(columns.len());
    for column in columns {
        let sample = |(mut labels, row): (Vec<LabelPair>, &R)| {
            let value = (column.value)(row)?;
            labels.extend(column.part.map(|(name, value)| label(name, value)));
            Some(metric(column.kind, labels, value))
        };
        let metrics: Vec<_> = rows.clone().filter_map(sample).collect();
        match families.last_mut().filter(|last| last.name() == column.name) {
            Some(family) => family.mut_metric().extend(metrics),
            None => families.push(family(column.name, column.help, column.kind, metrics)),
        }
    }
    families.retain(|family| !family.get_metric().is_empty());
    families
}

/// A gauge with one value and no labels.
pub(crate) fn one(name: &str, help: &str, value: f64) -> MetricFamily {
    family(name, help, MetricType::GAUGE, vec![metric(MetricType::GAUGE, Vec::new(), value)])
}

pub(crate) fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(short(value).to_owned());
    pair
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn metric(kind: MetricType, labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut metric = Metric::from_label(labels);
    match kind {
        MetricType::COUNTER => {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        _ => {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
    }
    metric
}

fn short(value: &str) -> &str {
    &value[..value.floor_char_boundary(LONGEST)]
}

/// Rows by label value, so many and no more: what comes after is added up under [`OTHER`].
pub(crate) struct Bounded<R> {
    most: usize,
    rows: BTreeMap<String, (Instant, R)>,
    other: Option<R>,
}

impl<R: Default> Bounded<R> {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, rows: BTreeMap::new(), other: None }
    }

    /// The row of a value.
    pub(crate) fn row(&mut self, value: &str, now: Instant) -> &mut R {
        let value = short(value);
        if value == OTHER || !self.rows.contains_key(value) && !self.has_room(now) {
            return self.other.get_or_insert_default();
        }
        let (used, row) = self.rows.entry(value.to_owned()).or_insert_with(|| (now, R::default()));
        *used = now;
        row
    }

    fn has_room(&mut self, now: Instant) -> bool {
        if self.rows.len() >= self.most {
            let idle = |(_, (used, _)): &(&String, &(Instant, R))| now.saturating_duration_since(*used) >= IDLE;
            let oldest = self.rows.iter().filter(idle).min_by_key(|(_, (used, _))| *used);
            if let Some(value) = oldest.map(|(value, _)| value.clone()) {
                self.rows.remove(&value);
            }
        }
        self.rows.len() < self.most
    }

    /// Values with a row of their own.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Every row under this label.
    pub(crate) fn labelled(&self, name: &'static str) -> impl Iterator<Item = (Vec<LabelPair>, &R)> + Clone {
        let own = self.rows.iter().map(|(value, (_, row))| (value.as_str(), row));
        own.chain(self.other.as_ref().map(|row| (OTHER, row))).map(move |(value, row)| (vec![label(name, value)], row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_used_keep_their_rows() {
        let mut rows = Bounded::<u32>::new(2);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for (value, seconds) in [("a", 0), ("b", 1), ("c", 2), ("d", 3), ("other", 4), ("a", 3000)] {
            *rows.row(value, at(seconds)) += 1;
        }
        let seen = |rows: &Bounded<u32>| -> Vec<(String, u32)> {
            rows.labelled("x").map(|(labels, row)| (labels[0].value().to_owned(), *row)).collect()
        };
        let named = |pairs: &[(&str, u32)]| -> Vec<(String, u32)> {
            pairs.iter().map(|(value, row)| ((*value).to_owned(), *row)).collect()
        };
        assert_eq!(seen(&rows), named(&[("a", 2), ("b", 1), ("other", 3)]));
        *rows.row("e", at(3700)) += 1;
        assert_eq!(seen(&rows), named(&[("a", 2), ("e", 1), ("other", 3)]), "b was idle for an hour");
        *rows.row("f", at(3701)) += 1;
        assert_eq!(seen(&rows), named(&[("a", 2), ("e", 1), ("other", 4)]));
        *rows.row(&"ä".repeat(100), at(9000)) += 1;
        assert!(seen(&rows).iter().all(|(value, _)| value.len() <= LONGEST));
    }
}
