//! Limits as people write them: in the words of the kernel's own files.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::str::FromStr;

use ffrtmp_core::error::{Code, Error, Result, nearest};
use ffrtmp_core::governor::IoLimit;

/// A bandwidth of the processor as `cpu.max` has it: `QUOTA [PERIOD]` in microseconds, or `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuMax {
    /// Percent of one core; `None` is no limit.
    pub percent: Option<u32>,
}

/// The period of the kernel where none is given, in microseconds.
const PERIOD: u64 = 100_000;

impl FromStr for CpuMax {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::new(Code::InvalidField, format!("{text:?} is no bandwidth of the processor"))
                .field("cpu_max")
                .hint("give QUOTA and PERIOD in microseconds, such as \"200000 100000\" for two cores, or max; --cpu-quota takes percent")
        };
        let mut words = text.split_whitespace();
        let (quota, period, rest) = (words.next().ok_or_else(wrong)?, words.next(), words.next());
        let period: u64 = period.map_or(Ok(PERIOD), |period| period.parse().map_err(|_| wrong()))?;
        if rest.is_some() || !(1000..=1_000_000).contains(&period) {
            return Err(wrong());
        }
        if quota == "max" {
            return Ok(Self { percent: None });
        }
        let quota: u64 = quota.parse().ok().filter(|quota| *quota >= 1000).ok_or_else(wrong)?;
        let percent = quota.checked_mul(100).ok_or_else(wrong)?.div_ceil(period);
        Ok(Self { percent: Some(u32::try_from(percent).map_err(|_| wrong())?) })
    }
}

/// Rates of one block device as `io.max` has them: `MAJ:MIN rbps=BYTES wbps=BYTES riops=N wiops=N`.
/// The device may also be a path, and a number may end in K, M or G (powers of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoMax(pub IoLimit);

const RATES: [&str; 4] = ["rbps", "wbps", "riops", "wiops"];

impl FromStr for IoMax {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let named = words.next().ok_or_else(|| wrong(text, "a device is missing"))?;
        let mut limit = IoLimit { device: device(named)?, ..IoLimit::default() };
        for word in words {
            let (name, value) = word.split_once('=').ok_or_else(|| wrong(word, "it is no RATE=NUMBER"))?;
            let rate = match value {
                "max" => None,
                value => Some(number(value).ok_or_else(|| wrong(word, "it has no positive whole number"))?),
            };
            match name {
                "rbps" => limit.read_bytes = rate,
                "wbps" => limit.write_bytes = rate,
                "riops" => limit.reads = rate,
                "wiops" => limit.writes = rate,
                other => {
                    let near = nearest(other, RATES).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                    return Err(wrong(word, &format!("there is no such rate{near}")));
                }
            }
        }
        let unlimited = IoLimit { device: limit.device, ..IoLimit::default() };
        if limit == unlimited { Err(wrong(text, "no rate is given")) } else { Ok(Self(limit)) }
    }
}

fn device(named: &str) -> Result<(u32, u32)> {
    if named.starts_with('/') {
        let found =
            std::fs::metadata(named).map_err(|error| wrong(named, "the device cannot be found").source(error))?;
        if !found.file_type().is_block_device() {
            return Err(wrong(named, "it is no block device"));
        }
        return Ok((rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev())));
    }
    let numbers = named.split_once(':').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    numbers.ok_or_else(|| wrong(named, "it is no device"))
}

fn number(text: &str) -> Option<u64> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = all_digits.then(|| digits.parse().ok()).flatten()?;
    number.checked_mul(unit).filter(|number| *number > 0)
}

fn wrong(text: &str, why: &str) -> Error {
    Error::new(Code::InvalidField, format!("{text:?}: {why}"))
        .field("io_max")
        .hint("give a device and its rates, such as \"8:0 rbps=10M wiops=120\" or \"/dev/sda wbps=1M\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidths_in_the_words_of_the_kernel() {
        for (text, percent) in [
            ("200000 100000", Some(200)),
            ("50000", Some(50)),
            ("max", None),
            ("max 100000", None),
            ("15000 10000", Some(150)),
            ("1000 1000000", Some(1)),
        ] {
            assert_eq!(text.parse::<CpuMax>().expect(text).percent, percent, "{text}");
        }
        for text in [
            "",
            "0",
            "-1",
            "200%",
            "1 2 3",
            "100000 0",
            "100000 9999999",
            "99999999999999999999",
            "18446744073709551615 1000",
        ] {
            let error = text.parse::<CpuMax>().expect_err(text);
            assert_eq!(error.field_name(), Some("cpu_max"), "{text}");
        }
    }

    #[test]
    fn rates_of_devices() {
        let all: IoMax = "8:16 rbps=1M wbps=2097152 riops=120 wiops=max".parse().expect("rates");
        let IoLimit { device, read_bytes, write_bytes, reads, writes } = all.0;
        assert_eq!(
            (device, read_bytes, write_bytes, reads, writes),
            ((8, 16), Some(1 << 20), Some(2 << 20), Some(120), None)
        );
        for (text, why) in [
            ("", "a device is missing"),
            ("8:0", "no rate"),
            ("8:0 rbps=max", "no rate"),
            ("sda rbps=1", "no device"),
            ("/dev/null rbps=1", "no block device"),
            ("/nonexistent rbps=1", "cannot be found"),
            ("8:0 rbpss=1", "did you mean rbps?"),
            ("8:0 rbps=0", "positive"),
            ("8:0 rbps=1T", "positive"),
            ("8:0 rbps", "RATE=NUMBER"),
            ("8:0 rbps=99999999999G", "positive"),
        ] {
            let error = text.parse::<IoMax>().expect_err(text);
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
    }
}
