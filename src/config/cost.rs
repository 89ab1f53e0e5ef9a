//! Rates for the cost of jobs: a file, and flags for the commonest that win over it.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use ffrtmp_core::cost::{Currency, Days, EnergyTariff, MinuteOfDay, Period, Tariff, share_of_month};
use ffrtmp_core::error::{Code, Error, Result};

use super::contradiction;
use super::section::Section;

/// Rates of a master's jobs; without any, nothing is said of costs.
#[derive(Args, Clone, Debug, Default)]
pub struct CostArgs {
    /// File with rates for the cost of jobs, in YAML or JSON; see docs/cost.md
    #[arg(long, value_name = "FILE", env = "FFRTMP_COST_RATES")]
    pub cost_rates: Option<PathBuf>,
    /// Currency of the rates, its code of three letters
    #[arg(long, value_name = "CODE", env = "FFRTMP_COST_CURRENCY", value_parser = currency)]
    pub cost_currency: Option<Currency>,
    /// Price of an hour of one core at work
    #[arg(long, value_name = "PRICE", env = "FFRTMP_COST_CPU_HOUR", value_parser = price)]
    pub cost_cpu_hour: Option<f64>,
    /// Price of an hour of a graphics processor
    #[arg(long, value_name = "PRICE", env = "FFRTMP_COST_GPU_HOUR", value_parser = price)]
    pub cost_gpu_hour: Option<f64>,
    /// Price of a kilowatt-hour, outside of the periods of the file
    #[arg(long, value_name = "PRICE", env = "FFRTMP_COST_ENERGY_KWH", value_parser = price)]
    pub cost_energy_kwh: Option<f64>,
    /// Price of a gigabyte of output kept for a month
    #[arg(long, value_name = "PRICE", env = "FFRTMP_COST_STORAGE_GB_MONTH", value_parser = price)]
    pub cost_storage_gb_month: Option<f64>,
    /// Price of a gigabyte of output that leaves
    #[arg(long, value_name = "PRICE", env = "FFRTMP_COST_EGRESS_GB", value_parser = price)]
    pub cost_egress_gb: Option<f64>,
}

impl CostArgs {
    /// The rates; `None` if none was given.
    ///
    /// # Errors
    /// `invalid_config` naming the file and the key.
    pub(super) fn tariff(&self) -> Result<Option<Tariff>> {
        let file = self.cost_rates.as_deref().map(|path| read(Section::of_file_like(path, "docs/cost.md shows one")?));
        let prices = [
            self.cost_cpu_hour,
            self.cost_gpu_hour,
            self.cost_energy_kwh,
            self.cost_storage_gb_month,
            self.cost_egress_gb,
        ];
        let mut tariff = match (file.transpose()?, prices.iter().any(Option::is_some)) {
            (None, false) => return Ok(None),
            (file, _) => file.unwrap_or_else(|| Tariff::free(Currency::default())),
        };
        let places = [
            &mut tariff.cpu_hour,
            &mut tariff.gpu_hour,
            &mut tariff.energy.kwh,
            &mut tariff.storage_gb_month,
            &mut tariff.egress_gb,
        ];
        for (place, price) in places.into_iter().zip(prices) {
            *place = price.unwrap_or(*place);
        }
        tariff.currency = self.cost_currency.unwrap_or(tariff.currency);
        Ok(Some(tariff))
    }
}

fn read(mut file: Section) -> Result<Tariff> {
    let currency = parsed(&mut file, "currency")?.unwrap_or_default();
    let free = Tariff::free(currency);
    let tariff = Tariff {
        cpu_hour: amount(&mut file, "cpu_hour")?.unwrap_or_default(),
        gpu_hour: amount(&mut file, "gpu_hour")?.unwrap_or_default(),
        storage_gb_month: amount(&mut file, "storage_gb_month")?.unwrap_or_default(),
        storage_months: amount(&mut file, "storage_months")?.unwrap_or(free.storage_months),
        egress_gb: amount(&mut file, "egress_gb")?.unwrap_or_default(),
        watches: amount(&mut file, "watches")?.unwrap_or(free.watches),
        infrastructure_job: infrastructure(&mut file)?,
        energy: energy(&mut file)?,
        ..free
    };
    file.finish()?;
    Ok(tariff)
}

fn infrastructure(file: &mut Section) -> Result<f64> {
    let jobs: Option<u32> = file.number("jobs_month")?;
    match (amount(file, "infrastructure_month")?, jobs) {
        (None, _) => Ok(0.0),
        (Some(bill), Some(jobs)) if jobs > 0 => Ok(share_of_month(bill, jobs.into())),
        (Some(_), _) => Err(file.wrong("jobs_month", "give the number of jobs that share infrastructure_month")),
    }
}

fn energy(file: &mut Section) -> Result<EnergyTariff> {
    let kwh = amount(file, "energy_kwh")?.unwrap_or_default();
    let zone = parsed(file, "time_zone")?.unwrap_or_default();
    let mut periods = Vec::new();
    for (name, mut section) in file.sections("energy_periods")? {
        periods.push(period(name, &mut section)?);
        section.finish()?;
    }
    let tariff = EnergyTariff { kwh, zone, periods };
    if let Some((one, other)) = tariff.overlap() {
        let message = format!("the periods {} and {} are in force at the same time", one.name, other.name);
        let wrong = file.wrong("energy_periods", "let each end where the next begins, or give them other days");
        return Err(Error::new(Code::InvalidConfig, message)
            .field(wrong.field_name().unwrap_or_default().to_owned())
            .hint(wrong.hint_text()));
    }
    Ok(tariff)
}

