//! The log lines of attempts, each kept once: a node that did not hear an answer sends its lines
//! again, to this master or to another one, and says how many came before them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::error::Result;
use crate::id::{Fence, JobId};
use crate::job::Job;
use crate::lifecycle::Lease;
use crate::protocol::LogLine;
use crate::store::MAX_LOG_LINES;

use super::{Coordinator, bounds};

/// How many lines of the attempts under way are kept already.
#[derive(Default)]
pub(super) struct Logbook(Mutex<HashMap<JobId, Arc<Page>>>);

/// One job's page. Locked while lines are stored, so that two reports of one attempt take turns.
type Page = tokio::sync::Mutex<Option<Written>>;

#[derive(Clone, Copy)]
struct Written {
    fence: Fence,
    lines: u64,
    /// Who runs the attempt, and which it is, if it began here and nobody here has ended it.
    held: Option<(Lease, u32)>,
}

/// What an attempt has said since it was last heard.
pub(super) struct Said {
    pub(super) job: JobId,
    pub(super) lease: Lease,
    pub(super) from: Option<u64>,
    pub(super) lines: Vec<LogLine>,
}

/// Pages beyond which those that nobody uses are dropped; the store can tell what they said.
const MAX_PAGES: usize = 10_000;

impl Logbook {
    /// An attempt begins: nothing of it is kept.
    pub(super) fn open(&self, job: &Job) {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pages.len() >= MAX_PAGES {
            pages.retain(|_, page| Arc::strong_count(page) > 1);
        }
        let held = job.lease().map(|lease| (lease, job.attempt));
        pages.insert(job.id, Arc::new(Page::new(Some(Written { fence: job.fence, lines: 0, held }))));
    }

    /// The attempt is over.
    pub(super) fn close(&self, job: JobId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&job);
    }

    /// The page of an attempt that began here under this lease, unless somebody writes on it.
    fn own(&self, job: JobId, lease: Lease) -> Option<(OwnedMutexGuard<Option<Written>>, u32)> {
        let page = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&job)?);
        let written = page.try_lock_owned().ok()?;
        let (_, attempt) = written.as_ref()?.held.filter(|(held, _)| *held == lease)?;
        Some((written, attempt))
    }

    fn page(&self, job: JobId) -> Arc<Page> {
        Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(job).or_default())
    }
}

impl Coordinator {
    /// Keeps the lines of attempts in one call of the store, and returns those of attempts that
    /// it knows too little of. An attempt that another master has just ended may be among those that
    /// are kept: what it says is true, and only its end comes too late.
    pub(super) async fn keep(&self, last: Vec<Said>) -> Result<Vec<Said>> {
        let (mut unknown, mut pages, mut logs) = (Vec::new(), Vec::new(), Vec::new());
        for said in last {
            let Some((mut written, attempt)) = self.logbook.own(said.job, said.lease) else {
                unknown.push(said);
                continue;
            };
            let Said { job, from, lines, .. } = said;
            let Some(known) = written.as_mut() else { continue };
            let from = from.unwrap_or(known.lines);
            let end = from.saturating_add(lines.len() as u64);
            let repeated = usize::try_from(known.lines.saturating_sub(from)).unwrap_or(usize::MAX).min(lines.len());
            let new = bounds::lines(lines.into_iter().skip(repeated).collect());
            if !new.is_empty() {
                logs.push((job, attempt, new));
            }
            pages.push((written, end));
        }
        if !logs.is_empty() {
            self.store.append_many(logs).await?;
        }
        for (mut written, end) in pages {
            if let Some(known) = written.as_mut() {
                known.lines = known.lines.max(end);
            }
        }
        Ok(unknown)
    }

    /// Keeps what is new of the lines of a job's latest attempt. `from` is how many lines of the
    /// attempt came before these; without it, lines that the log ends with are taken for
    /// repeated once the job has ended.
    pub(super) async fn keep_lines(&self, job: &Job, from: Option<u64>, lines: Vec<LogLine>) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let Some(from) = from else { return self.keep_unnumbered(job, bounds::lines(lines)).await };
        let page = self.logbook.page(job.id);
        let mut written = page.lock().await;
        let kept = match *written {
            Some(known) if known.fence == job.fence => known.lines,
            _ => self.count_lines(job).await?.unwrap_or(from),
        };
        let end = from.saturating_add(lines.len() as u64);
        let repeated = usize::try_from(kept.saturating_sub(from)).unwrap_or(usize::MAX).min(lines.len());
        let new = bounds::lines(lines.into_iter().skip(repeated).collect());
        if !new.is_empty() {
            self.store.append_logs(job.id, job.attempt, new).await?;
        }
        let held = written.and_then(|known| known.held.filter(|_| known.fence == job.fence));
        *written = Some(Written { fence: job.fence, lines: end.max(kept), held });
        Ok(())
    }

    async fn keep_unnumbered(&self, job: &Job, lines: Vec<LogLine>) -> Result<()> {
        if job.state.is_final() {
            let kept = self.store.logs(job.id).await?;
            let tail = kept.len().checked_sub(lines.len()).map_or(&[][..], |start| &kept[start..]);
            let words = |line: &LogLine| (line.level.clone(), line.text.clone());
            if tail.iter().map(|(_, line)| words(line)).eq(lines.iter().map(words)) {
                return Ok(());
            }
        }
        self.store.append_logs(job.id, job.attempt, lines).await
    }

    /// Lines that the store has of the latest attempt; `None` if it may have dropped some.
    async fn count_lines(&self, job: &Job) -> Result<Option<u64>> {
        let kept = self.store.logs(job.id).await?;
        let own = kept.iter().filter(|(attempt, _)| *attempt == job.attempt).count() as u64;
        Ok((kept.len() < MAX_LOG_LINES).then_some(own))
    }
}
