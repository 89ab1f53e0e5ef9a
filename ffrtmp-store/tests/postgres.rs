//! The PostgreSQL store on a server of its own: the suite of the trait, and what only this store
//! promises.

#[path = "postgres/conformance.rs"]
mod conformance;
#[path = "postgres/fixture.rs"]
mod fixture;
#[path = "postgres/masters.rs"]
mod masters;
#[path = "postgres/outage.rs"]
mod outage;
#[path = "postgres/refusal.rs"]
mod refusal;
#[path = "postgres/upgrade.rs"]
mod upgrade;
