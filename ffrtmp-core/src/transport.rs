//! The `Transport` trait: an agent's view of the master.

use async_trait::async_trait;

use crate::error::Result;
use crate::id::{JobId, NodeId};
use crate::node::Registration;
use crate::protocol::{
    AttemptState, ClaimRequest, Claimed, FinishRequest, Heartbeat, HeartbeatAnswer, Registered, StartRequest,
};

/// An agent's view of the master.
///
/// # Contract
/// - Calls may be repeated after a lost answer: `start` and `finish` with the same fence, and
///   `claim` with the same request id, have one effect and give the same answer.
/// - `claim` returns when there is work or when `wait_ms` is over, whichever is first.
///
/// # Errors
/// `network` or `unavailable` when the master cannot be reached (retryable), `unauthorized`,
/// `node_not_found` from `heartbeat` and `claim` if the master forgot the node (register again),
/// `stale_fence` from `start` and `finish` if the attempt is over.
///
/// # Cancel safety
/// A dropped `claim` may have leased jobs; they come back when the lease expires, or by asking
/// again with the same request id. A dropped `start` or `finish` may have had its effect or may
/// still have it; say it again to know.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Introduces the node.
    async fn register(&self, registration: Registration) -> Result<Registered>;

    /// Asks for work.
    async fn claim(&self, request: ClaimRequest) -> Result<Claimed>;

    /// Begins an attempt.
    async fn start(&self, job: JobId, request: StartRequest) -> Result<AttemptState>;

    /// Sends a sign of life; renews the leases of the attempts that it names.
    async fn heartbeat(&self, node: NodeId, heartbeat: Heartbeat) -> Result<HeartbeatAnswer>;

    /// Ends an attempt.
    async fn finish(&self, request: FinishRequest) -> Result<AttemptState>;
}
