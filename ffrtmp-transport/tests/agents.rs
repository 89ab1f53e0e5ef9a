//! What agents say over HTTP: many words in one request, to an older master one by one, and to
//! another master when the first is gone.

mod master;

use std::collections::HashMap;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex};

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use ffrtmp_core::Code;
use ffrtmp_core::id::{Fence, JobId, NodeId};
use ffrtmp_core::job::{Job, JobRequest, JobState, JobView};
use ffrtmp_core::node::Registration;
use ffrtmp_core::protocol::{ClaimRequest, FinishRequest, Heartbeat, ResultStatus, StartRequest};
use ffrtmp_core::transport::Transport;
use ffrtmp_transport::http::server::{HttpObserver, ServerConfig, serve};
use ffrtmp_transport::http::{ClientConfig, MasterClient};
use futures::future::join_all;
use master::raw::send;
use master::{KEY, Master};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Counts requests by route.
#[derive(Default)]
struct Counter(Mutex<HashMap<String, usize>>);

impl Counter {
    fn of(&self, route: &str) -> usize {
        self.0.lock().unwrap().get(route).copied().unwrap_or(0)
    }
}

impl HttpObserver for Counter {
    fn request(&self, _: &str, route: &str, _: u16, _: u64, _: u64) {
        *self.0.lock().unwrap().entry(route.to_owned()).or_default() += 1;
    }
}

const MANY: usize = 60;

#[tokio::test]
async fn words_said_at_once_travel_together_and_each_gets_its_own_answer() {
    let directory = tempfile::tempdir().unwrap();
    let counter = Arc::new(Counter::default());
    let master = Master::start(ServerConfig { observer: Some(counter.clone()), ..master::config() }).await;
    let client = master.client(directory.path());
    let (node, jobs) = claimed(&master, &client).await;

    let started = join_all(jobs.iter().enumerate().map(|(at, job)| {
        let fence = if at == 7 { Fence(99) } else { job.fence };
        client.start(job.id, StartRequest { node_id: node, fence })
    }))
    .await;
    for (at, (answer, job)) in started.into_iter().zip(&jobs).enumerate() {
        match answer {
            Ok(state) if at != 7 => assert_eq!((state.job_id, state.state), (job.id, JobState::Running)),
            Err(error) if at == 7 => {
                assert_eq!((error.code(), error.field_name()), (Code::StaleFence, Some("fence")));
            }
            other => panic!("start {at} was answered {other:?}"),
        }
    }
    for _ in 0..2 {
        let ended = join_all(jobs.iter().map(|job| client.finish(finish(node, job)))).await;
        assert!(ended.into_iter().all(|answer| answer.unwrap().state == JobState::Completed));
    }
    for route in ["/jobs/start", "/results/batch"] {
        assert!((1..MANY / 4).contains(&counter.of(route)), "{} requests to {route}", counter.of(route));
    }
    assert_eq!(counter.of("/jobs/{id}/start") + counter.of("/results"), 0);
}

/// A newer agent than the master may say codes that it does not know; each result counts nonetheless.
#[tokio::test]
async fn an_unknown_code_ends_its_attempt_and_spoils_no_batch() {
    let directory = tempfile::tempdir().unwrap();
    let master = Master::start(master::config()).await;
    let (node, jobs) = claimed(&master, &master.client(directory.path())).await;
    let result = |job: &Job, error: Value| json!({ "job_id": job.id, "node_id": node, "fence": job.fence, "status": "failed", "error": error });
    let nonsense = json!({ "code": "nonsense", "message": "x" });
    let alone = send(master.address, "POST", "/results", result(&jobs[0], nonsense.clone()).to_string()).await;
    assert_eq!((alone.status, &alone.json()["state"]), (200, &json!("failed")), "{alone}");
    let known = json!({ "code": "input_invalid", "message": "y" });
    let body = json!({ "results": [result(&jobs[1], nonsense), result(&jobs[2], known)] }).to_string();
    let both = send(master.address, "POST", "/results/batch", body).await.json();
    for (at, code, message) in
        [(0, "encode_failed", "nonsense: x"), (1, "encode_failed", "nonsense: x"), (2, "input_invalid", "y")]
    {
        let job = send(master.address, "GET", &format!("/jobs/{}", jobs[at].id), "").await.json();
        assert_eq!((&job["state"], &job["error"]["code"]), (&json!("failed"), &json!(code)), "{both}");
        assert_eq!(job["error"]["message"], message);
    }
    for wrong in [json!([]), json!(3), json!({ "code": 3 })] {
        let refused = send(master.address, "POST", "/results", result(&jobs[3], wrong.clone()).to_string()).await;
        assert_eq!((refused.status, &refused.json()["field"]), (400, &json!("error")), "{wrong}: {refused}");
    }
}

