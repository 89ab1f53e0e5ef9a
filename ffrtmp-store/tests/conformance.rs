//! Every store of this crate runs the suite of the trait.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ffrtmp_core::conformance::store::Harness;
use ffrtmp_core::store::Store;
use ffrtmp_store::{MemoryStore, SqliteStore};
use tempfile::TempDir;

struct Memory;

#[async_trait]
impl Harness for Memory {
    async fn fresh(&self) -> Arc<dyn Store> {
        Arc::new(MemoryStore::new())
    }
}

struct SqliteInMemory;

#[async_trait]
impl Harness for SqliteInMemory {
    async fn fresh(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::in_memory().expect("it opens"))
    }
}

/// A directory per store, kept for as long as the case runs.
#[derive(Default)]
struct SqliteFile(Mutex<Vec<TempDir>>);

impl SqliteFile {
    fn last(&self) -> PathBuf {
        self.0.lock().unwrap().last().expect("fresh comes first").path().join("master.db")
    }
}

#[async_trait]
impl Harness for SqliteFile {
    async fn fresh(&self) -> Arc<dyn Store> {
        self.0.lock().unwrap().push(TempDir::new().expect("a directory"));
        Arc::new(SqliteStore::open(&self.last()).expect("it opens"))
    }

    async fn reopen(&self) -> Option<Arc<dyn Store>> {
        Some(Arc::new(SqliteStore::open(&self.last()).expect("it opens again")))
    }
}

mod memory {
    ffrtmp_core::store_conformance!(crate::Memory);
}

mod sqlite_in_memory {
    ffrtmp_core::store_conformance!(crate::SqliteInMemory);
}

mod sqlite_file {
    ffrtmp_core::store_conformance!(crate::SqliteFile::default());
}
