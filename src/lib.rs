//! Distributed video transcoding as a library.
//!
//! One file to another, in this process:
//!
//! ```no_run
//! # fn main() -> ffrtmp::Result<()> {
//! let report = ffrtmp::Transcode::new("in.mov", "out.mp4").scenario("720p30-h264".parse()?).run()?;
//! println!("{} frames in {:.1} s", report.frames, report.wall_seconds);
//! # Ok(())
//! # }
//! ```
//!
//! A whole cluster in one process, for services that embed it (`examples/embedded_cluster.rs`):
//! compose a [`Master`] from a [`store`] and an [`Agent`] from a [`transport`], [`engines`] and a
//! [`governor`]. Every part is a trait of [`core`]; bring your own where ours does not fit.
//!
//! # Features
//! - `otlp`: traces of jobs for a collector of OpenTelemetry ([`traces`]).
//! - `cli`: the typed flags of the programs ([`config`]) and their logging.
//! - `gstreamer`: live sessions: frames or samples in, encoded samples out, while they come.
#![forbid(unsafe_code)]

pub mod agent;
pub mod clock;
#[cfg(feature = "cli")]
pub mod config;
mod exporters;
#[cfg(feature = "gstreamer")]
pub mod live;
#[cfg(feature = "cli")]
pub mod logging;
pub mod master;
#[cfg(feature = "cli")]
pub mod program;
pub mod supervise;
pub mod traces;
mod transcode;

pub use agent::{Agent, AgentOptions};
pub use ffrtmp_core as core;
pub use ffrtmp_core::encoding;
pub use ffrtmp_core::error::{Code, Disposition, Error, Result};
pub use ffrtmp_engines as engines;
pub use ffrtmp_governor as governor;
pub use ffrtmp_store as store;
pub use ffrtmp_transport as transport;
pub use master::{Master, MasterOptions};
pub use transcode::Transcode;

/// What most programs need.
pub mod prelude {
    pub use crate::{Agent, AgentOptions, Code, Disposition, Error, Master, MasterOptions, Result, Transcode};
    pub use ffrtmp_core::engine::{Control, Engine, Observer, Progress};
    pub use ffrtmp_core::governor::ResourceGovernor;
    pub use ffrtmp_core::job::{Job, JobReport, JobRequest, JobState, Parameters};
    pub use ffrtmp_core::scenario::Scenario;
    pub use ffrtmp_core::scheduler::Scheduler;
    pub use ffrtmp_core::store::Store;
    pub use ffrtmp_core::transport::Transport;
    pub use tokio_util::sync::CancellationToken;
}

use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::Arc;

use ffrtmp_core::engine::Engine;
use ffrtmp_core::job::EngineName;
use tokio::net::TcpListener;

/// The engine that runs attempts on this machine: libav in children of its own where
/// `ffrtmp-runner` is installed, so that a hostile file ends one attempt and nothing else.
///
/// # Errors
/// `invalid_config` if attempts shall be isolated and the runner is missing.
pub fn engines_here(in_process: bool) -> Result<Arc<dyn Engine>> {
    if in_process {
        return Ok(Arc::new(ffrtmp_engines::LibavEngine::new()?));
    }
    isolated_here(Vec::new())
}

/// The same in children, with arguments for `ffrtmp-runner`, such as `--sandbox require`.
///
/// # Errors
/// `invalid_config` if the runner is missing.
pub fn isolated_here(arguments: Vec<OsString>) -> Result<Arc<dyn Engine>> {
    let runner = ffrtmp_engines::isolated::runner_beside_current_exe().ok_or_else(|| {
        Error::new(Code::InvalidConfig, "ffrtmp-runner is not installed beside this program")
            .hint("install it there, name it with FFRTMP_RUNNER, or run attempts in this process with --in-process")
    })?;
    Ok(Arc::new(ffrtmp_engines::IsolatedEngine::new(runner, arguments)))
}

/// Every engine that is installed here, in children: libav, and GStreamer where its runner is beside
/// this program and works.
///
/// # Errors
/// As [`isolated_here`].
pub fn isolated_engines_here(arguments: &[OsString]) -> Result<Vec<Arc<dyn Engine>>> {
    let mut engines = vec![isolated_here(arguments.to_vec())?];
    if let Some(runner) = ffrtmp_engines::isolated::live_runner_beside_current_exe() {
        let live = ffrtmp_engines::IsolatedEngine::named(runner, arguments.to_vec(), EngineName::Gstreamer);
        // Asked once, it also starts its server: the first live job does not wait for that.
        match live.capabilities().video_encoders.is_empty() {
            true => tracing::warn!(
                "the engine gstreamer is installed and does not work; `ffrtmp doctor` says what is missing"
            ),
            false => engines.push(Arc::new(live)),
        }
    }
    Ok(engines)
}

/// Opens a port; `flag` names it in errors.
async fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener> {
    let opened = ffrtmp_transport::http::server::bind_to(address).await;
    opened.map_err(|error| {
        Error::new(error.code(), error.message())
            .field(format!("--{flag}"))
            .hint(format!("choose another port with --{flag}"))
    })
}
