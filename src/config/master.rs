//! Flags of `ffrtmp-master`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args};
use ffrtmp_core::coordinator::Settings;
use ffrtmp_core::cost::Tariff;
use ffrtmp_core::error::Result;
use ffrtmp_core::id::NodeId;
use ffrtmp_core::trace::SampleRatio;
use ffrtmp_transport::http::certificate;
use ffrtmp_transport::http::server::TlsConfig;

use super::cost::{self, CostArgs};
use super::database::{DatabaseArgs, DatabaseKind};
use super::exporters::MasterExporterArgs;
use super::logs::LogArgs;
use super::scheduling::SchedulingArgs;
use super::tracing::{TracingArgs, ratio};
use super::{contradiction, duration, given_key};
use crate::master::{Master, MasterOptions, key};

/// Options of a master.
#[derive(Args, Clone, Debug)]
pub struct MasterArgs {
    /// Port of the API
    #[arg(long, default_value_t = 8080, env = "FFRTMP_PORT")]
    pub port: u16,
    /// Address to listen on; every address by default
    #[arg(long, env = "FFRTMP_BIND")]
    pub bind: Option<IpAddr>,
    /// Where jobs are kept
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Serve HTTPS
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub tls: bool,
    /// Certificate (PEM); a self-signed one is generated if it is missing
    #[arg(long, visible_alias = "tls-cert", default_value = "certs/master.crt")]
    pub cert: PathBuf,
    /// Private key (PEM)
    #[arg(long, visible_alias = "tls-key", default_value = "certs/master.key")]
    pub key: PathBuf,
    /// Authorities whose client certificates are let in, with --mtls
    #[arg(long)]
    pub ca: Option<PathBuf>,
    /// Require client certificates
    #[arg(long, default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub mtls: bool,
    /// Write a self-signed certificate and its key, and exit
    #[arg(long, default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub generate_cert: bool,
    /// More host names for a generated certificate
    #[arg(long, value_delimiter = ',')]
    pub cert_hosts: Vec<String>,
    /// More addresses for a generated certificate
    #[arg(long, value_delimiter = ',')]
    pub cert_ips: Vec<IpAddr>,
    /// Key that clients must show (or MASTER_API_KEY, FFMPEG_RTMP_API_KEY); generated and kept beside the database if none is given
    #[arg(long)]
    pub api_key: Option<String>,
    /// File that holds the key
    #[arg(long)]
    pub api_key_file: Option<PathBuf>,
    /// Let everybody in without a key
    #[arg(long, default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub insecure_no_auth: bool,
    /// Retries of jobs that do not say how many
    #[arg(long, default_value_t = 3)]
    pub max_retries: u32,
    /// Serve metrics
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub metrics: bool,
    /// Port of the metrics, in plain HTTP
    #[arg(long, default_value_t = 9090)]
    pub metrics_port: u16,
    /// Ports of exporters
    #[command(flatten)]
    pub exporters: MasterExporterArgs,
    /// Rates for the cost of jobs
    #[command(flatten)]
    pub cost: CostArgs,
    /// Between rounds of the scheduler
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub scheduler_interval: Duration,
    /// How often agents send heartbeats
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub heartbeat_interval: Duration,
    /// After how long without one a node is lost; also how long a lease holds
    #[arg(long, default_value = "90s", value_parser = duration)]
    pub heartbeat_timeout: Duration,
    /// Traces of jobs
    #[command(flatten)]
    pub tracing: TracingArgs,
    /// What share of the jobs is traced that nobody else traces, 0 to 1; those of others as they say
    #[arg(long, default_value = "1", env = "FFRTMP_TRACING_SAMPLE_RATIO", value_parser = ratio)]
    pub tracing_sample_ratio: SampleRatio,
    /// Remove old jobs
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub cleanup: bool,
    /// Days that ended jobs are kept
    #[arg(long, default_value_t = 7)]
    pub cleanup_retention: u32,
    /// Requests per second and address
    #[arg(long, default_value = "100")]
    pub rate_limit: NonZeroU32,
    /// Requests at once and address
    #[arg(long, default_value = "200")]
    pub rate_burst: NonZeroU32,
    /// Order and bounds of jobs
    #[command(flatten)]
    pub scheduling: SchedulingArgs,
    /// Logs
    #[command(flatten)]
    pub log: LogArgs,
}

