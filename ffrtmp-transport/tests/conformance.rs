//! Every transport runs the suite of the trait.

mod master;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ffrtmp_core::conformance::transport::{self, Harness};
use ffrtmp_core::coordinator::Coordinator;
use ffrtmp_core::transport::Transport;
use ffrtmp_transport::local::LocalTransport;
use tempfile::TempDir;

use master::Master;

struct Local;

#[async_trait]
impl Harness for Local {
    async fn fresh(&self) -> (Arc<Coordinator>, Arc<dyn Transport>) {
        let coordinator = master::coordinator();
        (Arc::clone(&coordinator), Arc::new(LocalTransport::new(coordinator)))
    }
}

struct Http {
    encrypted: bool,
    directory: TempDir,
    masters: Mutex<Vec<Master>>,
}

impl Http {
    fn new(encrypted: bool) -> Self {
        Self { encrypted, directory: tempfile::tempdir().unwrap(), masters: Mutex::default() }
    }
}

#[async_trait]
impl Harness for Http {
    async fn fresh(&self) -> (Arc<Coordinator>, Arc<dyn Transport>) {
        let tls = self.encrypted.then(|| master::tls(self.directory.path(), "master"));
        let master = Master::start(server_config(tls)).await;
        let reached = (Arc::clone(&master.coordinator), Arc::new(master.client(self.directory.path())) as Arc<_>);
        self.masters.lock().unwrap().push(master);
        reached
    }
}

fn server_config(
    tls: Option<ffrtmp_transport::http::server::TlsConfig>,
) -> ffrtmp_transport::http::server::ServerConfig {
    ffrtmp_transport::http::server::ServerConfig { tls, ..master::config() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local() {
    transport::run_all(&Local).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http() {
    transport::run_all(&Http::new(false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https() {
    let harness = Http::new(true);
    transport::run_all(&harness).await;
    eprintln!("a waiting claim over HTTPS was woken in {:?}", transport::wake_latency(&harness).await);
}
