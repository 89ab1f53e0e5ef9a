//! Port 9504: what jobs cost, by scenario and tenant, and the prices in force.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ffrtmp_core::clock::Clock;
use ffrtmp_core::coordinator::Watcher;
use ffrtmp_core::cost::{JobCost, Spent, Tariff};
use ffrtmp_core::job::{Job, JobReport};
use prometheus::proto::{LabelPair, MetricFamily};

use super::qoe::encoded_pixels;
use super::results::{completed, scenario};
use super::rows::{Bounded, Column, families, label, one};
use super::{Exporter, MOST_VALUES};

/// What the jobs of a scenario cost.
#[derive(Default)]
struct Bill {
    jobs: u64,
    total: f64,
    pixels: f64,
    watch_hours: f64,
    /// The latest that completed, with all its attempts.
    latest: Option<JobCost>,
}

const SCENARIOS: &[Column<Bill>] = &[
    Column::counter("cost_scenario_total", "What attempts cost, all kinds", |it| Some(it.total)),
    Column::gauge("cost_total_load_aware", "What the latest job cost, all kinds", |it| Some(it.latest?.total)),
    Column::gauge("cost_compute_load_aware", "What the processors of the latest job cost", |it| {
        it.latest.map(|latest| latest.cpu + latest.gpu)
    }),
    Column::gauge("cost_energy_load_aware", "What the energy of the latest job cost", |it| it.latest?.energy),
    Column::gauge("cost_per_job", "All costs by completed jobs", |it| (it.jobs > 0).then(|| it.total / it.jobs as f64)),
    Column::gauge("cost_per_pixel", "All costs by all encoded pixels", |it| {
        (it.pixels > 0.0).then(|| it.total / it.pixels)
    }),
    Column::gauge("cost_per_watch_hour", "All costs by the hours for which outputs are watched", |it| {
        (it.watch_hours > 0.0).then(|| it.total / it.watch_hours)
    }),
];

const TENANTS: &[Column<f64>] =
    &[Column::counter("cost_tenant_total", "What attempts cost, all kinds", |it| Some(*it))];

const KINDS: &[Column<f64>] = &[Column::counter("cost_spent_total", "What attempts cost, by kind", |it| Some(*it))];

const ALL: &[Column<Counted>] = &[
    Column::counter("cost_jobs_total", "Completed jobs with a cost", |it| Some(it.jobs as f64)),
    Column::counter("cost_jobs_without_energy_total", "Of them, those without a figure of energy", |it| {
        Some(it.without_energy as f64)
    }),
    Column::counter("cost_wasted_total", "What attempts without an output cost, all kinds", |it| Some(it.wasted)),
];

const RATES: &[Column<f64>] = &[Column::gauge("cost_rate", "Prices in force, by what they are of", |it| Some(*it))];

const PERIODS: &[Column<f64>] =
    &[Column::gauge("cost_energy_period", "1 for the period of the energy tariff that is in force", |it| Some(*it))];

#[derive(Default)]
struct Counted {
    jobs: u64,
    without_energy: u64,
    wasted: f64,
}

struct Books {
    all: Counted,
    kinds: BTreeMap<&'static str, f64>,
    scenarios: Bounded<Bill>,
    tenants: Bounded<f64>,
}

/// Adds up what jobs cost.
pub(crate) struct Costs {
    tariff: Option<Tariff>,
    clock: Arc<dyn Clock>,
    books: Mutex<Books>,
}

impl Costs {
    pub(crate) fn new(tariff: Option<Tariff>, clock: Arc<dyn Clock>) -> Self {
        let kinds = JobCost::default().parts().map(|(kind, _)| (kind, 0.0)).into();
        let (scenarios, tenants) = (Bounded::new(MOST_VALUES), Bounded::new(MOST_VALUES));
        Self { tariff, clock, books: Mutex::new(Books { all: Counted::default(), kinds, scenarios, tenants }) }
    }
}

