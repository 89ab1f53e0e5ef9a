//! Spans for a collector of OpenTelemetry: OTLP in protobuf over HTTP, in batches, from a thread of
//! its own. What a collector does not take in time is dropped; one that cannot be reached costs one
//! warning and the room of a queue, and nothing else.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::trace::SpanName;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_otlp::{RetryPolicy, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanExporter, SpanLinks, SpanProcessor,
};

use super::{Attribute, JobSpan, SpanTaker};

/// Spans that wait to be sent; a job makes about ten.
const MAX_WAITING: usize = 4096;
/// Spans of one request.
const MAX_BATCH: usize = 512;
/// A span waits no longer, unless the collector lets it.
const EVERY: Duration = Duration::from_secs(1);
/// How long a request may take, and the last words of a program.
const PATIENCE: Duration = Duration::from_secs(3);

/// Who sends spans: the attributes of OpenTelemetry's resource.
#[derive(Clone, Debug)]
pub struct Service {
    /// `ffrtmp-master` or `ffrtmp-agent`.
    pub name: &'static str,
    /// Which of them.
    pub instance: String,
}

/// Sends spans to a collector.
#[derive(Debug)]
pub struct Otlp {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    closed: AtomicBool,
}

impl Otlp {
    /// Begins to send to a collector: `HOST[:PORT]`, or a URL with `http` or `https`; without a path
    /// that of the protocol is taken. Nothing is sent yet, so nobody need be there. The variables
    /// `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_RESOURCE_ATTRIBUTES` are heeded.
    ///
    /// # Errors
    /// `invalid_config` for an address that is none.
    pub fn start(endpoint: &str, service: &Service) -> Result<Self> {
        let url = url(endpoint)?;
        let place = format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(0));
        // The exporter's client takes the process's own; somebody may have chosen one before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_endpoint(url.as_str())
            .with_timeout(PATIENCE)
            // Another try would only be late: the next batch follows.
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .map_err(|error| refused(endpoint, "cannot send traces there").source(error))?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_WAITING)
            .with_max_export_batch_size(MAX_BATCH)
            .with_scheduled_delay(EVERY)
            .build();
        let exporter = Watched { exporter, place, is_away: AtomicBool::new(false), lost: AtomicU64::new(0) };
        let mut processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        processor.set_resource(&resource(service));
        let scope = InstrumentationScope::builder("ffrtmp").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Self { processor, scope, closed: AtomicBool::new(false) })
    }
}

impl SpanTaker for Otlp {
    fn take(&self, span: JobSpan) {
        if !self.closed.load(Ordering::Acquire) {
            self.processor.on_end(data(span, &self.scope));
        }
    }

    fn close(&self) {
        if !self.closed.swap(true, Ordering::AcqRel)
            && let Err(error) = self.processor.shutdown_with_timeout(PATIENCE + Duration::from_secs(1))
        {
            tracing::debug!(%error, "the last spans were not sent");
        }
    }
}

fn url(endpoint: &str) -> Result<reqwest::Url> {
    let spelled = if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
    let mut url = reqwest::Url::parse(&spelled)
        .map_err(|error| refused(endpoint, "not the address of a collector").source(error))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(refused(endpoint, "not the address of a collector"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::new(Code::InvalidConfig, "an address with a password would end up in logs")
            .field("tracing-endpoint")
            .hint("put it into OTEL_EXPORTER_OTLP_HEADERS, such as authorization=Bearer%20KEY"));
    }
    if url.path() == "/" {
        url.set_path("/v1/traces");
    }
    Ok(url)
}

fn refused(endpoint: &str, what: &str) -> Error {
    // What stands before an @ is nobody's business.
    let shown = endpoint.rsplit('@').next().unwrap_or_default();
    Error::new(Code::InvalidConfig, format!("{shown:?}: {what}"))
        .field("tracing-endpoint")
        .hint("give HOST:PORT, or a URL such as https://collector.example:4318/v1/traces")
}

