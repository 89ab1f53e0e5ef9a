//! What every [`Scheduler`] must do.
//!
//! Failures panic with a message; call [`run`] from a test.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::id::{JobId, NodeId, TenantId};
use crate::job::{EngineName, Job, JobRequest, Priority, Queue};
use crate::media::VideoCodec;
use crate::node::{About, Capabilities, Node, NodeCommand, Requirements};
use crate::request;
use crate::scheduler::{Cluster, Scheduler};
use crate::store::{Lane, LaneStanding, Rank};

/// Judges a scheduler.
///
/// # Panics
/// If it breaks the contract.
pub fn run(scheduler: &dyn Scheduler) {
    assert!(!scheduler.name().is_empty(), "a scheduler has a name");
    older_jobs_never_rank_higher(scheduler);
    the_same_question_has_the_same_answer(scheduler);
    lanes_count_only_where_they_are_read(scheduler);
    the_order_of_the_lanes_does_not_matter(scheduler);
    a_batch_keeps_the_order_of_submission(scheduler);
    no_standing_is_too_strange(scheduler);
    only_able_nodes_are_chosen(scheduler);
    the_order_of_the_nodes_does_not_matter(scheduler);
}

fn older_jobs_never_rank_higher(scheduler: &dyn Scheduler) {
    for queue in Queue::ALL {
        for priority in Priority::ALL {
            let ranks: Vec<_> = AGES
                .iter()
                .map(|age| {
                    scheduler.rank(&job(*queue, *priority, at(*age)), &Cluster::default(), at(AGES[AGES.len() - 1]))
                })
                .collect();
            assert!(ranks.is_sorted(), "{queue}/{priority}: an older job ranks behind a younger one: {ranks:?}");
        }
    }
}

fn the_same_question_has_the_same_answer(scheduler: &dyn Scheduler) {
    let job = job(Queue::Default, Priority::High, at(5));
    let rank = scheduler.rank(&job, &Cluster::default(), at(9));
    let nodes = fleet();
    let chosen = scheduler.place(&needs(VideoCodec::H264, &[]), &nodes).map(|node| node.id);
    let (crowd, crowded) = (crowd(), scheduler.rank(&job, &crowd(), at(9)));
    for _ in 0..20 {
        assert_eq!(scheduler.rank(&job, &Cluster::default(), at(9)), rank, "rank is not pure");
        assert_eq!(scheduler.rank(&job, &crowd, at(9)), crowded, "rank is not pure in a crowd");
        let again = scheduler.place(&needs(VideoCodec::H264, &[]), &nodes).map(|node| node.id);
        assert_eq!(again, chosen, "place is not pure");
    }
}

/// Where the scheduler says that it does not read them, the master leaves them out.
fn lanes_count_only_where_they_are_read(scheduler: &dyn Scheduler) {
    if scheduler.reads_cluster() {
        return;
    }
    for job in all_kinds() {
        let alone = scheduler.rank(&job, &Cluster::default(), at(9));
        assert_eq!(scheduler.rank(&job, &crowd(), at(9)), alone, "a rank depends on lanes that are not read");
    }
}

fn the_order_of_the_lanes_does_not_matter(scheduler: &dyn Scheduler) {
    let mut cluster = crowd();
    for job in all_kinds() {
        let rank = scheduler.rank(&job, &cluster, at(9));
        for _ in 0..cluster.lanes.len() {
            cluster.lanes.rotate_left(1);
            assert_eq!(scheduler.rank(&job, &cluster, at(9)), rank, "another rank when the lanes are turned");
        }
    }
}

/// Jobs of one instant that differ in nothing else are ranked one after the other, each seeing
/// those before it; and the older ones of another batch stand in front of them.
fn a_batch_keeps_the_order_of_submission(scheduler: &dyn Scheduler) {
    for mut cluster in [Cluster::default(), crowd()] {
        for kind in all_kinds() {
            let mut ranks = Vec::new();
            for second in [9, 9, 9, 9, 10, 10, 11] {
                let job = Job { created_at: at(second), ..kind.clone() };
                let requirements = Requirements::of(&job).expect("a plain job has needs");
                let rank = scheduler.rank(&job, &cluster, at(second));
                cluster.note(&job, &requirements, rank);
                ranks.push(rank);
            }
            assert!(ranks.is_sorted(), "{}/{}: out of order: {ranks:?}", kind.queue, kind.priority);
        }
    }
}

/// Whatever ranks other schedulers left in the store before.
fn no_standing_is_too_strange(scheduler: &dyn Scheduler) {
    let edges = [i64::MIN, -1, 0, 1, i64::MAX].map(Rank);
    for job in all_kinds() {
        for first in edges {
            for last in edges {
                for (queued, active) in [(1, 0), (0, u64::MAX), (u64::MAX, 1)] {
                    let lane = lane_of(&job);
                    let standing = LaneStanding { lane, queued, active, first: Some(first), last: Some(last) };
                    let cluster = Cluster { lanes: vec![standing] };
                    let rank = scheduler.rank(&job, &cluster, at(9));
                    assert_eq!(scheduler.rank(&job, &cluster, at(9)), rank, "rank is not pure");
                }
            }
        }
    }
}

/// A job of every queue and priority, of two tenants.
fn all_kinds() -> Vec<Job> {
    let mut jobs = Vec::new();
    for queue in Queue::ALL {
        for priority in Priority::ALL {
            for tenant in ["default", "other"] {
                let tenant: TenantId = tenant.parse().expect("it is a name");
                jobs.push(Job { tenant, ..job(*queue, *priority, at(3)) });
            }
        }
    }
    jobs
}

