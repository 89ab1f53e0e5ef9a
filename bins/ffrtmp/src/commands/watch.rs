//! `ffrtmp watch`: limits on processes as they are found.

use std::io::{self, Write as _};

use ffrtmp::config::WatchArgs;
use ffrtmp::core::{Code, Error, Result};
use ffrtmp::governor::supervise;
use ffrtmp::governor::supervise::watch::Event;
use ffrtmp::supervise::{Remote, Watch};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::console::{self, Console};
use crate::stop::Done;

pub(super) fn run(command: &WatchArgs, console: &Console) -> Done {
    console::show_warnings();
    let runtime = super::runtime(&mut Builder::new_current_thread())?;
    Ok(runtime.block_on(watch(command, console))?)
}

async fn watch(command: &WatchArgs, console: &Console) -> Result<()> {
    let stop = CancellationToken::new();
    let mut ends = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::quit()]
        .map(signal)
        .into_iter()
        .collect::<io::Result<Vec<_>>>()
        .map_err(unwatched)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(unwatched)?;
    let watch = Watch::new(command.plan()?, supervise::governor())?;
    let mut remote = watch.remote()?;
    let json = console.is_json();
    console.note("watching; SIGHUP reads the configuration again, SIGTERM lets every process go");
    let mut running = std::pin::pin!(watch.run(stop.clone(), move |event| tell(&event, json)));
    loop {
        let ended = futures::future::select_all(ends.iter_mut().map(|end| Box::pin(end.recv())));
        tokio::select! {
            done = &mut running => return done,
            _ = ended => stop.cancel(),
            _ = hangup.recv() => reload(command, &mut remote, json),
        }
    }
}

/// Reads flags and file again; a file that is wrong now changes nothing.
fn reload(command: &WatchArgs, remote: &mut Remote, json: bool) {
    match command.plan() {
        Ok(plan) => remote.reload(plan.options.rules),
        Err(error) => tell(&Event::Refused { reason: format!("{error}; {}", error.hint_text()) }, json),
    }
}

/// Events are the result of this command. A reader that went away is no reason to let processes go.
fn tell(event: &Event, json: bool) {
    let line = if json { serde_json::to_string(event).unwrap_or_default() } else { event.to_string() };
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn unwatched(error: io::Error) -> Error {
    Error::new(Code::Internal, "signals cannot be watched").source(error)
}
