//! Queues that are filled and served in rank order, and what everybody got.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::id::JobId;
use crate::job::{EngineChoice, JobRequest, Priority, ResourceLimits};
use crate::request;
use crate::store::{Lane, LaneStanding};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// A job by whose it is, where and how urgent.
#[derive(Clone, Copy)]
struct Ask {
    tenant: &'static str,
    queue: Queue,
    priority: Priority,
    engine: EngineChoice,
    memory_mb: u64,
}

fn of(tenant: &'static str) -> Ask {
    let (queue, priority) = (Queue::Default, Priority::Medium);
    Ask { tenant, queue, priority, engine: EngineChoice::Ffmpeg, memory_mb: 1024 }
}

/// A cluster whose nodes take one job after the other, lowest rank first.
struct World {
    policy: FairShare,
    /// Rank, number, name, and the lane by its index.
    queued: Vec<(Rank, usize, Job, usize)>,
    lanes: Vec<(Lane, u64)>,
    submitted: usize,
    running: Option<usize>,
}

impl World {
    fn new(policy: FairShare) -> Self {
        Self { policy, queued: Vec::new(), lanes: Vec::new(), submitted: 0, running: None }
    }

    fn cluster(&self) -> Cluster {
        let lanes = self.lanes.iter().enumerate().map(|(index, (lane, active))| {
            let ranks: Vec<Rank> = self.queued.iter().filter(|job| job.3 == index).map(|job| job.0).collect();
            let (first, last) = (ranks.iter().min().copied(), ranks.iter().max().copied());
            LaneStanding { lane: lane.clone(), queued: ranks.len() as u64, active: *active, first, last }
        });
        Cluster { lanes: lanes.filter(|lane| lane.queued + lane.active > 0).collect() }
    }

    fn job(&mut self, ask: Ask) -> (Job, Requirements) {
        self.submitted += 1;
        let request = JobRequest {
            scenario: "720p".into(),
            input: Some("in.mkv".into()),
            queue: Some(ask.queue),
            priority: Some(ask.priority),
            engine: Some(ask.engine),
            resource_limits: ResourceLimits { max_memory_mb: Some(ask.memory_mb), ..ResourceLimits::default() },
            ..JobRequest::default()
        };
        let now = NOW + Duration::from_millis(self.submitted as u64);
        let prepared = request::prepare(request, JobId::from_u128(self.submitted as u128), 3, now).unwrap();
        let job = Job { tenant: ask.tenant.parse().unwrap(), ..prepared.job };
        (job, prepared.requirements)
    }

    /// One batch, as the coordinator ranks it.
    fn submit(&mut self, ask: Ask, count: usize) {
        let mut cluster = self.cluster();
        for _ in 0..count {
            let (job, requirements) = self.job(ask);
            let rank = self.policy.rank(&job, &cluster, NOW);
            cluster.note(&job, &requirements, rank);
            let lane = Lane { requirements, tenant: job.tenant.clone(), queue: job.queue };
            let known = self.lanes.iter().position(|(known, _)| *known == lane);
            let index = known.unwrap_or(self.lanes.len());
            if known.is_none() {
                self.lanes.push((lane, 0));
            }
            self.queued.push((rank, self.submitted, job, index));
        }
    }

    /// The next job that a node with so much memory can run; the one before it ends.
    fn serve_on(&mut self, able: impl Fn(&Requirements) -> bool) -> Option<Job> {
        let fits = |job: &&(Rank, usize, Job, usize)| able(&self.lanes[job.3].0.requirements);
        let (rank, number) = self.queued.iter().filter(fits).map(|job| (job.0, job.1)).min()?;
        let index = self.queued.iter().position(|job| (job.0, job.1) == (rank, number))?;
        let (_, _, job, lane) = self.queued.remove(index);
        if let Some(before) = self.running.replace(lane) {
            self.lanes[before].1 -= 1;
        }
        self.lanes[lane].1 += 1;
        Some(job)
    }

    fn serve(&mut self) -> Option<Job> {
        self.serve_on(|_| true)
    }

    /// How many of the next `turns` were of this tenant.
    fn share(&mut self, tenant: &str, turns: usize) -> usize {
        (0..turns).filter(|_| self.serve().is_some_and(|job| job.tenant.as_str() == tenant)).count()
    }

    /// After how many turns all jobs of a tenant are served.
    fn turns_until_done(&mut self, tenant: &str) -> usize {
        let mut turns = 0;
        while self.queued.iter().any(|job| job.2.tenant.as_str() == tenant) {
            self.serve();
            turns += 1;
        }
        turns
    }
}

