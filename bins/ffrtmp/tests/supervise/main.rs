//! `run`, `attach` and `watch` of the built program, with real processes, signals, terminals and
//! control groups.
//!
//! What needs privileges says so and is left out without them. Everything that is started is ended
//! again, also when a test fails.

#![allow(clippy::print_stdout, reason = "what is left out is said to whoever reads the test's output")]

mod attach;
mod place;
mod run;
mod terminal;
mod watch;
