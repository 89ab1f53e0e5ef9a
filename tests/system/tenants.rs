//! Jobs of several tenants, as people submit them: who gets how much of the nodes, and what is kept
//! apart.

use ffrtmp::core::id::NodeId;
use ffrtmp::core::job::{Job, JobRequest};
use ffrtmp::core::node::Registration;
use ffrtmp::core::protocol::ClaimRequest;
use ffrtmp::core::transport::Transport;
use ffrtmp::transport::http::wire::JobQuery;
use serde_json::json;

use crate::databases::Lone;

fn of(tenant: &str) -> JobRequest {
    serde_json::from_value(json!({"scenario": "144p-h264", "tenant": tenant})).expect("a request")
}

impl Lone {
    fn node(&self) -> NodeId {
        let node = Registration { name: "n".into(), max_concurrent_jobs: Some(64), ..Registration::default() };
        self.runtime.block_on(self.client.register(node)).expect("registered").node.id
    }

    fn claim(&self, node_id: NodeId, slots: u32) -> Vec<Job> {
        let claim = ClaimRequest { node_id, slots, wait_ms: 0, request_id: None, room: None };
        self.runtime.block_on(self.client.claim(claim)).expect("answered").jobs
    }

    fn batch(&self, tenant: &str, count: usize) {
        let jobs = self.runtime.block_on(self.client.submit_batch(&vec![of(tenant); count])).expect("submitted");
        assert!(jobs.iter().all(|job| job.job.tenant.as_str() == tenant));
    }
}

fn share(jobs: &[Job], tenant: &str) -> usize {
    jobs.iter().filter(|job| job.tenant.as_str() == tenant).count()
}

#[test]
fn tenants_take_turns_however_many_jobs_each_has() {
    let master = Lone::start(&["--scheduler", "fair-share"]);
    master.batch("acme", 40);
    master.batch("zeta", 10);
    let node = master.node();
    let jobs = master.claim(node, 16);
    let (acme, zeta) = (share(&jobs, "acme"), share(&jobs, "zeta"));
    // Shares differ by at most three turns.
    assert!(acme + zeta == 16 && acme.abs_diff(zeta) <= 3, "{acme} and {zeta}");
}

#[test]
fn a_tenant_holds_no_more_than_its_cap_and_hears_why() {
    let master = Lone::start(&["--tenant-limit", "acme=2", "--tenant-limit", "5"]);
    for tenant in ["acme", "zeta"] {
        master.batch(tenant, 10);
    }
    let jobs = master.claim(master.node(), 20);
    assert_eq!((share(&jobs, "acme"), share(&jobs, "zeta")), (2, 5));
    let list = |tenant: &str, state: &str| {
        let (tenant, state) = (Some(tenant.to_owned()), Some(state.to_owned()));
        let query = JobQuery { tenant, state, ..JobQuery::default() };
        master.runtime.block_on(master.client.jobs(&query)).expect("listed").jobs
    };
    for (tenant, waiting, why) in
        [("acme", 8, "tenant acme has 2 of 2 jobs running"), ("zeta", 5, "tenant zeta has 5 of 5 jobs running")]
    {
        let jobs = list(tenant, "queued");
        assert_eq!(jobs.len(), waiting, "{tenant}");
        assert!(jobs.iter().all(|job| job.job.waiting_reason.as_deref() == Some(why)), "{:?}", jobs[0].job);
    }
    assert!(list("nobody", "queued").is_empty());
}

#[test]
fn keys_belong_to_a_tenant() {
    let master = Lone::start(&[]);
    let submit = |request: &JobRequest| {
        let submitted = master.runtime.block_on(master.client.submit(request, Some("key"))).expect("submitted");
        submitted.job.id
    };
    let nobody: JobRequest = serde_json::from_value(json!({"scenario": "144p-h264"})).expect("a request");
    let ids = [submit(&of("acme")), submit(&of("zeta")), submit(&nobody)];
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
    assert_eq!([submit(&of("acme")), submit(&of("zeta")), submit(&nobody)], ids);
    assert_eq!(
        master.runtime.block_on(master.client.job(&ids[2].to_string())).expect("there").job.tenant.as_str(),
        "default"
    );
}