fn weighted(tenants: &[(&str, u32)]) -> FairShare {
    let tenants = tenants.iter().map(|(name, weight)| (name.parse().unwrap(), *weight)).collect();
    FairShare { tenants, ..FairShare::default() }
}

#[test]
fn ten_jobs_do_not_wait_behind_a_thousand() {
    let mut world = World::new(FairShare::default());
    world.submit(of("big"), 1000);
    world.submit(of("small"), 10);
    let turns = world.turns_until_done("small");
    assert!((20..=22).contains(&turns), "ten jobs took {turns} turns beside another tenant");
    assert_eq!(world.share("big", 1010 - turns), 1010 - turns, "what nobody else wants goes to the big one");
}

#[test]
fn turns_follow_the_weights() {
    let mut world = World::new(weighted(&[("gold", 3)]));
    world.submit(of("iron"), 600);
    world.submit(of("gold"), 600);
    assert!((298..=302).contains(&world.share("gold", 400)));
    let mut world = World::new(FairShare::default());
    world.submit(Ask { queue: Queue::Batch, ..of("a") }, 300);
    world.submit(of("a"), 300);
    let default = (0..200).filter(|_| world.serve().is_some_and(|job| job.queue == Queue::Default)).count();
    assert!((158..=162).contains(&default), "{default} of 200 turns for the default queue");
}

#[test]
fn a_tenant_that_comes_late_is_owed_nothing() {
    let mut world = World::new(FairShare::default());
    world.submit(of("old"), 5000);
    assert_eq!(world.share("old", 3000), 3000);
    world.submit(of("new"), 500);
    assert!((199..=201).contains(&world.share("new", 400)), "both have equal turns from now on");
    for name in ["x", "y", "z"] {
        world.submit(of(name), 1);
    }
    assert_eq!((0..9).filter_map(|_| world.serve()).filter(|job| "xyz".contains(job.tenant.as_str())).count(), 3);
}

#[test]
fn urgent_jobs_overtake_their_own_tenant_only() {
    let mut world = World::new(FairShare::default());
    world.submit(of("a"), 200);
    world.submit(of("b"), 200);
    world.submit(Ask { priority: Priority::High, ..of("a") }, 1);
    let next: Vec<_> = (0..6).filter_map(|_| world.serve()).map(|job| job.priority).collect();
    assert!(next.contains(&Priority::High), "{next:?}");
    let mut of_b = 0;
    for _ in 0..60 {
        world.submit(Ask { priority: Priority::High, ..of("a") }, 2);
        of_b += world.share("b", 2);
    }
    assert!(of_b >= 120 * 2 / 5 - 2, "b has {of_b} of 120 turns beside a tenant that overtakes all the time");
}

#[test]
fn a_tenant_gains_nothing_by_calling_everything_urgent() {
    for (one, other) in [(Priority::High, Priority::Batch), (Priority::Medium, Priority::Low)] {
        let mut world = World::new(FairShare::default());
        world.submit(Ask { priority: other, ..of("b") }, 300);
        for _ in 0..150 {
            world.submit(Ask { priority: one, ..of("a") }, 2);
        }
        assert!((98..=102).contains(&world.share("a", 200)));
    }
}

#[test]
fn equals_keep_their_order() {
    let mut world = World::new(weighted(&[("a", 7)]));
    for round in 0..40 {
        for priority in [Priority::Low, Priority::High, Priority::Medium] {
            world.submit(Ask { priority, memory_mb: 2000 + 400 * (round % 3), ..of("a") }, 3);
            world.submit(Ask { priority, ..of("b") }, 1);
        }
        world.share("a", 5);
    }
    let mut last: BTreeMap<(String, Priority), u128> = BTreeMap::new();
    while let Some(job) = world.serve() {
        let number = job.id.as_u128();
        let before = last.insert((job.tenant.to_string(), job.priority), number);
        assert!(before.is_none_or(|before| before < number), "{} {}: {number}", job.tenant, job.priority);
    }
}

