//! The HTTP transport: `/api/v1` of a master, and the client of it.
//!
//! - [`server`]: listener, TLS, limits, authentication, and one handler per route.
//! - [`client`]: [`MasterClient`], which the command line and the agents use.
//! - [`certificate`]: the self-signed certificate of a master that was given none.
//! - [`expiry`]: when a certificate ends.
//! - [`wire`]: lists and small answers that exist only on this wire; jobs, nodes and protocol
//!   messages are those of `ffrtmp-core`.
//! - [`problem`]: errors as RFC 9457 problem documents, in both directions.

pub mod certificate;
pub mod client;
pub mod expiry;
pub mod problem;
pub mod server;
pub mod wire;

mod pem;

pub use client::{ClientConfig, LogFollower, MasterClient};
pub use wire::{Health, JobList, JobQuery, LogEntry};
