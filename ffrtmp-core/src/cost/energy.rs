//! What a kilowatt-hour costs, by the time of the day and the week.

use std::fmt;
use std::str::FromStr;

use crate::clock::Timestamp;
use crate::error::{Code, Error, Result};

const MINUTE: i64 = 60_000_000;
const DAY_MINUTES: u16 = 24 * 60;
const DAY: i64 = DAY_MINUTES as i64 * MINUTE;
/// The longest time whose price is averaged; what runs for longer pays the price of its last year.
const YEAR: i64 = 366 * DAY;
/// 1 January 1970 was a Thursday.
const FIRST_WEEKDAY: i64 = 3;

/// The price of a kilowatt-hour.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EnergyTariff {
    /// Outside of all periods.
    pub kwh: f64,
    /// In which the periods are meant.
    pub zone: TimeZone,
    /// Times with prices of their own; of two at the same time the first counts.
    pub periods: Vec<Period>,
}

/// A part of the day, on some days of the week.
#[derive(Clone, Debug, PartialEq)]
pub struct Period {
    /// Name for people.
    pub name: String,
    /// Days on which it begins.
    pub days: Days,
    /// When it begins.
    pub from: MinuteOfDay,
    /// When it ends: on the next day if that is before the beginning, a day later if it is the same.
    pub to: MinuteOfDay,
    /// The price of a kilowatt-hour.
    pub kwh: f64,
}

impl EnergyTariff {
    /// The period in force; `None` outside of all.
    #[must_use]
    pub fn period_at(&self, at: Timestamp) -> Option<&Period> {
        self.period_in(self.zone.local(at))
    }

    /// The price in force.
    #[must_use]
    pub fn price_at(&self, at: Timestamp) -> f64 {
        self.period_at(at).map_or(self.kwh, |period| period.kwh)
    }

    /// The mean price over a time; that of its end if it has no length.
    #[must_use]
    pub fn mean_price(&self, from: Timestamp, to: Timestamp) -> f64 {
        let end = self.zone.local(to);
        let start = self.zone.local(from).clamp(end.saturating_sub(YEAR), end);
        if self.periods.is_empty() || start == end {
            return self.price_at(to);
        }
        let (mut now, mut paid) = (start, 0.0);
        while now < end {
            let until = self.next_change(now).min(end);
            paid += (until - now) as f64 * self.period_in(now).map_or(self.kwh, |period| period.kwh);
            now = until;
        }
        paid / (end - start) as f64
    }

    /// Two periods that are in force at the same time, if there are any.
    #[must_use]
    pub fn overlap(&self) -> Option<(&Period, &Period)> {
        let week = (0..7).flat_map(|day| (0..DAY_MINUTES).map(move |minute| (day, minute)));
        for (day, minute) in week {
            let mut in_force = self.periods.iter().filter(|period| period.holds(day, minute));
            if let (Some(one), Some(other)) = (in_force.next(), in_force.next()) {
                return Some((one, other));
            }
        }
        None
    }

    fn period_in(&self, local: i64) -> Option<&Period> {
        let day = u8::try_from((local.div_euclid(DAY) + FIRST_WEEKDAY).rem_euclid(7)).unwrap_or_default();
        let minute = u16::try_from(local.rem_euclid(DAY) / MINUTE).unwrap_or_default();
        self.periods.iter().find(|period| period.holds(day, minute))
    }

    /// When the price may change next: a beginning, an end, or midnight.
    fn next_change(&self, local: i64) -> i64 {
        let midnight = local - local.rem_euclid(DAY);
        let marks = self.periods.iter().flat_map(|period| [period.from.0, period.to.0]).chain([DAY_MINUTES]);
        let later = marks.map(|minute| midnight + i64::from(minute) * MINUTE).filter(|mark| *mark > local);
        later.min().unwrap_or(midnight + DAY)
    }
}

impl Period {
    fn holds(&self, day: u8, minute: u16) -> bool {
        let (from, to) = (self.from.0, self.to.0);
        let today = self.days.contains(day);
        let yesterday = self.days.contains((day + 6) % 7);
        if from < to {
            today && (from..to).contains(&minute)
        } else {
            today && minute >= from || yesterday && minute < to
        }
    }
}

/// A minute of the day, from `00:00`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MinuteOfDay(u16);

impl FromStr for MinuteOfDay {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let minutes = clock(text).filter(|minutes| *minutes <= DAY_MINUTES);
        minutes.map(|minutes| Self(minutes % DAY_MINUTES)).ok_or_else(|| {
            Error::new(Code::InvalidField, format!("{text:?} is not a time of the day")).hint("give one such as 22:30")
        })
    }
}

/// Days of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days(u8);

