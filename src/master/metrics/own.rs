//! The master itself: claims it answered, HTTP, its store, its scrapes.

use std::time::{Duration, Instant};

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::coordinator::Reaped;
use ffrtmp_core::error::Code;
use prometheus::{Gauge, HistogramVec, IntCounter, IntCounterVec, Result};

use crate::exporters::table::{SHORT, Table};

pub(in crate::master) struct OwnMetrics {
    started: Instant,
    schedule_attempts: IntCounterVec,
    pub(in crate::master) calls: Calls,
    purged: IntCounter,
    reaper_errors: IntCounter,
    http_requests: IntCounterVec,
    http_bytes: IntCounterVec,
    uptime: Gauge,
    leads: Gauge,
    scrape_errors: IntCounter,
    scrape_seconds: Gauge,
}

/// Calls of the store.
#[derive(Clone)]
pub(in crate::master) struct Calls {
    seconds: HistogramVec,
    errors: IntCounterVec,
}

impl Calls {
    fn new(table: &Table) -> Result<Self> {
        let operations = crate::master::timed::OPERATIONS;
        Ok(Self {
            seconds: table.histograms_of(
                "ffrtmp_store_seconds",
                "Time of a call of the store, seconds",
                SHORT,
                "operation",
                operations,
            )?,
            errors: table.counts_of(
                "ffrtmp_store_errors_total",
                "Calls that failed because the store did",
                "operation",
                operations,
            )?,
        })
    }

    /// A call was answered; an error may be what was asked for, such as a job that does not exist.
    pub(in crate::master) fn answered(&self, operation: &str, took: Duration, error: Option<Code>) {
        self.seconds.with_label_values(&[operation]).observe(took.as_secs_f64());
        if matches!(error, Some(Code::Storage | Code::Unavailable | Code::Network | Code::Internal)) {
            self.errors.with_label_values(&[operation]).inc();
        }
    }
}

impl OwnMetrics {
    pub(super) fn new(table: &Table) -> Result<Self> {
        let build = table.gauges("ffrtmp_build_info", "The version, 1", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        Ok(Self {
            started: Instant::now(),
            schedule_attempts: table.counts_of(
                "ffrtmp_schedule_attempts_total",
                "Claims answered, by result",
                "result",
                &["assigned", "empty"],
            )?,
            calls: Calls::new(table)?,
            purged: table.count("ffrtmp_jobs_purged_total", "Ended jobs removed by age")?,
            reaper_errors: table.count("ffrtmp_reaper_errors_total", "Rounds of the reaper that failed")?,
            http_requests: table.counts(
                "scheduler_http_requests_total",
                "HTTP requests, by method, route pattern and status",
                &["method", "endpoint", "status"],
            )?,
            http_bytes: table.counts_of(
                "scheduler_http_bandwidth_bytes_total",
                "Bytes of HTTP bodies, by direction",
                "direction",
                &["in", "out"],
            )?,
            uptime: table.gauge("ffrtmp_master_uptime_seconds", "Time since the master started, seconds")?,
            leads: table.gauge("ffrtmp_master_leads", "1 on the one of several masters that reaps, else 0")?,
            scrape_errors: table.count("ffrtmp_master_scrape_errors_total", "Scrapes that could not read the store")?,
            scrape_seconds: table
                .gauge("ffrtmp_master_scrape_seconds", "How long the scrape before this one took to gather, seconds")?,
        })
    }

    pub(super) fn claimed(&self, jobs: usize) {
        let result = if jobs == 0 { "empty" } else { "assigned" };
        self.schedule_attempts.with_label_values(&[result]).inc();
    }

    /// One answered HTTP request; `endpoint` is the route's pattern.
    pub(in crate::master) fn http(&self, method: &str, endpoint: &str, status: u16, bytes_in: u64, bytes_out: u64) {
        self.http_requests.with_label_values(&[method, endpoint, &status.to_string()]).inc();
        self.http_bytes.with_label_values(&["in"]).inc_by(bytes_in);
        self.http_bytes.with_label_values(&["out"]).inc_by(bytes_out);
    }

    /// One round of the reaper.
    pub(super) fn reaped(&self, reaped: &ffrtmp_core::error::Result<Reaped>) {
        match reaped {
            Ok(reaped) => self.purged.inc_by(reaped.purged),
            Err(_) => self.reaper_errors.inc(),
        }
    }

    /// The certificate of the API ends then.
    pub(in crate::master) fn certificate(table: &Table, ends: Timestamp) -> Result<()> {
        let gauge = table.gauge(
            "ffrtmp_certificate_expiry_timestamp_seconds",
            "Unix time at which the certificate of the API ends, seconds",
        )?;
        gauge.set(ends.as_micros() as f64 / 1e6);
        Ok(())
    }

    pub(super) fn read(&self, leads: bool) {
        self.uptime.set(self.started.elapsed().as_secs_f64());
        self.leads.set(if leads { 1.0 } else { 0.0 });
    }

    pub(super) fn scrape_failed(&self) {
        self.scrape_errors.inc();
    }

    pub(super) fn scraped(&self, took: Duration) {
        self.scrape_seconds.set(took.as_secs_f64());
    }
}
