//! The text format of OpenMetrics 1.0, for those who ask for it: the only one with exemplars. Names of
//! series are those of the older text. Everybody else gets that.

use std::fmt::{self, Write};

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

use super::exemplars::{Exemplar, Places};

/// What an answer in this format is called.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const MEDIA_TYPE: &str = "application/openmetrics-text";
/// Units by which names of families end, as the format wants them told.
const UNITS: &[&str] = &["seconds", "bytes", "joules", "watts", "celsius", "ratio", "percent"];

/// Whether `accept`, the header of a request, would rather have this format than the older text.
pub(crate) fn is_wanted(accept: &str) -> bool {
    let (mut this, mut older) = (0.0_f64, 0.0_f64);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let (mut quality, mut version) = (1.0, None);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => quality = value.trim().parse().unwrap_or(0.0),
                "version" => version = Some(value.trim().trim_matches('"')),
                _ => {}
            }
        }
        if media.eq_ignore_ascii_case(MEDIA_TYPE) && version.is_none_or(|version| version == "1.0.0") {
            this = this.max(quality);
        } else if media.eq_ignore_ascii_case("text/plain") {
            older = older.max(quality);
        }
    }
    this > 0.0 && this >= older
}

/// Families, with their exemplars, whole.
pub(crate) fn text(families: &[MetricFamily], exemplars: &Places) -> String {
    let mut text = String::with_capacity(families.len() * 512);
    // Nothing can fail: it is a text in memory.
    let _ = families.iter().try_for_each(|family| write_family(&mut text, family, exemplars));
    text.push_str("# EOF\n");
    text
}

fn write_family(out: &mut String, family: &MetricFamily, exemplars: &Places) -> fmt::Result {
    let series = family.name();
    let (name, kind) = match family.get_field_type() {
        MetricType::HISTOGRAM => (series, "histogram"),
        // A counter of another name cannot be told as one.
        MetricType::COUNTER => series.strip_suffix("_total").map_or((series, "unknown"), |name| (name, "counter")),
        MetricType::GAUGE => (series, "gauge"),
        MetricType::SUMMARY | MetricType::UNTYPED => return Ok(()),
    };
    writeln!(out, "# TYPE {name} {kind}")?;
    if let Some(unit) = UNITS.iter().find(|unit| name.strip_suffix(**unit).is_some_and(|rest| rest.ends_with('_'))) {
        writeln!(out, "# UNIT {name} {unit}")?;
    }
    writeln!(out, "# HELP {name} {}", Escaped(family.help()))?;
    for metric in family.get_metric() {
        match family.get_field_type() {
            MetricType::HISTOGRAM => write_histogram(out, series, metric, exemplars)?,
            MetricType::COUNTER => write_sample(out, (series, ""), metric, metric.get_counter().get_value())?,
            _ => write_sample(out, (series, ""), metric, metric.get_gauge().get_value())?,
        }
    }
    Ok(())
}

fn write_histogram(out: &mut String, name: &str, metric: &Metric, exemplars: &Places) -> fmt::Result {
    let histogram = metric.get_histogram();
    let of = metric.get_label().first().map_or("", LabelPair::value);
    let buckets = exemplars.get(name).and_then(|family| family.get(of)).map_or(&[][..], Vec::as_slice);
    let bounded = histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite());
    let bounded = bounded.map(|bucket| (format!("{:?}", bucket.upper_bound()), bucket.cumulative_count()));
    let all = std::iter::once(("+Inf".to_owned(), histogram.get_sample_count()));
    for (place, (bound, count)) in bounded.chain(all).enumerate() {
        write!(out, "{name}_bucket")?;
        write_labels(out, metric.get_label(), Some(&bound))?;
        write!(out, " {count}")?;
        if let Some(exemplar) = buckets.get(place).and_then(Option::as_ref) {
            write_exemplar(out, exemplar)?;
        }
        out.push('\n');
    }
    write_sample(out, (name, "_sum"), metric, histogram.get_sample_sum())?;
    write_sample(out, (name, "_count"), metric, histogram.get_sample_count() as f64)
}

fn write_exemplar(out: &mut String, Exemplar { trace, value, at }: &Exemplar) -> fmt::Result {
    let at = at.as_micros();
    write!(out, " # {{trace_id=\"{trace:032x}\"}} {value} {}.{:06}", at / 1_000_000, at % 1_000_000)
}

fn write_sample(out: &mut String, (name, part): (&str, &str), metric: &Metric, value: f64) -> fmt::Result {
    out.extend([name, part]);
    write_labels(out, metric.get_label(), None)?;
    match value {
        f64::INFINITY => writeln!(out, " +Inf"),
        f64::NEG_INFINITY => writeln!(out, " -Inf"),
        value => writeln!(out, " {value}"),
    }
}

