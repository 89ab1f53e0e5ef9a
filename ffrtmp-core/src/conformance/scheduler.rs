//! What every [`Scheduler`] must do.
//!
//! Failures panic with a message; call [`run`] from a test.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::id::{JobId, NodeId};
use crate::job::{EngineName, Job, JobRequest, Priority, Queue};
use crate::media::VideoCodec;
use crate::node::{About, Capabilities, Node, NodeCommand, Requirements};
use crate::request;
use crate::scheduler::{Cluster, Scheduler};

/// Judges a scheduler.
///
/// # Panics
/// If it breaks the contract.
pub fn run(scheduler: &dyn Scheduler) {
    assert!(!scheduler.name().is_empty(), "a scheduler has a name");
    older_jobs_never_rank_higher(scheduler);
    the_same_question_has_the_same_answer(scheduler);
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
    for _ in 0..20 {
        assert_eq!(scheduler.rank(&job, &Cluster::default(), at(9)), rank, "rank is not pure");
        let again = scheduler.place(&needs(VideoCodec::H264, &[]), &nodes).map(|node| node.id);
        assert_eq!(again, chosen, "place is not pure");
    }
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
