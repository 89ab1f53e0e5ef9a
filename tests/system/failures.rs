//! What breaks in mid-work: agents, runners and masters die or freeze. Every job ends once, every
//! output is whole, nothing is left behind.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use ffrtmp::Code;
use ffrtmp::core::id::NodeId;
use ffrtmp::core::job::{Job, JobState};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::cluster::{
    AgentSetup, Cluster, PATIENCE, SHORT_LEASE, Setup, at_work, files_under, is_gone, until, with_home,
};
use crate::media;

/// Time for a child to notice that its agent is gone.
const ORPHANED: Duration = Duration::from_secs(2);

#[test]
fn a_killed_agent_runs_its_job_again_and_leaves_nothing() {
    let agent = AgentSetup::new("first");
    let mut cluster = Cluster::start(Setup { master: SHORT_LEASE.into(), agents: vec![agent.clone()] });
    let id = cluster.submit(json!({
        "scenario": "480p30-h264", "output": "out/again.mp4", "parameters": {"duration": 20, "preset": "medium"},
    }));
    cluster.job_under_way(&id);
    let child = until("a child is at work", PATIENCE, || at_work(&cluster.home()));
    let node = cluster.worker(0).node.clone();
    cluster.worker(0).program.kill();
    until("the child of a killed agent is gone", ORPHANED, || is_gone(child.pid).then_some(()));
    assert!(files_under(&cluster.files()).iter().all(|path| !path.ends_with("again.mp4")), "half an output is visible");

    let again = cluster.add_agent(&agent);
    assert_eq!(cluster.worker(again).node, node, "the identity is kept in the work directory");
    let (job, report) = cluster.completed(&id);
    assert_eq!((job.attempt, job.retry_count), (2, 1), "{job:#?}");
    assert_eq!(ends(&job), 1, "{job:#?}");
    assert!(job.state_transitions.iter().any(|change| change.to == JobState::Retrying), "{job:#?}");
    let outputs = files_under(&cluster.files());
    assert_eq!(outputs, [cluster.files().join("out/again.mp4")], "one output and nothing else");
    let seen = media::look(&outputs[0]);
    assert_eq!((seen.picture.frames, report.frames), (600, 600), "{seen:?}");
    cluster.assert_no_residue();
    assert_only_spares_left(&cluster);
}

#[test]
fn a_killed_runner_is_retried_and_a_crashed_one_is_not() {
    let mut cluster = Cluster::start(Setup { agents: vec![AgentSetup::paced("first", 4.0)], ..Setup::default() });
    for (signal, code, state, attempts) in [
        (Signal::KILL, Code::Killed, JobState::Completed, 2),
        (Signal::ABORT, Code::AttemptCrashed, JobState::Failed, 1),
    ] {
        let id = cluster.submit(json!({"scenario": "360p30-h264", "parameters": {"duration": 6}}));
        cluster.job_under_way(&id);
        let child = until("a child is at work", PATIENCE, || at_work(&cluster.home()));
        send(child.pid, signal);
        let failed = cluster.job_when(&id, "failed once", |job| job.error.is_some() || job.state.is_final());
        assert_eq!(failed.error.as_ref().map(|error| error.code), Some(code), "{failed:#?}");
        let job = cluster.ended(&id);
        assert_eq!((job.state, job.attempt, ends(&job)), (state, attempts, 1), "{job:#?}");
        assert!(cluster.worker(0).program.ended().is_none(), "the agent lives");
    }
    cluster.assert_no_residue();
    cluster.assert_no_panic();
    assert_only_spares_left(&cluster);
}