#[test]
fn live_work_stays_in_front() {
    let mut world = World::new(FairShare::default());
    world.submit(of("a"), 50);
    world.submit(Ask { priority: Priority::Live, ..of("b") }, 2);
    world.submit(Ask { queue: Queue::Live, ..of("c") }, 2);
    let first: Vec<_> = (0..4).filter_map(|_| world.serve()).map(|job| job.tenant.to_string()).collect();
    assert_eq!(first, ["c", "c", "b", "b"]);
    world.submit(Ask { priority: Priority::Live, ..of("a") }, 1);
    world.submit(of("a"), 1);
    world.submit(of("d"), 20);
    world.serve();
    assert!((19..=21).contains(&world.share("d", 40)), "live jobs hide the first place of their lane");
}

#[test]
fn jobs_that_nothing_can_run_hold_no_time_back() {
    let small = |needs: &Requirements| needs.memory_mb < 100_000;
    let mut world = World::new(FairShare::default());
    world.submit(Ask { memory_mb: 900_000, ..of("old") }, 5);
    world.submit(of("old"), 3000);
    for _ in 0..2000 {
        world.serve_on(small);
    }
    world.submit(of("new"), 500);
    let turns = (0..400).filter(|_| world.serve_on(small).is_some_and(|job| job.tenant.as_str() == "new")).count();
    assert!((199..=205).contains(&turns), "the new tenant has {turns} of 400 turns");
}

#[test]
fn pools_are_served_at_speeds_of_their_own() {
    let gstreamer = |tenant| Ask { engine: EngineChoice::Gstreamer, ..of(tenant) };
    let fast = |needs: &Requirements| needs.engine == crate::job::EngineName::Gstreamer;
    let mut world = World::new(FairShare::default());
    world.submit(gstreamer("a"), 5000);
    world.submit(of("a"), 300);
    for _ in 0..4000 {
        world.serve_on(fast);
    }
    world.submit(of("b"), 300);
    world.submit(gstreamer("b"), 300);
    for able in [fast, |needs: &Requirements| needs.engine != crate::job::EngineName::Gstreamer] {
        let turns = (0..100).filter(|_| world.serve_on(able).is_some_and(|job| job.tenant.as_str() == "b")).count();
        assert!((48..=52).contains(&turns), "b has {turns} of 100 turns in one of the pools");
    }
}

#[test]
fn the_least_urgent_job_is_served_while_others_never_stop() {
    let mut world = World::new(FairShare::default());
    world.submit(Ask { priority: Priority::Batch, queue: Queue::Batch, ..of("patient") }, 1);
    for turn in 0..100 {
        for tenant in ["a", "b", "c"] {
            world.submit(Ask { priority: Priority::High, ..of(tenant) }, 2);
        }
        if world.serve().is_some_and(|job| job.tenant.as_str() == "patient") {
            return assert!(turn <= 3 * 4 + 3, "after {turn} turns");
        }
    }
    panic!("it starves");
}

proptest! {
    /// Of two tenants that both have jobs all the time, neither gets more than its share and three
    /// turns, over every stretch of time (Goyal et al., theorem 1).
    #[test]
    fn backlogged_tenants_are_served_by_weight(
        weights in proptest::collection::vec(1_u32..20, 3),
        batches in proptest::collection::vec((0_usize..3, 1_usize..6, 0_usize..5), 40..80),
    ) {
        const NAMES: [&str; 3] = ["a", "b", "c"];
        let mut world = World::new(weighted(&[("a", weights[0]), ("b", weights[1]), ("c", weights[2])]));
        for name in NAMES {
            world.submit(of(name), 5);
        }
        let mut got = vec![[0_f64; 3]];
        for (tenant, count, turns) in batches {
            world.submit(of(NAMES[tenant]), count);
            for _ in 0..turns {
                for name in NAMES {
                    // Nobody ever runs out.
                    if world.queued.iter().filter(|job| job.2.tenant.as_str() == name).count() < 3 {
                        world.submit(of(name), 3);
                    }
                }
                let job = world.serve().unwrap();
                let mut now = got[got.len() - 1];
                now[NAMES.iter().position(|name| *name == job.tenant.as_str()).unwrap()] += 1.0;
                got.push(now);
            }
        }
        for from in (0..got.len()).step_by(7) {
            for now in &got[from..] {
                let service = |tenant: usize| (now[tenant] - got[from][tenant]) / f64::from(weights[tenant]);
                for (one, other) in [(0, 1), (1, 2), (0, 2)] {
                    let bound = 3.0 / f64::from(weights[one]) + 3.0 / f64::from(weights[other]);
                    let gap = (service(one) - service(other)).abs();
                    prop_assert!(gap <= bound + 1e-9, "{gap} > {bound} between {one} and {other} of {weights:?}");
                }
            }
        }
    }
}