const DAY_NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Days {
    /// Every day.
    pub const ALL: Self = Self(0b111_1111);

    /// Days by name: `mon` … `sun`, a range of them such as `mon-fri`.
    ///
    /// # Errors
    /// `invalid_field` for what is none.
    pub fn of(names: &[String]) -> Result<Self> {
        let mut days = 0;
        for name in names {
            days |= Self::range(name).ok_or_else(|| {
                Error::new(Code::InvalidField, format!("{name:?} is not a day of the week"))
                    .hint("give mon, tue, wed, thu, fri, sat, sun, or a range such as mon-fri")
            })?;
        }
        Ok(Self(days))
    }

    fn range(name: &str) -> Option<u8> {
        let day = |name: &str| DAY_NAMES.iter().position(|known| name.trim().eq_ignore_ascii_case(known));
        let (first, last) = match name.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(name)?, day(name)?),
        };
        let length = (last + 7 - first) % 7 + 1;
        Some((first..first + length).fold(0, |days, day| days | 1 << (day % 7)))
    }

    fn contains(self, day: u8) -> bool {
        self.0 >> day & 1 == 1
    }
}

/// A fixed distance from UTC, to which summer time is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeZone {
    minutes: i16,
}

impl TimeZone {
    fn local(self, at: Timestamp) -> i64 {
        at.as_micros().saturating_add(i64::from(self.minutes) * MINUTE)
    }
}

impl FromStr for TimeZone {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::new(Code::InvalidField, format!("{text:?} is not a distance from UTC"))
                .hint("give one such as +01:00")
        };
        let text = text.trim();
        if text.eq_ignore_ascii_case("utc") || text.eq_ignore_ascii_case("z") {
            return Ok(Self::default());
        }
        let (sign, clock_text) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').ok_or_else(wrong)?),
        };
        let minutes = clock(clock_text).filter(|minutes| *minutes <= 14 * 60).ok_or_else(wrong)?;
        Ok(Self { minutes: sign * i16::try_from(minutes).map_err(|_| wrong())? })
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.minutes < 0 { '-' } else { '+' };
        write!(f, "{sign}{:02}:{:02}", self.minutes.abs() / 60, self.minutes.abs() % 60)
    }
}

/// Minutes of `HH:MM`.
fn clock(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let number = |text: &str| {
        (text.len() == 2).then(|| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u16>().ok()))??
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (minutes < 60).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(days: &str, from: &str, to: &str) -> Period {
        let days = Days::of(&[days.to_owned()]).unwrap();
        Period { name: format!("{from} to {to}"), days, from: from.parse().unwrap(), to: to.parse().unwrap(), kwh: 1.0 }
    }

    #[test]
    fn periods_begin_on_their_days() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        // 6 March 2026 is a Friday.
        for (days, from, to, when, holds) in [
            ("fri", "08:00", "20:00", "2026-03-06T08:00:00Z", true),
            ("fri", "08:00", "20:00", "2026-03-06T20:00:00Z", false),
            ("fri", "08:00", "20:00", "2026-03-07T09:00:00Z", false),
            ("fri", "22:00", "06:00", "2026-03-07T05:59:59Z", true),
            ("fri", "22:00", "06:00", "2026-03-06T05:59:59Z", false),
            ("sat-sun", "00:00", "24:00", "2026-03-08T23:59:59Z", true),
            ("sat-sun", "00:00", "24:00", "2026-03-09T00:00:00Z", false),
            ("sun-mon", "00:00", "00:00", "2026-03-09T12:00:00Z", true),
        ] {
            let tariff = EnergyTariff { periods: vec![period(days, from, to)], ..EnergyTariff::default() };
            assert_eq!(tariff.period_at(at(when)).is_some(), holds, "{days} {from} {to} {when}");
        }
    }

    #[test]
    fn periods_do_not_overlap() {
        let tariff = |periods: Vec<Period>| EnergyTariff { periods, ..EnergyTariff::default() };
        let night = period("mon-sun", "22:00", "06:00");
        assert!(tariff(vec![night.clone(), period("mon-sun", "06:00", "22:00")]).overlap().is_none());
        assert!(tariff(vec![night, period("tue", "05:59", "07:00")]).overlap().is_some());
        assert!(tariff(vec![period("sun", "23:00", "01:00"), period("mon", "00:30", "02:00")]).overlap().is_some());
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in ["", "7:00", "24:01", "12:60", "noon", "+1:00", "12:0x"] {
            assert!(wrong.parse::<MinuteOfDay>().is_err(), "{wrong}");
        }
        for (text, shown) in [("+01:00", "+01:00"), ("-03:30", "-03:30"), ("UTC", "+00:00"), ("z", "+00:00")] {
            assert_eq!(text.parse::<TimeZone>().unwrap().to_string(), shown);
        }
        for wrong in ["", "CET", "01:00", "+25:00", "+14:01"] {
            assert!(wrong.parse::<TimeZone>().is_err(), "{wrong}");
        }
        for wrong in ["", "monday", "mon-", "1"] {
            assert!(Days::of(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