impl MasterArgs {
    /// A master as these options say. Opens the database and the ports, and makes certificate and
    /// key where they are missing.
    ///
    /// # Errors
    /// `invalid_config` naming the flag, `port_in_use`, `tls`, `storage`.
    pub async fn compose(&self) -> Result<Master> {
        self.check()?;
        let host = self.bind.unwrap_or(Ipv6Addr::UNSPECIFIED.into());
        let tariff = self.cost.tariff()?;
        cost::advise(tariff.as_ref(), self.exporters.cost_port.is_some());
        let given = given_key(self.api_key.as_deref(), self.api_key_file.as_deref())?;
        let store = self.database.open().await?;
        let options = MasterOptions {
            api_address: Some(SocketAddr::new(host, self.port)),
            tls: self.tls_config()?,
            api_key: self.ensure_key(given)?,
            rate_limit: self.rate_limit,
            rate_burst: self.rate_burst,
            metrics_address: self.metrics.then(|| SocketAddr::new(host, self.metrics_port)),
            scheduler_interval: self.scheduler_interval,
            settings: self.settings(tariff),
            exporters: self.exporters.addresses(host),
            spans: self.tracing.start("ffrtmp-master", NodeId::random().to_string())?,
        };
        Master::with_scheduler(store, self.scheduling.scheduler(), options).await
    }

    /// Writes the certificate and its key.
    ///
    /// # Errors
    /// `tls` if a file is there already, `storage`.
    pub fn write_certificate(&self) -> Result<()> {
        certificate::generate(&self.cert, &self.key, &self.cert_hosts, &self.cert_ips)
    }

    fn check(&self) -> Result<()> {
        if self.mtls && self.ca.is_none() {
            return Err(contradiction(
                "mtls",
                "--mtls without --ca lets nobody in",
                "give --ca FILE with the authorities of client certificates",
            ));
        }
        if self.mtls && !self.tls {
            return Err(contradiction("mtls", "--mtls needs TLS", "leave out --tls false"));
        }
        if self.heartbeat_timeout <= self.heartbeat_interval {
            return Err(contradiction(
                "heartbeat-timeout",
                "the timeout must be longer than the interval",
                "three intervals are usual",
            ));
        }
        Ok(())
    }

    fn tls_config(&self) -> Result<Option<TlsConfig>> {
        if !self.tls {
            return Ok(None);
        }
        certificate::ensure(&self.cert, &self.key, &self.cert_hosts, &self.cert_ips)?;
        let client_ca = if self.mtls { self.ca.clone() } else { None };
        Ok(Some(TlsConfig { cert: self.cert.clone(), key: self.key.clone(), client_ca }))
    }

    fn ensure_key(&self, given: Option<String>) -> Result<Option<String>> {
        if self.insecure_no_auth {
            tracing::warn!("no key is required: everybody who reaches the port may submit and cancel jobs");
            return Ok(None);
        }
        if given.is_some() {
            return Ok(given);
        }
        let path = Path::new(&self.database.db).parent().unwrap_or(Path::new("")).join("api-key");
        let (key, new) = key::ensure(&path)?;
        crate::logging::secrets::keep(&key);
        let what = if new { "generated an API key" } else { "using the API key that was generated earlier" };
        if new && self.database.db_type == DatabaseKind::Postgres {
            tracing::warn!(
                "masters that share a database need the same key: copy the file, or give each --api-key-file"
            );
        }
        tracing::info!(file = %path.display(), "{what}; clients take it with --api-key-file or MASTER_API_KEY");
        Ok(Some(key))
    }

    fn settings(&self, tariff: Option<Tariff>) -> Settings {
        Settings {
            max_retries: self.max_retries,
            heartbeat_interval: self.heartbeat_interval,
            heartbeat_timeout: self.heartbeat_timeout,
            retention: self.cleanup.then(|| Duration::from_secs(u64::from(self.cleanup_retention) * 24 * 3600)),
            unrunnable: self.scheduling.unrunnable,
            caps: self.scheduling.caps(),
            tariff,
            tracing: self.tracing.tracing.then_some(self.tracing_sample_ratio),
            ..Settings::default()
        }
    }
}
