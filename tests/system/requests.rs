//! Bad and hostile requests: refused by the API with the field's name, or ended by the agent with a
//! classified error. Never retried, never a panic, never a file where none belongs.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use ffrtmp::Code;
use ffrtmp::core::job::{FailureReason, JobState};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Setup, files_under};
use crate::media;

#[test]
fn a_bad_request_is_refused_with_its_field() {
    let cluster = Cluster::start(Setup::default());
    let long = "x".repeat(1_000_000);
    for (request, status, code, field) in [
        (json!({"scenario": "1080pp"}), 400, "unknown_scenario", "scenario"),
        (json!({"scenario": "h2644"}), 400, "unknown_scenario", "scenario"),
        (json!({"scenario": ""}), 400, "invalid_field", "scenario"),
        (json!({"scenario": "720p-480p"}), 400, "invalid_field", "scenario"),
        (json!({}), 400, "invalid_field", "scenario"),
        (json!({"scenario": 720}), 400, "invalid_field", "scenario"),
        (json!({"scenario": "720p", "scenaro": "x"}), 400, "unknown_field", "scenaro"),
        (json!({"scenario": "720p", "parameters": {"duration": -1}}), 400, "invalid_field", "parameters.duration"),
        (json!({"scenario": "720p", "parameters": {"duration": "-i"}}), 400, "invalid_field", "parameters.duration"),
        (json!({"scenario": "720p", "parameters": {"duration": 1e300}}), 400, "invalid_field", "parameters.duration"),
        (json!({"scenario": "720p", "parameters": {"fps": 0}}), 400, "invalid_field", "parameters.fps"),
        (json!({"scenario": "720p", "parameters": {"bitrate": "fast"}}), 400, "invalid_field", "parameters.bitrate"),
        (json!({"scenario": "720p", "parameters": {"codec": "h2644"}}), 400, "invalid_field", "parameters.codec"),
        (
            json!({"scenario": "720p", "parameters": {"resolution": "0x0"}}),
            400,
            "invalid_field",
            "parameters.resolution",
        ),
        (json!({"scenario": "720p", "priority": "urgentest"}), 400, "invalid_field", "priority"),
        (
            json!({"scenario": "720p", "resource_limits": {"timeout_sec": 0}}),
            400,
            "invalid_field",
            "resource_limits.timeout_sec",
        ),
        (json!({"scenario": "720p", "max_retries": -1}), 400, "invalid_field", "max_retries"),
        (json!({"scenario": "720p", "input": ""}), 400, "invalid_field", "input"),
        (json!({"scenario": "720p", "input": "gopher://h/a"}), 400, "unsupported_scheme", "input"),
        (json!({"scenario": "720p", "input": "concat:a.mp4|b.mp4"}), 400, "unsupported_scheme", "input"),
        (json!({"scenario": "720p", "output": "https://h/a.mp4"}), 400, "unsupported_scheme", "output"),
        (json!({"scenario": "720p", "output": "a.avi"}), 422, "container_mismatch", "output"),
        (json!({"scenario": "720p-vp9", "output": "a.ts"}), 422, "container_mismatch", "scenario"),
        (json!({"scenario": "720p", "input": "a.mp4", "output": "a.mp4"}), 409, "output_is_input", "output"),
        (json!({"scenario": "720p", "depends_on": ["../etc"]}), 400, "invalid_field", "depends_on[0]"),
        (json!({"scenario": "720p", "labels": {"a": 1}}), 400, "invalid_field", "labels.a"),
        (json!({"scenario": long}), 400, "invalid_field", "scenario"),
        (json!({"scenario": "720p", "input": long}), 400, "invalid_field", "input"),
        (json!({"scenario": "720p", "labels": {"a": long, "b": long}}), 413, "payload_too_large", ""),
        (json!(["720p"]), 400, "invalid_request", ""),
    ] {
        let body = request.to_string();
        let (got, problem) = cluster.http("POST", "/jobs", Some(body.as_bytes()));
        let context = format!("{body:.200} → {problem:#}");
        assert_eq!((got, &problem["code"]), (status, &json!(code)), "{context}");
        assert_eq!(problem["field"].as_str().unwrap_or_default(), field, "{context}");
        assert!(problem["hint"].as_str().is_some_and(|hint| hint.len() > 5), "{context}");
        assert!(problem.to_string().len() < 2000, "an error does not repeat a megabyte");
    }
    for (method, path, body, status) in [
        ("POST", "/jobs", Some(&b"{\"scenario\": "[..]), 400),
        ("POST", "/jobs", Some(b"\xff\xfe"), 400),
        ("GET", "/jobs/zzzz", None, 404),
        ("GET", "/jobs/99999", None, 404),
        ("GET", "/jobs?limit=0", None, 400),
        ("GET", "/jobs?staet=queued", None, 400),
        ("POST", "/jobs/99999/cancel", None, 404),
        ("GET", "/nowhere", None, 404),
        ("PUT", "/jobs", None, 405),
    ] {
        let (got, problem) = cluster.http(method, path, body);
        assert_eq!(got, status, "{method} {path}: {problem:#}");
        assert!(problem["code"].is_string() && problem["hint"].is_string(), "{method} {path}: {problem:#}");
    }
    assert!(cluster.newest_job().is_none(), "nothing was created");
    cluster.assert_no_panic();
}

