//! Several masters on one store: any of them answers, one of them reaps, all keep one time.

use std::sync::Arc;
use std::time::Duration;

use ffrtmp::core::clock::ManualClock;
use ffrtmp::core::coordinator::{Coordinator, Settings};
use ffrtmp::core::error::Code;
use ffrtmp::core::job::{JobRequest, JobState};
use ffrtmp::core::protocol::{ClaimRequest, DirectiveKind, StartRequest};
use ffrtmp::core::store::Store;

use crate::world::{Kind, SECOND, World, connect, master, new_database, over_every_store, result, start, status};

async fn any_master_answers_any_request(kind: Kind) {
    let mut world = World::new(kind).await;
    let masters = [Arc::clone(&world.master), world.another_master().await];
    let node = world.node("a").await;
    let job = world.submit("720p30-h264").await;
    let [first, second] = &masters;
    let claim = ClaimRequest { node_id: node, slots: 1, wait_ms: 0, request_id: Some("r1".into()), room: None };
    let claimed =
        second.claim(claim).await.unwrap().jobs.pop().expect("submitted to the first, claimed from the second");
    assert_eq!(claimed.id, job.id);
    first.start(job.id, StartRequest { node_id: node, fence: claimed.fence }).await.unwrap();
    for (order, directive) in [("pause", DirectiveKind::Pause), ("resume", DirectiveKind::Resume)] {
        world.master = Arc::clone(first);
        let key = job.id.into();
        let changed = if order == "pause" { second.pause(&key).await } else { second.resume(&key).await };
        changed.unwrap();
        assert_eq!(world.report(node, vec![status(&claimed, None, &[])]).await, [directive]);
    }
    first.cancel(&job.id.into()).await.unwrap();
    world.master = Arc::clone(second);
    assert_eq!(world.report(node, vec![status(&claimed, None, &[])]).await, [DirectiveKind::Cancel]);
    second.retry(&job.id.into()).await.unwrap();
    world.master = Arc::clone(first);
    let again = world.running(node).await;
    assert_eq!((again.id, again.attempt), (job.id, 2));
    for master in [second, first] {
        master.finish(result(node, &again, None)).await.expect("the same end on another master is the same answer");
    }
    assert_eq!(world.state(&again).await, JobState::Completed);
}

over_every_store!(any_master_answers_any_request);

/// A master of its own process: its own connections, its own clock.
struct Member {
    master: Arc<Coordinator>,
    store: Arc<dyn Store>,
    clock: Arc<ManualClock>,
}

impl Member {
    async fn new(dsn: &str, clock_is_ahead: Duration) -> Self {
        let store = connect(dsn).await;
        let clock = Arc::new(ManualClock::new(start() + clock_is_ahead));
        let master = master(&store, &clock, Settings::default()).await;
        Self { master, store, clock }
    }

    async fn submit(&self) -> ffrtmp::core::job::Job {
        let request = JobRequest { scenario: "720p30-h264".into(), ..JobRequest::default() };
        self.master.submit(request, None).await.unwrap().job
    }

    async fn state(&self, job: &ffrtmp::core::job::Job) -> JobState {
        self.master.job(&job.id.into()).await.unwrap().state
    }

