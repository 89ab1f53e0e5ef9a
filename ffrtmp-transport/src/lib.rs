//! Transports: the ways in which agents and people reach a master.
//!
//! - [`local`]: in the same process, by calling the [`Coordinator`](ffrtmp_core::coordinator::Coordinator).
//! - [`http`]: over HTTP(S), as server and client.
//!
//! What is deliberately not here: any decision about jobs or nodes. A transport carries a request
//! to the coordinator and its answer or error back, unchanged.
#![forbid(unsafe_code)]

pub mod http;
pub mod local;
