//! Moving everything from one store to another, and proof that all of it arrived.
//!
//! [`migrate`] copies jobs in the order of their numbers, then nodes, then reads both sides again
//! and compares counts and hashes. The target is closed to masters until that comparison has
//! passed; a move that broke off goes on where it stopped when it is started again. The source is
//! only read.

use std::fmt::Write as _;

use async_trait::async_trait;
use ffrtmp_core::job::Job;
use ffrtmp_core::node::{Node, Requirements};
use ffrtmp_core::protocol::LogLine;
use ffrtmp_core::store::{Idempotency, Rank, Store};
use ffrtmp_core::{Code, Error, Result};
use serde::Serialize;

/// A job with everything that a store keeps about it.
#[derive(Clone, Debug, Serialize)]
pub struct Parcel {
    /// The job, its sequence number included.
    pub job: Job,
    /// Its place in the order.
    pub rank: Rank,
    /// What it needs of a node.
    pub requirements: Requirements,
    /// The key under which it was submitted.
    pub idempotency: Option<Idempotency>,
    /// Its log, oldest line first, with the attempt of each line.
    pub logs: Vec<(u32, LogLine)>,
}

/// A store whose content can move.
///
/// # Contract
/// - `export` gives jobs in the order of their sequence numbers, each once, while nobody writes.
/// - `import` keeps sequence numbers, ranks, keys and times as they are, is durable when it
///   returns, and replaces a job of the same number: a broken move may be repeated.
/// - Between `begin_import` and `end_import` the store can be opened by nobody but another import;
///   numbers given afterwards are above every imported one and above `last_sequence`.
#[async_trait]
pub trait Portable: Store {
    /// Up to `limit` jobs with sequence numbers above `after`.
    async fn export(&self, after: u64, limit: usize) -> Result<Vec<Parcel>>;

    /// The highest sequence number that was ever given.
    async fn last_sequence(&self) -> Result<u64>;

    /// Closes the store to others. Returns the highest sequence number that is there already.
    ///
    /// # Errors
    /// `invalid_field` naming `to` if it holds jobs or nodes that no import brought.
    async fn begin_import(&self) -> Result<u64>;

    /// Stores jobs.
    async fn import(&self, parcels: Vec<Parcel>) -> Result<()>;

    /// Stores nodes.
    async fn import_nodes(&self, nodes: Vec<Node>) -> Result<()>;

    /// Opens the store to others.
    async fn end_import(&self, last_sequence: u64) -> Result<()>;
}

/// How far a move has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many jobs are copied.
    Copied(u64),
    /// So many jobs are compared.
    Compared(u64),
}

/// What was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Jobs, those of earlier tries included.
    pub jobs: u64,
    /// Lines of their logs.
    pub log_lines: u64,
    /// Nodes.
    pub nodes: u64,
    /// BLAKE3 over everything, as hexadecimal digits; the same on both sides.
    pub hash: String,
}

/// Jobs per step: their logs may have 10,000 lines each.
const STEP: usize = 200;

/// Copies everything and proves that it arrived.
///
/// # Errors
/// `invalid_field` naming `to` for a target that is in use; `storage` for what either side
/// refuses; `internal` with what differs, in which case the target stays closed.
///
/// # Cancel safety
/// A dropped move leaves the target closed; start it again.
pub async fn migrate(from: &dyn Portable, to: &dyn Portable, mut progress: impl FnMut(Step) + Send) -> Result<Moved> {
    let mut after = to.begin_import().await?;
    let mut copied = 0;
    loop {
        let parcels = from.export(after, STEP).await?;
        let Some(last) = parcels.last() else { break };
        after = last.job.sequence_number;
        copied += parcels.len() as u64;
        to.import(parcels).await?;
        progress(Step::Copied(copied));
    }
    to.import_nodes(from.list_nodes().await?).await?;
    let there = inventory(from, |_| {}).await?;
    let here = inventory(to, |jobs| progress(Step::Compared(jobs))).await?;
    compare(&there, &here)?;
    let counts = (from.counts().await?, to.counts().await?);
    if counts.0 != counts.1 {
        return Err(differs("the counts by state", &format!("{:?}", counts.0), &format!("{:?}", counts.1)));
    }
    to.end_import(from.last_sequence().await?).await?;
    Ok(here)
}

