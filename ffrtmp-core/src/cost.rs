//! What a job costs: the rates of an operator, applied to what its attempt measured. Where rates come
//! from is configuration; who adds costs up is metrics.
//!
//! # Formulas
//! With the hours `T` of processors, the energy `E`, and the rates `R`, the founding document has for
//! the jobs of a tenant (formula 26)
//!
//! `cost = Σ (T_cpu · R_cpu + T_gpu · R_gpu + E · R_energy)`
//!
//! and for one job on machines that are paid by the month (formulas 29 and 30)
//!
//! `cost = infrastructure by month / jobs by month + energy`.
//!
//! [`Tariff::cost`] is the sum of both and of what an output takes: its size times the price of a
//! gigabyte and month times the months it is kept, and times the price of a gigabyte that leaves
//! times how often it is watched. What an operator does not give is 0.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::clock::Timestamp;
use crate::error::{Code, Error, Result};
use crate::job::JobReport;
use crate::units::Joules;

mod energy;

pub use energy::{Days, EnergyTariff, MinuteOfDay, Period, TimeZone};

/// Joules of a kilowatt-hour.
const KWH: f64 = 3.6e6;
/// Bytes of a gigabyte, as those who sell them count.
const GB: f64 = 1e9;
const HOUR: f64 = 3600.0;

/// The rates of an operator, in units of one currency.
#[derive(Clone, Debug, PartialEq)]
pub struct Tariff {
    /// Of every price.
    pub currency: Currency,
    /// An hour of one core at work.
    pub cpu_hour: f64,
    /// An hour of a graphics processor that an attempt has.
    pub gpu_hour: f64,
    /// A kilowatt-hour.
    pub energy: EnergyTariff,
    /// A gigabyte of output kept for a month.
    pub storage_gb_month: f64,
    /// How long outputs are kept, in months.
    pub storage_months: f64,
    /// A gigabyte that leaves.
    pub egress_gb: f64,
    /// How often an output is watched.
    pub watches: f64,
    /// The part of the monthly bill for machines that one job carries.
    pub infrastructure_job: f64,
}

impl Tariff {
    /// Rates of 0: outputs are kept for one month and watched once.
    #[must_use]
    pub fn free(currency: Currency) -> Self {
        Self {
            currency,
            cpu_hour: 0.0,
            gpu_hour: 0.0,
            energy: EnergyTariff::default(),
            storage_gb_month: 0.0,
            storage_months: 1.0,
            egress_gb: 0.0,
            watches: 1.0,
            infrastructure_job: 0.0,
        }
    }

    /// What an attempt costs that measured this and ended then. Its energy is paid at the mean price
    /// of its time, its graphics processor for all of it.
    #[must_use]
    pub fn cost(&self, report: &JobReport, ended: Timestamp) -> JobCost {
        let output = report.output_bytes as f64 / GB;
        let gpu_seconds = if report.gpu.is_some() { report.wall_seconds } else { 0.0 };
        let began = ended - Duration::try_from_secs_f64(report.wall_seconds).unwrap_or_default();
        let energy = report.energy_joules.map(|joules| joules.0 / KWH * self.energy.mean_price(began, ended));
        let cost = JobCost {
            currency: self.currency,
            total: 0.0,
            cpu: bounded(report.cpu_seconds / HOUR * self.cpu_hour),
            gpu: bounded(gpu_seconds / HOUR * self.gpu_hour),
            energy: energy.map(bounded),
            storage: bounded(output * self.storage_gb_month * self.storage_months),
            egress: bounded(output * self.egress_gb * self.watches),
            infrastructure: bounded(self.infrastructure_job),
        };
        JobCost { total: cost.sum(), ..cost }
    }
}

/// An amount that can be stored, whatever a node says of its seconds and joules.
fn bounded(amount: f64) -> f64 {
    const MOST: f64 = 1e15;
    amount.min(MOST)
}

/// What attempts of a job used that made no output, and what that cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Spent {
    /// Attempts whose nodes told it.
    pub attempts: u32,
    /// Their wall time in seconds.
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub wall_seconds: f64,
    /// Their user and system CPU time in seconds.
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub cpu_seconds: f64,
    /// Their energy, of those that have a figure of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<f64>, minimum = 0))]
    pub energy_joules: Option<Joules>,
    /// What they cost, by the rates of the master.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<JobCost>,
}

impl Spent {
    /// What one attempt used that ended then, and made nothing that is kept or sent. `None` if it used nothing.
    #[must_use]
    pub fn of(report: &JobReport, tariff: Option<&Tariff>, ended: Timestamp) -> Option<Self> {
        let used = report.cpu_seconds > 0.0 || report.energy_joules.is_some() || report.gpu.is_some();
        let cost = |tariff: &Tariff| {
            let cost = JobCost { storage: 0.0, egress: 0.0, infrastructure: 0.0, ..tariff.cost(report, ended) };
            JobCost { total: cost.sum(), ..cost }
        };
        used.then(|| Self {
            attempts: 1,
            wall_seconds: bounded(report.wall_seconds),
            cpu_seconds: bounded(report.cpu_seconds),
            energy_joules: report.energy_joules.map(|joules| Joules(bounded(joules.0))),
            cost: tariff.map(cost),
        })
    }

