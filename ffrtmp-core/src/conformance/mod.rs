//! One conformance suite per trait; every implementation and every decorator runs them.

pub mod engine;
pub mod governor;
pub mod scheduler;
pub mod store;
pub mod transport;