    /// Reaps, or listens to who does, until it is dropped.
    fn keep_ticking(&self) -> Ticking {
        let master = Arc::clone(&self.master);
        Ticking(tokio::spawn(async move {
            loop {
                master.tick_due().await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }))
    }

    /// Ticks until this member leads.
    async fn take_over(&self) {
        let lead = async {
            while !self.master.is_leading() {
                self.master.tick_due().await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), lead).await.expect("the lead is free");
    }
}

struct Ticking(tokio::task::JoinHandle<()>);

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn a_follower_keeps_the_time_of_the_leader_whatever_its_wall_clock_says() {
    for ahead in [Duration::ZERO, DAY] {
        let dsn = new_database().await;
        let leader = Member::new(&dsn, DAY - ahead).await;
        let ticking = leader.keep_ticking();
        let follower = Member::new(&dsn, ahead).await;
        assert!(leader.master.is_leading() && !follower.master.is_leading());
        let apart = |one: &Member, other: &Member| {
            let (one, other) = (one.master.now(), other.master.now());
            one.since(other).max(other.since(one))
        };
        // The leader's clock stands still here; what was heard of it goes on by real time.
        assert!(apart(&leader, &follower) < SECOND * 20, "{:?}", apart(&leader, &follower));
        drop(ticking);
        leader.store.close().await.unwrap();
        follower.store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_leader_that_ends_is_replaced_and_leases_go_on() {
    let dsn = new_database().await;
    let leader = Member::new(&dsn, Duration::ZERO).await;
    let ticking = leader.keep_ticking();
    let follower = Member::new(&dsn, DAY).await;
    let node = follower.master.register(ffrtmp::core::node::Registration {
        name: "a".into(),
        max_concurrent_jobs: Some(4),
        ..Default::default()
    });
    let node = node.await.unwrap().node.id;
    let (kept, lost) = (follower.submit().await, follower.submit().await);
    let claim = ClaimRequest { node_id: node, slots: 2, wait_ms: 0, request_id: None, room: None };
    let claimed = follower.master.claim(claim).await.unwrap().jobs;
    assert_eq!(claimed.len(), 2);
    let lease = claimed[0].lease_expires_at.expect("a lease");
    assert!(lease.since(leader.master.now()) < SECOND * 120, "given by the leader's time, a day behind");

    follower.master.tick().await.unwrap();
    assert!(!follower.master.is_leading());
    drop(ticking);
    leader.store.close().await.unwrap();
    follower.take_over().await;
    let renewed = follower.master.job(&lost.id.into()).await.unwrap().lease_expires_at;
    assert_eq!(renewed, Some(lease), "the time goes on, so leases need no renewal");

    follower.clock.advance(SECOND * 80);
    let kept_status = claimed.iter().filter(|job| job.id == kept.id).map(|job| status(job, None, &[])).collect();
    let heartbeat = ffrtmp::core::protocol::Heartbeat { attempts: kept_status, ..Default::default() };
    follower.master.heartbeat(node, heartbeat).await.unwrap();
    follower.clock.advance(SECOND * 12);
    follower.master.tick_due().await.unwrap();
    assert_eq!(follower.state(&kept).await, JobState::Running);
    assert_eq!(follower.state(&lost).await, JobState::Retrying, "a lease and two seconds after its claim");
}

#[tokio::test]
async fn masters_that_were_all_away_expire_nothing_by_a_wall_clock_that_jumped() {
    for (before, after) in [(Duration::ZERO, DAY), (DAY, Duration::ZERO)] {
        let dsn = new_database().await;
        let first = Member::new(&dsn, before).await;
        let registration =
            ffrtmp::core::node::Registration { name: "a".into(), max_concurrent_jobs: Some(4), ..Default::default() };
        let node = first.master.register(registration).await.unwrap().node.id;
        let (running, failing) = (first.submit().await, first.submit().await);
        let claim = ClaimRequest { node_id: node, slots: 2, wait_ms: 0, request_id: None, room: None };
        let claimed = first.master.claim(claim).await.unwrap().jobs;
        let failed = claimed.iter().find(|job| job.id == failing.id).expect("claimed");
        first.master.finish(result(node, failed, Some(Code::DiskFull))).await.unwrap();
        first.store.close().await.unwrap();

        let second = Member::new(&dsn, after).await;
        second.clock.advance(SECOND * 60);
        second.master.tick().await.unwrap();
        assert_eq!(second.state(&running).await, JobState::Assigned, "{before:?} {after:?}");
        assert_ne!(second.state(&failing).await, JobState::Retrying, "its backoff is over by any clock");
        assert!(second.master.node(node).await.unwrap().is_alive());
        second.clock.advance(SECOND * 32);
        second.master.tick().await.unwrap();
        assert_eq!(second.state(&running).await, JobState::Retrying, "but nobody waits for ever");
        assert!(!second.master.node(node).await.unwrap().is_alive());
    }
}