fn period(name: String, section: &mut Section) -> Result<Period> {
    let time = |section: &mut Section, key| -> Result<MinuteOfDay> {
        parsed(section, key)?.ok_or_else(|| section.wrong(key, "give a time of the day in quotes, such as \"22:30\""))
    };
    let (from, to) = (time(section, "from")?, time(section, "to")?);
    let days = section.texts("days")?;
    let days = match days.is_empty() {
        true => Days::ALL,
        false => Days::of(&days).map_err(|error| section.wrong("days", error.hint_text()))?,
    };
    let kwh = amount(section, "energy_kwh")?;
    let kwh = kwh.ok_or_else(|| section.wrong("energy_kwh", "give the price of a kilowatt-hour in this period"))?;
    Ok(Period { name, days, from, to, kwh })
}

/// A price or an amount: 0 or more.
fn amount(section: &mut Section, key: &str) -> Result<Option<f64>> {
    let Some(text) = section.text(key)? else { return Ok(None) };
    price(&text).map(Some).map_err(|_| section.wrong(key, "give a number that is 0 or more, such as 0.12"))
}

fn parsed<T: FromStr<Err = Error>>(section: &mut Section, key: &str) -> Result<Option<T>> {
    let Some(text) = section.text(key)? else { return Ok(None) };
    text.parse().map(Some).map_err(|error: Error| section.wrong(key, error.hint_text()))
}

fn price(text: &str) -> std::result::Result<f64, String> {
    const MOST: f64 = 1e12;
    match text.trim().parse() {
        Ok(price) if (0.0..=MOST).contains(&price) => Ok(price),
        _ => Err(format!("{text:?} is not a price; give a number that is 0 or more, such as 0.12")),
    }
}

fn currency(text: &str) -> std::result::Result<Currency, String> {
    text.parse().map_err(|error: Error| format!("{error}; {}", error.hint_text()))
}

/// A cost without anybody to tell it is no mistake; an exporter without rates is worth a word.
pub(super) fn advise(tariff: Option<&Tariff>, exporter: bool) {
    if exporter && tariff.is_none() {
        let error = contradiction("cost-port", "there are no rates", "give --cost-rates FILE; docs/cost.md shows one");
        tracing::warn!(hint = error.hint_text(), "the exporter of --cost-port has nothing to tell: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: CostArgs,
    }

    fn read(text: &str, flags: &[&str]) -> Result<Option<Tariff>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rates.yaml");
        fs::write(&path, text).unwrap();
        let words = ["x", "--cost-rates", path.to_str().unwrap()];
        let Cli { args } = Cli::try_parse_from(words.iter().chain(flags)).unwrap();
        args.tariff()
    }

    /// The example of docs/cost.md, with a flag that wins.
    #[test]
    fn the_example_of_the_documentation_is_read() {
        let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cost.md")).unwrap();
        let example = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let tariff = read(example, &["--cost-cpu-hour", "0.05"]).unwrap().unwrap();
        assert_eq!((tariff.currency.as_str(), tariff.cpu_hour, tariff.gpu_hour), ("EUR", 0.05, 0.9));
        assert_eq!((tariff.infrastructure_job, tariff.storage_months, tariff.watches), (0.063, 12.0, 100.0));
        let price = |at: &str| tariff.energy.price_at(at.parse().unwrap());
        // The fifth of March 2026 is a Thursday; the zone is an hour ahead of UTC.
        let noon = ["2026-03-05T10:30:00Z", "2026-03-05T21:30:00Z", "2026-03-05T16:00:00Z", "2026-03-07T10:30:00Z"];
        assert_eq!(noon.map(price), [0.18, 0.21, 0.32, 0.32]);
        assert_eq!(Cli::try_parse_from(["x"]).unwrap().args.tariff().unwrap(), None);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_cure() {
        for (text, field, cure) in [
            ("cpu_hour: -1", "cpu_hour", "0 or more"),
            ("cpu_hour: cheap", "cpu_hour", "0 or more"),
            ("energy_kwh: 1e13", "energy_kwh", "0 or more"),
            ("cpu_hours: 1", "cpu_hours", "cpu_hour"),
            ("currency: dollars", "currency", "three letters"),
            ("time_zone: CET", "time_zone", "+01:00"),
            ("infrastructure_month: 630", "jobs_month", "number of jobs"),
            ("energy_periods: {night: {from: '22:00', to: '6:00', energy_kwh: 1}}", "energy_periods.night.to", "22:30"),
            ("energy_periods: {night: {from: '22:00', to: '06:00'}}", "energy_periods.night.energy_kwh", "price"),
            (
                "energy_periods: {n: {from: '22:00', to: '06:00', energy_kwh: 1, days: [noday]}}",
                "energy_periods.n.days",
                "mon",
            ),
            (
                "energy_periods: {n: {from: '22:00', to: '06:00', energy_kwh: 1}, \
                 m: {from: '05:00', to: '07:00', energy_kwh: 1}}",
                "energy_periods",
                "next begins",
            ),
            ("- 1", "rates.yaml", "docs/cost.md"),
        ] {
            let error = read(text, &[]).unwrap_err();
            assert_eq!(error.code(), Code::InvalidConfig, "{text}");
            assert!(error.field_name().is_some_and(|name| name.ends_with(field)), "{text}: {error:?}");
            assert!(error.hint_text().contains(cure), "{text}: {}", error.hint_text());
        }
    }
}