#[tokio::test]
async fn a_batch_is_answered_word_by_word_and_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let master = Master::start(master::config()).await;
    let (node, jobs) = claimed(&master, &master.client(directory.path())).await;
    let unknown = JobId::random();
    let starts = [(jobs[0].id, jobs[0].fence), (unknown, Fence(1)), (jobs[1].id, jobs[1].fence)];
    let starts = starts.map(|(job_id, fence)| json!({ "job_id": job_id, "node_id": node, "fence": fence }));
    let answer = send(master.address, "POST", "/api/v1/jobs/start", json!({ "starts": starts }).to_string()).await;
    assert_eq!(answer.status, 200, "{answer}");
    let answers = answer.json()["answers"].clone();
    assert_eq!((&answers[0]["state"], &answers[2]["job_id"]), (&json!("running"), &json!(jobs[1].id)));
    assert_eq!((&answers[1]["code"], &answers[1]["status"]), (&json!("job_not_found"), &json!(404)));

    let result = |job: &Job| json!({ "job_id": job.id, "node_id": node, "fence": job.fence, "status": "failed" });
    let body = json!({ "results": [result(&jobs[0]), result(&jobs[0])] }).to_string();
    let answers = send(master.address, "POST", "/results/batch", body).await.json()["answers"].clone();
    assert_eq!(answers[0]["state"], "failed");
    assert_eq!(answers[0], answers[1], "said twice in one batch is one effect as well");

    for (path, field) in [("/jobs/start", "starts"), ("/results/batch", "results")] {
        for count in [0, 1001] {
            let entry = json!({ "job_id": unknown, "node_id": node, "fence": 1, "status": "completed" });
            let body = json!({ field: vec![entry; count] }).to_string();
            let refused = send(master.address, "POST", path, body).await;
            assert_eq!((refused.status, &refused.json()["field"]), (400, &json!(field)), "{path} {count}");
        }
        let slow = json!({ "job_id": jobs[1].id, "node_id": node, "fence": jobs[1].fence, "status": "completed",
            "metrics": { "speed": -1, "warnings": null } });
        let body = json!({ "results": [result(&jobs[1]), slow] }).to_string();
        let refused = send(master.address, "POST", "/results/batch", body).await;
        assert_eq!((refused.status, &refused.json()["field"]), (400, &json!("results[1].metrics.speed")));
        let job = master.coordinator.job(&jobs[1].id.into()).await.unwrap();
        assert_eq!(job.state, JobState::Running, "a batch that is refused has no effect");
        let refused = send(master.address, "POST", path, json!({ field: [{ "fence": 1 }] }).to_string()).await;
        assert_eq!(refused.json()["field"], format!("{field}[0].job_id"), "{path}");
    }
}

