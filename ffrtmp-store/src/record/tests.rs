//! Every field of a job comes back, and every story that a job can have.

use std::time::Duration;

use ffrtmp_core::cost::{JobCost, Spent};
use ffrtmp_core::error::JobError;
use ffrtmp_core::job::{
    AttemptOutcome, ChunkReport, EnergySource, JobReport, JobRequest, OutputFile, RenditionReport, SlaVerdict, Stage,
    StageTime,
};
use ffrtmp_core::lifecycle::{JobCommand, Lease, MAX_TRANSITIONS, Outcome};
use ffrtmp_core::live::LiveReport;
use ffrtmp_core::request;
use ffrtmp_core::units::Joules;
use serde_json::{Value, json};

use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(1_767_700_000_123_456) + Duration::from_secs(seconds)
}

fn error() -> JobError {
    (&Error::new(Code::Network, "it \"broke\"\0\n").hint("mend it")).into()
}

/// A request with every field set.
fn request() -> JobRequest {
    serde_json::from_value(json!({
        "scenario": "720p30-h264", "input": "in.mp4", "output": "out.mkv", "confidence": "high", "engine": "gstreamer",
        "classification": "test", "queue": "batch", "priority": "low",
        "parameters": {"bitrate": "5M", "preset": "fast", "fps": 29.97, "stills": {"poster": 1.5}},
        "resource_limits": {"max_cpu_percent": 150, "max_memory_mb": 100, "max_disk_mb": 7, "timeout_sec": 9},
        "max_retries": 2, "depends_on": [JobId::from_u128(7)], "labels": {"a": "ü"}, "deadline": "2031-01-01T00:00:00Z",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }))
    .unwrap()
}

fn prepared(request: JobRequest) -> Job {
    let mut job = request::prepare(request, JobId::from_u128(5), 3, at(0)).unwrap().job;
    job.sequence_number = 17;
    job
}

/// A job in which no field has its default.
fn full() -> Job {
    let mut job = prepared(request());
    job.tenant = "acme".parse().unwrap();
    job.apply(JobCommand::Ready, at(1)).unwrap();
    for (number, name) in [(1, "one"), (2, "two")] {
        let lease = job.assign(NodeId::from_u128(number), name, Duration::from_secs(30), at(2)).unwrap();
        job.apply(JobCommand::Start { lease, engine: Some((EngineName::Synthetic, "asked".into())) }, at(3)).unwrap();
        if number == 1 {
            job.apply(JobCommand::Finish { lease, outcome: Outcome::Failed(error()) }, at(4)).unwrap();
            job.apply(JobCommand::Requeue, at(5)).unwrap();
        }
    }
    job.labels.insert("\0".into(), "\0".into());
    job.progress = 0.1 + 0.2;
    job.retry_at = Some(at(6));
    job.completed_at = Some(at(7));
    job.failure_reason = Some(error().code.failure_reason());
    job.sla = Some(SlaVerdict { counted: true, compliant: false, reason: "late".into() });
    job.result = Some(Box::new(measured()));
    let cost = Some(JobCost { total: 1.5, ..cost() });
    let spent =
        Spent { attempts: 1, wall_seconds: 2.5, cpu_seconds: 0.1 + 0.2, energy_joules: Some(Joules(7.0)), cost };
    job.spent = Some(Box::new(spent));
    job
}

fn cost() -> JobCost {
    JobCost { cpu: 0.1, gpu: 0.2, storage: 0.3, egress: 0.4, infrastructure: 0.5, ..JobCost::default() }
}

