//! What a client sees of the HTTP API: good requests as the curl lines of the manual send them,
//! and a table of bad ones.

mod master;

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::node::Registration;
use ffrtmp_core::protocol::{AttemptStatus, ClaimRequest, Heartbeat, LogLine};
use master::raw::{Answer, exchange, send, send_with};
use master::{KEY, Master};
use serde_json::{Value, json};

const NODE: &str = "00000000-0000-4000-8000-000000000001";

#[tokio::test]
async fn curl_lines_of_the_manual_work() {
    let master = Master::start(master::config()).await;
    let at = master.address;
    let key = format!("Authorization: Bearer {KEY}");
    let body = r#"{"scenario": "1080p-h264", "confidence": "auto", "parameters": {"duration": 300, "bitrate": "5M"}}"#;
    // `curl -d` without a Content-Type header declares a form.
    let form = "Content-Type: application/x-www-form-urlencoded";
    let made = send_with(at, "POST", "/jobs", &[&key, form], body).await;
    assert_eq!(made.status, 201, "{made}");
    let job = made.json();
    let id = job["id"].as_str().unwrap().to_owned();
    assert_eq!(made.header("location"), Some(format!("/api/v1/jobs/{id}").as_str()));
    assert_eq!(
        (&job["state"], &job["status"], &job["sequence_number"]),
        (&json!("queued"), &json!("queued"), &json!(1))
    );
    assert_eq!((&job["parameters"]["bitrate"], &job["error"]), (&json!("5M"), &Value::Null));

    for path in [format!("/jobs/{id}"), "/api/v1/jobs/1".into(), format!("/jobs/{}", &id[..13])] {
        assert_eq!(send(at, "GET", &path, "").await.json()["id"], id, "{path}");
    }
    let list = send(at, "GET", "/jobs?state=queued,running&limit=1&label=", "").await;
    assert_eq!(list.status, 400, "{list}");
    let list = send(at, "GET", "/jobs?state=queued,running&queue=default&limit=1", "").await.json();
    assert_eq!((&list["count"], &list["next_cursor"]), (&json!(1), &Value::Null));
    assert_eq!(send(at, "GET", "/jobs?state=failed", "").await.json()["count"], 0);
    assert_eq!(send(at, "GET", "/nodes", "").await.json()["count"], 0);
    let canceled = send(at, "POST", "/jobs/1/cancel", "").await;
    assert_eq!((canceled.status, canceled.json()["state"].as_str()), (200, Some("canceled")));
    assert_eq!(send(at, "POST", "/jobs/1/cancel", "").await.status, 200, "idempotent");
    assert_eq!(send(at, "POST", "/jobs/1/pause", "").await.status, 409);
    let events = send(at, "GET", "/jobs/1/events", "").await.json();
    assert_eq!(events["events"].as_array().unwrap().last().unwrap()["to"], "canceled");
    assert_eq!(send(at, "GET", "/jobs/1/logs", "").await.json()["count"], 0);

    for path in ["/health", "/livez", "/readyz", "/api/v1/openapi.json"] {
        assert_eq!(send_with(at, "GET", path, &[], "").await.status, 200, "{path} needs no key");
    }
    let unknown = send(at, "GET", "/jobs/next?node_id=00000000-0000-4000-8000-000000000009", "").await;
    assert_eq!((unknown.status, unknown.json()["code"].as_str()), (404, Some("node_not_found")));
    let node = format!(
        r#"{{"id": "{NODE}", "name": "w1", "type": "server", "cpu_threads": 8, "cpu_model": "x",
        "has_gpu": false, "gpu_type": "", "gpus": [], "ram_total_bytes": 1, "labels": {{}}, "capabilities": {{}}}}"#
    );
    assert_eq!(send(at, "POST", "/nodes/register", &node).await.status, 201);
    assert_eq!(send(at, "POST", "/nodes/register", &node).await.status, 200);
    assert_eq!(send(at, "GET", &format!("/jobs/next?node_id={NODE}"), "").await.status, 204);
    assert_eq!(send(at, "POST", "/jobs", body).await.status, 201);
    let next = format!("/api/v1/jobs/next?node_id={NODE}");
    let head = send(at, "HEAD", &next, "").await;
    assert_eq!((head.status, head.header("allow")), (405, Some("GET")), "{head}");
    assert_eq!(send(at, "POST", &next, "").await.header("allow"), Some("GET"));
    assert_eq!(send(at, "GET", "/jobs/2", "").await.json()["state"], "queued", "HEAD leases nothing");
    assert_eq!(send(at, "GET", &next, "").await.json()["sequence_number"], 2);
    assert_eq!(send(at, "POST", &format!("/nodes/{NODE}/drain"), "").await.json()["status"], "draining");
    assert_eq!(send(at, "DELETE", &format!("/nodes/{NODE}"), "").await.status, 204);
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_end() {
    let master = Master::start(master::config()).await;
    let jobs: Vec<_> = (0..7).map(|_| json!({"scenario": "720p"})).collect();
    let made = send(master.address, "POST", "/jobs/batch", json!({ "jobs": jobs }).to_string()).await;
    assert_eq!((made.status, made.json()["count"].as_u64()), (201, Some(7)));
    let (mut seen, mut path) = (Vec::new(), "/jobs?limit=3".to_owned());
    loop {
        let page = send(master.address, "GET", &path, "").await.json();
        seen.extend(page["jobs"].as_array().unwrap().iter().map(|job| job["sequence_number"].as_u64().unwrap()));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/jobs?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, [7, 6, 5, 4, 3, 2, 1]);
    let exact = send(master.address, "GET", "/jobs?limit=7", "").await.json();
    assert_eq!(exact["next_cursor"], Value::Null, "a full last page is the last one");
}