/// Reads everything.
async fn inventory(store: &dyn Portable, mut progress: impl FnMut(u64) + Send) -> Result<Moved> {
    let mut hash = blake3::Hasher::new();
    let mut moved = Moved { jobs: 0, log_lines: 0, nodes: 0, hash: String::new() };
    let mut after = 0;
    loop {
        let parcels = store.export(after, STEP).await?;
        let Some(last) = parcels.last() else { break };
        after = last.job.sequence_number;
        for parcel in &parcels {
            moved.log_lines += parcel.logs.len() as u64;
            hash.update(&text(parcel)?);
        }
        moved.jobs += parcels.len() as u64;
        progress(moved.jobs);
    }
    let mut nodes = store.list_nodes().await?;
    nodes.sort_by_key(|node| node.id);
    for node in &nodes {
        hash.update(&text(node)?);
    }
    moved.nodes = nodes.len() as u64;
    for byte in hash.finalize().as_bytes() {
        let _ = write!(moved.hash, "{byte:02x}");
    }
    Ok(moved)
}

fn text(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::new(Code::Internal, "a job cannot be read").source(error))
}

fn compare(there: &Moved, here: &Moved) -> Result<()> {
    let numbers = |moved: &Moved| format!("{} jobs, {} log lines, {} nodes", moved.jobs, moved.log_lines, moved.nodes);
    if numbers(there) != numbers(here) {
        return Err(differs("the number of things", &numbers(there), &numbers(here)));
    }
    if there.hash != here.hash {
        return Err(differs("the hash over everything", &there.hash, &here.hash));
    }
    Ok(())
}

fn differs(what: &str, there: &str, here: &str) -> Error {
    Error::new(Code::Internal, format!("{what} differs: {there} at the source, {here} at the target"))
        .hint("stop every master that uses the source, empty the target and move again; the source is unchanged")
        .operation("migrate")
}

/// Why an import cannot begin.
pub(crate) fn not_empty() -> Error {
    Error::new(Code::InvalidField, "the target holds jobs or nodes already")
        .field("to")
        .hint("name an empty database")
        .operation("migrate")
}

#[cfg(test)]
mod tests {
    use ffrtmp_core::clock::Timestamp;
    use ffrtmp_core::id::{JobId, NodeId};
    use ffrtmp_core::job::JobRequest;
    use ffrtmp_core::lifecycle::JobCommand;
    use ffrtmp_core::node::About;
    use ffrtmp_core::request;
    use ffrtmp_core::store::NewJob;

    use super::*;
    use crate::MemoryStore;

    const NOW: Timestamp = Timestamp::from_micros(1_767_700_000_000_000);

    async fn filled(jobs: usize) -> MemoryStore {
        let store = MemoryStore::new();
        for number in 0..jobs {
            let request = JobRequest { scenario: "720p30-h264".into(), ..JobRequest::default() };
            let prepared = request::prepare(request, JobId::random(), 3, NOW).unwrap();
            let idempotency = (number % 3 == 0).then(|| Idempotency { key: number.to_string(), digest: "d".into() });
            let new = NewJob { job: prepared.job, rank: Rank(7), requirements: prepared.requirements, idempotency };
            let id = store.submit(vec![new], NOW).await.unwrap().remove(0).job.id;
            let line = LogLine { at: NOW, level: "info".into(), text: format!("line of {number}") };
            store.append_logs(id, 1, vec![line]).await.unwrap();
            if number % 2 == 0 {
                store.apply(vec![(id, JobCommand::Cancel)], NOW).await.unwrap().remove(0).unwrap();
            }
        }
        store.register_node(NodeId::random(), About { name: "n".into(), ..About::default() }, NOW).await.unwrap();
        store
    }

    #[tokio::test]
    async fn everything_arrives_and_is_compared() {
        let (from, to) = (filled(STEP * 2 + 5).await, MemoryStore::new());
        let mut steps = Vec::new();
        let moved = migrate(&from, &to, |step| steps.push(step)).await.unwrap();
        assert_eq!((moved.jobs, moved.log_lines, moved.nodes), (405, 405, 1));
        assert_eq!(steps.last(), Some(&Step::Compared(405)));
        assert_eq!(inventory(&from, |_| {}).await.unwrap(), moved);
        let again = migrate(&from, &to, |_| {}).await.unwrap_err();
        assert_eq!((again.code(), again.field_name()), (Code::InvalidField, Some("to")));
    }

    /// A target that loses a line of a log is found out.
    #[tokio::test]
    async fn a_difference_is_found() {
        let (from, to) = (filled(3).await, MemoryStore::new());
        for mut parcel in from.export(0, 9).await.unwrap() {
            parcel.logs[0].1.text.push('.');
            to.import(vec![parcel]).await.unwrap();
        }
        to.import_nodes(from.list_nodes().await.unwrap()).await.unwrap();
        let (there, here) = (inventory(&from, |_| {}).await.unwrap(), inventory(&to, |_| {}).await.unwrap());
        assert!(compare(&there, &here).unwrap_err().message().contains("hash"));
    }
}
