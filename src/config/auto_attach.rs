//! Flags about processes that ffrtmp did not start and that an agent governs nevertheless.

use std::time::Duration;

use clap::{ArgAction, Args};
use ffrtmp_core::error::Result;
use ffrtmp_core::governor::ProcessLimits;
use ffrtmp_governor::supervise;
use ffrtmp_governor::supervise::watch::{Event, Filters, Retries, Rule, Rules, WatchOptions};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::duration;
use crate::supervise::{Watch, WatchPlan};

/// Programs that are looked for.
const TARGETS: [&str; 2] = ["ffmpeg", "gst-launch-1.0"];
const MIB: u64 = 1 << 20;

/// Options of an agent that governs encoders which others started.
#[derive(Args, Clone, Debug)]
pub struct AutoAttachArgs {
    /// Govern encoders (ffmpeg, gst-launch-1.0) that others start on this machine
    #[arg(long, default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub enable_auto_attach: bool,
    /// Time between two looks for them
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub auto_attach_scan_interval: Duration,
    /// Processor for each, in percent of a core; unlimited by default
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub auto_attach_cpu_quota: Option<u32>,
    /// Memory for each, in MB; unlimited by default
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub auto_attach_memory_limit: Option<u64>,
}

impl AutoAttachArgs {
    /// Starts the watch, if one is wanted. It goes on until `stop`, and then lets go of everything.
    ///
    /// # Errors
    /// Those of [`Watch::new`].
    pub fn start(&self, stop: CancellationToken) -> Result<Option<JoinHandle<Result<()>>>> {
        Ok(self.watch()?.map(|watch| tokio::spawn(watch.run(stop, tell))))
    }

    fn watch(&self) -> Result<Option<Watch>> {
        if !self.enable_auto_attach {
            return Ok(None);
        }
        let limits = ProcessLimits {
            cpu_percent: self.auto_attach_cpu_quota,
            memory_bytes: self.auto_attach_memory_limit.map(|mb| mb.saturating_mul(MIB)),
            ..ProcessLimits::default()
        };
        let rule = |name: &str| Rule { name: name.into(), limits: limits.clone(), filters: Filters::default() };
        let options =
            WatchOptions { rules: Rules(TARGETS.map(rule).to_vec()), state: None, retries: Retries { most: 3 } };
        let plan = WatchPlan {
            options,
            scan_interval: self.auto_attach_scan_interval,
            flush_interval: self.auto_attach_scan_interval,
        };
        Watch::new(plan, supervise::governor()).map(Some)
    }
}

fn tell(event: Event) {
    match event {
        Event::Attached { .. } | Event::Ended { .. } | Event::Released { .. } => tracing::info!("auto-attach: {event}"),
        trouble => tracing::warn!("auto-attach: {trouble}"),
    }
}
