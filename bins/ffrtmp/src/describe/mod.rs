//! How things are described to people: jobs, nodes, media, plans, and the quantities in them.

pub(crate) mod job;
pub(crate) mod media;
pub(crate) mod node;
pub(crate) mod plan;
pub(crate) mod quantity;
