//! The masters that a client knows, and the way of a request to one that answers.
//!
//! A client stays with the master that answered last. When that one cannot be reached, or says that
//! it cannot serve, the request goes on to the next, unless it may have had an effect and may not
//! have two; and the master rests for a while, longer each time in a row, so that its silence is
//! not waited for again and again. A request is tried once at each master; when to begin anew is
//! the caller's business.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ffrtmp_core::{Code, Error, Result};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Body, Method, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ClientConfig, fault, trust};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a master rests after its first failure, and at most.
const REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Masters of one cluster, any of which answers any request.
pub(super) struct Masters {
    list: Vec<Master>,
    current: AtomicUsize,
}

struct Master {
    http: reqwest::Client,
    base: Url,
    failures: Mutex<Failures>,
}

#[derive(Default)]
struct Failures {
    in_a_row: u32,
    rests_until: Option<Instant>,
}

/// A request before it has an address.
pub(super) struct Call {
    method: Method,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    headers: HeaderMap,
    body: Vec<u8>,
    limit: Option<Duration>,
    once: bool,
}

/// An answer, and the master that gave it.
pub(super) struct Reached<'a> {
    pub(super) response: reqwest::Response,
    pub(super) base: &'a Url,
}

impl Call {
    /// A request to a path below `/api/v1`, answered within 30 s; a segment is sent as it is,
    /// whatever it holds.
    ///
    /// # Errors
    /// `job_not_found` or `node_not_found` for a segment that is no name.
    pub(super) fn new(method: Method, path: &[&str]) -> Result<Self> {
        // Dots would climb out of the path.
        if let Some(bad) = path.iter().find(|segment| segment.is_empty() || matches!(**segment, "." | "..")) {
            let code = if path.first() == Some(&"nodes") { Code::NodeNotFound } else { Code::JobNotFound };
            return Err(Error::new(code, format!("nothing is named {bad:?}")).field("id"));
        }
        Ok(Self {
            method,
            path: path.iter().map(|segment| (*segment).to_owned()).collect(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: Vec::new(),
            limit: Some(ANSWER_TIMEOUT),
            once: false,
        })
    }

    pub(super) fn json(mut self, body: &impl Serialize) -> Result<Self> {
        self.body = serde_json::to_vec(body)
            .map_err(|error| Error::new(Code::InvalidRequest, "the request cannot be written as JSON").source(error))?;
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(self)
    }

    pub(super) fn query(mut self, pairs: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        self.query.extend(pairs);
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub(super) fn within(mut self, limit: Option<Duration>) -> Self {
        self.limit = limit;
        self
    }

    /// Twice would be two effects: it is not repeated once it may have been heard.
    pub(super) fn once(mut self, once: bool) -> Self {
        self.once = once;
        self
    }

    fn to(&self, master: &Master) -> reqwest::RequestBuilder {
        let mut url = master.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(&self.path);
        }
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        let mut request = master.http.request(self.method.clone(), url).headers(self.headers.clone());
        if !self.body.is_empty() {
            request = request.body(Body::from(self.body.clone()));
        }
        match self.limit {
            Some(limit) => request.timeout(limit),
            None => request,
        }
    }
}

/// Why a master gave no answer to return.
struct Missed {
    error: Error,
    /// Whether another master may do better, and may be asked.
    elsewhere: bool,
    /// Whether this one works.
    works: bool,
}

impl Masters {
    /// The masters of a configuration; nothing is sent yet.
    ///
    /// # Errors
    /// `invalid_config` for an address that is none, `tls` for certificate files that cannot be
    /// used.
    pub(super) fn new(config: &ClientConfig) -> Result<Self> {
        let headers = default_headers(config)?;
        let master = |base: Url| {
            let mut builder = reqwest::Client::builder()
                .user_agent(concat!("ffrtmp/", env!("CARGO_PKG_VERSION")))
                .default_headers(headers.clone())
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
            Ok(Master { http, base, failures: Mutex::default() })
        };
        let list = config.master.split(',').map(|address| master(base(address)?)).collect::<Result<_>>()?;
        Ok(Self { list, current: AtomicUsize::new(0) })
    }

    /// Address of the master that answered last.
    pub(super) fn current(&self) -> &str {
        let at = self.current.load(Ordering::Relaxed);
        self.list.get(at).map_or("", |master| master.base.as_str().trim_end_matches('/'))
    }

    /// Sends a request and reads the answer.
    pub(super) async fn answer<T: DeserializeOwned>(&self, call: Call) -> Result<T> {
        let Reached { response, base } = self.send(&call).await?;
        let bytes = response.bytes().await.map_err(|error| fault::unreachable(base, error))?;
        serde_json::from_slice(&bytes).map_err(|error| fault::foreign(base, error))
    }

    /// Sends a request; whatever comes back has a good status.
    pub(super) async fn send(&self, call: &Call) -> Result<Reached<'_>> {
        let mut first = None;
        for (at, master) in self.in_order() {
            match master.send(call).await {
                Ok(response) => {
                    self.stay_with(at, master);
                    return Ok(Reached { response, base: &master.base });
                }
                Err(Missed { error, elsewhere, works }) => {
                    if works {
                        self.stay_with(at, master);
                    } else {
                        master.failures().note();
                    }
                    if !elsewhere {
                        return Err(error);
                    }
                    first.get_or_insert(error);
                }
            }
        }
        Err(first.unwrap_or_else(|| Error::new(Code::InvalidConfig, "no master is known").field("--master")))
    }

    /// The one that answered last, the others, and at the end those that rest.
    fn in_order(&self) -> Vec<(usize, &Master)> {
        let now = Instant::now();
        let current = self.current.load(Ordering::Relaxed);
        let order: Vec<_> = self.list.iter().enumerate().collect();
        let (before, from) = order.split_at(current.min(order.len()));
        let mut order = [from, before].concat();
        order.sort_by_cached_key(|(_, master)| master.failures().rests_until.filter(|until| *until > now));
        order
    }

    fn stay_with(&self, at: usize, master: &Master) {
        *master.failures() = Failures::default();
        self.current.store(at, Ordering::Relaxed);
    }
}

impl Master {
    async fn send(&self, call: &Call) -> std::result::Result<reqwest::Response, Missed> {
        let mut turns = Turns::default();
        loop {
            let response = call.to(self).send().await.map_err(|error| {
                let elsewhere = !call.once || error.is_connect();
                Missed { error: fault::unreachable(&self.base, error), elsewhere, works: false }
            })?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            let Some(wait) = turns.wait(&response) else {
                let error = fault::refused(&self.base, response).await;
                let ails = status == StatusCode::SERVICE_UNAVAILABLE;
                return Err(Missed { error, elsewhere: ails && !call.once, works: !ails });
            };
            tokio::time::sleep(wait).await;
        }
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failures {
    fn note(&mut self) {
        let rest = REST.saturating_mul(1 << self.in_a_row.min(6)).min(LONGEST_REST);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.rests_until = Some(Instant::now() + rest);
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