#[tokio::test]
async fn nodes_come_in_pages_by_name_and_logs_from_their_end() {
    let directory = tempfile::tempdir().unwrap();
    let master = Master::start(master::config()).await;
    let names = ["b", "a", "é", "b", "c", "a"];
    for name in names {
        let node = json!({ "name": name, "max_concurrent_jobs": 1 }).to_string();
        assert_eq!(send(master.address, "POST", "/nodes/register", node).await.status, 201, "{name}");
    }
    let named = |page: &Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        page["nodes"].as_array().unwrap().iter().map(|node| (text(&node["name"]), text(&node["id"]))).collect()
    };
    let (mut seen, mut path) = (Vec::new(), "/nodes?limit=2".to_owned());
    loop {
        let page = send(master.address, "GET", &path, "").await.json();
        seen.extend(named(&page));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        // The cursor holds although the node that it was made of is gone.
        let gone = &seen.last().unwrap().1;
        assert_eq!(send(master.address, "DELETE", &format!("/nodes/{gone}"), "").await.status, 204);
        path = format!("/nodes?limit=2&cursor={cursor}");
    }
    assert!(seen.is_sorted(), "{seen:?}");
    assert_eq!(seen.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "a", "b", "b", "c", "é"]);
    assert_eq!(named(&send(master.address, "GET", "/nodes", "").await.json()).len(), 4);
    for number in 0..500 {
        let node = Registration { name: format!("n{number}"), ..Registration::default() };
        master.coordinator.register(node).await.unwrap();
    }
    assert_eq!(master.client(directory.path()).nodes().await.unwrap().len(), 504, "the client turns the pages");

    let node_id = seen[0].1.parse().unwrap();
    let job = send(master.address, "POST", "/jobs", r#"{"scenario": "720p"}"#).await.json();
    let claim = ClaimRequest { node_id, slots: 1, wait_ms: 0, request_id: None, room: None };
    let job_id = master.coordinator.claim(claim).await.unwrap().jobs[0].id;
    assert_eq!(job["id"], job_id.to_string());
    let line = |text: &str| LogLine { at: Timestamp::default(), level: "info".into(), text: text.into() };
    let logs = vec![line("one"), line("two"), line("three")];
    let fence = master.coordinator.job(&job_id.into()).await.unwrap().fence;
    let status = AttemptStatus { job_id, fence, progress: None, logs, logs_from: None };
    master.coordinator.heartbeat(node_id, Heartbeat { attempts: vec![status], ..Heartbeat::default() }).await.unwrap();
    for (query, expected) in
        [("", &["one", "two", "three"][..]), ("?limit=2", &["two", "three"]), ("?limit=3", &["one", "two", "three"])]
    {
        let list = send(master.address, "GET", &format!("/jobs/1/logs{query}"), "").await.json();
        let texts: Vec<_> =
            list["logs"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap()).collect();
        assert_eq!(texts, expected, "{query}");
        assert_eq!(list["count"], expected.len());
    }
}

