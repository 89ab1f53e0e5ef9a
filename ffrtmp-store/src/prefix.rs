//! From the first digits of a job id to the range of ids that start with them.

use std::ops::RangeInclusive;

use ffrtmp_core::id::JobId;

const DIGITS: usize = 32;
const LEAST: usize = 4;

/// The ids that start with `prefix`, dashes ignored; `None` if it cannot be the start of an id.
pub(crate) fn ids(prefix: &str) -> Option<RangeInclusive<JobId>> {
    let digits: String = prefix.chars().filter(|c| *c != '-').collect();
    if !(LEAST..=DIGITS).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let first = u128::from_str_radix(&format!("{digits:0<DIGITS$}"), 16).ok()?;
    let last = u128::from_str_radix(&format!("{digits:f<DIGITS$}"), 16).ok()?;
    Some(JobId::from_u128(first)..=JobId::from_u128(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_cover_exactly_the_prefix() {
        let range = ids("00ab-cd").unwrap();
        assert_eq!(range.start().to_string(), "00abcd00-0000-0000-0000-000000000000");
        assert_eq!(range.end().to_string(), "00abcdff-ffff-ffff-ffff-ffffffffffff");
        for bad in ["", "abc", "----", "zzzz", "00ab%", &"a".repeat(33)] {
            assert!(ids(bad).is_none(), "{bad:?}");
        }
    }
}
