//! Fetches a remote input into the attempt's directory: allow-listed addresses only, redirects
//! checked one by one, resumed after a broken connection, never longer or shorter than announced.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ffrtmp_core::engine::Control;
use ffrtmp_core::error::{Code, Error, Result};
use reqwest::header::{CONTENT_RANGE, ETAG, IF_RANGE, LAST_MODIFIED, LOCATION, RANGE};
use reqwest::{Client, Response, StatusCode, Url};
use tokio::io::AsyncWriteExt;

use super::places::Places;

const MAX_REDIRECTS: usize = 5;
const MAX_RESUMES: u32 = 5;
const CONNECT: Duration = Duration::from_secs(10);
const STALL: Duration = Duration::from_secs(30);
/// Bytes after which the disk is looked at again.
const LOOK_EVERY: u64 = 64 << 20;

/// What a download may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) max_bytes: u64,
    /// Free disk below this share ends it.
    pub(super) min_free_percent: u8,
}

/// Fetches `uri` to `target`.
///
/// # Errors
/// `host_not_allowed`, `input_not_found` (404, 410), `input_unreadable` (other refusals),
/// `disk_quota_exceeded`, `network` when the connection keeps breaking, `disk_full`, `canceled`.
pub(super) async fn fetch(
    uri: &str,
    target: &Path,
    room: Room,
    places: &Arc<Places>,
    control: &Control,
) -> Result<u64> {
    let url = Url::parse(uri).map_err(|error| {
        Error::new(Code::InvalidField, format!("{uri:?} is not a URL")).field("input").source(error)
    })?;
    let client = client(places)?;
    let mut download = Download {
        client,
        url,
        places,
        control,
        room,
        file: create(target).await?,
        have: 0,
        folder: target.parent().unwrap_or(target),
        unchecked: 0,
        validator: None,
    };
    download.run().await?;
    download.file.sync_all().await.map_err(disk)?;
    Ok(download.have)
}

struct Download<'a> {
    client: Client,
    url: Url,
    places: &'a Places,
    control: &'a Control,
    room: Room,
    file: tokio::fs::File,
    have: u64,
    folder: &'a Path,
    /// Bytes written since the disk was looked at.
    unchecked: u64,
    /// ETag or date that proves that a resumed download is still the same file.
    validator: Option<String>,
}

impl Download<'_> {
    async fn run(&mut self) -> Result<()> {
        let mut resumes = 0;
        loop {
            let before = self.have;
            match self.one_connection().await {
                Err(error) if error.code() == Code::Network && resumes < MAX_RESUMES => {
                    tracing::warn!(%error, have = self.have, "download interrupted, going on");
                    resumes = if self.have > before { 0 } else { resumes + 1 };
                    tokio::time::sleep(Duration::from_secs(1 << resumes.min(4))).await;
                }
                other => return other,
            }
        }
    }

    async fn one_connection(&mut self) -> Result<()> {
        let mut response = self.open().await?;
        let total = self.position(&response).await?;
        if total.is_some_and(|total| total > self.room.max_bytes) {
            return Err(self.too_large());
        }
        self.validator =
            [ETAG, LAST_MODIFIED].iter().find_map(|name| Some(response.headers().get(name)?.to_str().ok()?.to_owned()));
        while let Some(chunk) = self.chunk(&mut response).await? {
            self.have += chunk.len() as u64;
            if self.have > self.room.max_bytes {
                return Err(self.too_large());
            }
            self.file.write_all(&chunk).await.map_err(disk)?;
            self.leave_room(chunk.len())?;
        }
        match total {
            Some(total) if self.have < total => Err(broken("the connection ended early")),
            _ => Ok(()),
        }
    }

    /// Stops before the disk is full for everybody; looks every so many bytes.
    fn leave_room(&mut self, written: usize) -> Result<()> {
        self.unchecked += written as u64;
        if self.unchecked < LOOK_EVERY {
            return Ok(());
        }
        self.unchecked = 0;
        let free = ffrtmp_governor::probe::disk::read(self.folder)?.free_percent();
        let least = self.room.min_free_percent;
        if free >= f64::from(least) {
            return Ok(());
        }
        Err(Error::new(Code::DiskFull, format!("the download leaves {free:.1} % of the disk free"))
            .field("input")
            .hint(format!("free some space: at least {least} % must stay free")))
    }

    async fn chunk(&self, response: &mut Response) -> Result<Option<bytes::Bytes>> {
        if self.control.is_canceled() {
            return Err(Error::new(Code::Canceled, "the attempt was canceled"));
        }
        match tokio::time::timeout(STALL, response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| broken("the connection broke").source(error)),
            Err(_) => Err(broken(format!("no data for {} s", STALL.as_secs()))),
        }
    }

    /// Follows redirects by hand, so that every address is checked.
    async fn open(&mut self) -> Result<Response> {
        let mut url = self.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            check_url(&url, self.places)?;
            let mut request = self.client.get(url.clone());
            if self.have > 0 {
                request = request.header(RANGE, format!("bytes={}-", self.have));
                if let Some(validator) = &self.validator {
                    request = request.header(IF_RANGE, validator);
                }
            }
            let response = request.send().await.map_err(|error| sent(&url, error))?;
            if !response.status().is_redirection() {
                return accepted(&url, response);
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            url = location.and_then(|location| url.join(location).ok()).ok_or_else(|| {
                Error::new(Code::InputUnreadable, format!("{url} redirects to nowhere")).field("input")
            })?;
        }
        Err(Error::new(Code::InputUnreadable, format!("more than {MAX_REDIRECTS} redirects")).field("input"))
    }

    /// Where the answer starts, and how long the whole file is. An answer that starts anew throws
    /// away what was there.
    async fn position(&mut self, response: &Response) -> Result<Option<u64>> {
        if response.status() == StatusCode::PARTIAL_CONTENT {
            let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let starts = range
                .strip_prefix("bytes ")
                .and_then(|range| range.split('-').next())
                .and_then(|text| text.parse::<u64>().ok());
            if starts != Some(self.have) {
                return Err(
                    Error::new(Code::InputUnreadable, "the server answers another range than asked for").field("input")
                );
            }
            return Ok(range.rsplit('/').next().and_then(|total| total.parse().ok()));
        }
        if self.have > 0 {
            self.file.set_len(0).await.map_err(disk)?;
            tokio::io::AsyncSeekExt::rewind(&mut self.file).await.map_err(disk)?;
            self.have = 0;
        }
        Ok(response.content_length())
    }

    fn too_large(&self) -> Error {
        Error::new(
            Code::DiskQuotaExceeded,
            format!("the input is larger than the job's disk limit of {} bytes", self.room.max_bytes),
        )
        .field("input")
    }
}