#[tokio::test]
async fn an_older_master_is_spoken_to_word_by_word() {
    let directory = tempfile::tempdir().unwrap();
    let master = Master::start(master::config()).await;
    let (node, jobs) = claimed(&master, &master.client(directory.path())).await;
    let (start, end) = (Arc::clone(&master.coordinator), Arc::clone(&master.coordinator));
    // The routes and the refusals of a master that has never heard of batches.
    let refuse = |status: StatusCode, code: &'static str| {
        let problem = json!({ "type": "", "title": "", "status": status.as_u16(), "detail": "", "instance": "",
            "code": code, "disposition": "caller", "hint": "", "field": null });
        move || async move { (status, [(CONTENT_TYPE, "application/problem+json")], problem.to_string()).into_response() }
    };
    let older = Router::new()
        .route(
            "/api/v1/jobs/{id}/start",
            post(move |Path(id): Path<String>, Json(request): Json<StartRequest>| async move {
                Json(JobView::from(start.start(id.parse().unwrap(), request).await.unwrap()))
            }),
        )
        .route(
            "/api/v1/results",
            post(move |Json(request): Json<FinishRequest>| async move {
                Json(JobView::from(end.finish(request).await.unwrap()))
            }),
        )
        .route("/api/v1/jobs/start", post(refuse(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")))
        .fallback(refuse(StatusCode::NOT_FOUND, "not_found"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, older).await });

    let client = client(&[format!("http://{address}")], directory.path());
    let started = jobs.iter().map(|job| client.start(job.id, StartRequest { node_id: node, fence: job.fence }));
    assert!(join_all(started).await.into_iter().all(|answer| answer.unwrap().state == JobState::Running));
    let ended = jobs.iter().map(|job| client.finish(finish(node, job)));
    assert!(join_all(ended).await.into_iter().all(|answer| answer.unwrap().state == JobState::Completed));
    serving.abort();
}

#[tokio::test]
async fn a_client_goes_on_with_the_next_master_and_stays_there() {
    let directory = tempfile::tempdir().unwrap();
    let first = Master::start(master::config()).await;
    // A second master on the same store.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let second = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, master::config(), Arc::clone(&first.coordinator), stop.clone()));

    let client = client(&[first.url(), second.clone()], directory.path());
    let (node, jobs) = claimed(&first, &client).await;
    assert_eq!(client.master(), first.url());
    let waiting = client.clone();
    let claim = tokio::spawn(async move { waiting.claim(claim_by(node, 30_000, "waiting")).await });
    first.end().await;

    client.heartbeat(node, Heartbeat::default()).await.unwrap();
    assert_eq!(client.master(), second);
    let started = client.start(jobs[0].id, StartRequest { node_id: node, fence: jobs[0].fence }).await.unwrap();
    assert_eq!(started.state, JobState::Running);
    let request = JobRequest { scenario: "720p30-h264".into(), ..JobRequest::default() };
    let made = client.submit(&request, None).await.unwrap();
    let claimed = claim.await.unwrap().unwrap();
    assert_eq!(claimed.jobs.first().map(|job| job.id), Some(made.job.id), "the waiting claim moved too");

    stop.cancel();
    serving.await.unwrap().unwrap();
    let refused = client.heartbeat(node, Heartbeat::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Network, "nobody is left");
}

fn client(masters: &[String], directory: &FilePath) -> MasterClient {
    let config = ClientConfig {
        master: masters.join(","),
        api_key: Some(KEY.into()),
        pins: Some(directory.join("known_masters")),
        ..ClientConfig::default()
    };
    MasterClient::new(&config).unwrap()
}

/// A node that holds many jobs.
async fn claimed(master: &Master, client: &MasterClient) -> (NodeId, Vec<Job>) {
    let registration = Registration { name: "w".into(), max_concurrent_jobs: Some(64), ..Registration::default() };
    let node = client.register(registration).await.unwrap().node.id;
    let request = JobRequest { scenario: "720p30-h264".into(), ..JobRequest::default() };
    master.coordinator.submit_batch(vec![request; MANY]).await.unwrap();
    let jobs = client.claim(claim_by(node, 0, "first")).await.unwrap().jobs;
    assert_eq!(jobs.len(), MANY);
    (node, jobs)
}

fn claim_by(node_id: NodeId, wait_ms: u64, name: &str) -> ClaimRequest {
    ClaimRequest { node_id, slots: 64, wait_ms, request_id: Some(name.into()), room: None }
}

fn finish(node_id: NodeId, job: &Job) -> FinishRequest {
    let result: Value =
        json!({ "job_id": job.id, "node_id": node_id, "fence": job.fence, "status": ResultStatus::Completed });
    serde_json::from_value(result).unwrap()
}
