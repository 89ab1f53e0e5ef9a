//! What a source says of its length, and whether its pictures keep to it.

use ffrtmp_core::plan::{Plan, VideoPlan};

use super::sys::{Input, StreamView, TimeBase, Told};

/// Seconds by which headers and tables of good files may differ.
const SLACK: f64 = 0.1;

/// Length that the selected streams promise, else the container, on the output's clock, of which
/// `shift` is what it is ahead of the source's, in microseconds.
pub(super) fn declared_seconds(input: &Input, selected: &[usize], shift: i64) -> Option<f64> {
    let ends = selected.iter().filter_map(|index| end(input, input.stream(*index)?));
    let container = || Some(from(input, input.start()).saturating_add(input.duration()?));
    let end = ends.max().or_else(container)?;
    Some(TimeBase::MICROS.seconds(end.saturating_add(shift))).filter(|seconds| *seconds > 0.0)
}

/// What is wrong where the header of a track and the table of its pictures say different lengths: a
/// damaged entry shows pictures for a wrong time, which nothing else tells.
pub(super) fn broken(input: &mut Input, plan: &Plan) -> Option<String> {
    let index = match plan.video.as_ref()? {
        VideoPlan::Copy(index) => *index,
        VideoPlan::Encode(pictures) => pictures.stream?,
    };
    let Told { header, table, mean } = input.told(index)?;
    ((table - header).abs() > SLACK.max(2.0 * mean)).then(|| {
        format!(
            "the pictures of stream {index} last {table:.2} s by their table and {header:.2} s by their header: \
             some of them may be shown for a wrong time"
        )
    })
}

/// Where a stream says that it ends, in microseconds.
fn end(input: &Input, stream: StreamView<'_>) -> Option<i64> {
    let end = from(input, stream.start()).saturating_add(stream.duration()?);
    Some(stream.time_base().rescale(end, TimeBase::MICROS))
}

/// Where a length is counted from. Some containers count it from zero, whenever their streams begin.
/// Some writers of these do not; of their files less is asked for than they have.
fn from(input: &Input, start: Option<i64>) -> i64 {
    if is(input, "matroska") || is(input, "flv") { 0 } else { start.unwrap_or(0) }
}

fn is(input: &Input, name: &str) -> bool {
    input.format().split(',').any(|known| known == name)
}
