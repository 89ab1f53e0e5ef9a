//! What a step that failed, or that nobody waits for, leaves behind at the server: nothing.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::error::Code;
use ffrtmp_core::id::{JobId, NodeId};
use ffrtmp_core::job::JobRequest;
use ffrtmp_core::node::{About, NodeCommand, Offer};
use ffrtmp_core::request;
use ffrtmp_core::store::{Caps, ClaimOrder, NewJob, Rank};
use ffrtmp_store::failpoint;

use crate::place::{Kind, Place};

/// Counts the transactions that nobody is working in.
const OPEN: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'";

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

/// A caller that hangs up in the middle leaves no transaction open, in which the next caller's work
/// would be lost.
#[test]
fn a_call_that_was_dropped_leaves_no_transaction() {
    let now = Timestamp::from_micros(1_767_700_000_000_000);
    let place = Place::new(Kind::Postgres);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = place.open().await;
        let about = About { name: "node".into(), ..About::default() };
        let id = NodeId::from_u128(1);
        store.register_node(id, about, now).await.expect("registered");
        for polls in 0..12 {
            // As often as there are connections.
            for _ in 0..8 {
                let beat = NodeCommand::Heartbeat { telemetry: None, active_jobs: polls };
                dropped_after(polls, store.apply_node(id, beat, now)).await;
            }
            let begun = Instant::now();
            while place.sql(OPEN) != "0" {
                assert!(begun.elapsed() < Duration::from_secs(10), "dropped after {polls} polls, it stays open");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let last = NodeCommand::Heartbeat { telemetry: None, active_jobs: 7777 };
        store.apply_node(id, last, now).await.expect("answered");
        let other = place.open().await;
        assert_eq!(other.node(id).await.expect("found").active_jobs, 7777, "what was answered is committed");
        store.close().await.expect("closed");
        other.close().await.expect("closed");
    });
}

/// Drops a call when it has been polled this often, if it is not answered before.
async fn dropped_after<T>(polls: u32, call: impl Future<Output = T>) {
    let mut call = pin!(call);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        call.as_mut().poll(context).map(drop)
    })
    .await;
}
