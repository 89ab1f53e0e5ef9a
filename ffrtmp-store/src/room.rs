//! How much a claim may still give away: its slots are bounded further by the caps of queues and
//! tenants and by the encode sessions of its node.

use std::collections::BTreeMap;

use ffrtmp_core::id::TenantId;
use ffrtmp_core::job::Queue;
use ffrtmp_core::store::{ClaimOrder, Lane};

/// Room of one claim, counted down as jobs are taken.
#[derive(Debug)]
pub(crate) struct Room {
    queues: BTreeMap<Queue, u64>,
    tenants: BTreeMap<TenantId, u64>,
    gpu_sessions: Option<u64>,
    caps: ffrtmp_core::store::Caps,
}

impl Room {
    /// Room beside the jobs that are active: by lane in the whole cluster, and those of the node
    /// that take an encode session.
    pub(crate) fn new<'a>(
        order: &ClaimOrder,
        active: impl Iterator<Item = (&'a Lane, u64)>,
        gpu_jobs_of_node: u32,
    ) -> Self {
        let caps = order.caps.clone();
        let (mut queues, mut tenants) = (BTreeMap::new(), BTreeMap::new());
        if !caps.is_empty() {
            for (lane, jobs) in active {
                *queues.entry(lane.queue).or_default() += jobs;
                *tenants.entry(lane.tenant.clone()).or_default() += jobs;
            }
        }
        let gpu_sessions = order.offer.gpu_sessions.map(|all| u64::from(all.saturating_sub(gpu_jobs_of_node)));
        Self { queues, tenants, gpu_sessions, caps }
    }

    /// Takes room for one job of the lane; `false` if there is none.
    pub(crate) fn take(&mut self, lane: &Lane) -> bool {
        let has_gpu = !lane.requirements.gpu || self.gpu_sessions.is_none_or(|left| left > 0);
        if !has_gpu {
            return false;
        }
        if !self.caps.is_empty() {
            let in_queue = self.queues.entry(lane.queue).or_default();
            let of_tenant = self.tenants.entry(lane.tenant.clone()).or_default();
            let below = |jobs: u64, cap: Option<u32>| cap.is_none_or(|cap| jobs < u64::from(cap));
            let queue_cap = self.caps.queues.get(&lane.queue).copied();
            if !below(*in_queue, queue_cap) || !below(*of_tenant, self.caps.of_tenant(&lane.tenant)) {
                return false;
            }
            *in_queue += 1;
            *of_tenant += 1;
        }
        if lane.requirements.gpu {
            self.gpu_sessions = self.gpu_sessions.map(|left| left - 1);
        }
        true
    }
}
