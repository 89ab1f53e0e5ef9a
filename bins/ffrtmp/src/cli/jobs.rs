//! Flags of `ffrtmp jobs`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ffrtmp::core::clock::Timestamp;
use ffrtmp::core::id::{JobKey, TenantId};
use ffrtmp::core::job::{Classification, EngineChoice, JobState, Priority, Queue, ResourceLimits};
use ffrtmp::core::scenario::Scenario;

use super::live::Live;
use super::values::{Named, label, moment, parse, positive, whole_seconds};
use super::wishes::Wishes;

#[derive(Debug, Subcommand)]
pub(crate) enum Jobs {
    /// Submit one job, or many from a file
    Submit(Box<Submit>),
    /// Show a job, or all of them without an id
    Status(Status),
    /// List jobs
    List(Filter),
    /// Cancel a job
    Cancel(One),
    /// Hold a job: a running one is frozen where it is
    Pause(One),
    /// Let a held job go on
    Resume(One),
    /// Run a failed or canceled job again
    Retry(One),
    /// Show the log of a job
    Logs(Logs),
    /// Show how the state of a job changed
    Events(One),
}

/// A job by id, unique prefix of it, or sequence number.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// Id of the job, a unique prefix of it, or its sequence number
    #[arg(value_name = "ID", value_parser = parse::<JobKey>)]
    pub(crate) id: JobKey,
}

#[derive(Debug, Args)]
pub(crate) struct Submit {
    /// What to make, such as 720p30-h264 (`ffrtmp scenarios` shows the grammar)
    #[arg(long, required_unless_present = "file", value_parser = parse::<Scenario>, allow_hyphen_values = true)]
    pub(crate) scenario: Option<Scenario>,
    /// Path or URI of the source; without one a test picture is generated
    #[arg(long, value_name = "URI")]
    pub(crate) input: Option<String>,
    /// Path or URI of the result; without one the agent keeps it
    #[arg(long, value_name = "URI")]
    pub(crate) out: Option<String>,
    #[command(flatten)]
    pub(crate) wishes: Wishes,
    #[command(flatten)]
    pub(crate) live: Live,
    /// Kept for older clients: auto, high, medium or low
    #[arg(long, value_name = "WORD")]
    pub(crate) confidence: Option<String>,
    /// Engine that runs it
    #[arg(long, value_parser = Named::of(EngineChoice::ALL, EngineChoice::as_str))]
    pub(crate) engine: Option<EngineChoice>,
    /// Queue
    #[arg(long, value_parser = Named::of(Queue::ALL, Queue::as_str))]
    pub(crate) queue: Option<Queue>,
    /// Order of urgency
    #[arg(long, value_parser = Named::of(Priority::ALL, Priority::as_str))]
    pub(crate) priority: Option<Priority>,
    /// Whose job it is, for fair shares and --tenant-limit of the master
    #[arg(long, value_name = "NAME", value_parser = parse::<TenantId>)]
    pub(crate) tenant: Option<TenantId>,
    /// What the job is for; only production counts for service levels
    #[arg(long, value_parser = Named::of(Classification::ALL, Classification::as_str))]
    pub(crate) classification: Option<Classification>,
    /// Percent of one core: 200 is two cores
    #[arg(long, value_name = "PERCENT", value_parser = positive::<u32>, allow_negative_numbers = true)]
    pub(crate) cpu_limit: Option<u32>,
    /// Memory in MB
    #[arg(long, value_name = "MB", value_parser = positive::<u64>, allow_negative_numbers = true)]
    pub(crate) memory_limit: Option<u64>,
    /// Disk in MB
    #[arg(long, value_name = "MB", value_parser = positive::<u64>, allow_negative_numbers = true)]
    pub(crate) disk_limit: Option<u64>,
    /// Time limit in seconds, or with a unit: 90s, 15m, 2h
    #[arg(long, value_name = "SECONDS", value_parser = whole_seconds, allow_negative_numbers = true)]
    pub(crate) timeout: Option<u64>,
    /// Retries after transient failures
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) max_retries: Option<u32>,
    /// When the result is wanted, for the scheduler `deadline`: RFC 3339, or a time from now (+90s, +15m, +2h, +3d)
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    pub(crate) deadline: Option<Timestamp>,
    /// Job that must complete first (repeatable)
    #[arg(long, value_name = "ID", value_parser = parse::<JobKey>)]
    pub(crate) depends_on: Vec<JobKey>,
    /// Label to filter by (repeatable)
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// Name of this request: sending it twice makes one job
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Submit the jobs of a JSON file: one object, an array, or {"jobs": […]}; `-` reads stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scenario", "input", "out", "idempotency_key"])]
    pub(crate) file: Option<PathBuf>,
    /// Wait until the jobs have ended; the exit code tells how
    #[arg(long)]
    pub(crate) wait: bool,
    /// Show what the scenario resolves to and submit nothing
    #[arg(long, conflicts_with = "wait")]
    pub(crate) dry_run: bool,
}

impl Submit {
    /// The limits that were asked for.
    pub(crate) fn limits(&self) -> ResourceLimits {
        ResourceLimits {
            max_cpu_percent: self.cpu_limit,
            max_memory_mb: self.memory_limit,
            max_disk_mb: self.disk_limit,
            timeout_sec: self.timeout,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Id of the job, a unique prefix of it, or its sequence number; without one all jobs are listed
    #[arg(value_name = "ID", value_parser = parse::<JobKey>)]
    pub(crate) id: Option<JobKey>,
    /// Show live progress until the job has ended
    #[arg(long, short, requires = "id")]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) filter: Filter,
}

/// Which jobs to list.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct Filter {
    /// In this state
    #[arg(long, value_parser = Named::of(JobState::ALL, JobState::as_str))]
    pub(crate) state: Option<JobState>,
    /// In this queue
    #[arg(long, value_parser = Named::of(Queue::ALL, Queue::as_str))]
    pub(crate) queue: Option<Queue>,
    /// With this priority
    #[arg(long, value_parser = Named::of(Priority::ALL, Priority::as_str))]
    pub(crate) priority: Option<Priority>,
    /// Of this tenant
    #[arg(long, value_name = "NAME", value_parser = parse::<TenantId>)]
    pub(crate) tenant: Option<TenantId>,
    /// On this node (id)
    #[arg(long, value_name = "ID")]
    pub(crate) node: Option<String>,
    /// With this scenario, as it was given
    #[arg(long)]
    pub(crate) scenario: Option<String>,
    /// With this label
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Option<String>,
    /// Submitted after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub(crate) created_after: Option<String>,
    /// Submitted before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub(crate) created_before: Option<String>,
    /// Jobs per page, 1 to 500
    #[arg(long, value_name = "N", value_parser = positive::<u32>, default_value = "50", allow_negative_numbers = true)]
    pub(crate) limit: u32,
    /// Go on where the page before ended: the cursor that it printed
    #[arg(long)]
    pub(crate) cursor: Option<String>,
    /// All pages
    #[arg(long, conflicts_with = "cursor")]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) job: One,
    /// Print new lines until the job has ended
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Lines of this attempt only, counted from 1
    #[arg(long, value_name = "N", value_parser = positive::<u32>, allow_negative_numbers = true)]
    pub(crate) attempt: Option<u32>,
}