fn write_labels(out: &mut String, labels: &[LabelPair], bound: Option<&str>) -> fmt::Result {
    let labels = labels.iter().map(|label| (label.name(), label.value()));
    let mut mark = '{';
    for (name, value) in labels.chain(bound.map(|bound| ("le", bound))) {
        write!(out, "{mark}{name}=\"{}\"", Escaped(value))?;
        mark = ',';
    }
    if mark == ',' {
        out.push('}');
    }
    Ok(())
}

/// A text between quotes, or at the end of a line.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ffrtmp_core::id::JobId;
    use ffrtmp_core::job::Job;
    use ffrtmp_core::request;
    use serde_json::json;

    use super::*;
    use crate::exporters::rows::{Column, families, label};
    use crate::exporters::table::Table;

    #[test]
    fn who_asks_for_it_gets_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, wanted) in [
            (prometheus, true),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", true),
            ("Application/OpenMetrics-Text", true),
            ("text/plain;q=0.5, application/openmetrics-text;version=\"1.0.0\";q=0.5", true),
            ("application/openmetrics-text;version=0.0.1", false),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text;q=x", false),
            ("application/openmetrics-text;q=0.4, text/plain", false),
            ("text/plain;version=0.0.4;q=1,*/*;q=0.1", false),
            ("*/*", false),
            ("", false),
        ] {
            assert_eq!(is_wanted(accept), wanted, "{accept}");
        }
    }

    fn traced(text: &str, at: &str) -> Job {
        let asked = serde_json::from_value(json!({"scenario": "720p30-h264"})).unwrap();
        let mut job = request::prepare(asked, JobId::random(), 3, at.parse().unwrap()).unwrap().job;
        job.trace = text.parse().ok();
        job
    }

    #[test]
    fn everything_is_written_as_the_format_has_it() {
        let table = Table::default();
        table.count("jobs_total", "Jobs, \"all\" of them\\").unwrap().inc_by(3);
        table.sum("odd_frames", "No total").unwrap().inc_by(0.5);
        table.gauge("size_bytes", "Size\nof it").unwrap().set(f64::INFINITY);
        let wait = table.traced("wait_seconds", "Wait", &[0.5, 1.0, 10.0], None).unwrap();
        let by = table.traced("part_seconds", "Part", &[1.0], Some(("part", &["a", "b"]))).unwrap();
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let job = traced(&format!("00-{id}-00f067aa0ba902b7-01"), "2026-03-04T05:06:07.080900Z");
        let quiet = traced(&format!("00-{id}-00f067aa0ba902b7-00"), "2026-03-04T05:06:07Z");
        wait.observe(None, 0.25, &quiet);
        wait.observe(None, 1.0, &job);
        wait.observe(None, 0.75, &job);
        wait.observe(None, 99.0, &job);
        by.observe(Some("b"), 0.5, &job);
        let told = text(&table.gather(), &table.exemplars().all());
        let exemplar = |value: &str| format!(" # {{trace_id=\"{id}\"}} {value} 1772600767.080900");
        let expected = format!(
            "# TYPE jobs counter\n# HELP jobs Jobs, \\\"all\\\" of them\\\\\njobs_total 3\n\
             # TYPE odd_frames unknown\n# HELP odd_frames No total\nodd_frames 0.5\n\
             # TYPE part_seconds histogram\n# UNIT part_seconds seconds\n# HELP part_seconds Part\n\
             part_seconds_bucket{{part=\"a\",le=\"1.0\"}} 0\npart_seconds_bucket{{part=\"a\",le=\"+Inf\"}} 0\n\
             part_seconds_sum{{part=\"a\"}} 0\npart_seconds_count{{part=\"a\"}} 0\n\
             part_seconds_bucket{{part=\"b\",le=\"1.0\"}} 1{}\npart_seconds_bucket{{part=\"b\",le=\"+Inf\"}} 1\n\
             part_seconds_sum{{part=\"b\"}} 0.5\npart_seconds_count{{part=\"b\"}} 1\n\
             # TYPE size_bytes gauge\n# UNIT size_bytes bytes\n# HELP size_bytes Size\\nof it\nsize_bytes +Inf\n\
             # TYPE wait_seconds histogram\n# UNIT wait_seconds seconds\n# HELP wait_seconds Wait\n\
             wait_seconds_bucket{{le=\"0.5\"}} 1\nwait_seconds_bucket{{le=\"1.0\"}} 3{}\n\
             wait_seconds_bucket{{le=\"10.0\"}} 3\nwait_seconds_bucket{{le=\"+Inf\"}} 4{}\n\
             wait_seconds_sum 101\nwait_seconds_count 4\n# EOF\n",
            exemplar("0.5"),
            exemplar("0.75"),
            exemplar("99"),
        );
        assert_eq!(told, expected);
        let column: &[Column<f64>] = &[Column::gauge("g", "G", |it| Some(*it))];
        let rows = families(column, std::iter::once((vec![label("x", "a\"\\\n")], &f64::NAN)));
        let expected = "# TYPE g gauge\n# HELP g G\ng{x=\"a\\\"\\\\\\n\"} NaN\n# EOF\n";
        assert_eq!(text(&rows, &Places::new()), expected);
    }
}
