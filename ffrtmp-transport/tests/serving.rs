//! How the server behaves over time: event streams, limits, slow peers, metrics, the end.

mod master;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ffrtmp_core::Code;
use ffrtmp_core::coordinator::JobEventKind;
use ffrtmp_core::id::{Fence, JobId, NodeId};
use ffrtmp_core::job::{JobRequest, JobState};
use ffrtmp_core::node::Registration;
use ffrtmp_core::protocol::{AttemptStatus, ClaimRequest, FinishRequest, Heartbeat, ResultStatus, StartRequest};
use ffrtmp_core::transport::Transport;
use ffrtmp_transport::http::server::{self, HttpObserver, ServerConfig};
use ffrtmp_transport::http::{ClientConfig, JobQuery, MasterClient};
use futures::StreamExt;
use master::raw::{exchange, send, send_with};
use master::{Master, config, tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn request() -> JobRequest {
    JobRequest { scenario: "720p".into(), ..JobRequest::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_hears_the_whole_story_of_a_job() {
    let directory = tempfile::tempdir().unwrap();
    let tls = tls(directory.path(), "master");
    let master = Master::start(ServerConfig { tls: Some(tls), ..config() }).await;
    let client = master.client(directory.path());
    let job = client.submit(&request(), None).await.unwrap().job;
    let mut events = std::pin::pin!(client.follow(&job.id.to_string()).await.unwrap());
    let name = Registration { name: "w".into(), ..Registration::default() };
    let node_id = client.register(name).await.unwrap().node.id;
    let mut heard = Vec::new();
    let mut fence = job.fence;
    // The agent takes its next step when the follower has heard of the last one.
    while let Some(event) = tokio::time::timeout(Duration::from_secs(20), events.next()).await.unwrap() {
        let event = event.unwrap();
        match (event.kind, event.state) {
            (JobEventKind::State, JobState::Queued) => {
                let claim = ClaimRequest { node_id, slots: 1, wait_ms: 0, request_id: None, room: None };
                fence = client.claim(claim).await.unwrap().jobs[0].fence;
            }
            (JobEventKind::State, JobState::Assigned) => {
                client.start(job.id, StartRequest { node_id, fence }).await.unwrap();
            }
            (JobEventKind::State, JobState::Running) => {
                let status =
                    AttemptStatus { job_id: job.id, fence, progress: Some(50.0), logs: Vec::new(), logs_from: None };
                let beat = Heartbeat { attempts: vec![status], ..Heartbeat::default() };
                client.heartbeat(node_id, beat).await.unwrap();
            }
            (JobEventKind::Progress, _) => {
                client.finish(completed(job.id, node_id, fence)).await.unwrap();
            }
            _ => {}
        }
        heard.push(event);
    }
    let states: Vec<_> =
        heard.iter().filter(|event| event.kind == JobEventKind::State).map(|event| event.state).collect();
    assert_eq!(states, [JobState::Queued, JobState::Assigned, JobState::Running, JobState::Completed]);
    assert!(heard.iter().any(|event| event.kind == JobEventKind::Progress && event.progress == 50.0), "{heard:?}");
    assert!(heard.iter().all(|event| event.job_id == job.id));
    let job_of_the_story = job.id;

    // Who comes late hears the same story; who comes back hears only the rest.
    let at = Master::start(config()).await;
    let job = at.coordinator.submit(request(), None).await.unwrap().job;
    at.coordinator.cancel(&job.id.into()).await.unwrap();
    let headers = ["Authorization: Bearer the-key", "Accept: text/event-stream"];
    let path = format!("/jobs/{}/events", job.id);
    let whole = send_with(at.address, "GET", &path, &headers, "").await.to_string();
    let first = whole.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    assert_eq!(whole.matches("event: state").count(), 2, "{whole}");
    let resume = format!("Last-Event-ID: {first}");
    let rest = send_with(at.address, "GET", &path, &[headers[0], headers[1], &resume], "").await.to_string();
    assert_eq!(rest.matches("event: state").count(), 1, "{rest}");
    assert!(rest.contains(r#""state":"canceled""#), "{rest}");

    // The node of now took no part in what came before it.
    let told = client.follow(&job_of_the_story.to_string()).await.unwrap();
    let told: Vec<_> = told.map(|event| event.unwrap()).collect().await;
    let places: Vec<_> = told.iter().map(|event| (event.state, event.attempt, event.node_name.as_deref())).collect();
    let (queued, assigned, running) = (JobState::Queued, JobState::Assigned, JobState::Running);
    let done = (JobState::Completed, 1, Some("w"));
    assert_eq!(places, [(queued, 0, None), (assigned, 0, None), (running, 0, None), done]);
}

fn completed(job_id: JobId, node_id: NodeId, fence: Fence) -> FinishRequest {
    FinishRequest {
        job_id,
        node_id,
        fence,
        status: ResultStatus::Completed,
        metrics: None,
        error: None,
        logs: None,
        logs_from: None,
        completed_at: None,
    }
}

#[tokio::test]
async fn the_rate_limit_says_when_to_come_back() {
    let few = |number| NonZeroU32::new(number).unwrap();
    let master = Master::start(ServerConfig { rate_limit: few(2), rate_burst: few(5), ..config() }).await;
    let mut answers = Vec::new();
    for _ in 0..8 {
        answers.push(send(master.address, "GET", "/livez", "").await);
    }
    assert!(answers[..5].iter().all(|answer| answer.status == 200));
    let refused = answers.iter().find(|answer| answer.status == 429).expect("a refusal");
    assert_eq!(refused.json()["code"], "rate_limited");
    assert_eq!(refused.header("retry-after"), Some("1"));

    // Whoever has no key or the wrong one cannot take anything from those who have it.
    let master = Master::start(ServerConfig { rate_limit: few(2), rate_burst: few(5), ..config() }).await;
    for headers in [&[][..], &["Authorization: Bearer wrong"]] {
        let mut last = 0;
        for _ in 0..30 {
            last = send_with(master.address, "GET", "/jobs", headers, "").await.status;
        }
        assert_eq!(last, 429, "{headers:?}");
    }
    for _ in 0..5 {
        assert_eq!(send(master.address, "GET", "/jobs", "").await.status, 200);
    }
    assert_eq!(send(master.address, "GET", "/jobs", "").await.status, 429);
    let beat = "/api/v1/nodes/00000000-0000-4000-8000-000000000001/heartbeat";
    for _ in 0..50 {
        assert_eq!(send(master.address, "POST", beat, r#"{"attempts": []}"#).await.status, 404, "heard");
    }
}

#[tokio::test]
async fn a_client_waits_for_its_turn() {
    let directory = tempfile::tempdir().unwrap();
    let few = |number| NonZeroU32::new(number).unwrap();
    let master = Master::start(ServerConfig { rate_limit: few(2), rate_burst: few(1), ..config() }).await;
    let client = master.client(directory.path());
    let started = Instant::now();
    for _ in 0..3 {
        client.submit(&request(), None).await.unwrap();
    }
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(master.coordinator.counts().await.unwrap().by_state.values().sum::<u64>(), 3, "each was executed once");

    // A master that asks for more patience than there is gets no second request.
    let wrong = ClientConfig { api_key: Some("wrong".into()), ..master.client_config(directory.path()) };
    let patient = Master::start(config()).await;
    let wrong = MasterClient::new(&ClientConfig { master: patient.url(), ..wrong }).unwrap();
    for _ in 0..20 {
        assert_eq!(wrong.nodes().await.unwrap_err().code(), Code::Unauthorized);
    }
    let started = Instant::now();
    let error = wrong.nodes().await.unwrap_err();
    assert_eq!((error.code(), error.field_name()), (Code::RateLimited, Some("Authorization")), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_peers_are_shown_out_and_harm_nobody() {
    let header_timeout = Duration::from_millis(500);
    let master = Master::start(ServerConfig { header_timeout, body_timeout: header_timeout, ..config() }).await;
    let mut slow = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(master.address).await.unwrap();
        // Nothing, half a head, and a head without its body.
        let text = match number % 3 {
            0 => "",
            1 => "GET /health HTTP/1.1\r\nHost: m\r\nX-Slow: ",
            _ => "POST /jobs HTTP/1.1\r\nHost: m\r\nAuthorization: Bearer the-key\r\nContent-Length: 9\r\n\r\n{",
        };
        stream.write_all(text.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let started = Instant::now();
    assert_eq!(send(master.address, "GET", "/health", "").await.status, 200);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let gone = async {
        for mut stream in slow {
            // A refusal or nothing, and then the end.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("every slow connection ends");
}

#[tokio::test]
async fn connections_past_the_limit_wait_for_room() {
    let timeouts = Duration::from_millis(300);
    let master = Master::start(ServerConfig { max_connections: 2, header_timeout: timeouts, ..config() }).await;
    let idle = [TcpStream::connect(master.address).await.unwrap(), TcpStream::connect(master.address).await.unwrap()];
    let answer = send(master.address, "GET", "/livez", "").await;
    assert_eq!(answer.status, 200, "served once the idle ones are shown out");
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_wakes_long_polls_and_lets_requests_end() {
    let directory = tempfile::tempdir().unwrap();
    let master = Master::start(config()).await;
    let client = master.client(directory.path());
    let node = client.register(Registration { name: "w".into(), ..Registration::default() }).await.unwrap().node.id;
    let job = client.submit(&JobRequest { depends_on: Vec::new(), ..request() }, None).await.unwrap().job;
    let mut events = std::pin::pin!(client.follow(&job.id.to_string()).await.unwrap());
    events.next().await.unwrap().unwrap();
    client.drain(&node.to_string()).await.unwrap();
    let waiting = client.clone();
    let claim = tokio::spawn(async move {
        waiting.claim(ClaimRequest { node_id: node, slots: 1, wait_ms: 60_000, request_id: None, room: None }).await
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let address = master.address;
    let took = master.end().await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    let answer = claim.await.unwrap();
    assert!(answer.as_ref().err().is_some_and(|error| error.code() == Code::Unavailable), "{answer:?}");
    assert!(events.next().await.is_none(), "the stream ends");
    assert!(TcpStream::connect(address).await.is_err(), "the port is free");
}

#[derive(Default)]
struct Counts(Mutex<BTreeMap<Request, (u64, u64)>>);

/// Method, route, status.
type Request = (String, String, u16);

impl HttpObserver for Counts {
    fn request(&self, method: &str, route: &str, status: u16, bytes_in: u64, bytes_out: u64) {
        let key = (method.to_owned(), route.to_owned(), status);
        let mut counts = self.0.lock().unwrap();
        let entry = counts.entry(key).or_default();
        *entry = (entry.0 + bytes_in, entry.1 + bytes_out);
    }
}

#[tokio::test]
async fn the_observer_sees_patterns_and_bytes() {
    let counts = Arc::new(Counts::default());
    let master = Master::start(ServerConfig { observer: Some(counts.clone()), ..config() }).await;
    let body = r#"{"scenario": "720p"}"#;
    let made = send(master.address, "POST", "/api/v1/jobs", body).await;
    send(master.address, "GET", "/jobs/1", "").await;
    send(master.address, "GET", "/nothing/4711", "").await;
    send(master.address, "INVENTED", "/jobs/1", "").await;
    master.end().await;
    let counts = counts.0.lock().unwrap().clone();
    let keys: Vec<_> = counts.keys().map(|(method, route, status)| format!("{method} {route} {status}")).collect();
    assert_eq!(keys, ["GET /jobs/{id} 200", "GET unmatched 404", "OTHER /jobs/{id} 405", "POST /jobs 201"]);
    let sizes = (body.len() as u64, made.body.len() as u64);
    assert_eq!(counts[&("POST".to_owned(), "/jobs".to_owned(), 201)], sizes);
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let master = Master::start(config()).await;
    let error = server::bind_to(master.address).await.unwrap_err();
    assert_eq!((error.code(), error.field_name()), (Code::PortInUse, Some("--port")));
    assert!(error.to_string().contains(&master.address.port().to_string()), "{error}");
}

#[tokio::test]
async fn header_bombs_are_refused() {
    let master = Master::start(config()).await;
    let bomb = format!("GET /livez HTTP/1.1\r\nHost: m\r\n{}\r\n", "X-A: b\r\n".repeat(20_000));
    assert_eq!(exchange(master.address, bomb.as_bytes()).await.status, 431);
    let long = format!("GET /livez HTTP/1.1\r\nHost: m\r\nX: {}\r\n\r\n", "b".repeat(1_000_000));
    assert_eq!(exchange(master.address, long.as_bytes()).await.status, 431);
    assert_eq!(send(master.address, "GET", "/livez", "").await.status, 200);
}

#[tokio::test]
async fn a_client_gets_the_error_that_the_master_had() {
    let directory = tempfile::tempdir().unwrap();
    let master = Master::start(config()).await;
    let client = master.client(directory.path());
    for id in ["..", "", "../nodes", "a b", "%2e%2e", "💣"] {
        let error = client.job(id).await.unwrap_err();
        assert_eq!(error.code(), Code::JobNotFound, "{id:?}: {error}");
    }
    let query = JobQuery { queue: Some("live&state=failed".into()), ..JobQuery::default() };
    let error = client.jobs(&query).await.unwrap_err();
    assert_eq!((error.code(), error.field_name()), (Code::InvalidField, Some("queue")));
    let keyless = ClientConfig { api_key: None, ..master.client_config(directory.path()) };
    let keyless = MasterClient::new(&keyless).unwrap();
    assert_eq!(keyless.nodes().await.unwrap_err().code(), Code::Unauthorized);
    assert_eq!(keyless.health().await.unwrap().status, "ok");
}
