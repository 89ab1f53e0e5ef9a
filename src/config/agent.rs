//! Flags of `ffrtmp-agent`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_transport::http::{ClientConfig, MasterClient};

use super::{
    AgentExporterArgs, AutoAttachArgs, GoverningArgs, LogArgs, SandboxChoice, TracingArgs, duration, given_key,
};
use crate::agent::{Agent, AgentOptions};

/// Options of an agent.
#[derive(Args, Clone, Debug)]
pub struct AgentArgs {
    /// File with flags, in YAML or JSON; the environment and flags given here win
    #[arg(long, value_name = "FILE", env = "FFRTMP_CONFIG")]
    pub config: Option<PathBuf>,
    /// The master; of several on one database all (repeatable, or with commas)
    #[arg(long, default_value = "https://localhost:8080", value_delimiter = ',', env = "MASTER_URL")]
    pub master: Vec<String>,
    /// Register with the master; always done, the flag is kept for older scripts
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub register: bool,
    /// Jobs at once; what suits this machine by default
    #[arg(long, env = "FFRTMP_MAX_CONCURRENT_JOBS", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub max_concurrent_jobs: Option<u32>,
    /// Wait between claims that got no answer
    #[arg(long, default_value = "3s", env = "FFRTMP_POLL_INTERVAL", value_parser = duration)]
    pub poll_interval: Duration,
    /// How often to send a heartbeat while idle
    #[arg(long, default_value = "30s", env = "FFRTMP_HEARTBEAT_INTERVAL", value_parser = duration)]
    pub heartbeat_interval: Duration,
    /// Key of the master (or MASTER_API_KEY, FFMPEG_RTMP_API_KEY); a file keeps it out of the process list
    #[arg(long)]
    pub api_key: Option<String>,
    /// File that holds the key
    #[arg(long)]
    pub api_key_file: Option<PathBuf>,
    /// Client certificate (PEM), for a master with --mtls
    #[arg(long, requires = "key")]
    pub cert: Option<PathBuf>,
    /// Private key of the client certificate (PEM)
    #[arg(long, requires = "cert")]
    pub key: Option<PathBuf>,
    /// Authority of the master's certificate (PEM); the certificate itself if it is self-signed
    #[arg(long)]
    pub ca: Option<PathBuf>,
    /// Accept any certificate
    #[arg(long, default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub insecure_skip_verify: bool,
    /// Port of /metrics, /health and /ready; 0 for none
    #[arg(long, default_value_t = 9091)]
    pub metrics_port: u16,
    /// Address of that port; every address by default
    #[arg(long)]
    pub metrics_bind: Option<IpAddr>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would take it for the program's own help")]
    pub exporters: AgentExporterArgs,
    /// Generate an input for jobs without one
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub generate_input: bool,
    /// Directory for identity, attempts, and outputs without a place of their own
    #[arg(long, env = "FFRTMP_WORK_DIR")]
    pub work_dir: Option<PathBuf>,
    /// Name for people; the host name by default
    #[arg(long)]
    pub name: Option<String>,
    /// Directory that jobs may read and write (repeatable); the current one by default
    #[arg(long, value_name = "DIR")]
    pub allow_path: Vec<PathBuf>,
    /// Host that jobs may contact although its address is private (repeatable)
    #[arg(long, value_name = "HOST")]
    pub allow_host: Vec<String>,
    /// Host of the RTMP server for live outputs without an address; that of the master by default
    #[arg(long, value_name = "HOST", env = "FFRTMP_MEDIA_HOST")]
    pub media_host: Option<String>,
    /// Label of the node (repeatable); jobs ask for it with a label node.KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub label: Vec<(String, String)>,
    /// How long running jobs may take to end when the agent stops
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub drain_timeout: Duration,
    /// Run on the machine of the master; allowed by default, the flag is kept for older scripts
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub allow_master_as_worker: bool,
    /// Ask nothing; the agent never asks, the flag is kept for older scripts
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub skip_confirmation: bool,
    /// Run attempts in this process instead of in children of their own
    #[arg(long, default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub in_process: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would take it for the program's own help")]
    pub governing: GoverningArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would take it for the program's own help")]
    pub auto_attach: AutoAttachArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would take it for the program's own help")]
    pub tracing: TracingArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would take it for the program's own help")]
    pub log: LogArgs,
}

