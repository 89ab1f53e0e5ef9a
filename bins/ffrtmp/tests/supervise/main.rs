//! `run`, `attach` and `watch` of the built program, with real processes, signals, terminals and
//! control groups.
//!
//! What needs privileges says so and is left out without them. Everything that is started is ended
//! again, also when a test fails.

mod attach;
mod place;
mod run;
mod terminal;
mod watch;