/// By the names of <https://opentelemetry.io/docs/specs/semconv/resource/>.
fn resource(service: &Service) -> Resource {
    Resource::builder()
        .with_service_name(service.name)
        .with_attributes([
            KeyValue::new("service.namespace", "ffrtmp"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", service.instance.clone()),
            KeyValue::new("host.name", crate::agent::host_name()),
            KeyValue::new("process.pid", i64::from(std::process::id())),
            KeyValue::new("os.type", std::env::consts::OS),
        ])
        .build()
}

fn data(span: JobSpan, scope: &InstrumentationScope) -> SpanData {
    let flags = TraceFlags::default().with_sampled(span.trace.sampled);
    let trace = TraceId::from_bytes(span.trace.trace.get().to_be_bytes());
    let id = |id: std::num::NonZeroU64| SpanId::from_bytes(id.get().to_be_bytes());
    let value = |value| match value {
        Attribute::Text(text) => Value::from(text),
        Attribute::Whole(number) => Value::from(number),
        Attribute::Number(number) => Value::from(number),
    };
    let mut attributes: Vec<_> = Vec::with_capacity(span.attributes.len() + 1);
    let (own, parent) = (id(span.id()), span.parent().map_or(SpanId::INVALID, id));
    attributes.extend(span.attributes.into_iter().map(|(name, said)| KeyValue::new(name, value(said))));
    attributes.extend(span.failure.as_ref().map(|(code, _)| KeyValue::new("error.type", code.as_str())));
    SpanData {
        span_context: SpanContext::new(trace, own, flags, false, TraceState::default()),
        parent_span_id: parent,
        parent_span_is_remote: matches!(span.name, SpanName::Submit | SpanName::Attempt),
        span_kind: kind(span.name),
        name: span.name.as_str().into(),
        start_time: wall(span.start),
        end_time: wall(span.end),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: span.failure.map_or(Status::Unset, |(_, message)| Status::error(message)),
        instrumentation_scope: scope.clone(),
    }
}

fn kind(name: SpanName) -> SpanKind {
    match name {
        SpanName::Submit | SpanName::Result => SpanKind::Server,
        SpanName::Claim => SpanKind::Producer,
        SpanName::Attempt => SpanKind::Consumer,
        _ => SpanKind::Internal,
    }
}

fn wall(at: Timestamp) -> SystemTime {
    let since = Duration::from_micros(at.as_micros().unsigned_abs());
    if at.as_micros() < 0 { SystemTime::UNIX_EPOCH - since } else { SystemTime::UNIX_EPOCH + since }
}

/// An exporter that says once that nobody takes what it sends, and once that somebody does again.
#[derive(Debug)]
struct Watched<E> {
    exporter: E,
    place: String,
    is_away: AtomicBool,
    lost: AtomicU64,
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let sent = self.exporter.export(batch).await;
        match &sent {
            Ok(()) if self.is_away.swap(false, Ordering::AcqRel) => {
                let lost = self.lost.swap(0, Ordering::AcqRel);
                tracing::info!(collector = self.place, lost, "the collector takes traces again");
            }
            Ok(()) => {}
            Err(error) => {
                self.lost.fetch_add(spans, Ordering::AcqRel);
                if !self.is_away.swap(true, Ordering::AcqRel) {
                    tracing::warn!(collector = self.place, %error, "the collector takes no traces, they are dropped; start it, name it with --tracing-endpoint, or leave out --tracing");
                }
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_collectors() {
        for (given, taken) in [
            ("localhost:4318", "http://localhost:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://traces.example/otlp/v1/traces", "https://traces.example/otlp/v1/traces"),
            ("[::1]:4318", "http://[::1]:4318/v1/traces"),
        ] {
            assert_eq!(url(given).unwrap().as_str(), taken);
        }
        for wrong in ["", "grpc://collector:4317", "http://", "collector:much", "http://user:sesame@collector"] {
            let error = url(wrong).unwrap_err();
            assert_eq!((error.code(), error.field_name()), (Code::InvalidConfig, Some("tracing-endpoint")), "{wrong}");
            assert!(!format!("{error} {}", error.hint_text()).contains("sesame"), "{error}");
        }
    }
}
