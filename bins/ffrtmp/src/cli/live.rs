//! Flags of live jobs.

use std::path::PathBuf;

use clap::Args;
use ffrtmp::core::error::{Code, Error, Result};
use ffrtmp::core::job::Parameters;
use ffrtmp::core::live::{OutputMode, Secret};
use ffrtmp::core::units::Seconds;

use super::values::{Named, seconds};

/// What a live job may be told besides.
#[derive(Args, Debug)]
pub(crate) struct Live {
    /// What becomes of the output: file, or rtmp to send it to an RTMP server
    #[arg(long, value_parser = Named::of(OutputMode::ALL, OutputMode::as_str), help_heading = "Live")]
    pub(crate) output_mode: Option<OutputMode>,
    /// RTMP server and application, rtmp://HOST/APPLICATION; the media server of the node by default
    #[arg(long, value_name = "URL", help_heading = "Live")]
    pub(crate) rtmp_url: Option<String>,
    /// Key of the stream; other users of this machine see flags, so better use the variable or the file
    #[arg(long, value_name = "KEY", env = "FFRTMP_STREAM_KEY", hide_env_values = true, help_heading = "Live")]
    pub(crate) stream_key: Option<String>,
    /// File whose first line is the key of the stream; `-` reads stdin
    #[arg(long, value_name = "FILE", conflicts_with = "stream_key", help_heading = "Live")]
    pub(crate) stream_key_file: Option<PathBuf>,
    /// File that an output on the network is recorded to as well
    #[arg(long, value_name = "PATH", help_heading = "Live")]
    pub(crate) record: Option<String>,
    /// End the job after so many seconds without a picture from a live source
    #[arg(long, value_name = "SECONDS", value_parser = seconds::<Seconds>, allow_negative_numbers = true, help_heading = "Live")]
    pub(crate) stall_timeout: Option<Seconds>,
    /// Send a still picture and silence while a live source is away
    #[arg(long, help_heading = "Live")]
    pub(crate) slate: bool,
    /// Take a faster preset while live encoding cannot keep up
    #[arg(long, help_heading = "Live")]
    pub(crate) adapt_preset: bool,
}

impl Live {
    /// The same as the API knows them, and nothing else.
    ///
    /// # Errors
    /// `input_unreadable` if the file of the key cannot be read.
    pub(crate) fn parameters(&self) -> Result<Parameters> {
        Ok(Parameters {
            output_mode: self.output_mode,
            rtmp_url: self.rtmp_url.clone(),
            stream_key: self.key()?,
            record: self.record.clone(),
            stall_timeout: self.stall_timeout,
            slate: self.slate.then_some(true),
            adapt_preset: self.adapt_preset.then_some(true),
            ..Parameters::default()
        })
    }

    fn key(&self) -> Result<Option<Secret>> {
        let Some(path) = &self.stream_key_file else { return Ok(self.stream_key.as_deref().map(Secret::new)) };
        let read = match path.as_os_str() == "-" {
            true => std::io::read_to_string(std::io::stdin()),
            false => std::fs::read_to_string(path),
        };
        let text = read.map_err(|error| {
            Error::new(Code::InputUnreadable, format!("cannot read {}", path.display()))
                .field("--stream-key-file")
                .source(error)
        })?;
        Ok(Some(Secret::new(text.lines().next().unwrap_or_default())))
    }
}
