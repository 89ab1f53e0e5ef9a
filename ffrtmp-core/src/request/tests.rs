//! Requests, good and bad, by table.

use serde_json::{Value, json};

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn accept(body: Value) -> Prepared {
    let shown = body.to_string();
    let request = parse(body).unwrap_or_else(|error| panic!("{shown}: {error}"));
    prepare(request, JobId::from_u128(1), 3, NOW).unwrap_or_else(|error| panic!("{shown}: {error}"))
}

fn refuse(body: Value) -> Error {
    let shown = body.to_string();
    match parse(body).and_then(|request| prepare(request, JobId::from_u128(1), 3, NOW)) {
        Ok(_) => panic!("{shown:.300} was accepted"),
        Err(error) => error,
    }
}

#[test]
fn requests_that_people_send() {
    for body in [
        json!({"scenario": "1080p-h264", "confidence": "auto", "parameters": {"duration": 300, "bitrate": "5M"}}),
        json!({"scenario": "4K-h265", "confidence": "auto", "parameters": {"duration": 3600, "bitrate": "15000k"}}),
        json!({"scenario": "1080p30-h264"}),
        json!({
            "scenario": "1080p-h264",
            "parameters": {"bitrate": "4M", "duration": 300},
            "resource_limits": {"max_cpu_percent": 200, "max_memory_mb": 2048, "max_disk_mb": 5000, "timeout_sec": 600},
        }),
        json!({
            "scenario": "720p30-h264", "confidence": "auto", "engine": "ffmpeg", "queue": "default",
            "priority": "medium", "parameters": {"duration": 120, "bitrate": "2M"},
        }),
        json!({"scenario": "test1", "input": null, "labels": null, "depends_on": [], "parameters": null}),
        json!({"scenario": "test1", "parameters": {"duration": "12.5", "bitrate": 2_000_000, "fps": "29.97", "preset": 5,
            "codec": "av1", "crf": null}}),
    ] {
        let prepared = accept(body);
        assert_eq!(prepared.job.state, JobState::Queued);
        assert_eq!(prepared.job.state_transitions.len(), 1);
        assert_eq!(prepared.job.state_transitions[0].reason, "submitted");
    }
}

#[test]
fn defaults_come_from_the_scenario_and_then_from_the_contract() {
    let prepared = accept(json!({"scenario": "720p30-h264"}));
    let job = &prepared.job;
    assert_eq!(
        (job.queue, job.priority, job.classification),
        (Queue::Default, Priority::Medium, Classification::Production)
    );
    assert_eq!((job.engine, job.engine_used), (EngineChoice::Auto, Some(EngineName::Ffmpeg)));
    assert_eq!(job.engine_reason.as_deref(), Some("the input is generated and the output is a file"));
    assert_eq!((job.max_retries, job.queued_at), (3, Some(NOW)));
    let limits = job.resource_limits;
    assert_eq!((limits.max_memory_mb, limits.max_disk_mb, limits.timeout_sec), (Some(2048), Some(5000), Some(3600)));
    assert_eq!(prepared.requirements.class(), "ffmpeg/h264");

    let live = accept(json!({"scenario": "live-4k", "output": "/out/a.webm"}));
    assert_eq!((live.job.queue, live.job.engine_used), (Queue::Live, Some(EngineName::Gstreamer)));
    assert_eq!(
        (live.requirements.class(), live.fallback),
        ("gstreamer/vp9/memory=4096MB".into(), Some(EngineName::Ffmpeg))
    );
    let test = accept(json!({"scenario": "test1", "queue": "batch", "classification": "debug", "max_retries": 0}));
    assert_eq!(
        (test.job.queue, test.job.classification, test.job.max_retries),
        (Queue::Batch, Classification::Debug, 0)
    );
    assert_eq!(accept(json!({"scenario": "test1"})).job.classification, Classification::Test);

    let other = JobId::from_u128(2);
    let waiting = accept(json!({"scenario": "transcode", "depends_on": [other], "input": "a.mp4",
        "parameters": {"codec": "copy"}, "labels": {"node.zone": "eu", "team": "a"}}));
    assert_eq!((waiting.job.state, waiting.job.queued_at), (JobState::Waiting, None));
    assert_eq!(waiting.requirements.class(), "ffmpeg/copy/zone=eu");
}

