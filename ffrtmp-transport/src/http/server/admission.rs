//! Who is let in: the API key first, then the rate limits per address, and the lockout of addresses
//! that guess keys.
//!
//! A request with the right key is never counted or refused together with one without: whoever
//! shares an address with an agent, or can forge nothing but requests, cannot keep it from renewing
//! its leases. The right key therefore passes during a lockout too; the lockout spares work and logs,
//! and the length of the key is what guessing fails on.
//!
//! Memory stays bounded whatever addresses show up: entries that no longer matter are dropped, and
//! past a cap strangers share one entry.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use ffrtmp_core::{Code, Error};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::failure::Failure;
use super::{App, Secret, ServerConfig};

/// The address that a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Lets a request pass or answers it with 401 or 429.
pub(super) async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Result<Response, Failure> {
    app.admission.admit(address(&request), route(&request), request.headers())?;
    Ok(next.run(request).await)
}

/// What a route asks of those who use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// Needs no key.
    Open,
    /// Keeps leases alive: the agents of a whole fleet may come from one address.
    Agent,
    /// Everything else, and what does not exist.
    Ordinary,
}

fn route(request: &Request) -> Route {
    let Some(pattern) = request.extensions().get::<MatchedPath>() else { return Route::Ordinary };
    let pattern = pattern.as_str();
    match pattern.strip_prefix("/api/v1").unwrap_or(pattern) {
        "/health" | "/livez" | "/readyz" | "/openapi.json" => Route::Open,
        "/nodes/register"
        | "/nodes/{id}/heartbeat"
        | "/jobs/claim"
        | "/jobs/next"
        | "/jobs/start"
        | "/jobs/{id}/start"
        | "/results"
        | "/results/batch" => Route::Agent,
        _ => Route::Ordinary,
    }
}