#[tokio::test]
async fn an_idempotency_key_makes_a_submission_repeatable() {
    let master = Master::start(master::config()).await;
    let headers = ["Authorization: Bearer the-key", "Content-Type: application/json", "Idempotency-Key: k-1"];
    let submit = async |scenario: &str| {
        send_with(master.address, "POST", "/jobs", &headers, json!({ "scenario": scenario }).to_string()).await
    };
    let (first, again, other) = (submit("720p").await, submit("720p").await, submit("480p").await);
    assert_eq!((first.status, again.status, other.status), (201, 200, 409));
    assert_eq!(first.json()["id"], again.json()["id"]);
    assert_eq!(other.json()["code"], "idempotency_mismatch");
}

/// Method, path, body, status, code, field.
type Bad = (&'static str, &'static str, &'static str, u16, &'static str, Option<&'static str>);

const BAD: &[Bad] = &[
    // The body as such.
    ("POST", "/jobs", "", 400, "invalid_request", None),
    ("POST", "/jobs", "   ", 400, "invalid_request", None),
    ("POST", "/jobs", "{", 400, "invalid_request", None),
    ("POST", "/jobs", "{\"scenario\": \"720p\"} x", 400, "invalid_request", None),
    ("POST", "/jobs", "[]", 400, "invalid_request", None),
    ("POST", "/jobs", "\"720p\"", 400, "invalid_request", None),
    ("POST", "/jobs", "null", 400, "invalid_request", None),
    ("POST", "/jobs", "{\"scenario\": \"\\ud800\"}", 400, "invalid_request", None),
    ("POST", "/jobs", "{\"scenario\": 1e999}", 400, "invalid_request", None),
    // Jobs.
    ("POST", "/jobs", "{}", 400, "invalid_field", Some("scenario")),
    ("POST", "/jobs", r#"{"scenario": ""}"#, 400, "invalid_field", Some("scenario")),
    ("POST", "/jobs", r#"{"scenario": 720}"#, 400, "invalid_field", Some("scenario")),
    ("POST", "/jobs", r#"{"scenario": "1080pp"}"#, 400, "", Some("scenario")),
    ("POST", "/jobs", r#"{"scenario": "720p-h2644"}"#, 400, "", Some("scenario")),
    ("POST", "/jobs", r#"{"scenario": "720p3000"}"#, 400, "", Some("scenario")),
    ("POST", "/jobs", r#"{"scenario": "720p-480p"}"#, 400, "invalid_field", Some("scenario")),
    ("POST", "/jobs", r#"{"scenario": "-i /etc/passwd"}"#, 400, "invalid_field", Some("scenario")),
    ("POST", "/jobs", r#"{"scenario": "720p", "scenari": 1}"#, 400, "unknown_field", Some("scenari")),
    ("POST", "/jobs", r#"{"scenario": "720p", "input": ""}"#, 400, "invalid_field", Some("input")),
    ("POST", "/jobs", r#"{"scenario": "720p", "input": "a\u0000b"}"#, 400, "invalid_field", Some("input")),
    ("POST", "/jobs", r#"{"scenario": "720p", "input": "gopher://x/y"}"#, 400, "unsupported_scheme", Some("input")),
    ("POST", "/jobs", r#"{"scenario": "720p", "output": ["x"]}"#, 400, "invalid_field", Some("output")),
    ("POST", "/jobs", r#"{"scenario": "720p", "queue": "fast"}"#, 400, "invalid_field", Some("queue")),
    ("POST", "/jobs", r#"{"scenario": "720p", "priority": 1}"#, 400, "invalid_field", Some("priority")),
    ("POST", "/jobs", r#"{"scenario": "720p", "engine": "sox"}"#, 400, "invalid_field", Some("engine")),
    ("POST", "/jobs", r#"{"scenario": "720p", "max_retries": -1}"#, 400, "invalid_field", Some("max_retries")),
    ("POST", "/jobs", r#"{"scenario": "720p", "max_retries": 101}"#, 400, "invalid_field", Some("max_retries")),
    ("POST", "/jobs", r#"{"scenario": "720p", "labels": {"a": 1}}"#, 400, "invalid_field", Some("labels.a")),
    ("POST", "/jobs", r#"{"scenario": "720p", "depends_on": ["x"]}"#, 400, "invalid_field", Some("depends_on[0]")),
    (
        "POST",
        "/jobs",
        r#"{"scenario": "720p", "depends_on": ["00000000-0000-4000-8000-000000000001"]}"#,
        404,
        "job_not_found",
        Some("depends_on[0]"),
    ),
    ("POST", "/jobs", r#"{"scenario": "720p", "parameters": 5}"#, 400, "invalid_field", Some("parameters")),
    (
        "POST",
        "/jobs",
        r#"{"scenario": "720p", "parameters": {"duration": -5}}"#,
        400,
        "invalid_field",
        Some("parameters.duration"),
    ),
    (
        "POST",
        "/jobs",
        r#"{"scenario": "720p", "parameters": {"bitrate": "5X"}}"#,
        400,
        "invalid_field",
        Some("parameters.bitrate"),
    ),
    (
        "POST",
        "/jobs",
        r#"{"scenario": "720p", "parameters": {"bitrat": "5M"}}"#,
        400,
        "unknown_field",
        Some("parameters.bitrat"),
    ),
    (
        "POST",
        "/jobs",
        r#"{"scenario": "720p", "parameters": {"codec": "vp8", "container": "mp4"}}"#,
        422,
        "container_mismatch",
        Some("parameters.codec"),
    ),
    (
        "POST",
        "/jobs",
        r#"{"scenario": "720p", "resource_limits": {"timeout_sec": 0}}"#,
        400,
        "invalid_field",
        Some("resource_limits.timeout_sec"),
    ),
    // Batches.
    ("POST", "/jobs/batch", "{}", 400, "invalid_field", Some("jobs")),
    ("POST", "/jobs/batch", "[]", 400, "invalid_request", None),
    (
        "POST",
        "/jobs/batch",
        r#"{"jobs": [{"scenario": "720p"}, {"scenario": "720p", "depends_on": ["00000000-0000-4000-8000-000000000001"]}]}"#,
        404,
        "job_not_found",
        Some("jobs[1].depends_on[0]"),
    ),
    ("POST", "/jobs", r#"{"scenario": "720p", "tenant": "a b"}"#, 400, "invalid_field", Some("tenant")),
    ("POST", "/jobs/batch", r#"{"jobs": []}"#, 400, "invalid_field", Some("jobs")),
    ("POST", "/jobs/batch", r#"{"jobs": {}}"#, 400, "invalid_field", Some("jobs")),
    ("POST", "/jobs/batch", r#"{"jobs": [{"scenario": "720p"}], "x": 1}"#, 400, "unknown_field", Some("x")),
    (
        "POST",
        "/jobs/batch",
        r#"{"jobs": [{"scenario": "720p"}, {"scenario": "720p", "queue": 7}]}"#,
        400,
        "invalid_field",
        Some("jobs[1].queue"),
    ),
    // Lists.
    ("GET", "/jobs?limit=0", "", 400, "invalid_field", Some("limit")),
    ("GET", "/jobs?tenant=a%20b", "", 400, "invalid_field", Some("tenant")),
    ("GET", "/jobs?limit=501", "", 400, "invalid_field", Some("limit")),
    ("GET", "/jobs?limit=%2B5", "", 400, "invalid_field", Some("limit")),
    ("GET", "/jobs?limit=1&limit=2", "", 400, "invalid_field", Some("limit")),
    ("GET", "/jobs?cursor=-1", "", 400, "invalid_field", Some("cursor")),
    ("GET", "/jobs?state=done", "", 400, "invalid_field", Some("state")),
    ("GET", "/jobs?state=queued,", "", 400, "invalid_field", Some("state")),
    ("GET", "/jobs?queu=live", "", 400, "unknown_field", Some("queu")),
    ("GET", "/jobs?label=x", "", 400, "invalid_field", Some("label")),
    ("GET", "/jobs?node_id=7", "", 400, "invalid_field", Some("node_id")),
    ("GET", "/jobs?created_after=yesterday", "", 400, "invalid_field", Some("created_after")),
    ("GET", "/jobs?scenario=%ff", "", 400, "invalid_request", None),
    ("GET", "/nodes?state=x", "", 400, "unknown_field", Some("state")),
    ("GET", "/nodes?limit=501", "", 400, "invalid_field", Some("limit")),
    ("GET", "/nodes?limit=", "", 400, "invalid_field", Some("limit")),
    ("GET", "/nodes?limit=1&limit=1", "", 400, "invalid_field", Some("limit")),
    ("GET", "/nodes?cursor=", "", 400, "invalid_field", Some("cursor")),
    ("GET", "/nodes?cursor=000000000000400080000000000000016", "", 400, "invalid_field", Some("cursor")),
    ("GET", "/nodes?cursor=0000000000004000800000000000000g", "", 400, "invalid_field", Some("cursor")),
    ("GET", "/jobs/1/logs?limit=10001", "", 400, "invalid_field", Some("limit")),
    ("GET", "/jobs/1/logs?limit=5&limit=5", "", 400, "invalid_field", Some("limit")),
    ("GET", "/jobs/1/logs?limt=5", "", 400, "unknown_field", Some("limt")),
    ("GET", "/jobs/1/events?follow=1", "", 400, "unknown_field", Some("follow")),
    // Names in paths.
    ("GET", "/jobs/77", "", 404, "job_not_found", Some("job_id")),
    ("GET", "/jobs/..%2f..%2fetc", "", 404, "job_not_found", Some("job_id")),
    ("GET", "/jobs/-i", "", 404, "job_not_found", Some("job_id")),
    ("GET", "/jobs/%00%0a%f0%9f%8e%ac", "", 404, "job_not_found", Some("job_id")),
    ("GET", "/jobs/%ff", "", 400, "invalid_request", Some("id")),
    ("GET", "/nodes/abc", "", 404, "node_not_found", Some("node_id")),
    (
        "POST",
        "/jobs",
        r#"{"scenario": "720p", "input": "a.mp4", "output": "a.mp4"}"#,
        409,
        "output_is_input",
        Some("output"),
    ),
    ("GET", "/nodes/00000000-0000-4000-8000-000000000001", "", 404, "node_not_found", Some("node_id")),
    ("POST", "/nodes/00000000-0000-4000-8000-000000000001/drain", "", 404, "node_not_found", Some("node_id")),
    // Agents.
    ("GET", "/jobs/next", "", 400, "invalid_field", Some("node_id")),
    (
        "POST",
        "/jobs/claim",
        r#"{"node_id": "00000000-0000-4000-8000-000000000001", "room": [null, null]}"#,
        400,
        "invalid_field",
        Some("room"),
    ),
    ("POST", "/jobs/claim", "{}", 400, "invalid_field", Some("node_id")),
    ("POST", "/jobs/claim", r#"{"node_id": 5}"#, 400, "invalid_field", Some("node_id")),
    ("POST", "/nodes/00000000-0000-4000-8000-000000000001/heartbeat", "[]", 400, "invalid_request", None),
    ("POST", "/nodes/register", "{}", 400, "invalid_field", Some("name")),
    ("POST", "/nodes/register", r#"{"name": "a", "capabilities": []}"#, 400, "invalid_field", Some("capabilities")),
    ("POST", "/nodes/register", r#"{"name": "a\nb"}"#, 400, "invalid_field", Some("name")),
    (
        "POST",
        "/nodes/register",
        r#"{"name": "a", "gpus": [{"index": "x"}]}"#,
        400,
        "invalid_field",
        Some("gpus[0].index"),
    ),
    ("POST", "/results", "{}", 400, "invalid_field", Some("job_id")),
    (
        "POST",
        "/results",
        r#"{"job_id": "00000000-0000-4000-8000-000000000001", "node_id": "00000000-0000-4000-8000-000000000001",
            "fence": 1, "status": "completed"}"#,
        404,
        "job_not_found",
        Some("job_id"),
    ),
    // Paths and methods.
    ("GET", "/", "", 404, "not_found", None),
    ("GET", "/api/v2/jobs", "", 404, "not_found", None),
    ("GET", "/api/v1/jobs/1/nothing", "", 404, "not_found", None),
    ("PUT", "/jobs", "{}", 405, "method_not_allowed", None),
    ("DELETE", "/api/v1/jobs/1", "", 405, "method_not_allowed", None),
    ("GET", "/jobs/batch/", "", 404, "not_found", None),
    ("BREW", "/jobs", "", 405, "method_not_allowed", None),
];

#[tokio::test]
async fn bad_requests_name_the_field_and_the_cure() {
    let master = Master::start(master::config()).await;
    for (method, path, body, status, code, field) in BAD {
        let answer = send(master.address, method, path, body).await;
        check_problem(&answer, &format!("{method} {path} {body}"), *status);
        let problem = answer.json();
        assert!(code.is_empty() || problem["code"] == *code, "{method} {path} {body}: {problem}");
        assert_eq!(problem["field"].as_str(), *field, "{method} {path} {body}: {problem}");
        assert_eq!(*status == 405, answer.header("allow").is_some(), "{answer}");
    }
    let jobs = send(master.address, "GET", "/jobs", "").await.json();
    assert_eq!(jobs["count"], 0, "a refused request leaves nothing behind");
}

fn check_problem(answer: &Answer, what: &str, status: u16) {
    assert_eq!(answer.status, status, "{what}: {answer}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{what}");
    for name in ["type", "title", "detail", "instance", "code", "disposition", "hint"] {
        assert!(problem[name].as_str().is_some_and(|text| !text.is_empty()), "{what}: {name} in {problem}");
    }
    let id = answer.header("x-request-id").unwrap();
    assert_eq!(problem["instance"], format!("urn:uuid:{id}"), "{what}");
}

#[tokio::test]
async fn headers_and_sizes_are_checked() {
    let master = Master::start(master::config()).await;
    let at = master.address;
    let key = "Authorization: Bearer the-key";
    let body = r#"{"scenario": "720p"}"#;
    for (headers, status, code) in [
        (vec![key, "Content-Type: text/plain"], 415, "unsupported_media_type"),
        (vec![key, "Content-Type: application/json", "Idempotency-Key: a b"], 400, "invalid_field"),
        (vec![key, "Content-Type: application/json", "Idempotency-Key: "], 400, "invalid_field"),
        (vec!["Content-Type: application/json"], 401, "unauthorized"),
        (vec!["Authorization: Basic dGhlLWtleQ=="], 401, "unauthorized"),
        (vec!["Authorization: Bearer the-kez"], 401, "unauthorized"),
    ] {
        let answer = send_with(at, "POST", "/jobs", &headers, body).await;
        check_problem(&answer, &format!("{headers:?}"), status);
        assert_eq!(answer.json()["code"], code, "{headers:?}");
        assert_eq!(status == 401, answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")));
    }
    let big = format!(r#"{{"scenario": "{}"}}"#, "x".repeat(1024 * 1024));
    check_problem(&send(at, "POST", "/jobs", &big).await, "1 MiB and more", 413);
    // Without a length, and over the limit only as it arrives.
    let chunk = format!("{:x}\r\n{}\r\n", 600_000, "x".repeat(600_000));
    let head = "POST /jobs HTTP/1.1\r\nHost: m\r\nConnection: close\r\nAuthorization: Bearer the-key\r\n";
    let chunked =
        format!("{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    check_problem(&exchange(at, chunked.as_bytes()).await, "chunks", 413);
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    check_problem(&send(at, "POST", "/jobs", &deep).await, "deep JSON", 400);
    let mut latin = br#"{"scenario": "72"#.to_vec();
    latin.extend([0xe4, b'"', b'}']);
    check_problem(&send(at, "POST", "/jobs", &latin).await, "Latin-1", 400);
    assert_eq!(send(at, "POST", "/jobs", body).await.status, 201, "still well");
}
