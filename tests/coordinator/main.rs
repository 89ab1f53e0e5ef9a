//! The rules of a master by simulated time, over every store: leases, lost nodes, retries, time
//! limits, dependencies, waiting claims, several masters. The clock moves when told to.
//!
//! `world` sets the scene; one file per subject.

mod world;

mod attempts;
mod claims;
mod dependencies;
mod leases;
mod logs;
mod masters;
mod reasons;
