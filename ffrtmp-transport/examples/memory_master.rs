//! A master that forgets everything when it stops: for trying clients and the OpenAPI document.
//!
//! `cargo run -p ffrtmp-transport --example memory_master -- 8080 KEY` serves plain HTTP.

use std::num::NonZeroU32;
use std::sync::Arc;

use ffrtmp_core::clock::ManualClock;
use ffrtmp_core::coordinator::{Coordinator, Settings};
use ffrtmp_core::policy::fifo::PriorityFifo;
use ffrtmp_core::{Code, Error, Result, clock::Timestamp};
use ffrtmp_store::MemoryStore;
use ffrtmp_transport::http::server::{self, Secret, ServerConfig};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(8080);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    // Time stands still: no lease of this master ever expires.
    let clock = ManualClock::new(Timestamp::from_micros(i64::try_from(now.as_micros()).unwrap_or_default()));
    let store = Arc::new(MemoryStore::new());
    let coordinator = Coordinator::new(store, Arc::new(PriorityFifo::default()), Arc::new(clock), Settings::default());
    let plenty = NonZeroU32::MAX;
    let config = ServerConfig {
        api_key: arguments.next().map(Secret::new),
        rate_limit: plenty,
        rate_burst: plenty,
        ..ServerConfig::default()
    };
    let stop = CancellationToken::new();
    let listener = server::bind(port).await?;
    tokio::spawn({
        let stop = stop.clone();
        async move {
            let _ = tokio::signal::ctrl_c().await;
            stop.cancel();
        }
    });
    server::serve(listener, config, coordinator, stop)
        .await
        .map_err(|error| Error::new(Code::Internal, "the server ended").source(error))
}
