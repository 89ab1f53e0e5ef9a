//! The lead of the masters on one database: a session lock, which the server gives back when the
//! session ends, however it ends, and takes away from a leader that fell silent.

use std::time::Duration;

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::store::Lead;
use sqlx::postgres::PgConnection;
use tokio::time::{Instant, timeout};

use super::fault::Fault;
use super::open::{Door, Purpose};
use super::{Shared, point, wake};

/// Held by the leader.
pub(super) const LEAD_LOCK: i64 = 0x6666_7274_6d70_0003;
/// A leader that was not heard for longer is not projected any further.
const STALE: Duration = Duration::from_secs(60);

/// The connection that holds the lead, or asks for it.
#[derive(Debug)]
pub(super) struct Seat {
    door: Door,
    limit: Duration,
    /// How long a leader may say nothing.
    silence: Duration,
    connection: Option<PgConnection>,
    leads: bool,
}

impl Seat {
    pub(super) fn new(door: Door, limit: Duration, silence: Duration) -> Self {
        Self { door, limit, silence, connection: None, leads: false }
    }

    /// Takes the lead or keeps it. Whoever cannot reach the server does not have it.
    pub(super) async fn lead(&mut self, shared: &Shared, now: Timestamp) -> Result<Lead, Fault> {
        let asked = match timeout(self.limit, self.ask(shared, now)).await {
            Ok(asked) => asked,
            Err(_) => Err(Fault::Away),
        };
        if asked.is_err() {
            self.connection = None;
            self.leads = false;
        }
        asked
    }

    async fn ask(&mut self, shared: &Shared, now: Timestamp) -> Result<Lead, Fault> {
        if self.connection.is_none() {
            self.leads = false;
            self.connection = Some(self.sit_down().await?);
        }
        let Some(connection) = &mut self.connection else { return Err(Fault::Away) };
        let newly = !self.leads;
        if newly {
            let sql = "SELECT pg_try_advisory_lock($1)";
            self.leads = sqlx::query_scalar(sql).bind(LEAD_LOCK).fetch_one(&mut *connection).await?;
        }
        if !self.leads {
            return Ok(Lead::Follower { time: shared.leader_time() });
        }
        point("postgres.lead.taken")?;
        // Also proves that the session, and with it the lock, is still there.
        shared.say_time(connection, now).await?;
        Ok(Lead::Leader { newly })
    }

    /// A session that the server ends when it says nothing for long: a master that was stopped and
    /// still has its connections would keep the lead otherwise. Servers before version 14 do not
    /// know the setting.
    async fn sit_down(&self) -> Result<PgConnection, Fault> {
        let mut connection = self.door.connect(Purpose::Watch).await?;
        sqlx::query("SELECT set_config(name, $1, false) FROM pg_settings WHERE name = 'idle_session_timeout'")
            .bind(self.silence.as_millis().to_string())
            .execute(&mut connection)
            .await?;
        Ok(connection)
    }

    /// Gives the lead back.
    pub(super) async fn leave(&mut self) {
        self.leads = false;
        if let Some(connection) = self.connection.take() {
            wake::hang_up(connection).await;
        }
    }
}

impl Shared {
    /// What time it is for the leader, if it was heard lately.
    fn leader_time(&self) -> Option<Timestamp> {
        let heard: Option<(Timestamp, Instant)> =
            *self.leader.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (said, at) = heard?;
        let since = at.elapsed();
        (since < STALE).then(|| said + since)
    }
}
