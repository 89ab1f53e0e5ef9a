//! The metrics of a master, by the names of `docs/metrics.md`.
//!
//! | file | subject |
//! |---|---|
//! | `jobs` | jobs, queues, tenants, service level |
//! | `attempts` | attempts and what they measured |
//! | `nodes` | nodes |
//! | `own` | the master itself: claims, its store, HTTP |
//!
//! Counters grow with what happens; gauges are read from the store when somebody looks, and never
//! from the history.

mod attempts;
mod jobs;
mod nodes;
mod own;

use std::time::Instant;

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::coordinator::{Coordinator, Reaped, Watcher};
use ffrtmp_core::cost::Spent;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::job::{Attempt, Job};
use prometheus::proto::MetricFamily;

use crate::exporters::port::CONTENT_TYPE;
use crate::exporters::table::Table;
use crate::exporters::{openmetrics, text};
use attempts::AttemptMetrics;
use jobs::JobMetrics;
use nodes::NodeMetrics;
use own::OwnMetrics;

pub(super) use own::Calls;

/// Everything that port 9090 serves.
pub(super) struct MasterMetrics {
    table: Table,
    jobs: JobMetrics,
    attempts: AttemptMetrics,
    nodes: NodeMetrics,
    pub(super) own: OwnMetrics,
}

impl MasterMetrics {
    pub(super) fn new() -> Result<Self> {
        Self::build().map_err(|error| Error::new(Code::Internal, "cannot set up metrics").source(error))
    }

    fn build() -> prometheus::Result<Self> {
        let table = Table::default();
        Ok(Self {
            jobs: JobMetrics::new(&table)?,
            attempts: AttemptMetrics::new(&table)?,
            nodes: NodeMetrics::new(&table)?,
            own: OwnMetrics::new(&table)?,
            table,
        })
    }

    /// The certificate of the API ends then.
    pub(super) fn certificate(&self, ends: Timestamp) {
        if let Err(error) = OwnMetrics::certificate(&self.table, ends) {
            tracing::error!(%error, "the end of the certificate is not told");
        }
    }

    /// One round of the reaper.
    pub(super) fn reaped(&self, reaped: &Result<Reaped>) {
        self.own.reaped(reaped);
        self.nodes.lost(reaped.as_ref().map_or(0, |reaped| reaped.nodes_lost));
    }

    /// Everything, with the gauges read now, in the format that `accept` wants, and how that is called.
    pub(super) async fn text(&self, coordinator: &Coordinator, accept: &str) -> (&'static str, String) {
        let begun = Instant::now();
        let mut told = match self.read(coordinator).await {
            Ok(told) => told,
            Err(error) => {
                self.own.scrape_failed();
                tracing::warn!(%error, "metrics show old numbers");
                Vec::new()
            }
        };
        told.extend(self.table.gather());
        told.extend(self.jobs.families());
        told.sort_by(|one, other| one.name().cmp(other.name()));
        let answer = match openmetrics::is_wanted(accept) {
            true => (openmetrics::CONTENT_TYPE, openmetrics::text(&told, &self.table.exemplars().all())),
            false => (CONTENT_TYPE, text(&told)),
        };
        self.own.scraped(begun.elapsed());
        answer
    }

    /// Reads the gauges; the families of nodes and tenants come back.
    async fn read(&self, coordinator: &Coordinator) -> Result<Vec<MetricFamily>> {
        let counts = coordinator.counts().await?;
        let backlog = coordinator.backlog(&counts).await?;
        self.jobs.read(&counts, &backlog);
        self.own.read(coordinator.is_leading());
        let mut told = jobs::tenants(&backlog);
        told.extend(self.nodes.read(&backlog.nodes, coordinator.now()));
        Ok(told)
    }
}

impl Watcher for MasterMetrics {
    fn claimed(&self, jobs: &[Job]) {
        self.own.claimed(jobs.len());
    }

    fn started(&self, job: &Job) {
        self.jobs.started(job);
    }

    fn ended(&self, job: &Job) {
        self.jobs.ended(job);
    }

    fn submitted(&self, job: &Job) {
        self.jobs.submitted(job);
    }

    fn assigned(&self, job: &Job) {
        self.attempts.assigned(job);
    }

    fn attempt_ended(&self, job: &Job, attempt: &Attempt) {
        self.attempts.ended(job, attempt);
    }

    fn spent(&self, _: &Job, spent: &Spent) {
        self.attempts.spent(spent);
    }
}