/// The address that limits count: that of the connection, a /64 for IPv6.
fn address(request: &Request) -> IpAddr {
    let Some(Peer(peer)) = request.extensions().get::<Peer>().copied() else { return SHARED };
    match peer.ip().to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

/// Limits per address and the key.
pub(super) struct Admission {
    key: Option<[u8; 32]>,
    /// Requests without the right key.
    strangers: Limit,
    /// Requests with it.
    friends: Limit,
    /// Those of them that keep leases alive.
    agents: Limit,
    guesses: Mutex<HashMap<IpAddr, Guesses>>,
}

/// Times the ordinary limit that agents have: the default carries a fleet of thousands behind one
/// address.
const AGENT_FACTOR: NonZeroU32 = NonZeroU32::MIN.saturating_add(49);

impl Admission {
    pub(super) fn new(config: &ServerConfig) -> Self {
        let (rate, burst) = (config.rate_limit, config.rate_burst);
        Self {
            key: config.api_key.as_ref().map(digest_of_secret),
            strangers: Limit::new(rate, burst),
            friends: Limit::new(rate, burst),
            agents: Limit::new(rate.saturating_mul(AGENT_FACTOR), burst.saturating_mul(AGENT_FACTOR)),
            guesses: Mutex::default(),
        }
    }

    /// Drops what no longer matters; the server calls it now and then.
    pub(super) fn forget_old(&self) {
        for limit in [&self.strangers, &self.friends, &self.agents] {
            limit.forget_old();
        }
        let now = Instant::now();
        self.guesses().retain(|_, seen| now.duration_since(seen.last) < LOCKOUT);
    }

    fn admit(&self, address: IpAddr, route: Route, headers: &HeaderMap) -> Result<(), Failure> {
        match (self.check_key(headers), route) {
            (Ok(()), Route::Agent) => self.agents.check(address),
            (Ok(()), _) => self.friends.check(address),
            (Err(_), Route::Open) => self.strangers.check(address),
            (Err(refusal), _) => {
                self.strangers.check(address)?;
                self.note_guess(address, &refusal)?;
                Err(refusal.into())
            }
        }
    }

    fn check_key(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(expected) = &self.key else { return Ok(()) };
        let key = presented(headers).map_err(Refusal::NoKey)?;
        if bool::from(digest(key).ct_eq(expected)) { Ok(()) } else { Err(Refusal::WrongKey) }
    }

    /// Counts a wrong key, and refuses an address that has shown too many.
    fn note_guess(&self, address: IpAddr, refusal: &Refusal) -> Result<(), Failure> {
        if !matches!(refusal, Refusal::WrongKey) {
            // Who shows no key guesses none.
            return Ok(());
        }
        let mut guesses = self.guesses();
        let now = Instant::now();
        let seen = guesses.get(&address).copied();
        if let Some(wait) = seen.and_then(|seen| seen.locked_out(now)) {
            return Err(Failure::retry_after(
                Error::new(Code::RateLimited, "too many wrong API keys from this address")
                    .field("Authorization")
                    .hint("use the master's key, with which requests pass at once"),
                wait,
            ));
        }
        if guesses.len() < MAX_ADDRESSES || seen.is_some() {
            guesses.insert(address, Guesses::after(seen, now));
        }
        Ok(())
    }

    fn guesses(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, Guesses>> {
        self.guesses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Addresses remembered at most by each limit; more share one entry.
const MAX_ADDRESSES: usize = 50_000;
/// Stands for every address past the cap.
const SHARED: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// How many requests an address may send.
struct Limit {
    rate: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
}

impl Limit {
    fn new(rate: NonZeroU32, burst: NonZeroU32) -> Self {
        let quota = Quota::per_second(rate).allow_burst(burst);
        Self { rate: RateLimiter::keyed(quota), clock: DefaultClock::default() }
    }

    fn check(&self, address: IpAddr) -> Result<(), Failure> {
        let address = if self.rate.len() >= MAX_ADDRESSES { SHARED } else { address };
        self.rate.check_key(&address).map_err(|not_yet| {
            let wait = not_yet.wait_time_from(self.clock.now());
            Failure::retry_after(Error::new(Code::RateLimited, "too many requests from this address"), wait)
        })
    }

    fn forget_old(&self) {
        self.rate.retain_recent();
        self.rate.shrink_to_fit();
    }
}

/// Why a request does not carry the right key.
enum Refusal {
    NoKey(Error),
    WrongKey,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoKey(error) => error.into(),
            Refusal::WrongKey => Error::new(Code::Unauthorized, "the API key is wrong").field("Authorization").into(),
        }
    }
}

/// The wrong keys that an address showed lately.
#[derive(Clone, Copy)]
struct Guesses {
    wrong: u32,
    last: Instant,
}

/// Wrong keys in a row after which an address is locked out.
const MAX_WRONG: u32 = 20;
/// How long it stays locked out after the last wrong key that was looked at.
const LOCKOUT: Duration = Duration::from_secs(30);

impl Guesses {
    fn after(before: Option<Self>, now: Instant) -> Self {
        // Old mistakes are forgiven.
        let wrong = before.filter(|seen| now.duration_since(seen.last) < LOCKOUT).map_or(0, |seen| seen.wrong);
        Self { wrong: wrong + 1, last: now }
    }

    fn locked_out(self, now: Instant) -> Option<Duration> {
        let wait = LOCKOUT.checked_sub(now.duration_since(self.last))?;
        (self.wrong >= MAX_WRONG).then_some(wait)
    }
}

/// The key of `Authorization: Bearer KEY`.
fn presented(headers: &HeaderMap) -> Result<&[u8], Error> {
    let wrong = |what: &str| Error::new(Code::Unauthorized, what).field("Authorization");
    let header = headers.get(AUTHORIZATION).ok_or_else(|| wrong("the request carries no API key"))?.as_bytes();
    match header.split_at_checked("Bearer ".len()) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case(b"Bearer ") => Ok(key.trim_ascii()),
        _ => Err(wrong("the Authorization header has another scheme than Bearer")),
    }
}

fn digest_of_secret(secret: &Secret) -> [u8; 32] {
    digest(secret.reveal().as_bytes())
}

/// Digests have equal lengths, so that comparing them tells nothing about the key's.
fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use axum::response::IntoResponse;

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn admission() -> Admission {
        Admission::new(&ServerConfig { api_key: Some(Secret::new("right")), ..ServerConfig::default() })
    }

    fn status(admission: &Admission, route: Route, authorization: &'static str) -> u16 {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static(authorization));
        let answer = admission.admit(ADDRESS, route, &headers);
        answer.map_or_else(|failure| failure.into_response().status().as_u16(), |()| 200)
    }

    #[test]
    fn only_the_right_key_passes() {
        for (header, expected) in
            [("Bearer right", 200), ("bearer right ", 200), ("Bearer wrong", 401), ("Bearer ", 401), ("right", 401)]
        {
            assert_eq!(status(&admission(), Route::Ordinary, header), expected, "{header}");
            assert_eq!(status(&admission(), Route::Open, header), 200, "{header}");
        }
        assert!(!format!("{:?}", Secret::new("right")).contains("right"));
    }

    #[test]
    fn guessing_locks_out_guesses_and_never_the_right_key() {
        let admission = admission();
        let guess = || status(&admission, Route::Ordinary, "Bearer wrong");
        assert!((0..MAX_WRONG).all(|_| guess() == 401));
        assert_eq!(guess(), 429);
        assert_eq!(status(&admission, Route::Ordinary, "none"), 401, "who shows no key guesses none");
        for route in [Route::Open, Route::Agent, Route::Ordinary] {
            assert_eq!(status(&admission, route, "Bearer right"), 200, "{route:?}");
        }
        assert_eq!(guess(), 429, "the right key of a neighbour excuses nobody");
    }

    #[test]
    fn strangers_and_people_do_not_use_up_what_agents_have() {
        let few = NonZeroU32::MIN;
        let key = Some(Secret::new("right"));
        let limits = ServerConfig {
            api_key: key,
            rate_limit: few,
            rate_burst: few.saturating_add(4),
            ..ServerConfig::default()
        };
        let admission = Admission::new(&limits);
        let refused =
            |route, header, times: usize| (0..times).filter(|_| status(&admission, route, header) == 429).count();
        assert!(refused(Route::Ordinary, "Bearer wrong", 50) >= 40);
        assert!(refused(Route::Open, "", 50) >= 40);
        assert_eq!(refused(Route::Ordinary, "Bearer right", 5), 0, "strangers have a bucket of their own");
        assert!(refused(Route::Ordinary, "Bearer right", 50) >= 40);
        assert_eq!(refused(Route::Agent, "Bearer right", 250), 0, "agents have a larger one");
        assert!(refused(Route::Agent, "Bearer right", 1000) >= 500, "which has a bottom too");
    }
}