#[test]
fn a_job_that_cannot_work_fails_once_with_its_reason() {
    let cluster = Cluster::single();
    let files = cluster.files();
    let secret = cluster.path("outside").join("secret.mp4");
    media::make_clip(&files.join("good.mp4"), "320x180", 1.0);
    let whole = fs::read(files.join("good.mp4")).expect("the clip");
    fs::write(&secret, &whole).expect("a file outside");
    fs::write(files.join("text.mp4"), "this is not a film\n".repeat(50)).expect("a text");
    fs::write(files.join("truncated.mp4"), &whole[..whole.len() / 2]).expect("half a clip");
    fs::write(files.join("zero.mp4"), "").expect("an empty file");
    fs::write(files.join("list.mp4"), format!("#EXTM3U\n#EXTINF:1,\nfile://{}\n", secret.display()))
        .expect("a playlist");
    fs::write(files.join("script.mp4"), format!("ffconcat version 1.0\nfile {}\n", secret.display()))
        .expect("a script");
    fs::write(files.join("locked.mp4"), &whole).expect("a clip");
    symlink(&secret, files.join("link.mp4")).expect("a link");
    symlink(cluster.path("outside"), files.join("up")).expect("a link");
    let made = Command::new("mkfifo").arg(files.join("fifo.mp4")).status().expect("mkfifo runs");
    assert!(made.success());

    let before = files_under(cluster.path("outside").as_path());
    let outside = cluster.path("outside").join("new.mp4").display().to_string();
    let cases = [
        ("missing.mp4", "out/a.mp4", Code::InputNotFound, FailureReason::InputError),
        ("text.mp4", "out/a.mp4", Code::InputInvalid, FailureReason::InputError),
        ("truncated.mp4", "out/a.mp4", Code::InputInvalid, FailureReason::InputError),
        ("zero.mp4", "out/a.mp4", Code::InputInvalid, FailureReason::InputError),
        ("list.mp4", "out/a.mp4", Code::InputUnsupported, FailureReason::InputError),
        ("script.mp4", "out/a.mp4", Code::InputUnsupported, FailureReason::InputError),
        ("out", "out/a.mp4", Code::InputUnreadable, FailureReason::InputError),
        ("fifo.mp4", "out/a.mp4", Code::InputUnreadable, FailureReason::InputError),
        ("link.mp4", "out/a.mp4", Code::PathNotAllowed, FailureReason::UserError),
        ("up/secret.mp4", "out/a.mp4", Code::PathNotAllowed, FailureReason::UserError),
        ("../outside/secret.mp4", "out/a.mp4", Code::PathNotAllowed, FailureReason::UserError),
        ("/etc/passwd", "out/a.mp4", Code::PathNotAllowed, FailureReason::UserError),
        ("/dev/zero", "out/a.mp4", Code::PathNotAllowed, FailureReason::UserError),
        ("file:///etc/passwd", "out/a.mp4", Code::PathNotAllowed, FailureReason::UserError),
        ("-i", "out/a.mp4", Code::InputNotFound, FailureReason::InputError),
        ("good.mp4", "nowhere/a.mp4", Code::OutputDirectoryMissing, FailureReason::UserError),
        ("good.mp4", outside.as_str(), Code::PathNotAllowed, FailureReason::UserError),
        ("good.mp4", "up/new.mp4", Code::PathNotAllowed, FailureReason::UserError),
        ("good.mp4", "../outside/new.mp4", Code::PathNotAllowed, FailureReason::UserError),
        ("good.mp4", "/etc/passwd.mp4", Code::PathNotAllowed, FailureReason::UserError),
        ("good.mp4", "./good.mp4", Code::OutputIsInput, FailureReason::UserError),
        ("rtmp://127.0.0.1/live/a", "out/a.mp4", Code::EngineUnavailable, FailureReason::CapabilityMismatch),
    ];
    let submitted: Vec<_> = cases
        .iter()
        .map(|(input, output, ..)| {
            let engine = "ffmpeg";
            cluster.submit(json!({"scenario": "144p-h264", "engine": engine, "input": input, "output": output}))
        })
        .collect();
    for (id, (input, output, code, reason)) in submitted.iter().zip(cases) {
        let job = cluster.ended(id);
        let context = format!("{input} → {output}: {:?}", job.error);
        let error = job.error.as_ref().unwrap_or_else(|| panic!("{context}: {}", job.state));
        assert_eq!((job.state, error.code), (JobState::Failed, code), "{context}");
        assert_eq!(job.failure_reason, Some(reason), "{context}");
        assert_eq!((job.attempt, job.retry_count), (1, 0), "never retried: {context}");
        assert!(!error.message.is_empty() && error.message.lines().count() == 1 && !error.hint.is_empty(), "{context}");
        let log = cluster.call(cluster.client.logs(id)).expect("logs");
        let last = log.last().unwrap_or_else(|| panic!("nothing in the log: {context}"));
        let is_told =
            [code.as_str(), error.message.as_str(), error.hint.as_str()].iter().all(|part| last.text.contains(*part));
        assert!(last.level == "error" && is_told, "{context}: {log:?}");
    }
    assert!(files_under(&files.join("out")).is_empty(), "{:?}", files_under(&files.join("out")));
    assert_eq!(files_under(cluster.path("outside").as_path()), before, "the tree outside is unchanged");
    assert_eq!(fs::read(files.join("good.mp4")).expect("the clip"), whole, "the input is unharmed");
    cluster.assert_no_residue();
    cluster.assert_no_panic();
}

