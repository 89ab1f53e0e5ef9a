//! Pressure: the share of time that work waited for a resource, from `/proc/pressure`.

use super::Root;

/// Percent of the last ten seconds in which work waited; absent where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// Some work waited.
    pub some: Option<f64>,
    /// All work waited at once. Kernels before 5.13 do not tell it of the processor.
    pub full: Option<f64>,
}

/// Reads a file of `/proc/pressure`, or a `*.pressure` of a control group.
#[must_use]
pub fn parse(text: &str) -> Pressure {
    let average = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))?;
        let percent: f64 = line.split(' ').find_map(|field| field.strip_prefix("avg10="))?.parse().ok()?;
        (0.0..=100.0).contains(&percent).then_some(percent)
    };
    Pressure { some: average("some"), full: average("full") }
}

/// Pressure on `cpu`, `memory` or `io`; `None` where the kernel does not tell, such as one that
/// was built or started without it.
#[must_use]
pub fn read(root: &Root, resource: &str) -> Option<Pressure> {
    Some(parse(&root.text(&format!("proc/pressure/{resource}"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_and_full_over_ten_seconds() {
        let text =
            "some avg10=30.36 avg60=7.30 avg300=1.86 total=21445820\nfull avg10=2.50 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(parse(text), Pressure { some: Some(30.36), full: Some(2.5) });
        assert_eq!(parse("some avg10=1.00 avg60=0\n"), Pressure { some: Some(1.0), full: None });
        for hostile in ["", "some", "some avg10=-1 total=1\n", "full avg10=NaN\n", "something avg10=1\n"] {
            assert_eq!(parse(hostile), Pressure::default(), "{hostile:?}");
        }
    }
}
