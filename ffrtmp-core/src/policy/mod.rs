//! Policies: pure rules that decide. One file each.

pub mod engine;
pub mod fifo;
pub mod limits;
pub mod retry;
pub mod sla;