#[test]
fn the_outer_limit_wins() {
    let limits = accept(json!({
        "scenario": "test1",
        "parameters": {"resource_limits": {"max_cpu_percent": 100, "timeout_sec": 60}},
        "resource_limits": {"timeout_sec": 90},
    }))
    .job
    .resource_limits;
    assert_eq!((limits.max_cpu_percent, limits.timeout_sec), (Some(100), Some(90)));
}

#[test]
fn a_live_job_falls_back_once_and_says_so() {
    let mut live = accept(json!({"scenario": "live-4k"}));
    assert!(live.fall_back());
    assert!(!live.fall_back());
    assert_eq!((live.requirements.engine, live.job.engine_used), (EngineName::Ffmpeg, Some(EngineName::Ffmpeg)));
    let reason = live.job.engine_reason.unwrap();
    assert!(reason.contains("no node has gstreamer") && reason.contains("the queue is live"), "{reason}");
    assert!(!accept(json!({"scenario": "live-4k", "engine": "gstreamer"})).fall_back());
    assert!(!accept(json!({"scenario": "live-4k", "output": "rtmp://host/live/key"})).fall_back());
}

#[test]
fn unknown_fields_are_refused_at_every_level() {
    for (body, field, hint) in [
        (json!({"scenario": "test1", "senario": 1}), "senario", "scenario"),
        (json!({"scenario": "test1", "bitrate": "5M"}), "bitrate", "known"),
        (json!({"scenario": "test1", "parameters": {"bitrat": "5M"}}), "parameters.bitrat", "bitrate"),
        (
            json!({"scenario": "test1", "parameters": {"resource_limit": {}}}),
            "parameters.resource_limit",
            "resource_limits",
        ),
        (json!({"scenario": "test1", "resource_limits": {"timeout": 5}}), "resource_limits.timeout", "timeout_sec"),
        (
            json!({"scenario": "test1", "parameters": {"resource_limits": {"max_cpu": 5}}}),
            "parameters.resource_limits.max_cpu",
            "max_cpu_percent",
        ),
        (json!({"scenario": "test1", "unknown\nname": null}), "unknownname", "known"),
    ] {
        let error = refuse(body);
        assert_eq!((error.code(), error.field_name()), (Code::UnknownField, Some(field)));
        assert!(error.hint_text().contains(hint), "{field}: {}", error.hint_text());
    }
}

