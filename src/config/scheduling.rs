//! In which order jobs run, and how many at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ffrtmp_core::coordinator::Unrunnable;
use ffrtmp_core::error::Error;
use ffrtmp_core::id::TenantId;
use ffrtmp_core::job::Queue;
use ffrtmp_core::policy::deadline::EarliestDeadline;
use ffrtmp_core::policy::fair_share::FairShare;
use ffrtmp_core::policy::fifo::PriorityFifo;
use ffrtmp_core::scheduler::Scheduler;
use ffrtmp_core::store::Caps;

use super::duration;

/// Options of the scheduler.
#[derive(Args, Clone, Debug)]
pub struct SchedulingArgs {
    /// Order of the jobs
    #[arg(long, default_value = "priority-fifo", env = "FFRTMP_SCHEDULER")]
    pub scheduler: Policy,
    /// How long a job waits to make up for one level of priority, with priority-fifo
    #[arg(long, default_value = "10m", value_parser = duration, env = "FFRTMP_AGING_STEP")]
    pub aging_step: Duration,
    /// Jobs of a queue that nodes hold at once, such as live=4 (repeatable)
    #[arg(long, value_name = "QUEUE=N", value_parser = queue_limit, value_delimiter = ',', env = "FFRTMP_QUEUE_LIMIT")]
    pub queue_limit: Vec<(Queue, u32)>,
    /// Jobs of each tenant that nodes hold at once; TENANT=N for one of them (repeatable)
    #[arg(long, value_name = "[TENANT=]N", value_parser = tenant_limit, value_delimiter = ',', env = "FFRTMP_TENANT_LIMIT")]
    pub tenant_limit: Vec<TenantLimit>,
    /// What happens to jobs that no known node can run: wait or reject
    #[arg(long, default_value = "wait", value_parser = unrunnable, env = "FFRTMP_UNRUNNABLE")]
    pub unrunnable: Unrunnable,
}

/// An order of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Policy {
    /// Most urgent first, then oldest first; waiting lifts a job.
    PriorityFifo,
    /// Tenants and queues take turns.
    FairShare,
    /// The earliest deadline first.
    Deadline,
}

/// A bound for one tenant, or for every other one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantLimit {
    tenant: Option<TenantId>,
    jobs: u32,
}

impl SchedulingArgs {
    pub(super) fn scheduler(&self) -> Arc<dyn Scheduler> {
        match self.scheduler {
            Policy::PriorityFifo => Arc::new(PriorityFifo { aging_step: self.aging_step }),
            Policy::FairShare => Arc::new(FairShare::default()),
            Policy::Deadline => Arc::new(EarliestDeadline::default()),
        }
    }

    pub(super) fn caps(&self) -> Caps {
        let named = |limit: &TenantLimit| Some((limit.tenant.clone()?, limit.jobs));
        Caps {
            queues: self.queue_limit.iter().copied().collect(),
            tenant: self.tenant_limit.iter().rev().find(|limit| limit.tenant.is_none()).map(|limit| limit.jobs),
            tenants: self.tenant_limit.iter().filter_map(named).collect::<BTreeMap<_, _>>(),
        }
    }
}

fn unrunnable(text: &str) -> Result<Unrunnable, String> {
    text.parse().map_err(in_words)
}

fn queue_limit(text: &str) -> Result<(Queue, u32), String> {
    let (queue, jobs) = text.split_once('=').ok_or_else(|| "not QUEUE=N, such as live=4".to_owned())?;
    Ok((queue.trim().parse().map_err(in_words)?, number_of_jobs(jobs)?))
}

fn tenant_limit(text: &str) -> Result<TenantLimit, String> {
    match text.rsplit_once('=') {
        None => Ok(TenantLimit { tenant: None, jobs: number_of_jobs(text)? }),
        Some((tenant, jobs)) => {
            Ok(TenantLimit { tenant: Some(tenant.trim().parse().map_err(in_words)?), jobs: number_of_jobs(jobs)? })
        }
    }
}

fn number_of_jobs(text: &str) -> Result<u32, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is not a number of jobs"))
}

fn in_words(error: Error) -> String {
    format!("{error}; {}", error.hint_text())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: SchedulingArgs,
    }

    #[test]
    fn limits_are_read_as_they_are_written() {
        let flags = "x --queue-limit live=4,batch=0 --tenant-limit 10 --tenant-limit acme=2 --aging-step 90s";
        let Ok(Cli { args }) = Cli::try_parse_from(flags.split(' ')) else { panic!("{flags}") };
        let caps = args.caps();
        assert_eq!(caps.queues, BTreeMap::from([(Queue::Live, 4), (Queue::Batch, 0)]));
        assert_eq!((caps.tenant, caps.of_tenant(&"acme".parse().unwrap())), (Some(10), Some(2)));
        assert_eq!(args.aging_step, Duration::from_secs(90));
        for wrong in ["live", "live=", "fast=4", "live=-1", "=4"] {
            assert!(queue_limit(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "acme=", "=4", "x"] {
            assert!(tenant_limit(wrong).is_err(), "{wrong}");
        }
    }
}
