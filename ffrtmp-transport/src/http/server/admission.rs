//! Who is let in: the rate limit per address, the API key, and the lockout of addresses that
//! guess keys.
//!
//! Memory stays bounded whatever addresses show up: entries that no longer matter are dropped, and
//! past a cap strangers share one entry.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
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
    let address = app.admission.source(&request);
    app.admission.check_rate(address)?;
    if !is_open(request.uri().path()) {
        app.admission.check_key(address, request.headers())?;
    }
    Ok(next.run(request).await)
}

/// The routes that need no key.
fn is_open(path: &str) -> bool {
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    matches!(path, "/health" | "/livez" | "/readyz" | "/openapi.json")
}

/// Limits per address and the key.
pub(super) struct Admission {
    rate: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    key: Option<[u8; 32]>,
    guesses: Mutex<HashMap<IpAddr, Guesses>>,
}

/// What an address did with keys lately.
#[derive(Clone, Copy)]
struct Guesses {
    wrong: u32,
    last_wrong: Instant,
    last_right: Option<Instant>,
}

/// Addresses remembered at most; more share one entry.
const MAX_ADDRESSES: usize = 50_000;
/// Wrong keys in a row after which an address is locked out.
const MAX_WRONG: u32 = 20;
/// How long it stays locked out after the last wrong key.
const LOCKOUT: Duration = Duration::from_secs(30);
/// An address whose right key was seen this recently is not locked out: agents behind one gateway
/// must not suffer from a neighbour's wrong key.
const TRUST: Duration = Duration::from_secs(3600);

impl Admission {
    pub(super) fn new(config: &ServerConfig) -> Self {
        let quota = Quota::per_second(config.rate_limit).allow_burst(config.rate_burst);
        Self {
            rate: RateLimiter::keyed(quota),
            clock: DefaultClock::default(),
            key: config.api_key.as_ref().map(digest_of_secret),
            guesses: Mutex::default(),
        }
    }

    /// Drops what no longer matters; the server calls it now and then.
    pub(super) fn forget_old(&self) {
        self.rate.retain_recent();
        self.rate.shrink_to_fit();
        let now = Instant::now();
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        guesses.retain(|_, seen| {
            now.duration_since(seen.last_wrong) < LOCKOUT
                || seen.last_right.is_some_and(|right| now.duration_since(right) < TRUST)
        });
    }

    /// The address that limits count: that of the connection, a /64 for IPv6.
    fn source(&self, request: &Request) -> IpAddr {
        let Some(Peer(peer)) = request.extensions().get::<Peer>().copied() else { return SHARED };
        let address = match peer.ip().to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
            v4 => v4,
        };
        if self.rate.len() >= MAX_ADDRESSES { SHARED } else { address }
    }

    fn check_rate(&self, address: IpAddr) -> Result<(), Failure> {
        self.rate.check_key(&address).map_err(|not_yet| {
            let wait = not_yet.wait_time_from(self.clock.now());
            Failure::retry_after(Error::new(Code::RateLimited, "too many requests from this address"), wait)
        })
    }

    fn check_key(&self, address: IpAddr, headers: &HeaderMap) -> Result<(), Failure> {
        let Some(expected) = &self.key else { return Ok(()) };
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let seen = guesses.get(&address).copied();
        if let Some(wait) = seen.and_then(|seen| seen.locked_out(now)) {
            return Err(Failure::retry_after(
                Error::new(Code::RateLimited, "too many wrong API keys from this address")
                    .hint("wait for the seconds in the Retry-After header and use the master's key"),
                wait,
            ));
        }
        match presented(headers) {
            Ok(key) if bool::from(digest(key).ct_eq(expected)) => {
                guesses.insert(address, Guesses { wrong: 0, last_wrong: now, last_right: Some(now) });
                Ok(())
            }
            Ok(_) => {
                if guesses.len() < MAX_ADDRESSES || seen.is_some() {
                    guesses.insert(address, Guesses::after_wrong(seen, now));
                }
                Err(Error::new(Code::Unauthorized, "the API key is wrong").field("Authorization").into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Stands for every address past the cap.
const SHARED: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

impl Guesses {
    fn after_wrong(before: Option<Self>, now: Instant) -> Self {
        // Old mistakes are forgiven.
        let wrong = before.filter(|seen| now.duration_since(seen.last_wrong) < LOCKOUT).map_or(0, |seen| seen.wrong);
        Self { wrong: wrong + 1, last_wrong: now, last_right: before.and_then(|seen| seen.last_right) }
    }

    fn locked_out(self, now: Instant) -> Option<Duration> {
        let trusted = self.last_right.is_some_and(|right| now.duration_since(right) < TRUST);
        let wait = LOCKOUT.checked_sub(now.duration_since(self.last_wrong))?;
        (self.wrong >= MAX_WRONG && !trusted).then_some(wait)
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

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn admission() -> Admission {
        Admission::new(&ServerConfig { api_key: Some(Secret::new("right")), ..ServerConfig::default() })
    }

    fn status(admission: &Admission, authorization: &'static str) -> u16 {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static(authorization));
        let answer = admission.check_key(ADDRESS, &headers);
        answer.map_or_else(|failure| axum::response::IntoResponse::into_response(failure).status().as_u16(), |()| 200)
    }

    #[test]
    fn only_the_right_key_passes() {
        for (header, expected) in
            [("Bearer right", 200), ("bearer right ", 200), ("Bearer wrong", 401), ("Bearer ", 401), ("right", 401)]
        {
            assert_eq!(status(&admission(), header), expected, "{header}");
        }
        assert!(!format!("{:?}", Secret::new("right")).contains("right"));
    }

    #[test]
    fn guessing_locks_an_address_out_unless_it_is_known() {
        let stranger = admission();
        let codes: Vec<_> = (0..=MAX_WRONG).map(|_| status(&stranger, "Bearer wrong")).collect();
        assert!(codes[..MAX_WRONG as usize].iter().all(|code| *code == 401));
        assert_eq!(codes[MAX_WRONG as usize], 429);
        assert_eq!(status(&stranger, "Bearer right"), 429, "a locked-out address cannot go on guessing");

        let known = admission();
        assert_eq!(status(&known, "Bearer right"), 200);
        assert!((0..100).all(|_| status(&known, "Bearer wrong") == 401));
        assert_eq!(status(&known, "Bearer right"), 200);
    }
}
