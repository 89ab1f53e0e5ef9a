//! Resource governance: whether an attempt may start, limits on its process, and how the machine
//! is.
//!
//! | module | subject |
//! |---|---|
//! | [`nice`] | [`NiceGovernor`]: priority and watching, for every Linux user |
//! | [`none`] | [`NoGovernor`]: admits everything |
//! | [`probe`] | what the kernel tells: parsers of text, readers that take a root |
//! | [`facts`] | what kind of machine this is |
//! | [`recommend()`] | settings that fit it |
//!
//! What is not here: control groups and the sandbox, which come with their own issue, and the
//! process itself, which engines start.

pub mod facts;
pub mod nice;
pub mod none;
pub mod probe;
pub mod recommend;

pub use facts::HostFacts;
pub use nice::NiceGovernor;
pub use none::NoGovernor;
pub use recommend::{Environment, Recommendation, recommend};