impl Books {
    fn completed(&mut self, job: &Job, report: &JobReport, cost: &JobCost, watches: f64) {
        self.all.jobs += 1;
        self.all.without_energy += u64::from(cost.energy.is_none());
        let bill = self.pay(job, cost);
        bill.jobs += 1;
        bill.pixels += encoded_pixels(report);
        bill.watch_hours += report.duration_seconds / 3600.0 * watches;
        bill.latest = job.cost();
    }

    /// Adds what an attempt cost; the bill of its scenario comes back.
    fn pay(&mut self, job: &Job, cost: &JobCost) -> &mut Bill {
        let now = Instant::now();
        for (kind, amount) in cost.parts() {
            *self.kinds.entry(kind).or_default() += amount;
        }
        *self.tenants.row(job.tenant.as_str(), now) += cost.total;
        let bill = self.scenarios.row(scenario(job), now);
        bill.total += cost.total;
        bill
    }
}

impl Watcher for Costs {
    fn claimed(&self, _: &[Job]) {}

    fn started(&self, _: &Job) {}

    fn ended(&self, job: &Job) {
        let Some(report) = completed(job) else { return };
        if let (Some(cost), Some(tariff)) = (&report.cost, &self.tariff) {
            self.books.lock().unwrap_or_else(PoisonError::into_inner).completed(job, report, cost, tariff.watches);
        }
    }

    fn spent(&self, job: &Job, spent: &Spent) {
        if let Some(cost) = &spent.cost {
            let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
            books.all.wasted += cost.total;
            books.pay(job, cost);
        }
    }
}

impl Exporter for Costs {
    fn families(&self) -> Vec<MetricFamily> {
        let up = |value| one("cost_exporter_up", "1 with rates, 0 without any", value);
        let Some(tariff) = &self.tariff else { return vec![up(0.0)] };
        let currency = || label("currency", tariff.currency.as_str());
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let kinds = books.kinds.iter().map(|(kind, amount)| (vec![label("kind", kind), currency()], amount));
        let rates = rates(tariff, tariff.energy.price_at(self.clock.now()));
        let rates = rates.iter().map(|(of, price)| (vec![label("resource", of), currency()], price));
        let periods = periods(tariff, &*self.clock);
        let mut told = vec![up(1.0)];
        told.extend(families(KINDS, kinds));
        told.extend(families(ALL, std::iter::once((vec![currency()], &books.all))));
        let tenants = books.tenants.labelled("tenant").map(|(labels, row)| in_currency(labels, currency(), row));
        told.extend(families(TENANTS, tenants));
        let scenarios = books.scenarios.labelled("scenario").map(|(labels, row)| in_currency(labels, currency(), row));
        told.extend(families(SCENARIOS, scenarios));
        told.extend(families(RATES, rates));
        told.extend(families(PERIODS, periods.iter().map(|(name, on)| (vec![label("period", name)], on))));
        told
    }
}

fn in_currency<R>(mut labels: Vec<LabelPair>, more: LabelPair, row: &R) -> (Vec<LabelPair>, &R) {
    labels.push(more);
    (labels, row)
}

fn rates(tariff: &Tariff, energy: f64) -> [(&'static str, f64); 6] {
    [
        ("cpu_hour", tariff.cpu_hour),
        ("gpu_hour", tariff.gpu_hour),
        ("energy_kwh", energy),
        ("storage_gb_month", tariff.storage_gb_month),
        ("egress_gb", tariff.egress_gb),
        ("infrastructure_job", tariff.infrastructure_job),
    ]
}

/// Every period by its name, and the time outside of all, with 1 for the one in force.
fn periods(tariff: &Tariff, clock: &dyn Clock) -> Vec<(String, f64)> {
    let now = tariff.energy.period_at(clock.now()).map(|period| period.name.as_str());
    let named = tariff.energy.periods.iter().map(|period| Some(period.name.as_str()));
    let on = |name: Option<&str>| (name.unwrap_or("base").to_owned(), f64::from(u8::from(name == now)));
    named.chain([None]).map(on).collect()
}
