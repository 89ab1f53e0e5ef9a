//! The client of a master, or of several on one store: what the command line, the agents and
//! embedders talk through.
//!
//! It sends a request again where the master says that it did not execute it because there were too
//! many: then it waits as long as the master asks, within bounds. Where several masters are known, a
//! request that the first cannot take goes on to the next: see [`masters`]. Any other retrying is the
//! caller's business, who knows what may be repeated. Connections are kept and reused. What agents
//! say is in [`agent`], and how it travels together in [`gather`]; whom the client trusts is in
//! [`trust`], how failures become errors in [`fault`], the live story of a job in [`follow`].

mod agent;
mod fault;
mod follow;
mod gather;
mod lines;
mod masters;
mod trust;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use ffrtmp_core::coordinator::JobEvent;
use ffrtmp_core::job::{JobRequest, JobView, StateTransition};
use ffrtmp_core::node::Node;
use ffrtmp_core::trace::TRACEPARENT;
use ffrtmp_core::{Code, Error, Result};
use futures::Stream;
use reqwest::Method;
use reqwest::header::{ACCEPT, HeaderName, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::{BatchAnswer, EventList, Health, JobList, JobQuery, LogEntry, LogList, MAX_LIMIT, NodeList};
use masters::{Call, Masters, Reached};

pub use lines::LogFollower;

/// How to reach a master.
#[derive(Clone)]
pub struct ClientConfig {
    /// Address, `https://HOST[:PORT]` or `http://HOST[:PORT]`; a path in it becomes a prefix. Masters
    /// on one store may be given together, separated by commas: any of them is asked, and another one
    /// if it does not answer.
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

/// A client of a master, or of several on one store. Clones share connections.
///
/// # Errors
/// Every method answers what the master answered, as the [`Error`] it had; besides `network` when
/// the master cannot be reached, `tls` when it is not trusted, `timeout` never: a late answer is
/// `network`, for it may be tried again. `rate_limited` comes after up to five tries in ten seconds,
/// or at once where the master asks for a longer wait.
#[derive(Clone)]
pub struct MasterClient(Arc<Inner>);

struct Inner {
    masters: Arc<Masters>,
    words: agent::Words,
}

impl MasterClient {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// `invalid_config` for an address that is none, `tls` for certificate files that cannot be
    /// used.
    pub fn new(config: &ClientConfig) -> Result<Self> {
        let masters = Arc::new(Masters::new(config)?);
        Ok(Self(Arc::new(Inner { words: agent::Words::new(&masters), masters })))
    }

    /// Address of the master; of several, of the one that answered last.
    #[must_use]
    pub fn master(&self) -> &str {
        self.0.masters.current()
    }

    /// Submits a job. With an idempotency key the call may be repeated.
    pub async fn submit(&self, request: &JobRequest, idempotency: Option<&str>) -> Result<JobView> {
        // In the header, where every proxy on the way sees it.
        let body = JobRequest { traceparent: None, ..request.clone() };
        let mut call = Call::new(Method::POST, &["jobs"])?.json(&body)?.once(idempotency.is_none());
        if let Some(value) = request.traceparent.and_then(|trace| HeaderValue::from_str(&trace.to_string()).ok()) {
            call = call.header(HeaderName::from_static(TRACEPARENT), value);
        }
        if let Some(key) = idempotency {
            let value = HeaderValue::from_str(key).map_err(|_| {
                Error::new(Code::InvalidField, "not a key")
                    .field("Idempotency-Key")
                    .hint("give 1 to 255 visible ASCII characters")
            })?;
            call = call.header(HeaderName::from_static("idempotency-key"), value);
        }
        self.0.masters.answer(call).await
    }

    /// Submits many jobs, all or none.
    pub async fn submit_batch(&self, requests: &[JobRequest]) -> Result<Vec<JobView>> {
        let body = serde_json::json!({ "jobs": requests });
        let call = Call::new(Method::POST, &["jobs", "batch"])?.json(&body)?.once(true);
        let answer: BatchAnswer = self.0.masters.answer(call).await?;
        Ok(answer.jobs)
    }

    /// Shows a job, named by id, unique prefix or sequence number.
    pub async fn job(&self, id: &str) -> Result<JobView> {
        self.0.masters.answer(Call::new(Method::GET, &["jobs", id])?).await
    }

    /// Lists jobs, a page at a time.
    pub async fn jobs(&self, query: &JobQuery) -> Result<JobList> {
        self.0.masters.answer(Call::new(Method::GET, &["jobs"])?.query(query.pairs())).await
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
        let list: LogList = self.0.masters.answer(Call::new(Method::GET, &["jobs", id, "logs"])?).await?;
        Ok(list.logs)
    }

    /// Follows the log of a job, from its first line.
    #[must_use]
    pub fn follow_logs(&self, id: &str) -> LogFollower {
        LogFollower::new(self.clone(), id)
    }

    /// Every change of a job's state so far.
    pub async fn job_events(&self, id: &str) -> Result<Vec<StateTransition>> {
        let list: EventList = self.0.masters.answer(Call::new(Method::GET, &["jobs", id, "events"])?).await?;
        Ok(list.events)
    }

    /// Follows a job: every change of state so far, then what happens, until the job ends. The
    /// stream ends early if the master stops; look at the job then, and follow it again.
    pub async fn follow(&self, id: &str) -> Result<impl Stream<Item = Result<JobEvent>> + Send + use<>> {
        let call = Call::new(Method::GET, &["jobs", id, "events"])?
            .header(ACCEPT, HeaderValue::from_static("text/event-stream"))
            .within(None);
        let Reached { response, base } = self.0.masters.send(&call).await?;
        Ok(follow::events(response, base.clone()))
    }

    /// All nodes, by name, over as many pages as they take.
    pub async fn nodes(&self) -> Result<Vec<Node>> {
        let mut nodes = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let place = cursor.iter().map(|cursor| ("cursor", cursor.clone()));
            let call = Call::new(Method::GET, &["nodes"])?.query([("limit", MAX_LIMIT.to_string())]).query(place);
            let page: NodeList = self.0.masters.answer(call).await?;
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
        self.0.masters.answer(Call::new(Method::GET, &["nodes", id])?).await
    }

    /// Takes a node out of service.
    pub async fn drain(&self, id: &str) -> Result<Node> {
        self.0.masters.answer(Call::new(Method::POST, &["nodes", id, "drain"])?).await
    }

    /// Puts a node back into service.
    pub async fn activate(&self, id: &str) -> Result<Node> {
        self.0.masters.answer(Call::new(Method::POST, &["nodes", id, "activate"])?).await
    }

    /// Forgets a node.
    pub async fn remove_node(&self, id: &str) -> Result<()> {
        self.0.masters.send(&Call::new(Method::DELETE, &["nodes", id])?).await.map(|_| ())
    }

    /// Asks whether the master works; needs no key.
    pub async fn health(&self) -> Result<Health> {
        self.0.masters.answer(Call::new(Method::GET, &["health"])?).await
    }

    async fn change(&self, id: &str, verb: &str) -> Result<JobView> {
        self.0.masters.answer(Call::new(Method::POST, &["jobs", id, verb])?).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T> {
        self.0.masters.answer(Call::new(Method::POST, path)?.json(body)?).await
    }
}

impl fmt::Debug for MasterClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterClient").field("master", &self.master()).finish_non_exhaustive()
    }
}
