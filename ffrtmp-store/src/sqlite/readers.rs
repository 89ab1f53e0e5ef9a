//! A few read-only connections. A read runs on a blocking thread and sees what was committed
//! before it began; the writer does not wait for it.

use std::sync::{Arc, Mutex, PoisonError};

use ffrtmp_core::{Code, Error, Result};
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::fault::Fault;
use crate::closed;

pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    size: u32,
}

impl Readers {
    pub(super) fn new(connections: Vec<Connection>) -> Self {
        let size = u32::try_from(connections.len()).unwrap_or(u32::MAX);
        Self { permits: Arc::new(Semaphore::new(connections.len())), idle: Arc::new(Mutex::new(connections)), size }
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<Result<T, Fault>> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| closed())?;
        let home = self.idle.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let lent = Lent::from(home);
            let answer = lent.connection.as_ref().map(work);
            drop(lent);
            drop(permit);
            answer
        });
        let answer = reading.await.map_err(|error| Error::new(Code::Internal, "a read broke off").source(error))?;
        answer.ok_or_else(closed)
    }

    /// Waits for the reads under way, then closes the connections.
    pub(super) async fn close(&self) {
        let all = self.permits.acquire_many(self.size).await;
        self.permits.close();
        drop(all);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A connection that finds its way home, even from a read that panics.
struct Lent {
    connection: Option<Connection>,
    home: Arc<Mutex<Vec<Connection>>>,
}

impl From<Arc<Mutex<Vec<Connection>>>> for Lent {
    fn from(home: Arc<Mutex<Vec<Connection>>>) -> Self {
        let connection = home.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self { connection, home }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.home.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}