/// Values that mean something to shells, option parsers, formatters and terminals.
const HOSTILE: [&str; 10] =
    ["-i", "--", "; touch pwned", "$(touch pwned)", "%d %s", "a\nb", "a\0b", "😀", "\u{202e}gnp.exe", "'\"`\\"];

#[test]
fn hostile_text_is_stored_literally_or_refused_by_name() {
    let cluster = Cluster::single();
    let fields = [
        "scenario",
        "input",
        "output",
        "confidence",
        "engine",
        "classification",
        "queue",
        "priority",
        "parameters.preset",
        "parameters.codec",
        "parameters.resolution",
        "parameters.bitrate",
        "parameters.audio_codec",
        "parameters.container",
        "labels.note",
        "depends_on",
    ];
    let mut accepted = Vec::new();
    for field in fields {
        for value in HOSTILE {
            let request = with(field, value);
            let (status, answer) = cluster.http("POST", "/jobs", Some(request.to_string().as_bytes()));
            let context = format!("{field} = {value:?}: {status} {answer:#}");
            if status == 201 {
                assert_eq!(at(&answer, field), value, "{context}");
                accepted.push((context, answer["id"].as_str().expect("an id").to_owned()));
            } else {
                assert!((400..500).contains(&status), "{context}");
                assert!(answer["field"].as_str().is_some_and(|named| named.starts_with(field)), "{context}");
            }
        }
    }
    assert!(accepted.len() > 10, "labels and paths take free text: {accepted:?}");
    for (context, id) in accepted {
        let job = cluster.ended(&id);
        assert_eq!((job.state, job.attempt), (JobState::Failed, 1), "{context}: {job:#?}");
        let code = job.error.as_ref().map(|error| error.code);
        assert!(matches!(code, Some(Code::InputNotFound | Code::OutputNotWritable)), "{context}: {:?}", job.error);
    }
    let made = files_under(cluster.path("").as_path());
    assert!(!made.iter().any(|path| path.ends_with("pwned")), "a shell saw it: {made:?}");
    assert!(files_under(&cluster.files()).is_empty());
    cluster.assert_no_panic();
}

/// A request whose job ends soon, with one field set.
fn with(field: &str, value: &str) -> Value {
    let mut request =
        json!({"scenario": "144p", "input": "missing.mp4", "engine": "ffmpeg", "parameters": {}, "labels": {}});
    match field.split_once('.') {
        Some((outer, inner)) => request[outer][inner] = json!(value),
        None if field == "depends_on" => request[field] = json!([value]),
        None => request[field] = json!(value),
    }
    request
}

fn at<'a>(job: &'a Value, field: &str) -> &'a Value {
    match field.split_once('.') {
        Some((outer, inner)) => &job[outer][inner],
        None => &job[field],
    }
}

#[test]
fn odd_names_are_only_names() {
    let cluster = Cluster::single();
    let names = ["-i.mp4", "😀 film.mp4", "%d%03d.mp4", "a;b $(x) '\".mp4", "file:a.mp4", "a:b|c.mp4"];
    media::make_clip(&cluster.files().join("plain.mp4"), "160x90", 0.4);
    let ids: Vec<_> = names
        .iter()
        .map(|name| {
            let here = format!("./{name}");
            fs::copy(cluster.files().join("plain.mp4"), cluster.files().join(name)).expect("a copy");
            let output = format!("out/{name}");
            let id = cluster.submit(json!({
                "scenario": "144p-h264", "input": here, "output": output, "parameters": {"preset": "ultrafast"},
            }));
            (output, id)
        })
        .collect();
    for (output, id) in ids {
        let (_, report) = cluster.completed(&id);
        assert_eq!(report.output_uri, Some(cluster.file(&output)));
        assert_eq!(report.frames, 10, "{output}");
    }
    assert_eq!(files_under(&cluster.files().join("out")).len(), names.len());
    assert_eq!(files_under(&cluster.files()).len(), 2 * names.len() + 1);
}
