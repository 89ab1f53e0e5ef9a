//! The `Scheduler` trait: the order of jobs and the choice of a node, as pure functions.

use crate::clock::Timestamp;
use crate::job::Job;
use crate::node::{Node, Requirements};
use crate::store::Rank;

/// Orders jobs and chooses nodes.
///
/// # Contract
/// - Pure: the same arguments give the same answer; no I/O, no clock.
/// - `rank` is stored with the job when it becomes ready; claims take the lowest first. Of two jobs
///   that differ only in `created_at`, the older one ranks lower or equal.
/// - `place` returns one of `nodes` that takes jobs and meets the requirements, or `None` if none
///   does.
pub trait Scheduler: Send + Sync + 'static {
    /// Name for people.
    fn name(&self) -> &'static str;

    /// The job's place in the order.
    fn rank(&self, job: &Job, now: Timestamp) -> Rank;

    /// The node that suits best.
    fn place<'a>(&self, needs: &Requirements, nodes: &'a [Node]) -> Option<&'a Node>;
}
