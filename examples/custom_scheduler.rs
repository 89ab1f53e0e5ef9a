//! A scheduling policy of your own: shortest job first.

use std::sync::Arc;

use ffrtmp::core::clock::Timestamp;
use ffrtmp::core::node::{Node, Requirements};
use ffrtmp::core::policy::fifo::PriorityFifo;
use ffrtmp::core::scheduler::Cluster;
use ffrtmp::core::store::Rank;
use ffrtmp::prelude::*;
use ffrtmp::store::MemoryStore;

/// Orders jobs by the media time they ask for; those that do not say come last.
#[derive(Default)]
struct ShortestFirst(PriorityFifo);

impl Scheduler for ShortestFirst {
    fn name(&self) -> &'static str {
        "shortest-first"
    }

    fn rank(&self, job: &Job, _cluster: &Cluster, _now: Timestamp) -> Rank {
        let seconds = job.parameters.duration.map_or(f64::MAX, |duration| duration.value());
        Rank((seconds * 1000.0) as i64)
    }

    fn place<'a>(&self, needs: &Requirements, nodes: &'a [Node]) -> Option<&'a Node> {
        self.0.place(needs, nodes)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = MasterOptions { api_address: None, ..MasterOptions::default() };
    let scheduler = Arc::new(ShortestFirst::default());
    let master = Master::with_scheduler(Arc::new(MemoryStore::new()), scheduler, options).await?;
    let coordinator = master.coordinator();
    for seconds in ["300", "2", "30"] {
        let parameters = Parameters { duration: Some(seconds.parse()?), ..Parameters::default() };
        let request = JobRequest { scenario: "720p30-h264".into(), parameters, ..JobRequest::default() };
        coordinator.submit(request, None).await?;
    }
    let node =
        coordinator.register(ffrtmp::core::node::Registration { name: "worker".into(), ..Default::default() }).await?;
    let claim = ffrtmp::core::protocol::ClaimRequest {
        node_id: node.node.id,
        slots: 3,
        wait_ms: 0,
        request_id: None,
        room: None,
    };
    let claimed = coordinator.claim(claim).await?;
    let order: Vec<_> = claimed.jobs.iter().filter_map(|job| Some(job.parameters.duration?.to_string())).collect();
    #[expect(clippy::print_stdout, reason = "it is what the example shows")]
    {
        println!("claimed in this order: {} s", order.join(" s, "));
    }
    Ok(())
}
