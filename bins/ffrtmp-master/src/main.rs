//! `ffrtmp-master`: parses flags, composes a master, runs it until a signal; or moves or copies a
//! database.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ffrtmp::Result;
use ffrtmp::config::{BackupArgs, MasterArgs, MigrateArgs};
use mimalloc::MiMalloc;

/// Jobs are made on one thread and freed on another.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The ffrtmp master: API, scheduler, lease reaper, metrics.
#[derive(Parser)]
#[command(name = "ffrtmp-master", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    args: MasterArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Move a database to another one, and compare them
    Migrate(MigrateArgs),
    /// Copy a SQLite file, also while a master uses it
    Backup(BackupArgs),
}

fn main() -> ExitCode {
    let cli: Cli = match ffrtmp::program::flags("ffrtmp-master") {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let work = async {
        match &cli.command {
            None => master(&cli.args).await,
            Some(Command::Migrate(args)) => args.run().await.map(|_| ()),
            Some(Command::Backup(args)) => args.run().await,
        }
    };
    ffrtmp::program::run("ffrtmp-master", &cli.args.log.of("master", "master"), work)
}

async fn master(args: &MasterArgs) -> Result<()> {
    if args.generate_cert {
        args.write_certificate()?;
        tracing::info!(cert = %args.cert.display(), key = %args.key.display(), "wrote a self-signed certificate");
        return Ok(());
    }
    let stop = ffrtmp::program::signals()?;
    let master = tokio::select! {
        composed = args.compose() => composed?,
        // A database that is away is waited for.
        () = stop.graceful.cancelled() => return Ok(()),
    };
    tracing::info!(
        url = master.url(),
        db = args.database.describe(),
        "ffrtmp-master {} is ready",
        env!("CARGO_PKG_VERSION")
    );
    master.run(stop.graceful).await
}
