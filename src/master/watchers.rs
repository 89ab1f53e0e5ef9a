//! Who is told what happens to jobs: the metrics, the spans of traced jobs, and the exporters that were
//! given a port.

use std::sync::Arc;

use ffrtmp_core::clock::Clock;
use ffrtmp_core::coordinator::Watcher;
use ffrtmp_core::cost::Spent;
use ffrtmp_core::job::{Attempt, Job};

use super::MasterOptions;
use super::diary::Diary;
use super::metrics::MasterMetrics;
use crate::exporters::cost::Costs;
use crate::exporters::port::Port;
use crate::exporters::predictions::Predictions;
use crate::exporters::qoe::Quality;
use crate::exporters::results::Results;
use crate::traces::SpanWatcher;

/// Several who are told, one after the other.
pub(super) struct Watchers(Vec<Arc<dyn Watcher>>);

/// Opens the ports of the exporters that are wanted; those that can be are told what happens.
pub(super) async fn open(
    options: &MasterOptions,
    metrics: &Arc<MasterMetrics>,
    clock: &Arc<dyn Clock>,
) -> (Watchers, Vec<Port>) {
    let mut told: Vec<Arc<dyn Watcher>> = vec![Arc::clone(metrics) as _, Arc::new(Diary)];
    let spans = options.spans.iter().map(|taker| SpanWatcher::new(Arc::clone(taker), Arc::clone(clock)));
    told.extend(spans.map(|spans| Arc::new(spans) as _));
    let mut ports = Vec::new();
    let addresses = options.exporters;
    if let Some(address) = addresses.results {
        let results = Arc::new(Results::default());
        if let Some(port) = Port::open(address, "results-port", Arc::clone(&results) as _).await {
            told.push(results);
            ports.push(port);
        }
    }
    if let Some(address) = addresses.qoe {
        let quality = Arc::new(Quality::default());
        if let Some(port) = Port::open(address, "qoe-port", Arc::clone(&quality) as _).await {
            told.push(quality);
            ports.push(port);
        }
    }
    if let Some(address) = addresses.cost {
        let costs = Arc::new(Costs::new(options.settings.tariff.clone(), Arc::clone(clock)));
        if let Some(port) = Port::open(address, "cost-port", Arc::clone(&costs) as _).await {
            told.push(costs);
            ports.push(port);
        }
    }
    if let Some(address) = addresses.predictions {
        ports.extend(Port::open(address, "predictions-port", Arc::new(Predictions)).await);
    }
    (Watchers(told), ports)
}

impl Watcher for Watchers {
    fn claimed(&self, jobs: &[Job]) {
        self.0.iter().for_each(|one| one.claimed(jobs));
    }

    fn started(&self, job: &Job) {
        self.0.iter().for_each(|one| one.started(job));
    }

    fn ended(&self, job: &Job) {
        self.0.iter().for_each(|one| one.ended(job));
    }

    fn submitted(&self, job: &Job) {
        self.0.iter().for_each(|one| one.submitted(job));
    }

    fn assigned(&self, job: &Job) {
        self.0.iter().for_each(|one| one.assigned(job));
    }

    fn attempt_ended(&self, job: &Job, attempt: &Attempt) {
        self.0.iter().for_each(|one| one.attempt_ended(job, attempt));
    }

    fn spent(&self, job: &Job, spent: &Spent) {
        self.0.iter().for_each(|one| one.spent(job, spent));
    }
}
