//! Pressure: the share of time that work waited for a resource, from `/proc/pressure`.

use super::Root;

/// Reads the percent of the last ten seconds in which some work waited.
#[must_use]
pub fn parse(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let percent: f64 = some.split(' ').find_map(|field| field.strip_prefix("avg10="))?.parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent)
}

/// Pressure on `cpu`, `memory` or `io`.
#[must_use]
pub fn read(root: &Root, resource: &str) -> Option<f64> {
    parse(&root.text(&format!("proc/pressure/{resource}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_over_ten_seconds() {
        let text =
            "some avg10=30.36 avg60=7.30 avg300=1.86 total=21445820\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(parse(text), Some(30.36));
        assert_eq!(parse("full avg10=1.00\n"), None);
        assert_eq!(parse("some avg10=-1 total=1\n"), None);
    }
}
