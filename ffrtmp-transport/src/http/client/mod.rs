//! The client of a master: what the command line, the agents and embedders talk through.
//!
//! It sends each request once, and again only where the master says that it did not execute it
//! because there were too many: then it waits as long as the master asks, within bounds. Any other
//! retrying is the caller's business, who knows what may be repeated. Connections are kept and reused. Whom it trusts is in [`trust`], how failures become errors in
//! [`fault`], the live story of a job in [`follow`].

mod fault;
mod follow;
mod trust;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ffrtmp_core::coordinator::JobEvent;
use ffrtmp_core::id::{JobId, NodeId};
use ffrtmp_core::job::{Job, JobRequest, JobView, StateTransition};
use ffrtmp_core::node::{Node, Registration};
use ffrtmp_core::protocol::{
    ClaimRequest, Claimed, FinishRequest, Heartbeat, HeartbeatAnswer, Registered, StartRequest,
};
use ffrtmp_core::transport::Transport;
use ffrtmp_core::{Code, Error, Result};
use futures::Stream;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::{BatchAnswer, EventList, Health, JobList, JobQuery, LogEntry, LogList, MAX_LIMIT, NodeList};

/// How to reach a master.
#[derive(Clone)]
pub struct ClientConfig {
    /// Address, `https://HOST[:PORT]` or `http://HOST[:PORT]`; a path in it becomes a prefix.
    pub master: String,
    /// The master's key.
    pub api_key: Option<String>,
    /// PEM file with the authorities to trust instead of those of the system. The certificate of
    /// a self-signed master itself works as well.
    pub ca: Option<PathBuf>,
    /// PEM files with the client's own certificate and key, for mutual TLS.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Trust any certificate: for a lab.
    pub insecure_skip_verify: bool,
    /// File of pinned certificates of loopback masters; `~/.ffrtmp/known_masters` by default.
    pub pins: Option<PathBuf>,
}

impl Default for ClientConfig {
    /// The master on this machine, `https://localhost:8080`.
    fn default() -> Self {
        Self {
            master: "https://localhost:8080".into(),
            api_key: None,
            ca: None,
            identity: None,
            insecure_skip_verify: false,
            pins: None,
        }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("master", &self.master)
            .field("api_key", &self.api_key.as_ref().map(|_| "…"))
            .field("ca", &self.ca)
            .field("identity", &self.identity)
            .field("insecure_skip_verify", &self.insecure_skip_verify)
            .field("pins", &self.pins)
            .finish()
    }
}