    /// The same with that of others.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            attempts: self.attempts.saturating_add(other.attempts),
            wall_seconds: bounded(self.wall_seconds + other.wall_seconds),
            cpu_seconds: bounded(self.cpu_seconds + other.cpu_seconds),
            energy_joules: either(self.energy_joules, other.energy_joules, |a, b| Joules(bounded(a.0 + b.0))),
            cost: either(self.cost, other.cost, JobCost::and),
        }
    }
}

fn either<T>(one: Option<T>, other: Option<T>, both: impl FnOnce(T, T) -> T) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(both(one, other)),
        (one, other) => one.or(other),
    }
}

/// The part of a monthly bill that one of so many jobs carries: the first term of formula 29.
#[must_use]
pub fn share_of_month(bill: f64, jobs: u64) -> f64 {
    if jobs == 0 { 0.0 } else { bill / jobs as f64 }
}

/// What a job cost, by what it was spent on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobCost {
    /// Of every amount.
    pub currency: Currency,
    /// All of it.
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub total: f64,
    /// Processors.
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub cpu: f64,
    /// Graphics processors.
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub gpu: f64,
    /// Energy; absent, and 0 in the total, where the attempt has no figure of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub energy: Option<f64>,
    /// Keeping the output.
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub storage: f64,
    /// Sending the output.
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub egress: f64,
    /// The job's part of what machines cost by the month.
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub infrastructure: f64,
}

impl JobCost {
    /// This and a later one. Amounts of two currencies have no sum: the later stands alone then.
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        if self.currency != later.currency {
            return later;
        }
        let cost = Self {
            currency: later.currency,
            total: 0.0,
            cpu: bounded(self.cpu + later.cpu),
            gpu: bounded(self.gpu + later.gpu),
            energy: either(self.energy, later.energy, |a, b| bounded(a + b)),
            storage: bounded(self.storage + later.storage),
            egress: bounded(self.egress + later.egress),
            infrastructure: bounded(self.infrastructure + later.infrastructure),
        };
        Self { total: cost.sum(), ..cost }
    }

    /// The sum of its parts.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.parts().iter().map(|(_, amount)| amount).sum()
    }

    /// Every part by its name.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, f64); 6] {
        [
            ("cpu", self.cpu),
            ("gpu", self.gpu),
            ("energy", self.energy.unwrap_or_default()),
            ("storage", self.storage),
            ("egress", self.egress),
            ("infrastructure", self.infrastructure),
        ]
    }
}

/// A currency by its code of three letters (ISO 4217).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The dollar of the United States, in which the founding document counts.
    pub const USD: Self = Self(*b"USD");

    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Default for Currency {
    fn default() -> Self {
        Self::USD
    }
}

impl FromStr for Currency {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let code =
            <[u8; 3]>::try_from(text.trim().as_bytes()).ok().filter(|code| code.iter().all(u8::is_ascii_alphabetic));
        code.map(|code| Self(code.map(|letter| letter.to_ascii_uppercase()))).ok_or_else(|| {
            Error::new(Code::InvalidField, format!("{text:?} is not a currency"))
                .field("currency")
                .hint("give its code of three letters, such as EUR")
        })
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Joules;

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-12
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Formula 26: processors, graphics processors and energy, each by its rate, over a tenant's jobs.
    #[test]
    fn a_tenant_pays_for_time_and_energy() {
        let tariff = Tariff {
            cpu_hour: 0.04,
            gpu_hour: 0.9,
            energy: EnergyTariff { kwh: 0.12, ..EnergyTariff::default() },
            ..Tariff::free(Currency::USD)
        };
        let job = |cpu_hours: f64, gpu_hours: f64, kwh: f64| JobReport {
            cpu_seconds: cpu_hours * HOUR,
            wall_seconds: gpu_hours * HOUR,
            gpu: (gpu_hours > 0.0).then_some(0),
            energy_joules: Some(Joules(kwh * KWH)),
            ..JobReport::default()
        };
        let jobs = [job(2.0, 0.5, 0.3), job(10.0, 0.0, 1.5), job(0.25, 3.0, 0.9)];
        let costs = jobs.iter().map(|job| tariff.cost(job, Timestamp::default()));
        let by_hand = 12.25 * 0.04 + 3.5 * 0.9 + 2.7 * 0.12;
        assert!(near(costs.map(|cost| cost.total).sum(), by_hand));
        let half_an_hour = tariff.cost(&jobs[0], Timestamp::default());
        assert!(
            near(half_an_hour.gpu, 0.45) && near(half_an_hour.cpu, 0.08) && near(half_an_hour.energy.unwrap(), 0.036)
        );
    }