/// A report in which no measure has its default or the value of another.
fn measured() -> JobReport {
    let rendition = RenditionReport { name: "n".into(), resolution: "1x1".into(), ..RenditionReport::default() };
    JobReport {
        output_uri: Some("file:///\"ü".into()),
        size_bytes: u64::MAX,
        duration_seconds: 10.01,
        frames: 300,
        fps: 1.0 / 3.0,
        speed: 1e300,
        wall_seconds: 5e-324,
        cpu_seconds: 0.1 + 0.2,
        peak_memory_bytes: 6,
        input_bytes: 7,
        output_bytes: 8,
        energy_joules: Some(Joules(0.0)),
        energy_source: Some(EnergySource::RaplNvml),
        throttled_seconds: Some(9.5),
        gpu: Some(0),
        sandbox_off: vec!["layer".into()],
        hash: Some("null".into()),
        video_encoder: Some("libx264".into()),
        video_codec: Some("h264".into()),
        resolution: Some("2x2".into()),
        bit_rate: 10,
        warnings: vec![String::new(), "w".into()],
        files: vec![OutputFile { path: "a".into(), size_bytes: 1, hash: "h".into() }],
        renditions: vec![rendition],
        chunking: Some(ChunkReport { chunks: 2, workers: 3, reason: "r".into() }),
        live: Some(Box::new(LiveReport { slowest_speed: Some(0.9), source_losses: 3, ..LiveReport::default() })),
        stages: vec![StageTime { name: Stage::Probe, offset_seconds: 0.25, seconds: 0.1 + 0.2 }],
        cost: Some(Box::new(JobCost { currency: "SEK".parse().unwrap(), total: 7.5, energy: Some(0.0), ..cost() })),
        other: [("x".to_owned(), json!({"deep": [null, 1.5, ":null,"]})), ("u".to_owned(), Value::Null)].into(),
    }
}

#[test]
fn a_report_in_the_names_of_an_earlier_version_is_read() {
    let record = Record::new(full());
    let mut end = record.end_with(None).unwrap();
    story::append(&mut end.story, "r", &serde_json::to_string(&measured()).unwrap());
    let fixed = record.fixed().unwrap();
    assert_eq!(Record::from_end(record.job.id, record.job.sequence_number, &fixed, &end).unwrap(), record);
}

fn through_hot(record: &Record) -> Record {
    let job = &record.job;
    Record::from_hot(job.id, job.sequence_number, &record.fixed().unwrap(), record.hot().unwrap()).unwrap()
}

fn through_end(record: &Record) -> Record {
    let job = &record.job;
    Record::from_end(job.id, job.sequence_number, &record.fixed().unwrap(), &record.end().unwrap()).unwrap()
}

/// Each field in turn is what the others are not: the one job has it, the other does not.
#[test]
fn every_field_comes_back() {
    let (full, bare) = (full(), prepared(JobRequest { scenario: "720p".into(), ..JobRequest::default() }));
    let parts = |job: &Job| match serde_json::to_value(job).unwrap() {
        Value::Object(parts) => parts,
        other => panic!("{other}"),
    };
    let (full_parts, bare_parts) = (parts(&full), parts(&bare));
    for (name, value) in &full_parts {
        let shown_only = name == "waiting_reason";
        assert!(shown_only || *value != Value::Null && *value != json!([]) && *value != json!({}), "{name} is not set");
        let mut mixed = bare_parts.clone();
        mixed.insert(name.clone(), value.clone());
        let mut job: Job = serde_json::from_value(mixed.into()).unwrap();
        job.waiting_reason = None;
        let record = Record::new(job);
        assert_eq!(through_hot(&record), record, "{name}");
        assert_eq!(through_end(&record), record, "{name}");
    }
    // The engine of the attempt is not the one of the submission.
    let mut record = Record::new(full);
    record.chosen = Chosen { engine: Some(EngineName::Ffmpeg), reason: None };
    assert_eq!(through_hot(&record), record);
    assert_eq!(through_end(&record), record);
}