#[test]
fn wrong_values_are_refused_by_name() {
    let long = "x".repeat(5000);
    let id = JobId::from_u128(9);
    for (body, field) in [
        (json!({"scenario": 5}), "scenario"),
        (json!({"scenario": ""}), "scenario"),
        (json!({}), "scenario"),
        (json!({"parameters": []}), "parameters"),
        (json!({"parameters": {"duration": -5}}), "parameters.duration"),
        (json!({"parameters": {"duration": 0}}), "parameters.duration"),
        (json!({"parameters": {"duration": "NaN"}}), "parameters.duration"),
        (json!({"parameters": {"duration": 1e300}}), "parameters.duration"),
        (json!({"parameters": {"duration": true}}), "parameters.duration"),
        (json!({"parameters": {"bitrate": "5X"}}), "parameters.bitrate"),
        (json!({"parameters": {"bitrate": -1}}), "parameters.bitrate"),
        (json!({"parameters": {"fps": 0}}), "parameters.fps"),
        (json!({"parameters": {"fps": 241}}), "parameters.fps"),
        (json!({"parameters": {"crf": 64}}), "parameters.crf"),
        (json!({"parameters": {"codec": "h2644"}}), "parameters.codec"),
        (json!({"parameters": {"resolution": "1080pp"}}), "parameters.resolution"),
        (json!({"parameters": {"resolution": long}}), "parameters.resolution"),
        (json!({"parameters": {"audio_codec": "vorbis"}}), "parameters.audio_codec"),
        (json!({"parameters": {"container": "avi"}}), "parameters.container"),
        (json!({"parameters": {"crf": 20, "bitrate": "2M"}}), "parameters.crf"),
        (json!({"parameters": {"codec": "copy"}}), "parameters.codec"),
        (json!({"engine": "vlc"}), "engine"),
        (json!({"queue": "fast"}), "queue"),
        (json!({"priority": 1}), "priority"),
        (json!({"tenant": ""}), "tenant"),
        (json!({"tenant": "a b"}), "tenant"),
        (json!({"tenant": "x".repeat(65)}), "tenant"),
        (json!({"tenant": 3}), "tenant"),
        (json!({"classification": "prod"}), "classification"),
        (json!({"confidence": "sure"}), "confidence"),
        (json!({"max_retries": -1}), "max_retries"),
        (json!({"max_retries": 101}), "max_retries"),
        (json!({"max_retries": 1.5}), "max_retries"),
        (json!({"resource_limits": {"max_cpu_percent": 0}}), "resource_limits.max_cpu_percent"),
        (json!({"resource_limits": {"max_cpu_percent": 5_000_000_000_u64}}), "resource_limits.max_cpu_percent"),
        (json!({"resource_limits": {"max_memory_mb": 15}}), "resource_limits.max_memory_mb"),
        (json!({"resource_limits": {"max_disk_mb": 0}}), "resource_limits.max_disk_mb"),
        (json!({"resource_limits": {"timeout_sec": 604_801}}), "resource_limits.timeout_sec"),
        (json!({"depends_on": "x"}), "depends_on"),
        (json!({"depends_on": [id, "not-an-id"]}), "depends_on[1]"),
        (json!({"depends_on": [id, id]}), "depends_on"),
        (json!({"depends_on": [JobId::from_u128(1)]}), "depends_on"),
        (json!({"depends_on": (10..111).map(JobId::from_u128).collect::<Vec<_>>()}), "depends_on"),
        (json!({"labels": {"a": 1}}), "labels.a"),
        (json!({"labels": {"": "x"}}), "labels"),
        (json!({"labels": {"a": long}}), "labels.a"),
        (json!({"labels": {"node.": "x"}}), "labels"),
        (json!({"labels": (0..65).map(|n| (n.to_string(), "x")).collect::<BTreeMap<_, _>>()}), "labels"),
        (json!({"input": ""}), "input"),
        (json!({"input": "a\nb"}), "input"),
        (json!({"input": ["a"]}), "input"),
        (json!({"output": long}), "output"),
    ] {
        let shown = format!("{body:.100}");
        let mut body = body;
        if body.get("scenario").is_none() && field != "scenario" {
            body["scenario"] = "transcode".into();
        }
        let error = refuse(body);
        assert_eq!((error.code(), error.field_name()), (Code::InvalidField, Some(field)), "{shown}: {error}");
        assert!(error.to_string().len() < 400, "{shown}: {} bytes", error.to_string().len());
    }
    for (body, code, field) in [
        (json!([1]), Code::InvalidRequest, None),
        (json!("x"), Code::InvalidRequest, None),
        (json!({"scenario": "1080pp"}), Code::UnknownScenario, Some("scenario")),
        (json!({"scenario": "test1", "input": "ftp://h/a"}), Code::UnsupportedScheme, Some("input")),
        (json!({"scenario": "test1", "output": "https://h/a"}), Code::UnsupportedScheme, Some("output")),
        (json!({"scenario": "720p-h264", "output": "a.webm"}), Code::ContainerMismatch, Some("scenario")),
        (json!({"scenario": "720p-h264", "output": "a.avi"}), Code::ContainerMismatch, Some("output")),
        (json!({"scenario": "test1", "input": "a.mp4", "output": "a.mp4"}), Code::OutputIsInput, Some("output")),
    ] {
        let error = refuse(body);
        assert_eq!((error.code(), error.field_name()), (code, field), "{error}");
    }
}

#[test]
fn texts_are_kept_literally() {
    for text in ["-i", "--", ";", "%d", "💣.mp4", "\u{202e}gpj.mp4", "$(id).mp4", "a'b\"c.mp4"] {
        let job = accept(json!({"scenario": "test1", "input": text, "labels": {text: text}})).job;
        assert_eq!((job.input.as_deref(), job.labels.get(text).map(String::as_str)), (Some(text), Some(text)));
    }
}

#[test]
fn a_number_next_to_nothing_is_nothing() {
    let job = accept(json!({"scenario": "test1", "parameters": {"crf": 1.6e-131}})).job;
    assert_eq!(job.parameters.crf.map(crate::units::Crf::value), Some(0.0));
    assert_eq!(
        refuse(json!({"scenario": "test1", "parameters": {"duration": 1e-131}})).field_name(),
        Some("parameters.duration")
    );
}
