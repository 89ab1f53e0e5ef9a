//! The transport of an agent that lives in the same process as its master.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use ffrtmp_core::Result;
use ffrtmp_core::coordinator::Coordinator;
use ffrtmp_core::id::{JobId, NodeId};
use ffrtmp_core::node::Registration;
use ffrtmp_core::protocol::{
    AttemptState, ClaimRequest, Claimed, FinishRequest, Heartbeat, HeartbeatAnswer, Registered, StartRequest,
};
use ffrtmp_core::transport::Transport;

/// Calls a coordinator directly. Clones reach the same one.
#[derive(Clone)]
pub struct LocalTransport(Arc<Coordinator>);

impl LocalTransport {
    /// A transport to this coordinator.
    #[must_use]
    pub fn new(coordinator: Arc<Coordinator>) -> Self {
        Self(coordinator)
    }
}

impl fmt::Debug for LocalTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalTransport").finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for LocalTransport {
    async fn register(&self, registration: Registration) -> Result<Registered> {
        self.0.register(registration).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed> {
        self.0.claim(request).await
    }

    async fn start(&self, job: JobId, request: StartRequest) -> Result<AttemptState> {
        Ok((&self.0.start(job, request).await?).into())
    }

    async fn heartbeat(&self, node: NodeId, heartbeat: Heartbeat) -> Result<HeartbeatAnswer> {
        self.0.heartbeat(node, heartbeat).await
    }

    async fn finish(&self, request: FinishRequest) -> Result<AttemptState> {
        Ok((&self.0.finish(request).await?).into())
    }
}