fn client(places: &Arc<Places>) -> Result<Client> {
    Client::builder()
        .tls_backend_preconfigured(system_trust()?)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT)
        .dns_resolver(Arc::new(CheckedResolver(Arc::clone(places))))
        .build()
        .map_err(|error| Error::new(Code::Tls, "cannot set up a client for downloads").source(error))
}

/// Trusts whom the operating system trusts.
fn system_trust() -> Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(Code::Tls, "no TLS for downloads").source(error))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn check_url(url: &Url, places: &Places) -> Result<()> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Error::new(Code::HostNotAllowed, format!("a redirect leads to {}:", url.scheme())).field("input"));
    }
    let host = url.host_str().unwrap_or_default();
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(address) => places.check_address(host, address, "input"),
        // Names are checked when they are resolved.
        Err(_) => Ok(()),
    }
}

/// Resolves names and drops every address that may not be contacted.
struct CheckedResolver(Arc<Places>);

impl reqwest::dns::Resolve for CheckedResolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let places = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            for address in &found {
                places.check_address(&host, address.ip(), "input")?;
            }
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

/// The error behind a request that could not be sent; a refused address shines through.
fn sent(url: &Url, error: reqwest::Error) -> Error {
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(inner) = cause {
        if let Some(own) = inner.downcast_ref::<Error>() {
            return Error::new(own.code(), own.message()).field("input").hint(own.hint_text());
        }
        cause = inner.source();
    }
    broken(format!("cannot reach {}", url.host_str().unwrap_or("the host"))).source(error)
}

fn accepted(url: &Url, response: Response) -> Result<Response> {
    let status = response.status();
    let host = url.host_str().unwrap_or("the host");
    match status {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            Err(Error::new(Code::InputNotFound, format!("{host} answers {status}")).field("input"))
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Err(broken(format!("{host} answers {status}"))),
        status if status.is_server_error() => Err(broken(format!("{host} answers {status}"))),
        status => Err(Error::new(Code::InputUnreadable, format!("{host} answers {status}")).field("input")),
    }
}

fn broken(message: impl Into<String>) -> Error {
    Error::new(Code::Network, message).field("input")
}

async fn create(target: &Path) -> Result<tokio::fs::File> {
    tokio::fs::File::create(target).await.map_err(disk)
}

fn disk(error: std::io::Error) -> Error {
    let full = matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
    Error::new(if full { Code::DiskFull } else { Code::Storage }, "cannot write the staged input").source(error)
}