/// A job that went any way of 40 random commands is the same after each of them.
#[test]
fn every_story_comes_back() {
    let mut seed = 1_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut ends = 0;
    for _ in 0..300 {
        let mut record = Record::new(prepared(JobRequest { depends_on: Vec::new(), ..request() }));
        for second in 0..40 {
            let (node, fence) = (NodeId::from_u128(u128::from(random(2))), record.job.fence);
            let lease = Lease { node: record.job.node_id.unwrap_or(node), fence };
            let now = at(second);
            let command = match random(12) {
                0..3 => {
                    let name = if node == NodeId::from_u128(0) { "zero" } else { "" };
                    let _ = record.job.assign(node, name, Duration::from_secs(9), now);
                    continue;
                }
                3 | 4 => JobCommand::Start { lease, engine: None },
                5 => JobCommand::Finish { lease, outcome: Outcome::Failed(error()) },
                6 => JobCommand::Finish { lease, outcome: Outcome::Completed(Box::default()) },
                7 => JobCommand::Finish { lease, outcome: Outcome::Released("bye".into()) },
                8 => JobCommand::Requeue,
                9 => JobCommand::Pause,
                10 => JobCommand::Resume,
                _ => JobCommand::Retry,
            };
            let _ = record.job.apply(command, now);
            let ended = Phase::from(&record.job) == Phase::Ended;
            ends += u32::from(ended);
            assert_eq!(if ended { through_end(&record) } else { through_hot(&record) }, record);
        }
    }
    assert!(ends > 1000, "{ends}");
}

/// The story of a claim and the columns of the start tell as much as the job knows, also where older
/// transitions make room for new ones.
#[test]
fn a_start_writes_no_story() {
    let mut job = prepared(JobRequest { scenario: "720p30-h264".into(), ..JobRequest::default() });
    for round in 0..MAX_TRANSITIONS as u64 {
        let lease = job.assign(NodeId::from_u128(1), "worker-01", Duration::from_secs(9), at(4 * round)).unwrap();
        let claimed = Record::new(job.clone()).hot().unwrap().story;
        for command in [
            JobCommand::Start { lease, engine: None },
            JobCommand::Progress { lease, percent: Some(7.0), renew_for: Duration::from_secs(9) },
        ] {
            let was = job.state;
            assert!(is_sign(&command));
            job.apply(command, at(4 * round + 1)).unwrap();
            let record = Record::new(job.clone());
            assert!(record.story_stands(was));
            let hot = Hot { story: claimed.clone(), ..record.hot().unwrap() };
            let read = Record::from_hot(job.id, job.sequence_number, &record.fixed().unwrap(), hot).unwrap();
            assert_eq!(read, record, "{round}");
        }
        let outcome = Outcome::Released("bye".into());
        job.apply(JobCommand::Finish { lease, outcome }, at(4 * round + 2)).unwrap();
    }
}

#[test]
fn an_ended_job_is_small() {
    let mut job = prepared(JobRequest { scenario: "720p30-h264".into(), ..JobRequest::default() });
    let lease = job.assign(NodeId::from_u128(1), "worker-01", Duration::from_secs(9), at(1)).unwrap();
    job.apply(JobCommand::Start { lease, engine: None }, at(2)).unwrap();
    job.apply(JobCommand::Finish { lease, outcome: Outcome::Completed(Box::default()) }, at(3)).unwrap();
    assert_eq!(job.attempts[0].outcome, Some(AttemptOutcome::Completed));
    let record = Record::new(job);
    let (fixed, story) = (record.fixed().unwrap(), record.end().unwrap().story);
    assert!(fixed.len() + story.len() < 1000, "{fixed}\n{story}");
    assert!(!fixed.contains("null") && !story.contains("null"), "{fixed}\n{story}");
}

#[test]
fn what_json_cannot_hold_is_refused() {
    let deep = (0..200).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
    for report in [
        JobReport { speed: f64::NAN, ..JobReport::default() },
        JobReport { other: [("deep".to_owned(), deep)].into(), ..JobReport::default() },
    ] {
        let mut job = full();
        job.result = Some(Box::new(report));
        assert_eq!(Record::new(job).end().unwrap_err().code(), Code::InvalidField);
    }
}

#[test]
fn numbers_of_words_go_both_ways() {
    fn check<T: Coded + PartialEq + std::fmt::Debug>(all: &[T]) {
        for word in all {
            assert_eq!(T::from_code(word.code()), Some(*word));
        }
        assert_eq!(T::from_code(99), None);
    }
    check(JobState::ALL);
    check(Priority::ALL);
    check(Queue::ALL);
    check(EngineName::ALL);
    check(Classification::ALL);
}
