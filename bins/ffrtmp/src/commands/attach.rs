//! `ffrtmp attach`: limits on a process that runs already.

use std::os::fd::AsFd as _;
use std::process::ExitCode;

use ffrtmp::core::Result;
use ffrtmp::governor::supervise::{self, ExitReason, Inbox, Progress, Report, Supervised};
use rustix::process::Signal;

use super::run::TIMED_OUT;
use crate::cli::supervise::Attach;
use crate::console::{self, Console};
use crate::stop::Done;

pub(super) fn run(command: &Attach, console: &Console, json: bool) -> ExitCode {
    let report = match work(command, json) {
        Ok(report) => report,
        Err(error) => return console::report(&super::in_flags(error), json),
    };
    let code = match report.exit_reason {
        ExitReason::Timeout => ExitCode::from(TIMED_OUT),
        _ => ExitCode::SUCCESS,
    };
    match show(&report, console, json) {
        Ok(()) => code,
        failed => console::exit(failed, json),
    }
}

fn work(command: &Attach, json: bool) -> Result<Report> {
    // First of all: a signal that comes before it would leave the process under its limits.
    let inbox = Inbox::open()?;
    let order = command.govern.order()?;
    let governor = supervise::governor();
    let supervised = supervise::attach(command.pid, &order, governor.as_ref())?;
    if !json {
        super::run::warn_of_watched(&supervised);
    }
    follow(supervised, &inbox)
}

fn follow(mut supervised: Supervised, inbox: &Inbox) -> Result<Report> {
    loop {
        if supervised.wait_until(None, Some(inbox.as_fd()))? == Progress::Ended {
            return supervised.report();
        }
        while let Some(letter) = inbox.next()? {
            // The others have no meaning here, and the process is not ours to send them to.
            if matches!(letter.signal, Signal::INT | Signal::TERM | Signal::HUP | Signal::QUIT) {
                return Ok(supervised.detach());
            }
        }
    }
}

fn show(report: &Report, console: &Console, json: bool) -> Done {
    if json { console.json(report) } else { console.line(report) }
}
