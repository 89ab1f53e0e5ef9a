//! The PostgreSQL store on a server of its own: the suite of the trait, and what only this store
//! promises.

#[path = "postgres/conformance.rs"]
mod conformance;