/// A client of one master. Clones share connections.
///
/// # Errors
/// Every method answers what the master answered, as the [`Error`] it had; besides `network` when
/// the master cannot be reached, `tls` when it is not trusted, `timeout` never: a late answer is
/// `network`, for it may be tried again. `rate_limited` comes after up to five tries in ten seconds,
/// or at once where the master asks for a longer wait.
#[derive(Clone)]
pub struct MasterClient(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    base: Url,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How much longer than its own wait a claim may take.
const CLAIM_GRACE: Duration = Duration::from_secs(15);

impl MasterClient {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// `invalid_config` for an address that is none, `tls` for certificate files that cannot be
    /// used.
    pub fn new(config: &ClientConfig) -> Result<Self> {
        let base = base(&config.master)?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("ffrtmp/", env!("CARGO_PKG_VERSION")))
            .default_headers(default_headers(config)?)
            .connect_timeout(CONNECT_TIMEOUT)
            // Below the server's own patience, so that a connection is not reused as it closes.
            .pool_idle_timeout(Duration::from_secs(20))
            .tcp_keepalive(Duration::from_secs(30))
            .tcp_nodelay(true)
            // For http:// too: without, reqwest looks for a process-wide provider and panics.
            .tls_backend_preconfigured(trust::tls(config, &base)?)
            .redirect(reqwest::redirect::Policy::none());
        if trust::is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| Error::new(Code::Internal, "cannot set up the HTTP client").source(error))?;
        Ok(Self(Arc::new(Inner { http, base })))
    }

    /// The master's address.
    #[must_use]
    pub fn master(&self) -> &str {
        self.0.base.as_str().trim_end_matches('/')
    }

    /// Submits a job. With an idempotency key the call may be repeated.
    pub async fn submit(&self, request: &JobRequest, idempotency: Option<&str>) -> Result<JobView> {
        let mut call = self.call(Method::POST, &["jobs"])?.json(request);
        if let Some(key) = idempotency {
            let value = HeaderValue::from_str(key).map_err(|_| {
                Error::new(Code::InvalidField, "not a key")
                    .field("Idempotency-Key")
                    .hint("give 1 to 255 visible ASCII characters")
            })?;
            call = call.header("Idempotency-Key", value);
        }
        self.answer(call).await
    }

    /// Submits many jobs, all or none.
    pub async fn submit_batch(&self, requests: &[JobRequest]) -> Result<Vec<JobView>> {
        let body = serde_json::json!({ "jobs": requests });
        let answer: BatchAnswer = self.answer(self.call(Method::POST, &["jobs", "batch"])?.json(&body)).await?;
        Ok(answer.jobs)
    }

    /// Shows a job, named by id, unique prefix or sequence number.
    pub async fn job(&self, id: &str) -> Result<JobView> {
        self.answer(self.call(Method::GET, &["jobs", id])?).await
    }

    /// Lists jobs, a page at a time.
    pub async fn jobs(&self, query: &JobQuery) -> Result<JobList> {
        let mut url = self.url(&["jobs"])?;
        url.query_pairs_mut().extend_pairs(query.pairs());
        self.answer(self.0.http.get(url)).await
    }

    /// Cancels a job.
    pub async fn cancel(&self, id: &str) -> Result<JobView> {
        self.change(id, "cancel").await
    }

    /// Holds a job back or freezes it.
    pub async fn pause(&self, id: &str) -> Result<JobView> {
        self.change(id, "pause").await
    }

    /// Lets a paused job go on.
    pub async fn resume(&self, id: &str) -> Result<JobView> {
        self.change(id, "resume").await
    }

    /// Starts a new round of a job that failed or was canceled.
    pub async fn retry(&self, id: &str) -> Result<JobView> {
        self.change(id, "retry").await
    }

    /// The log of a job, oldest line first.
    pub async fn logs(&self, id: &str) -> Result<Vec<LogEntry>> {
        let list: LogList = self.answer(self.call(Method::GET, &["jobs", id, "logs"])?).await?;
        Ok(list.logs)
    }

    /// Every change of a job's state so far.
    pub async fn job_events(&self, id: &str) -> Result<Vec<StateTransition>> {
        let list: EventList = self.answer(self.call(Method::GET, &["jobs", id, "events"])?).await?;
        Ok(list.events)
    }

    /// Follows a job: every change of state so far, then what happens, until the job ends. The
    /// stream ends early if the master stops; look at the job then, and follow it again.
    pub async fn follow(&self, id: &str) -> Result<impl Stream<Item = Result<JobEvent>> + Send + use<>> {
        let call = self.call(Method::GET, &["jobs", id, "events"])?.header(ACCEPT, "text/event-stream");
        let response = self.send(call, None).await?;
        Ok(follow::events(response, self.0.base.clone()))
    }

    /// All nodes, by name, over as many pages as they take.
    pub async fn nodes(&self) -> Result<Vec<Node>> {
        let mut nodes = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut url = self.url(&["nodes"])?;
            url.query_pairs_mut().append_pair("limit", &MAX_LIMIT.to_string());
            if let Some(cursor) = &cursor {
                url.query_pairs_mut().append_pair("cursor", cursor);
            }
            let page: NodeList = self.answer(self.0.http.get(url)).await?;
            nodes.extend(page.nodes);
            // A page that leads to itself is no master's.
            if page.next_cursor.is_none() || page.next_cursor == cursor {
                return Ok(nodes);
            }
            cursor = page.next_cursor;
        }
    }

    /// One node, by its id.
    pub async fn node(&self, id: &str) -> Result<Node> {
        self.answer(self.call(Method::GET, &["nodes", id])?).await
    }

    /// Takes a node out of service.
    pub async fn drain(&self, id: &str) -> Result<Node> {
        self.answer(self.call(Method::POST, &["nodes", id, "drain"])?).await
    }

    /// Puts a node back into service.
    pub async fn activate(&self, id: &str) -> Result<Node> {
        self.answer(self.call(Method::POST, &["nodes", id, "activate"])?).await
    }

    /// Forgets a node.
    pub async fn remove_node(&self, id: &str) -> Result<()> {
        self.send(self.call(Method::DELETE, &["nodes", id])?, Some(ANSWER_TIMEOUT)).await.map(|_| ())
    }

    /// Asks whether the master works; needs no key.
    pub async fn health(&self) -> Result<Health> {
        self.answer(self.call(Method::GET, &["health"])?).await
    }

    async fn change(&self, id: &str, verb: &str) -> Result<JobView> {
        self.answer(self.call(Method::POST, &["jobs", id, verb])?).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T> {
        self.answer(self.call(Method::POST, path)?.json(body)).await
    }

    fn call(&self, method: Method, path: &[&str]) -> Result<reqwest::RequestBuilder> {
        Ok(self.0.http.request(method, self.url(path)?))
    }

    /// A path below `/api/v1`; a segment is sent as it is, whatever it holds.
    fn url(&self, path: &[&str]) -> Result<Url> {
        // Dots would climb out of the path.
        if let Some(bad) = path.iter().find(|segment| segment.is_empty() || matches!(**segment, "." | "..")) {
            let code = if path.first() == Some(&"nodes") { Code::NodeNotFound } else { Code::JobNotFound };
            return Err(Error::new(code, format!("nothing is named {bad:?}")).field("id"));
        }
        let mut url = self.0.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        Ok(url)
    }

    async fn answer<T: DeserializeOwned>(&self, call: reqwest::RequestBuilder) -> Result<T> {
        self.answer_within(call, ANSWER_TIMEOUT).await
    }

    async fn answer_within<T: DeserializeOwned>(&self, call: reqwest::RequestBuilder, limit: Duration) -> Result<T> {
        let response = self.send(call, Some(limit)).await?;
        let bytes = response.bytes().await.map_err(|error| fault::unreachable(&self.0.base, error))?;
        serde_json::from_slice(&bytes).map_err(|error| fault::foreign(&self.0.base, error))
    }

    async fn send(&self, call: reqwest::RequestBuilder, limit: Option<Duration>) -> Result<reqwest::Response> {
        let mut call = match limit {
            Some(limit) => call.timeout(limit),
            None => call,
        };
        let mut turns = Turns::default();
        loop {
            let again = call.try_clone();
            let response = call.send().await.map_err(|error| fault::unreachable(&self.0.base, error))?;
            if response.status().is_success() {
                return Ok(response);
            }
            match again.and_then(|again| Some((again, turns.wait(&response)?))) {
                Some((again, wait)) => {
                    tokio::time::sleep(wait).await;
                    call = again;
                }
                None => return Err(fault::refused(&self.0.base, response).await),
            }
        }
    }
}

