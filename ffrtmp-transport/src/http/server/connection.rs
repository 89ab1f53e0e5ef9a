//! Sockets: the accept loop, TLS handshakes, deadlines against slow peers, and the orderly end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use ffrtmp_core::coordinator::Coordinator;
use ffrtmp_core::{Code, Error, Result};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig as RustlsConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::admission::Peer;
use super::{App, ServerConfig, TlsConfig, router};
use crate::http::pem;

/// Answers requests on the listener until `stop` is cancelled; then accepts no more, lets requests
/// under way end for at most [`ServerConfig::drain_timeout`], and returns.
///
/// Claims that wait and event streams end at once when `stop` is cancelled.
///
/// # Errors
/// `tls` if certificate, key or client authorities cannot be used; nothing after that.
///
/// # Cancel safety
/// Dropping the future closes the listener and every connection at once.
pub async fn serve(
    listener: TcpListener,
    config: ServerConfig,
    coordinator: Arc<Coordinator>,
    stop: CancellationToken,
) -> Result<()> {
    let tls = config.tls.as_ref().map(acceptor).transpose()?;
    // Children die with this future, also when it is dropped.
    let lives = CancellationToken::new();
    let _kill = lives.clone().drop_guard();
    let app = Arc::new(App::new(&config, coordinator, stop.clone()));
    let door = Door {
        router: router::build(Arc::clone(&app)),
        tls,
        header_timeout: config.header_timeout,
        stop: stop.clone(),
        lives,
    };
    let tracker = TaskTracker::new();
    tracker.spawn(door.lives.clone().run_until_cancelled_owned(forget_old(app)));
    let room = Arc::new(Semaphore::new(config.max_connections as usize));
    while let Some((stream, permit)) = next_connection(&listener, &room, &stop).await {
        tracker.spawn(door.clone().attend(stream, permit));
    }
    drop(listener);
    tracker.close();
    let drained = room.acquire_many(config.max_connections);
    if timeout(config.drain_timeout, drained).await.is_err() {
        tracing::warn!("requests did not end in time and are cut off");
    }
    door.lives.cancel();
    tracker.wait().await;
    Ok(())
}

async fn forget_old(app: Arc<App>) {
    loop {
        sleep(Duration::from_secs(30)).await;
        app.admission.forget_old();
    }
}

/// The next connection once there is room for it; `None` when the server stops.
async fn next_connection(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let accept = async {
        let permit = Arc::clone(room).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, permit)),
                // Out of file descriptors, or a peer that is gone already: neither ends a server.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accept).await.flatten()
}

/// Everything that a connection needs.
#[derive(Clone)]
struct Door {
    router: Router,
    tls: Option<TlsAcceptor>,
    header_timeout: Duration,
    stop: CancellationToken,
    lives: CancellationToken,
}

impl Door {
    async fn attend(self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        let lives = self.lives.clone();
        lives.run_until_cancelled(self.converse(stream)).await;
        drop(permit);
    }

    async fn converse(self, stream: TcpStream) {
        let Ok(peer) = stream.peer_addr() else { return };
        // A failure only costs latency.
        let _ = stream.set_nodelay(true);
        let Some(tls) = self.tls.clone() else { return self.speak(stream, Version::Http1, Peer(peer)).await };
        let handshake = async {
            if !starts_tls(&stream).await? {
                return refuse_plain_text(stream).await.map(|()| None);
            }
            tls.accept(stream).await.map(Some)
        };
        match timeout(self.header_timeout, handshake).await {
            Ok(Ok(Some(stream))) => {
                let version = match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => Version::Http2,
                    _ => Version::Http1,
                };
                self.speak(stream, version, Peer(peer)).await;
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        }
    }

    async fn speak<S>(self, stream: S, version: Version, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let asked = Arc::new(AtomicBool::new(false));
        let noticed = Arc::clone(&asked);
        let service = self.router.clone().map_request(move |request: Request<Incoming>| {
            noticed.store(true, Ordering::Relaxed);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            request
        });
        let builder = version.builder(self.header_timeout);
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let mut connection = std::pin::pin!(connection);
        let silent = async {
            sleep(self.header_timeout).await;
            if asked.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            result = connection.as_mut() => return log_end(&result),
            () = silent => return,
            () = self.stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        log_end(&connection.await);
    }
}

fn log_end(result: &Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended");
    }
}

#[derive(Clone, Copy)]
enum Version {
    Http1,
    Http2,
}

impl Version {
    /// The version is fixed by ALPN, so no byte is read without a deadline to find it out.
    fn builder(self, header_timeout: Duration) -> auto::Builder<TokioExecutor> {
        let builder = auto::Builder::new(TokioExecutor::new());
        let mut builder = match self {
            Self::Http1 => builder.http1_only(),
            Self::Http2 => builder.http2_only(),
        };
        builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(64 * 1024);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(128)
            .max_header_list_size(32 * 1024)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20));
        builder
    }
}

/// Whether the first byte opens a TLS handshake.
async fn starts_tls(stream: &TcpStream) -> std::io::Result<bool> {
    const HANDSHAKE: u8 = 0x16;
    let mut first = [0];
    Ok(stream.peek(&mut first).await? == 0 || first[0] == HANDSHAKE)
}

/// Tells a client that speaks plain HTTP what to do instead.
async fn refuse_plain_text(mut stream: TcpStream) -> std::io::Result<()> {
    const BODY: &str = concat!(
        r#"{"type":"urn:ffrtmp:error:tls","title":"This port speaks HTTPS.","status":400,"#,
        r#""detail":"a plain HTTP request was sent to an HTTPS port","code":"tls","disposition":"caller","#,
        r#""hint":"use https:// in the master's address","instance":"about:blank","field":"master"}"#,
        "\n"
    );
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with unread bytes would reset the connection and lose the answer.
    let mut sink = [0; 4096];
    let mut left = 64 * 1024_usize;
    while left > 0 {
        match tokio::io::AsyncReadExt::read(&mut stream, &mut sink).await? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}

/// Checks that certificate, key and client authorities can be used, as [`serve`] will: for a caller
/// that wants to fail before it listens.
///
/// # Errors
/// `tls` naming the flag of the file at fault.
pub fn check_tls(config: &TlsConfig) -> Result<()> {
    acceptor(config).map(drop)
}

fn acceptor(config: &TlsConfig) -> Result<TlsAcceptor> {
    crate::http::certificate::check(&config.cert, &config.key)?;
    let unusable = |error: &dyn std::fmt::Display| {
        Error::new(Code::Tls, format!("{} cannot be used: {error}", config.cert.display())).field("--cert")
    };
    let builder = RustlsConfig::builder_with_provider(pem::provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| unusable(&error))?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(pem::roots(path, "--ca")?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, pem::provider())
                .build()
                .map_err(|error| Error::new(Code::Tls, format!("{}: {error}", path.display())).field("--ca"))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = pem::certificates(&config.cert, "--cert")?;
    let key = pem::private_key(&config.key, "--key")?;
    let mut tls = builder.with_single_cert(chain, key).map_err(|error| unusable(&error))?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(tls)))
}
