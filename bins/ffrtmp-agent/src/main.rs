//! `ffrtmp-agent`: parses flags, composes an agent, runs it until a signal; a second signal gives
//! running jobs back at once.

use std::process::ExitCode;

use clap::Parser;
use ffrtmp::config::AgentArgs;
use ffrtmp::{Code, Error, Result};

/// The ffrtmp agent: registers with a master, claims jobs, governs and runs them.
#[derive(Parser)]
#[command(name = "ffrtmp-agent", version)]
struct Cli {
    #[command(flatten)]
    args: AgentArgs,
}

fn main() -> ExitCode {
    let cli: Cli = match ffrtmp::program::flags("ffrtmp-agent") {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    if cli.args.in_process {
        // Before there is a second thread.
        ffrtmp::engines::libav::init();
    }
    let log = cli.args.log.of("agent", cli.args.name.as_deref().unwrap_or("agent"));
    ffrtmp::program::run("ffrtmp-agent", &log, agent(&cli.args))
}

async fn agent(args: &AgentArgs) -> Result<()> {
    args.check()?;
    let stop = ffrtmp::program::signals()?;
    let agent = args.compose().await?;
    tracing::info!(node = %agent.node_id(), master = args.master.join(","), work_dir = %agent.work_dir().display(), "ffrtmp-agent {} starts", env!("CARGO_PKG_VERSION"));
    let watch = args.auto_attach.start(stop.graceful.clone())?;
    let force = agent.force();
    tokio::spawn(async move {
        stop.forced.cancelled().await;
        force.cancel();
    });
    let worked = agent.run(stop.graceful.clone()).await;
    stop.graceful.cancel();
    if let Some(watch) = watch {
        let ended = watch.await.map_err(|error| Error::new(Code::Internal, "the watch broke off").source(error));
        ended??;
    }
    worked
}
