//! `ffrtmp-master`: parses flags, composes a master, runs it until a signal.

use std::process::ExitCode;

use clap::Parser;
use ffrtmp::Result;
use ffrtmp::config::MasterArgs;

/// The ffrtmp master: API, scheduler, lease reaper, metrics.
#[derive(Parser)]
#[command(name = "ffrtmp-master", version)]
struct Cli {
    #[command(flatten)]
    args: MasterArgs,
}

fn main() -> ExitCode {
    let cli: Cli = match ffrtmp::program::flags("ffrtmp-master") {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    ffrtmp::program::run("ffrtmp-master", &cli.args.log_level, &cli.args.log_format, master(&cli.args))
}

async fn master(args: &MasterArgs) -> Result<()> {
    if args.generate_cert {
        args.write_certificate()?;
        tracing::info!(cert = %args.cert.display(), key = %args.key.display(), "wrote a self-signed certificate");
        return Ok(());
    }
    let stop = ffrtmp::program::signals()?;
    let master = args.compose().await?;
    tracing::info!(url = master.url(), db = args.database.describe(), "ffrtmp-master {} is ready", env!("CARGO_PKG_VERSION"));
    master.run(stop.graceful).await
}
