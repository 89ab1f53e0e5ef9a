//! What a step that failed leaves behind at the server: nothing.

use std::time::Duration;

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::error::Code;
use ffrtmp_core::id::{JobId, NodeId};
use ffrtmp_core::job::JobRequest;
use ffrtmp_core::node::Offer;
use ffrtmp_core::request;
use ffrtmp_core::store::{Caps, ClaimOrder, NewJob, Rank};
use ffrtmp_store::failpoint;

use crate::place::{Kind, Place};

/// The one who fails rolls back before it answers: its locks stand in nobody's way.
#[test]
fn a_claim_that_failed_holds_no_job() {
    let now = Timestamp::from_micros(1_767_700_000_000_000);
    let request = JobRequest { scenario: "720p".into(), ..JobRequest::default() };
    let prepared = request::prepare(request, JobId::random(), 3, now).expect("a good request");
    let job = NewJob { job: prepared.job, rank: Rank(0), requirements: prepared.requirements, idempotency: None };
    let order = ClaimOrder {
        node: NodeId::from_u128(1),
        node_name: "node".into(),
        offer: Offer::default(),
        slots: 1,
        lease: Duration::from_secs(30),
        caps: Caps::default(),
    };
    let place = Place::new(Kind::Postgres);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = place.open().await;
        store.submit(vec![job], now).await.expect("accepted");
        failpoint::arm("postgres.claim.before_commit=error").expect("a point");
        let refused = store.claim(&order, now).await.expect_err("it fails");
        failpoint::disarm();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        let other = place.open().await;
        assert_eq!(other.claim(&order, now).await.expect("answered").len(), 1, "another master is given the job");
        store.close().await.expect("closed");
        other.close().await.expect("closed");
    });
}
