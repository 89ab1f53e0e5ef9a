//! A master whose database is away when it starts.

use std::sync::Arc;
use std::time::Duration;

use ffrtmp::store::private_server::{PrivateServer, Shutdown};
use ffrtmp::store::{PostgresOptions, PostgresStore};
use ffrtmp::{Master, MasterOptions};
use tokio::task::block_in_place;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::part::client;

const PATIENCE: Duration = Duration::from_secs(60);

/// The server crashes before the master has looked at it, and again before it has found its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_waits_for_its_database() {
    let server = PrivateServer::start().expect("a server");
    let dsn = server.new_database().expect("a database");
    block_in_place(|| server.stop(Shutdown::Fast)).expect("it stops");
    let opening = tokio::spawn(async move { PostgresStore::connect(&dsn, PostgresOptions::default()).await });
    assert!(refuses_connections(&server));
    block_in_place(|| server.restart(Shutdown::Fast)).expect("it starts");
    let store = timeout(PATIENCE, opening).await.expect("in time").expect("no panic").expect("it opens");

    block_in_place(|| server.kill()).expect("it ends");
    let master = Master::new(Arc::new(store), MasterOptions::default()).await.expect("a master");
    let client = client(&master.url().expect("a URL"));
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(master.run(shutdown.clone()));
    let early = timeout(Duration::from_millis(500), client.nodes()).await;
    assert!(!matches!(early, Ok(Ok(_))), "{early:?}");
    assert!(!running.is_finished(), "it gave up");
    block_in_place(|| server.restart(Shutdown::Fast)).expect("it starts");
    timeout(PATIENCE, client.nodes()).await.expect("in time").expect("it serves");
    shutdown.cancel();
    timeout(PATIENCE, running).await.expect("in time").expect("no panic").expect("it stops");
}

fn refuses_connections(server: &PrivateServer) -> bool {
    server.sql(&server.dsn(), "SELECT 1").is_err()
}