fn label(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}

impl AgentArgs {
    /// An agent as these options say.
    ///
    /// # Errors
    /// `invalid_config` naming the flag, `port_in_use`, `tls`, `storage`.
    pub async fn compose(&self) -> Result<Agent> {
        let transport = Arc::new(MasterClient::new(&self.client()?)?);
        let engines = match self.in_process {
            true => vec![crate::engines_here(true)?],
            false => {
                let arguments = self.governing.runner_arguments();
                let installed = tokio::task::spawn_blocking(move || crate::isolated_engines_here(&arguments));
                installed
                    .await
                    .map_err(|error| Error::new(Code::Internal, "cannot look for engines").source(error))??
            }
        };
        let governor = self.governing.governor(self.max_concurrent_jobs)?;
        let agent = Agent::new(transport, engines, governor, self.options()).await?;
        let spans = self.tracing.start("ffrtmp-agent", agent.node_id().to_string())?;
        Ok(agent.traced(spans))
    }

    fn master_host(&self) -> String {
        let first = self.master.first().and_then(|url| reqwest::Url::parse(url).ok());
        first.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| "localhost".to_owned())
    }

    fn client(&self) -> Result<ClientConfig> {
        let is_url = |address: &String| address.starts_with("http://") || address.starts_with("https://");
        if let Some(wrong) = self.master.iter().find(|address| !is_url(address)) {
            return Err(Error::new(Code::InvalidConfig, format!("{wrong:?} is not the address of a master"))
                .field("master")
                .hint("give one such as https://localhost:8080, or several with commas between"));
        }
        Ok(ClientConfig {
            master: self.master.join(","),
            api_key: given_key(self.api_key.as_deref(), self.api_key_file.as_deref())?,
            ca: self.ca.clone(),
            identity: self.cert.clone().zip(self.key.clone()),
            insecure_skip_verify: self.insecure_skip_verify,
            ..ClientConfig::default()
        })
    }

    fn options(&self) -> AgentOptions {
        let address = self.metrics_bind.unwrap_or(Ipv6Addr::UNSPECIFIED.into());
        AgentOptions {
            name: self.name.clone(),
            max_concurrent_jobs: self.max_concurrent_jobs,
            cpu_limit_percent: self.governing.cpu_limit_percent,
            min_free_disk_percent: self.governing.min_free_disk_percent,
            poll_interval: self.poll_interval,
            heartbeat_interval: self.heartbeat_interval,
            generate_input: self.generate_input,
            work_dir: self.work_dir.clone(),
            allow_paths: self.allow_path.clone(),
            allow_hosts: self.allow_host.clone(),
            media_host: self.media_host.clone().unwrap_or_else(|| self.master_host()),
            labels: self.label.iter().cloned().collect::<BTreeMap<_, _>>(),
            drain_timeout: self.drain_timeout,
            metrics_address: (self.metrics_port != 0).then(|| SocketAddr::new(address, self.metrics_port)),
            exporters: self.exporters.addresses(address),
        }
    }

    /// Refuses options that this version does not carry out, rather than ignoring them.
    ///
    /// # Errors
    /// `invalid_config` naming the flag.
    pub fn check(&self) -> Result<()> {
        if !self.register {
            return Err(Error::new(Code::InvalidConfig, "an agent that does not register gets no jobs")
                .field("register")
                .hint("leave out --register false"));
        }
        if self.in_process && self.governing.sandbox == SandboxChoice::Require {
            return Err(Error::new(Code::InvalidConfig, "attempts in this process cannot be confined")
                .field("sandbox")
                .hint("leave out --in-process, or --sandbox require"));
        }
        Ok(())
    }
}
