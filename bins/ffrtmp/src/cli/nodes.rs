//! Flags of `ffrtmp nodes`.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Nodes {
    /// List the nodes
    List,
    /// Show everything about a node
    Describe(One),
    /// Take a node out of service: its jobs end, no new ones start
    Drain(One),
    /// Put a node back into service
    Activate(One),
    /// Remove a node; its jobs go back to the queue
    Remove(One),
}

/// A node by id, unique prefix of it, or name.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// Id of the node, a unique prefix of it, or its name
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}
