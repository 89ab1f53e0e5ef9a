//! What makes an attempt live: where its media comes from and goes to on the network, and whether it may.

use std::net::SocketAddr;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::job::{EngineName, Job};
use ffrtmp_core::live::{Destination, Endpoint, LiveRules, LiveTask};
use ffrtmp_core::location::Scheme;

use super::places::Places;

/// The live side of a job.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// The source, where it flows.
    pub(super) source: Option<Endpoint>,
    /// What the engine is told; `None` for a job that is not live.
    pub(super) task: Option<LiveTask>,
    /// The file that is written as well or instead; `None` where the agent names one.
    pub(super) file: Option<String>,
}

impl Live {
    /// Works it out; `host` is the media server of the node.
    ///
    /// # Errors
    /// As [`Destination::of`]; `engine_unavailable` if another engine than GStreamer shall run it.
    pub(super) fn of(job: &Job, engine: EngineName, host: &str) -> Result<Self> {
        let Destination { push, file } = Destination::of(job.output.as_deref(), &job.parameters, job.id, host)?;
        let source = source(job, engine)?;
        if source.is_none() && push.is_none() {
            return Ok(Self { file, ..Self::default() });
        }
        if engine != EngineName::Gstreamer {
            let (endpoint, field) = source.as_ref().map_or((push.as_ref(), "output"), |source| (Some(source), "input"));
            let name = endpoint.map_or("a live stream", |endpoint| endpoint.scheme().as_str());
            return Err(Error::new(Code::EngineUnavailable, format!("{name} needs the engine gstreamer"))
                .field(field)
                .hint("leave the engine to the master, or ask for gstreamer"));
        }
        let task =
            LiveTask { record: file.is_some() || push.is_none(), push: push.into_iter().collect(), rules: rules(job) };
        Ok(Self { source, task: Some(task), file })
    }

    /// Makes sure that every endpoint may be contacted.
    ///
    /// # Errors
    /// `host_not_allowed`; `network` for a host that cannot be found.
    pub(super) async fn check(&self, places: &Places) -> Result<()> {
        if let Some(source) = &self.source {
            check(places, source, "input").await?;
        }
        for push in self.task.iter().flat_map(|task| &task.push) {
            check(places, push, "output").await?;
        }
        Ok(())
    }
}

/// A playlist over HTTP flows as well, where the engine can follow it.
fn source(job: &Job, engine: EngineName) -> Result<Option<Endpoint>> {
    let Some(input) = &job.input else { return Ok(None) };
    let flows = match Scheme::of_input(input)? {
        Scheme::File => false,
        Scheme::Http => engine == EngineName::Gstreamer && is_playlist(input),
        _ => true,
    };
    flows.then(|| Endpoint::parse(input, "input")).transpose()
}

fn is_playlist(uri: &str) -> bool {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    [".m3u8", ".m3u"].iter().any(|end| path.to_ascii_lowercase().ends_with(end))
}

fn rules(job: &Job) -> LiveRules {
    let defaults = LiveRules::default();
    let wishes = &job.parameters;
    LiveRules {
        stall: wishes
            .stall_timeout
            .map_or(defaults.stall, |seconds| std::time::Duration::from_secs_f64(seconds.value())),
        slate: wishes.slate.unwrap_or(defaults.slate),
        adapt: wishes.adapt_preset.unwrap_or(defaults.adapt),
        ..defaults
    }
}

async fn check(places: &Places, endpoint: &Endpoint, field: &'static str) -> Result<()> {
    let unnamed = || Error::new(Code::InvalidField, format!("{endpoint} names no host")).field(field);
    // A form that the parser of URLs knows the parts of.
    let (_, rest) = endpoint.reveal().split_once("://").ok_or_else(unnamed)?;
    let url = reqwest::Url::parse(&format!("http://{rest}")).map_err(|_| unnamed())?;
    let host = url.host_str().ok_or_else(unnamed)?;
    if places.names_host(host) || is_listener(endpoint, host) {
        return Ok(());
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((bare, url.port().unwrap_or(0))).await.map_err(|error| {
        Error::new(Code::Network, format!("cannot find the host {host}")).field(field).source(error)
    })?;
    let found: Vec<SocketAddr> = found.collect();
    found.iter().try_for_each(|address| places.check_address(host, address.ip(), field))
}

/// An address to listen at leads nowhere.
fn is_listener(endpoint: &Endpoint, host: &str) -> bool {
    endpoint.scheme() == Scheme::Srt
        && endpoint.reveal().contains("mode=listener")
        && matches!(host, "0.0.0.0" | "[::]")
}
