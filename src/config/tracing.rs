//! Flags for the traces of jobs.

use std::sync::Arc;

use clap::{ArgAction, Args};
use ffrtmp_core::error::Result;
use ffrtmp_core::trace::SampleRatio;

use crate::traces::SpanTaker;

/// Where traces of jobs go.
#[derive(Args, Clone, Debug)]
pub struct TracingArgs {
    /// Send traces of jobs to a collector of OpenTelemetry
    #[arg(long, default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set, env = "FFRTMP_TRACING")]
    pub tracing: bool,
    /// Where the collector listens for OTLP over HTTP: HOST:PORT or a URL
    #[arg(long, visible_alias = "otlp-endpoint", default_value = "localhost:4318", env = "FFRTMP_TRACING_ENDPOINT")]
    pub tracing_endpoint: String,
}

impl TracingArgs {
    /// Who takes spans; nobody without --tracing.
    ///
    /// # Errors
    /// `invalid_config` for an address that is none, or for a build without the feature `otlp`.
    pub fn start(&self, name: &'static str, instance: String) -> Result<Option<Arc<dyn SpanTaker>>> {
        if self.tracing { self.taker(name, instance).map(Some) } else { Ok(None) }
    }

    #[cfg(feature = "otlp")]
    fn taker(&self, name: &'static str, instance: String) -> Result<Arc<dyn SpanTaker>> {
        use crate::traces::otlp::{Otlp, Service};
        Ok(Arc::new(Otlp::start(&self.tracing_endpoint, &Service { name, instance })?))
    }

    #[cfg(not(feature = "otlp"))]
    fn taker(&self, _: &'static str, _: String) -> Result<Arc<dyn SpanTaker>> {
        Err(super::contradiction(
            "tracing",
            "this build cannot send traces",
            "build it with the feature otlp, or leave out --tracing",
        ))
    }
}

/// A share such as `0.1`.
pub(super) fn ratio(text: &str) -> std::result::Result<SampleRatio, String> {
    text.parse().map_err(|error: ffrtmp_core::Error| format!("{}; {}", error.message(), error.hint_text()))
}
