//! The built program, run as a person would run it.

mod desk;
mod master;
mod media;
mod plain;
