//! Vocabulary and rules of ffrtmp: ids, units, jobs and their state machine, the scenario grammar,
//! errors, policies, and the five traits that carry implementations.
//!
//! What is deliberately not here: no I/O, no wall clock, no unsafe code. Implementations live in
//! `ffrtmp-engines`, `ffrtmp-store`, `ffrtmp-transport` and `ffrtmp-governor`; users depend on the
//! facade crate `ffrtmp`.
//!
//! # Features
//! - `conformance`: the suites that every implementation of a trait runs.
//! - `openapi`: `utoipa::ToSchema` on everything that crosses the API.
//! - `simulation`: random ids may follow from a seed.
#![forbid(unsafe_code)]

pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod coordinator;
pub mod cost;
pub mod encoding;
pub mod engine;
#[cfg(not(feature = "simulation"))]
mod entropy;
#[cfg(feature = "simulation")]
pub mod entropy;
pub mod error;
pub mod fsm;
pub mod governor;
pub mod id;
pub mod job;
pub mod lifecycle;
pub mod live;
pub mod location;
pub mod media;
pub mod node;
#[cfg(feature = "openapi")]
mod openapi;
pub mod plan;
pub mod policy;
pub mod protocol;
pub mod request;
pub mod sandbox;
pub mod scenario;
pub mod scheduler;
pub mod store;
pub mod trace;
pub mod transport;
pub mod units;

pub use error::{Code, Disposition, Error, Result};