    /// Formulas 29 and 30: 630 dollars a month over 10,000 jobs, and half a kilowatt-hour at 12 cents.
    #[test]
    fn a_job_carries_its_part_of_the_month() {
        let tariff = Tariff {
            energy: EnergyTariff { kwh: 0.12, ..EnergyTariff::default() },
            infrastructure_job: share_of_month(630.0, 10_000),
            ..Tariff::free(Currency::USD)
        };
        let report = JobReport { energy_joules: Some(Joules(0.5 * KWH)), ..JobReport::default() };
        let cost = tariff.cost(&report, Timestamp::default());
        assert!(near(cost.infrastructure, 0.063) && near(cost.energy.unwrap(), 0.06) && near(cost.total, 0.123));
        assert_eq!(share_of_month(630.0, 0), 0.0);
    }

    #[test]
    fn outputs_are_kept_and_sent() {
        let tariff = Tariff {
            storage_gb_month: 0.023,
            storage_months: 6.0,
            egress_gb: 0.09,
            watches: 100.0,
            ..Tariff::free("eur".parse().unwrap())
        };
        let cost =
            tariff.cost(&JobReport { output_bytes: 2_000_000_000, ..JobReport::default() }, Timestamp::default());
        assert!(near(cost.storage, 2.0 * 0.023 * 6.0) && near(cost.egress, 2.0 * 0.09 * 100.0));
        assert_eq!((cost.currency.as_str(), cost.energy), ("EUR", None), "what was not measured is not free");
        assert!(near(cost.total, cost.storage + cost.egress));
    }

    #[test]
    fn attempts_without_an_output_cost_what_they_used() {
        let tariff = Tariff {
            cpu_hour: 1.0,
            gpu_hour: 2.0,
            energy: EnergyTariff { kwh: 0.5, ..EnergyTariff::default() },
            storage_gb_month: 1.0,
            infrastructure_job: 5.0,
            ..Tariff::free(Currency::USD)
        };
        let report = JobReport {
            cpu_seconds: 2.0 * HOUR,
            wall_seconds: HOUR,
            gpu: Some(0),
            energy_joules: Some(Joules(KWH)),
            output_bytes: 1_000_000_000,
            ..JobReport::default()
        };
        let one = Spent::of(&report, Some(&tariff), Timestamp::default()).unwrap();
        assert!(near(one.cost.unwrap().total, 2.0 + 2.0 + 0.5), "nothing is kept, and the job carries its part once");
        let bare = JobReport { cpu_seconds: HOUR, ..JobReport::default() };
        let other = Spent::of(&bare, Some(&tariff), Timestamp::default()).unwrap();
        let both = one.and(&other);
        assert_eq!((both.attempts, both.cpu_seconds, both.energy_joules), (2, 3.0 * HOUR, Some(Joules(KWH))));
        assert!(near(both.cost.unwrap().total, 5.5) && near(both.cost.unwrap().energy.unwrap(), 0.5));
        assert_eq!(Spent::of(&JobReport::default(), Some(&tariff), Timestamp::default()), None);
        assert_eq!(Spent::of(&bare, None, Timestamp::default()).unwrap().cost, None);
        let huge = JobReport { cpu_seconds: f64::MAX, ..JobReport::default() };
        let huge = Spent::of(&huge, Some(&tariff), Timestamp::default()).unwrap();
        assert!(huge.and(&huge).cpu_seconds.is_finite());
        let euros = JobCost { currency: "EUR".parse().unwrap(), total: 1.0, cpu: 1.0, ..JobCost::default() };
        assert_eq!(both.cost.unwrap().and(euros), euros);
    }

    #[test]
    fn energy_is_paid_at_the_price_of_its_time() {
        let night = Period {
            name: "night".into(),
            days: Days::ALL,
            from: "22:00".parse().unwrap(),
            to: "06:00".parse().unwrap(),
            kwh: 0.05,
        };
        let energy = EnergyTariff { kwh: 0.25, zone: "+01:00".parse().unwrap(), periods: vec![night] };
        let tariff = Tariff { energy, ..Tariff::free(Currency::default()) };
        let cost = |hours: f64, ended: &str| {
            let report =
                JobReport { wall_seconds: hours * HOUR, energy_joules: Some(Joules(KWH)), ..JobReport::default() };
            tariff.cost(&report, at(ended)).energy.unwrap()
        };
        // 22:00 in this time zone is 21:00 UTC.
        assert!(near(cost(2.0, "2026-03-04T20:00:00Z"), 0.25));
        assert!(near(cost(2.0, "2026-03-05T02:00:00Z"), 0.05));
        assert!(near(cost(4.0, "2026-03-04T22:00:00Z"), 0.75 * 0.25 + 0.25 * 0.05));
        assert!(near(cost(24.0, "2026-03-05T09:17:00Z"), (16.0 * 0.25 + 8.0 * 0.05) / 24.0));
        assert!(near(cost(0.0, "2026-03-04T21:00:00Z"), 0.05), "an instant has its price too");
    }

    #[test]
    fn currencies_are_codes() {
        assert_eq!(serde_json::to_string(&"sek".parse::<Currency>().unwrap()).unwrap(), "\"SEK\"");
        for wrong in ["", "EU", "EURO", "E1R", "€"] {
            assert!(wrong.parse::<Currency>().is_err(), "{wrong}");
        }
    }
}
