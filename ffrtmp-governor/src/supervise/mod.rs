//! Governance of processes that ffrtmp did not start, and of programs that it starts for others:
//! limits, a watchful eye, a report, and no ownership. What is supervised lives on when the
//! supervisor dies.
//!
//! | file | subject |
//! |---|---|
//! | `launch` | [`Workload`]: a program whose limits are in force before it begins |
//! | `attach` | [`attach()`]: a process that runs already |
//! | `supervised` | [`Supervised`]: waiting, time limits, signals, the end |
//! | `watch` | [`watch::Watcher`]: finding processes by rules, over and over |
//! | `hold`, `priority`, `home`, `note` | limits on a family of processes, and their way back |
//! | `governor` | [`governor()`]: what limits such processes on this machine |
//! | `report` | [`Report`]: what it did and why it ended |
//! | `wishes` | limits as people write them |
//! | `inbox` | signals of a supervising program |
//! | `process`, `family`, `tally` | what `/proc` tells |
//!
//! What is not here: attempts of jobs, which engines run and a sandbox confines.

mod attach;
mod family;
mod governor;
mod hold;
mod home;
mod inbox;
mod launch;
mod note;
mod priority;
mod process;
mod report;
mod supervised;
mod sys;
mod tally;
pub mod watch;
mod wishes;

pub use attach::attach;
pub use governor::governor;
pub use hold::Standing;
pub use inbox::{Inbox, Letter};
pub use launch::{EXEC, Workload};
pub use process::Identity;
pub use report::{ExitReason, Report};
pub use supervised::{Order, Progress, Supervised};
pub use wishes::{CpuMax, IoMax};
