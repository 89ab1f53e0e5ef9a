//! Finding processes by rules, over and over, and governing those that are found.
//!
//! | file | subject |
//! |---|---|
//! | `rules` | [`Rules`]: which processes are meant, what each gets |
//! | `watcher` | [`Watcher`]: a scan, the end of what is governed, release |
//! | `state` | what is remembered over a restart |
//!
//! What is not here: the reading of configuration files and the passing of time between scans,
//! which the facade has.

mod rules;
mod state;
mod watcher;

pub use rules::{Filters, Parent, Rule, Rules};
pub use watcher::{Event, Retries, WatchOptions, Watcher};
