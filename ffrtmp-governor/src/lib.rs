//! Resource governance: whether an attempt may start, limits on its process, what it used, and how
//! the machine is.
//!
//! | module | subject |
//! |---|---|
//! | [`host`] | the governor that fits this machine, composed of the parts below |
//! | [`cgroups`] | limits by control groups, v1 and v2 |
//! | [`nice`] | [`NiceGovernor`]: priority and watching, for every Linux user |
//! | [`none`] | [`NoGovernor`]: admits everything |
//! | [`budget`] | what of the machine is given out, and when nothing more is |
//! | [`energy`] | what of the machine's energy an attempt used |
//! | [`gpu`] | graphics processors: what they are, how they are, which one an attempt gets |
//! | [`sandbox`] | what a process that reads foreign media may still do |
//! | [`supervise`] | governance of processes that ffrtmp did not start |
//! | [`probe`] | what the kernel tells: parsers of text, readers that take a root |
//! | [`facts`] | what kind of machine this is |
//! | [`recommend()`] | settings that fit it |
//!
//! What is not here: attempts and their children, which engines start.

pub mod budget;
pub mod cgroups;
pub mod energy;
pub mod facts;
pub mod gpu;
pub mod host;
pub mod nice;
pub mod none;
pub mod probe;
pub mod recommend;
pub mod sandbox;
pub mod supervise;

pub use budget::{BudgetOptions, Budgeted};
pub use cgroups::{CgroupGovernor, Ownership};
pub use facts::HostFacts;
pub use host::{CgroupUse, HostOptions, detect};
pub use nice::NiceGovernor;
pub use none::NoGovernor;
pub use recommend::{Abilities, Environment, Recommendation, recommend};