#[test]
fn a_killed_master_finds_its_running_jobs_again() {
    let mut cluster = Cluster::start(Setup { agents: vec![AgentSetup::paced("first", 4.0)], ..Setup::default() });
    // The master comes back while the attempt runs, and only when it is over.
    for back_after_work in [false, true] {
        let output = format!("out/{back_after_work}.mp4");
        let id = cluster.submit(json!({"scenario": "360p30-h264", "output": output, "parameters": {"duration": 10}}));
        cluster.job_under_way(&id);
        cluster.master.kill();
        if back_after_work {
            until("the attempt ends", PATIENCE, || at_work(&cluster.home()).is_none().then_some(()));
        }
        cluster.restart_master();
        let (job, report) = cluster.completed(&id);
        assert_eq!((job.attempt, ends(&job)), (1, 1), "{job:#?}");
        assert_eq!(report.output_uri, Some(cluster.file(&output)), "{report:#?}");
        assert!(Path::new(&cluster.file(&output)).is_file(), "{output}");
    }
    assert!(cluster.worker(0).program.ended().is_none(), "the agent lives");
    let sequence = cluster.newest_job().map(|job| job.sequence_number);
    assert_eq!(sequence, Some(2), "nothing was submitted or recorded twice");
    cluster.assert_no_residue();
}

#[test]
fn an_agent_frozen_past_its_lease_is_refused() {
    let agents = vec![AgentSetup::paced("frozen", 2.0)];
    let mut cluster = Cluster::start(Setup { master: SHORT_LEASE.into(), agents });
    let id = cluster.submit(json!({
        "scenario": "360p30-h264", "output": "out/contested.mp4", "parameters": {"duration": 6},
    }));
    let first = cluster.job_under_way(&id);
    cluster.worker(0).program.signal(Signal::STOP);
    let frozen = Instant::now();
    cluster.add_agent(&AgentSetup::paced("second", 2.0));
    cluster.job_when(&id, "taken over", |job| job.attempt == 2 && job.state == JobState::Running);
    let taken_over = frozen.elapsed();
    eprintln!("measured: a job of a frozen agent runs elsewhere after {taken_over:?} (lease 2 s, backoff 1 s)");
    assert!(taken_over < Duration::from_secs(10), "{taken_over:?}");
    let (job, _) = cluster.completed(&id);
    assert_eq!((job.attempt, job.node_name.as_deref()), (2, Some("second")), "{job:#?}");
    let output = cluster.files().join("out/contested.mp4");
    let published = fingerprint(&output);

    cluster.worker(0).program.signal(Signal::CONT);
    until("the late attempt ends", PATIENCE, || {
        cluster.worker(0).program.log_text().contains("attempt ended\"").then_some(())
    });
    assert_eq!(fingerprint(&output), published, "the output of the new attempt is untouched");
    assert_eq!(cluster.job(&id), job, "the late result changed nothing");
    cluster.assert_no_residue();

    let finish = |node: Option<NodeId>, fence: u64| {
        let body = json!({"job_id": id, "node_id": node, "fence": fence, "status": "completed", "metrics": {}});
        cluster.http("POST", "/results", Some(body.to_string().as_bytes()))
    };
    let (status, problem) = finish(first.node_id, first.fence.0);
    assert_eq!((status, &problem["code"]), (409, &json!("stale_fence")), "{problem}");
    for _ in 0..2 {
        let (status, answer) = finish(job.node_id, job.fence.0);
        assert_eq!((status, &answer["state"]), (200, &json!("completed")), "{answer}");
    }
    assert_eq!(cluster.job(&id), job, "repeated and stale results change nothing");
}

/// How often a job reached a final state.
fn ends(job: &Job) -> usize {
    job.state_transitions.iter().filter(|change| change.to.is_final()).count()
}

/// Master, agents, and for each agent its two fork servers, each with one child in reserve.
fn assert_only_spares_left(cluster: &Cluster) {
    until("attempts leave no process", ORPHANED, || at_work(&cluster.home()).is_none().then_some(()));
    let processes = with_home(&cluster.home());
    let count = |name: &str| processes.iter().filter(|process| process.name.starts_with(name)).count();
    // The kernel keeps fifteen bytes of a name.
    let live = count("ffrtmp-runner-g");
    assert!(live <= 2 * count("ffrtmp-agent"), "{processes:?}");
    assert!(count("ffrtmp-runner") - live <= 2 * count("ffrtmp-agent"), "{processes:?}");
    assert_eq!(count("ffrtmp-"), processes.len(), "{processes:?}");
}

fn fingerprint(path: &Path) -> (Vec<u8>, u64, i64, i64) {
    let about = fs::metadata(path).expect("an output");
    (fs::read(path).expect("an output"), about.ino(), about.mtime(), about.mtime_nsec())
}

fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("the process lives");
}