/// How often and how long a request has waited for its turn.
#[derive(Default)]
struct Turns {
    tries: u32,
    waited: Duration,
}

impl Turns {
    const TRIES: u32 = 5;
    const TOTAL: Duration = Duration::from_secs(10);

    /// How long to wait before the request is sent again; `None` where that is no use.
    fn wait(&mut self, response: &reqwest::Response) -> Option<Duration> {
        if response.status() != StatusCode::TOO_MANY_REQUESTS {
            return None;
        }
        let seconds = match response.headers().get(RETRY_AFTER) {
            Some(value) => value.to_str().ok()?.trim().parse().ok()?,
            None => 1,
        };
        self.after(Duration::from_secs(seconds))
    }

    fn after(&mut self, wait: Duration) -> Option<Duration> {
        self.tries += 1;
        self.waited = self.waited.saturating_add(wait);
        (self.tries < Self::TRIES && self.waited <= Self::TOTAL).then_some(wait)
    }
}

impl fmt::Debug for MasterClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterClient").field("master", &self.master()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for MasterClient {
    async fn register(&self, registration: Registration) -> Result<Registered> {
        self.post(&["nodes", "register"], &registration).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed> {
        let limit = Duration::from_millis(request.wait_ms) + CLAIM_GRACE;
        self.answer_within(self.call(Method::POST, &["jobs", "claim"])?.json(&request), limit).await
    }

    async fn start(&self, job: JobId, request: StartRequest) -> Result<Job> {
        let view: JobView = self.post(&["jobs", &job.to_string(), "start"], &request).await?;
        Ok(view.job)
    }

    async fn heartbeat(&self, node: NodeId, heartbeat: Heartbeat) -> Result<HeartbeatAnswer> {
        self.post(&["nodes", &node.to_string(), "heartbeat"], &heartbeat).await
    }

    async fn finish(&self, request: FinishRequest) -> Result<Job> {
        let view: JobView = self.post(&["results"], &request).await?;
        Ok(view.job)
    }
}

/// Reads the master's address.
fn base(text: &str) -> Result<Url> {
    let wrong = |why: &str| {
        Error::new(Code::InvalidConfig, format!("{text:?} {why}"))
            .field("--master")
            .hint("give https://HOST:PORT, such as https://localhost:8080")
    };
    let url = Url::parse(text.trim()).map_err(|_| wrong("is not an address"))?;
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("is neither an https:// nor an http:// address"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("holds more than host, port and path"));
    }
    Ok(url)
}

fn default_headers(config: &ClientConfig) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, application/problem+json"));
    if let Some(key) = config.api_key.as_deref().map(str::trim) {
        let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| {
            Error::new(Code::InvalidConfig, "the API key holds characters that a header cannot carry")
                .field("--api-key")
                .hint("give the key as one line of visible ASCII characters")
        })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}
