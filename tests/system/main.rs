//! The whole system from outside: the real programs as processes, over HTTPS, with real media.
//!
//! One file per subject; `cluster` starts and ends the programs, `media` judges what they made, `collector` takes their traces.
//! Several masters and their death are in `tests/cluster`, rules without processes in
//! `tests/coordinator`, rules of the repository in `tests/repository.rs`.

mod cluster;
mod collector;
mod media;
mod origin;
#[path = "../../ffrtmp-engines/tests/gstreamer/servers.rs"]
mod servers;

mod databases;
mod download;
mod examples;
mod failures;
mod jobs;
mod latency;
mod live;
mod logs;
mod metrics;
mod refusals;
mod requests;
mod seeds;
mod stopping;
mod tenants;
mod traces;
