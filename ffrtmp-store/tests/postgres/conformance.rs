//! The suite that every store runs.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ffrtmp_core::conformance::store::Harness;
use ffrtmp_core::store::Store;
use ffrtmp_store::private_server::PrivateServer;
use ffrtmp_store::{PostgresOptions, PostgresStore};

/// A database per store on the server that all tests share.
#[derive(Default)]
struct Database(Mutex<String>);

impl Database {
    async fn open(&self) -> Arc<dyn Store> {
        let dsn = self.0.lock().unwrap().clone();
        Arc::new(PostgresStore::connect(&dsn, PostgresOptions::default()).await.expect("it connects"))
    }
}

#[async_trait]
impl Harness for Database {
    async fn fresh(&self) -> Arc<dyn Store> {
        let make = || PrivateServer::shared().and_then(PrivateServer::new_database);
        let dsn = tokio::task::spawn_blocking(make).await.expect("no panic").expect("a database");
        *self.0.lock().unwrap() = dsn;
        self.open().await
    }

    async fn reopen(&self) -> Option<Arc<dyn Store>> {
        Some(self.open().await)
    }
}

ffrtmp_core::store_conformance!(super::Database::default());
