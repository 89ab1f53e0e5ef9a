//! Traces of jobs, as a collector gets them: one whole trace per job across master and agent.

use std::collections::BTreeMap;
use std::time::Duration;

use ffrtmp::core::job::{Job, JobRequest};
use ffrtmp::core::trace::TraceContext;
use rustix::process::Signal;
use serde_json::json;

use crate::cluster::{AgentSetup, Cluster, Setup, free_port, until};
use crate::collector::{Collector, Seen};

/// Spans of a job that completes in its first attempt, each with its parent.
const COMPLETED: [(&str, &str); 11] = [
    ("submit", ""),
    ("schedule", "submit"),
    ("claim", "schedule"),
    ("attempt", "claim"),
    ("stage", "attempt"),
    ("transcode", "attempt"),
    ("probe", "transcode"),
    ("encode", "transcode"),
    ("verify", "transcode"),
    ("publish", "attempt"),
    ("result", "claim"),
];

/// Those of one whose input is missing.
const FAILED: [(&str, &str); 6] = [
    ("submit", ""),
    ("schedule", "submit"),
    ("claim", "schedule"),
    ("attempt", "claim"),
    ("stage", "attempt"),
    ("result", "claim"),
];

/// A chain of spans of which each begins no earlier than the one before.
const ORDER: [&str; 9] = ["submit", "schedule", "claim", "attempt", "stage", "probe", "encode", "verify", "publish"];

/// Nanoseconds by which two clocks, or two ends of a socket, may differ.
const TOLERANCE: u64 = 20_000_000;

fn traced(collector: &str) -> Cluster {
    // The flags of a master live as long as its test.
    let endpoint: &'static str = collector.to_owned().leak();
    let master = vec!["--tracing", "--tracing-endpoint", endpoint];
    let agents = vec![AgentSetup::new("traced").flag("--tracing").flag("--tracing-endpoint").flag(endpoint)];
    Cluster::start(Setup { master, agents })
}

fn short(input: Option<&str>, traceparent: Option<&str>) -> JobRequest {
    let mut request = json!({"scenario": "144p-h264", "parameters": {"duration": 0.5, "preset": "ultrafast"}});
    request["input"] = json!(input);
    request["traceparent"] = json!(traceparent);
    serde_json::from_value(request).expect("a request")
}

fn submit(cluster: &Cluster, request: &JobRequest) -> Job {
    cluster.call(cluster.client.submit(request, None)).expect("a job").job
}

#[test]
fn every_job_has_one_whole_trace() {
    let collector = Collector::start();
    let mut cluster = traced(collector.address());
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let quiet = "00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-00";
    let own: Vec<Job> = (0..3).map(|_| submit(&cluster, &short(None, None))).collect();
    let child = submit(&cluster, &short(None, Some(parent)));
    let untold = submit(&cluster, &short(None, Some(quiet)));
    let failing = submit(&cluster, &short(Some("missing.mp4"), None));
    for job in own.iter().chain([&child, &untold]) {
        cluster.completed(&job.id.to_string());
    }
    cluster.ended(&failing.id.to_string());

    // Whoever stops sends what is left first.
    cluster.worker(0).program.signal(Signal::TERM);
    assert_eq!(cluster.worker(0).program.exit_code(Duration::from_secs(20)), 0);
    cluster.master.signal(Signal::TERM);
    assert_eq!(cluster.master.exit_code(Duration::from_secs(20)), 0);

    for job in &own {
        let trace = job.trace.expect("a trace").trace_id();
        assert_eq!(trace, job.id.to_string().replace('-', ""), "a job's trace is found by its id");
        assert_whole(&collector.trace(&trace), job, &COMPLETED, "");
    }
    assert_eq!(child.trace, parent.parse::<TraceContext>().ok());
    assert_whole(&collector.trace(&parent[3..35]), &child, &COMPLETED, &parent[36..52]);
    assert!(collector.trace(&quiet[3..35]).is_empty(), "whoever asks may not want to be traced");
    let failed = collector.trace(&failing.trace.expect("a trace").trace_id());
    assert_whole(&failed, &failing, &FAILED, "");
    for name in ["stage", "attempt", "result"] {
        let span = failed.iter().find(|span| span.name == name).expect("a span");
        assert!(span.error.as_ref().is_some_and(|error| !error.is_empty()), "{span:?}");
        assert_eq!(span.attributes["error.type"], "input_not_found");
    }
    assert_eq!(collector.spans().len(), 4 * COMPLETED.len() + FAILED.len(), "nothing else is sent");
}

/// The spans are these, once each, under these parents, in this order, and say whose they are.
fn assert_whole(spans: &[Seen], job: &Job, expected: &[(&str, &str)], caller: &str) {
    let names: BTreeMap<&str, &Seen> = spans.iter().map(|span| (span.name.as_str(), span)).collect();
    assert_eq!(names.len(), spans.len(), "each once: {spans:#?}");
    let mut wanted: Vec<_> = expected.iter().map(|(name, _)| *name).collect();
    wanted.sort_unstable();
    assert_eq!(names.keys().copied().collect::<Vec<_>>(), wanted);
    for (name, parent) in expected {
        let (span, above) = (names[name], names.get(parent));
        assert_eq!(span.parent, above.map_or(caller, |above| above.id.as_str()), "{name} is a child of {parent}");
        assert!(span.start <= span.end, "{span:?}");
        assert_eq!(span.attributes["ffrtmp.job.id"], job.id.to_string());
        let is_agent = ["attempt", "stage", "transcode", "probe", "encode", "verify", "publish"].contains(name);
        assert_eq!(span.resource["service.name"], if is_agent { "ffrtmp-agent" } else { "ffrtmp-master" });
        for attribute in ["service.version", "service.instance.id", "host.name", "process.pid"] {
            assert!(!span.resource[attribute].is_empty(), "{attribute}");
        }
        // What happens in a span of the same program is over with it.
        if let Some(above) = above.filter(|above| is_agent && above.name != "claim") {
            assert!(
                span.start + TOLERANCE >= above.start && span.end <= above.end + TOLERANCE,
                "{span:?} in {above:?}"
            );
        }
    }
    let chain: Vec<_> = ORDER.iter().filter_map(|name| names.get(name)).collect();
    for pair in chain.windows(2) {
        assert!(pair[0].start <= pair[1].start + TOLERANCE, "{} before {}", pair[0].name, pair[1].name);
    }
    assert!(names["result"].end + TOLERANCE >= names["stage"].end);
}

#[test]
fn a_collector_that_is_not_there_costs_one_warning() {
    let mut cluster = traced(&format!("127.0.0.1:{}", free_port()));
    let warnings = |log: String| log.lines().filter(|line| line.contains("takes no traces")).count();
    for _ in 0..3 {
        let job = submit(&cluster, &short(None, None));
        cluster.completed(&job.id.to_string());
    }
    until("both have tried to send", Duration::from_secs(20), || {
        let agent = cluster.worker(0).program.log_text();
        (warnings(agent) > 0 && warnings(cluster.master.log_text()) > 0).then_some(())
    });
    let job = submit(&cluster, &short(None, None));
    cluster.completed(&job.id.to_string());
    cluster.worker(0).program.signal(Signal::TERM);
    assert_eq!(cluster.worker(0).program.exit_code(Duration::from_secs(20)), 0);
    cluster.master.signal(Signal::TERM);
    assert_eq!(cluster.master.exit_code(Duration::from_secs(20)), 0);
    assert_eq!(warnings(cluster.worker(0).program.log_text()), 1);
    assert_eq!(warnings(cluster.master.log_text()), 1);
}