fn lane_of(job: &Job) -> Lane {
    let requirements = Requirements::of(job).expect("a plain job has needs");
    Lane { requirements, tenant: job.tenant.clone(), queue: job.queue }
}

/// Lanes as a busy master has them.
fn crowd() -> Cluster {
    let standings = all_kinds().into_iter().zip(1_i64..).map(|(job, n)| {
        let mut lane = lane_of(&job);
        lane.requirements.memory_mb = 1024 * (n as u64 % 3);
        let ranks = (n % 4 > 0).then_some((Rank(n * 1_000_000), Rank(n * 3_000_000)));
        let (first, last) = ranks.unzip();
        let queued = if first.is_some() { 5 } else { 0 };
        LaneStanding { lane, queued, active: n as u64 % 2, first, last }
    });
    let mut lanes: Vec<LaneStanding> = Vec::new();
    for standing in standings {
        if lanes.iter().all(|known| known.lane != standing.lane) {
            lanes.push(standing);
        }
    }
    Cluster { lanes }
}

fn only_able_nodes_are_chosen(scheduler: &dyn Scheduler) {
    assert!(scheduler.place(&needs(VideoCodec::H264, &[]), &[]).is_none(), "no node, but one was chosen");
    let everyone = fleet();
    for needs in questions() {
        for nodes in 0..1_usize << everyone.len() {
            let chosen_from: Vec<Node> = everyone
                .iter()
                .enumerate()
                .filter(|(bit, _)| nodes >> bit & 1 == 1)
                .map(|(_, node)| node.clone())
                .collect();
            let able = |node: &&Node| node.takes_jobs() && needs.met_by(&node.offer());
            let free = |node: &Node| node.active_jobs < node.about.max_concurrent_jobs;
            match scheduler.place(&needs, &chosen_from) {
                Some(node) => {
                    assert!(
                        chosen_from.iter().any(|own| std::ptr::eq(own, node)),
                        "{} is not of the nodes",
                        node.about.name
                    );
                    assert!(able(&node), "{} cannot run {}", node.about.name, needs.class());
                }
                None => {
                    let ready = chosen_from.iter().filter(able).find(|node| free(node));
                    assert!(
                        ready.is_none(),
                        "{} is free for {}",
                        ready.map_or("", |node| &node.about.name),
                        needs.class()
                    );
                }
            }
        }
    }
}

fn the_order_of_the_nodes_does_not_matter(scheduler: &dyn Scheduler) {
    let mut nodes = fleet();
    for needs in questions() {
        let chosen = scheduler.place(&needs, &nodes).map(|node| node.id);
        for _ in 0..nodes.len() {
            nodes.rotate_left(1);
            let again = scheduler.place(&needs, &nodes).map(|node| node.id);
            assert_eq!(again, chosen, "another node is chosen for {} when the list is turned", needs.class());
        }
    }
}

/// Seconds at which jobs are submitted.
const AGES: &[u64] = &[0, 1, 59, 600, 3600, 86_400, 30 * 86_400];

fn at(second: u64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000) + Duration::from_secs(second)
}

fn job(queue: Queue, priority: Priority, created: Timestamp) -> Job {
    let request = JobRequest {
        scenario: "720p30-h264".into(),
        queue: Some(queue),
        priority: Some(priority),
        ..JobRequest::default()
    };
    request::prepare(request, JobId::from_u128(1), 3, created).expect("a plain request is a job").job
}

fn questions() -> Vec<Requirements> {
    vec![
        needs(VideoCodec::H264, &[]),
        needs(VideoCodec::Av1, &[]),
        needs(VideoCodec::H264, &[("zone", "eu")]),
        Requirements { engine: EngineName::Gstreamer, ..needs(VideoCodec::H264, &[]) },
        needs(VideoCodec::Vp9, &[("zone", "mars")]),
    ]
}

fn needs(codec: VideoCodec, labels: &[(&str, &str)]) -> Requirements {
    Requirements { video_codec: Some(codec), labels: text_map(labels), ..Requirements::engine(EngineName::Ffmpeg) }
}

fn text_map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Nodes of every kind: plain, twins, labelled, with few codecs, with GStreamer, busy, draining, lost.
fn fleet() -> Vec<Node> {
    let every = Capabilities::default();
    let few = Capabilities { video_codecs: Some(vec![VideoCodec::H264]), ..Capabilities::default() };
    let both = Capabilities { engines: vec![EngineName::Ffmpeg, EngineName::Gstreamer], ..Capabilities::default() };
    let mut busy = node(6, "busy", &every, &[], 1);
    let mut draining = node(7, "draining", &every, &[("zone", "eu")], 8);
    let mut lost = node(8, "lost", &both, &[], 8);
    apply(&mut busy, NodeCommand::Heartbeat { telemetry: None, active_jobs: 1 });
    apply(&mut draining, NodeCommand::Drain);
    apply(&mut lost, NodeCommand::Lost);
    vec![
        node(1, "twin", &every, &[], 4),
        node(2, "twin", &every, &[], 4),
        node(3, "labelled", &every, &[("zone", "eu")], 2),
        node(4, "few", &few, &[], 4),
        node(5, "both", &both, &[], 1),
        busy,
        draining,
        lost,
    ]
}

fn node(id: u128, name: &str, capabilities: &Capabilities, labels: &[(&str, &str)], slots: u32) -> Node {
    let about = About {
        name: name.into(),
        capabilities: capabilities.clone(),
        labels: text_map(labels),
        max_concurrent_jobs: slots,
        ..About::default()
    };
    Node::new(NodeId::from_u128(id), about, at(0))
}

fn apply(node: &mut Node, command: NodeCommand) {
    node.apply(command, at(1)).expect("a node takes every command");
}
