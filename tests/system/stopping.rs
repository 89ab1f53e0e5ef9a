//! Orders from people: cancel, pause, drain, and signals to the programs.

use std::time::{Duration, Instant};

use ffrtmp::core::job::JobState;
use rustix::process::Signal;
use serde_json::json;

use crate::cluster::{
    AgentSetup, Cluster, PATIENCE, Setup, at_work, cpu_ticks, files_under, is_gone, until, with_home,
};
use crate::media;

#[test]
fn a_canceled_job_stops_within_two_seconds() {
    let cluster = Cluster::single();
    let id = cluster.submit(json!({
        "scenario": "720p30-h264", "output": "out/never.mp4", "parameters": {"duration": 600, "preset": "slow"},
    }));
    cluster.job_under_way(&id);
    let child = until("a child is at work", PATIENCE, || at_work(&cluster.home()));
    let job = cluster.call(cluster.client.cancel(&id)).expect("canceled").job;
    assert_eq!(job.state, JobState::Canceled);
    let asked = Instant::now();
    until("the child is gone", Duration::from_secs(2), || is_gone(child.pid).then_some(()));
    eprintln!("measured: cancel reached the child in {:?}", asked.elapsed());
    cluster.assert_no_residue();
    assert!(files_under(&cluster.files()).is_empty(), "{:?}", files_under(&cluster.files()));
    let job = cluster.job(&id);
    assert_eq!((job.state, job.result), (JobState::Canceled, None), "{:?}", job.error);
    assert!(cluster.call(cluster.client.cancel(&id)).is_ok(), "canceling twice is one effect");

    let next = cluster.submit(json!({"scenario": "144p-h264", "parameters": {"duration": 0.2}}));
    cluster.completed(&next);
}

#[test]
fn a_paused_job_stands_still_and_goes_on() {
    let cluster = Cluster::single();
    let id = cluster.submit(json!({
        "scenario": "480p30-h264", "output": "out/paused.mp4", "parameters": {"duration": 20, "preset": "medium"},
    }));
    cluster.job_under_way(&id);
    let child = until("a child is at work", PATIENCE, || at_work(&cluster.home()));
    cluster.call(cluster.client.pause(&id)).expect("paused");
    until("the child uses no processor", Duration::from_secs(5), || {
        let before = cpu_ticks(child.pid)?;
        // The span that is measured.
        std::thread::sleep(Duration::from_millis(500));
        (cpu_ticks(child.pid)? <= before + 1).then_some(())
    });
    assert_eq!(cluster.job(&id).state, JobState::Paused);
    cluster.call(cluster.client.resume(&id)).expect("resumed");
    let (job, report) = cluster.completed(&id);
    assert_eq!((job.attempt, report.frames), (1, 600), "{job:#?}");
    assert_eq!(media::look(&cluster.files().join("out/paused.mp4")).picture.frames, 600);
}

#[test]
fn a_drained_node_takes_no_jobs_until_it_is_activated() {
    let mut cluster = Cluster::start(Setup { agents: vec![AgentSetup::paced("first", 50.0)], ..Setup::default() });
    let second = cluster.add_agent(&AgentSetup::paced("second", 50.0));
    let nodes = [cluster.worker(0).node.clone(), cluster.worker(second).node.clone()];
    for (drained, active, name) in [(0, 1, "second"), (1, 0, "first")] {
        cluster.call(cluster.client.activate(&nodes[active])).expect("a node");
        let node = cluster.call(cluster.client.drain(&nodes[drained])).expect("a node");
        assert!(node.draining);
        let ids: Vec<_> =
            (0..4).map(|_| cluster.submit(json!({"scenario": "144p-h264", "parameters": {"duration": 1}}))).collect();
        for id in ids {
            assert_eq!(cluster.completed(&id).0.node_name.as_deref(), Some(name));
        }
    }
}

#[test]
fn sigterm_lets_jobs_end_and_a_second_one_gives_them_back() {
    let mut cluster = Cluster::start(Setup { agents: vec![AgentSetup::paced("patient", 4.0)], ..Setup::default() });
    let id = cluster.submit(json!({"scenario": "360p30-h264", "parameters": {"duration": 6}}));
    cluster.job_under_way(&id);
    cluster.worker(0).program.signal(Signal::TERM);
    assert_eq!(cluster.worker(0).program.exit_code(PATIENCE), 0);
    assert_eq!(cluster.completed(&id).0.attempt, 1, "the job ended before its agent");
    assert!(cluster.node_named("patient").is_none(), "nobody waits for who has said that it stops");

    for (name, flags, signals) in
        [("pressed", vec![], 2), ("hurried", vec!["--drain-timeout".into(), "300ms".into()], 1)]
    {
        let agent = AgentSetup { flags, ..AgentSetup::paced(name, 0.5) };
        let index = cluster.add_agent(&agent);
        let id = cluster.submit(json!({"scenario": "360p30-h264", "parameters": {"duration": 600}}));
        cluster.job_under_way(&id);
        let program = &mut cluster.worker(index).program;
        for signal in 1..=signals {
            program.signal(Signal::TERM);
            until("the signal is noticed", PATIENCE, || {
                (program.log_text().matches("signal: stopping").count() == signal).then_some(())
            });
        }
        assert_eq!(program.exit_code(Duration::from_secs(5)), 0);
        let job = cluster.job(&id);
        assert_eq!((job.state, job.attempt, job.retry_count), (JobState::Queued, 1, 0), "{job:#?}");
        cluster.assert_no_residue();
        // A spare child ends when it finds its agent gone, which it may do a moment after the agent.
        until("the children end with their agent", PATIENCE, || {
            let left = with_home(&cluster.home()).into_iter().any(|process| process.name.contains("runner"));
            (!left).then_some(())
        });
        cluster.call(cluster.client.cancel(&id)).expect("canceled");
    }
}

#[test]
fn sigterm_ends_a_master_that_agents_wait_on() {
    let mut cluster = Cluster::start(Setup { agents: vec![AgentSetup::paced("first", 4.0)], ..Setup::default() });
    cluster.master.signal(Signal::TERM);
    assert_eq!(cluster.master.exit_code(Duration::from_secs(5)), 0);
    assert!(cluster.worker(0).program.ended().is_none(), "the agent waits for the master");
    cluster.restart_master();
    let id = cluster.submit(json!({"scenario": "360p30-h264", "parameters": {"duration": 1}}));
    cluster.completed(&id);
}
