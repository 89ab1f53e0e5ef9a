//! One master's connection to the shared store: slow at times, cut at times, and the place where a
//! master dies between two steps. Which master leads is decided here, as the lock of a database
//! session would.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ffrtmp::core::clock::Timestamp;
use ffrtmp::core::id::{JobId, JobKey, NodeId};
use ffrtmp::core::job::Job;
use ffrtmp::core::lifecycle::JobCommand;
use ffrtmp::core::node::{About, Node, NodeCommand};
use ffrtmp::core::protocol::LogLine;
use ffrtmp::core::store::{
    ClaimOrder, Counts, Due, JobFilter, LaneStanding, Lead, NewJob, Page, Rank, Store, Submitted,
};
use ffrtmp::{Code, Error, Result};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::chance::Chance;
use crate::network::Place;
use crate::process::Process;
use crate::world::World;

/// Who leads, and what it last said of the time.
#[derive(Default)]
pub(crate) struct Board(Mutex<Led>);

#[derive(Default)]
struct Led {
    by: Option<u64>,
    told: Option<(Timestamp, Instant)>,
}

impl Board {
    fn lead(&self, session: u64, since: Instant, now: Timestamp) -> Lead {
        let mut led = self.led();
        let newly = led.by.is_none();
        if newly || led.by == Some(session) {
            *led = Led { by: Some(session), told: Some((now, Instant::now())) };
            return Lead::Leader { newly };
        }
        let heard = led.told.filter(|(_, at)| *at >= since);
        Lead::Follower { time: heard.map(|(time, at)| time + at.elapsed()) }
    }

    /// The session is over.
    pub(crate) fn leave(&self, session: u64) {
        let mut led = self.led();
        if led.by == Some(session) {
            led.by = None;
        }
    }

    fn led(&self) -> MutexGuard<'_, Led> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A master's way to the store.
pub(crate) struct Session {
    pub id: u64,
    pub master: usize,
    pub world: Arc<World>,
    pub process: Arc<Process>,
    pub chance: Chance,
    pub since: Instant,
}

impl Session {
    /// Before a step.
    async fn enter(&self) -> Result<()> {
        self.process.step().await;
        self.linger().await;
        if self.world.weather.is_cut(Place::Master(self.master), Place::Database) {
            self.world.board.leave(self.id);
            tokio::time::sleep(self.chance.ms(1, 300)).await;
            self.process.step().await;
            return Err(Error::new(Code::Storage, "cannot reach the database"));
        }
        self.crash("before").await;
        Ok(())
    }

    /// After a step: the commit may have happened and its answer be lost.
    async fn left<T>(&self, answer: Result<T>) -> Result<T> {
        self.crash("after").await;
        self.linger().await;
        self.process.step().await;
        if self.chance.hits(self.world.weather.lossy / 8) && !self.world.weather.is_calm() {
            return Err(Error::new(Code::Storage, "the connection to the database broke"));
        }
        answer
    }

    async fn linger(&self) {
        if self.chance.hits(120) {
            tokio::time::sleep(self.chance.ms(1, 60)).await;
        }
    }

    async fn crash(&self, when: &str) {
        if self.chance.hits(1) && self.chance.hits(300) && !self.world.weather.is_calm() {
            self.world.trace.note(format_args!("master {} dies {when} a step", self.master));
            self.process.kill();
            self.process.step().await;
        }
    }
}

macro_rules! step {
    ($self:ident, $step:expr) => {{
        $self.enter().await?;
        let answer = $step.await;
        $self.left(answer).await
    }};
}

#[async_trait]
impl Store for Session {
    async fn submit(&self, jobs: Vec<NewJob>, now: Timestamp) -> Result<Vec<Submitted>> {
        step!(self, self.world.witness.submit(jobs, now))
    }

    async fn job(&self, key: &JobKey) -> Result<Job> {
        step!(self, self.world.witness.job(key))
    }

    async fn list_jobs(&self, filter: &JobFilter, page: Page) -> Result<Vec<Job>> {
        step!(self, self.world.witness.list_jobs(filter, page))
    }

    async fn claim(&self, order: &ClaimOrder, now: Timestamp) -> Result<Vec<Job>> {
        step!(self, self.world.witness.claim(order, now))
    }

    async fn apply(&self, commands: Vec<(JobId, JobCommand)>, now: Timestamp) -> Result<Vec<Result<Job>>> {
        step!(self, self.world.witness.apply(commands, now))
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>> {
        step!(self, self.world.witness.due(now, limit))
    }

    async fn dependents(&self, dependency: JobId) -> Result<Vec<Job>> {
        step!(self, self.world.witness.dependents(dependency))
    }

    async fn rerank(&self, ranks: Vec<(JobId, Rank)>) -> Result<()> {
        step!(self, self.world.witness.rerank(ranks))
    }

    async fn lanes(&self) -> Result<Vec<LaneStanding>> {
        step!(self, self.world.witness.lanes())
    }

    async fn append_logs(&self, job: JobId, attempt: u32, lines: Vec<LogLine>) -> Result<()> {
        step!(self, self.world.witness.append_logs(job, attempt, lines))
    }

    async fn logs(&self, job: JobId) -> Result<Vec<(u32, LogLine)>> {
        step!(self, self.world.witness.logs(job))
    }

    async fn register_node(&self, id: NodeId, about: About, now: Timestamp) -> Result<(Node, bool)> {
        step!(self, self.world.witness.register_node(id, about, now))
    }

    async fn node(&self, id: NodeId) -> Result<Node> {
        step!(self, self.world.witness.node(id))
    }

    async fn list_nodes(&self) -> Result<Vec<Node>> {
        step!(self, self.world.witness.list_nodes())
    }

    async fn apply_node(&self, id: NodeId, command: NodeCommand, now: Timestamp) -> Result<Node> {
        step!(self, self.world.witness.apply_node(id, command, now))
    }

    async fn remove_node(&self, id: NodeId) -> Result<()> {
        step!(self, self.world.witness.remove_node(id))
    }

    async fn counts(&self) -> Result<Counts> {
        step!(self, self.world.witness.counts())
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        step!(self, self.world.witness.purge(before, limit))
    }

    async fn check(&self) -> Result<()> {
        step!(self, self.world.witness.check())
    }

    async fn lead(&self, now: Timestamp) -> Result<Lead> {
        self.enter().await?;
        let lead = self.world.board.lead(self.id, self.since, now);
        if lead == (Lead::Leader { newly: true }) {
            self.world.trace.note(format_args!("master {} leads at {now}", self.master));
        }
        self.left(Ok(lead)).await
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.world.witness.changes()
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
