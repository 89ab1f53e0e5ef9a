//! Ended jobs, wherever a store keeps them: they are read, listed, named and answered like all
//! others, and come back when a person wants them to.

use std::collections::BTreeSet;

use crate::error::Code;
use crate::id::{JobId, JobKey};
use crate::job::{Job, JobState, Queue};
use crate::lifecycle::{JobCommand, Outcome};
use crate::protocol::LogLine;
use crate::store::{JobFilter, Page, Store};

use super::Harness;
use super::fixture::*;

/// Hundreds of other jobs ended in between, and the store was opened again.
pub async fn a_finish_is_answered_again_long_after(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let mut said = Vec::new();
    for finish in [complete, |held: &Job| fail(held, Code::InputInvalid)] {
        let held = claimed(&*store).await;
        let answer = must(&*store, held.id, finish(&held), at(1)).await;
        said.push((finish(&held), answer));
    }
    for held in end_many(&*store, 300).await {
        assert!(held.state.is_final());
    }
    for (finish, answer) in &said {
        assert_eq!(must(&*store, answer.id, finish.clone(), at(99)).await, *answer);
    }
    store.close().await.expect("closed");
    drop(store);
    let Some(store) = harness.reopen().await else { return };
    for (finish, answer) in said {
        assert_eq!(must(&*store, answer.id, finish, at(999)).await, answer);
        assert_eq!(stored(&*store, answer.id).await, answer);
    }
}

async fn end_many(store: &dyn Store, count: usize) -> Vec<Job> {
    submit(store, jobs(count)).await;
    let held = claim(store, count).await;
    assert_eq!(held.len(), count);
    let commands = held.iter().map(|job| (job.id, complete(job))).collect();
    store.apply(commands, at(2)).await.expect("answered").into_iter().map(|job| job.expect("accepted")).collect()
}

/// The attempt that ended it, one before it, another node: whatever they say, nothing changes.
pub async fn late_words_about_an_ended_job_are_stale(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let ends: [fn(&Job) -> JobCommand; 4] =
        [complete, |held| fail(held, Code::InputInvalid), |_| JobCommand::Cancel, |held| evict(held, Code::Timeout)];
    for end in ends {
        let old = claimed(&*store).await;
        must(&*store, old.id, release(&old), at(1)).await;
        let last = store.claim(&order(2, 1), at(1)).await.expect("answered").remove(0);
        assert_eq!(last.id, old.id);
        let ended = must(&*store, old.id, end(&last), at(2)).await;
        for held in [&old, &last] {
            let renew = JobCommand::Renew { lease: lease(held), renew_for: LEASE };
            let other = fail(held, Code::DiskFull);
            for late in [start(held), progress(held, 50.0), renew, release(held), other, evict(held, Code::NodeLost)] {
                let shown = format!("{late:?} in {}", ended.state);
                assert_eq!(code(apply(&*store, old.id, late, at(3)).await), Code::StaleFence, "{shown}");
                assert_eq!(stored(&*store, old.id).await, ended, "{shown}");
            }
        }
        assert_eq!(code(apply(&*store, old.id, complete(&old), at(3)).await), Code::StaleFence);
    }
}

/// One list in one order, whatever the filter.
pub async fn ended_and_open_jobs_share_lists_and_pages(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let mut all = Vec::new();
    for round in 0..3 {
        for state in JobState::ALL.iter().filter(|state| **state != JobState::Waiting) {
            all.push(job_in(&*store, *state).await);
        }
        let queue = if round == 1 { Queue::Batch } else { Queue::Live };
        all.push(submit_one(&*store, job().queue(queue).with(|job| job.labels = labels(&[("team", "a")]))).await);
        let held = claim(&*store, 64).await;
        all.retain(|job| held.iter().all(|held| held.id != job.id));
        all.extend(held);
    }
    all.sort_by_key(|job| std::cmp::Reverse(job.sequence_number));
    let passes = |filter: &JobFilter, job: &Job| {
        (filter.states.is_empty() || filter.states.contains(&job.state))
            && filter.queue.is_none_or(|queue| queue == job.queue)
            && filter.node_id.is_none_or(|node| job.node_id == Some(node))
            && filter.labels.iter().all(|(key, value)| job.labels.get(key) == Some(value))
    };
    let any = JobFilter::default;
    for filter in [
        any(),
        JobFilter { states: vec![JobState::Completed, JobState::Assigned], ..any() },
        JobFilter { states: vec![JobState::Failed, JobState::Canceled, JobState::Rejected], ..any() },
        JobFilter { states: vec![JobState::Running, JobState::Retrying, JobState::Paused], ..any() },
        JobFilter { node_id: Some(order(1, 1).node), ..any() },
        JobFilter { queue: Some(Queue::Batch), ..any() },
        JobFilter { queue: Some(Queue::Live), states: vec![JobState::Assigned], ..any() },
        JobFilter { labels: labels(&[("team", "a")]), ..any() },
    ] {
        let expected: Vec<_> = all.iter().filter(|job| passes(&filter, job)).cloned().collect();
        for limit in [1, 4, 500] {
            assert_eq!(paged(&*store, &filter, limit).await, expected, "{filter:?}, {limit} on a page");
        }
    }
}

async fn paged(store: &dyn Store, filter: &JobFilter, limit: usize) -> Vec<Job> {
    let mut all: Vec<Job> = Vec::new();
    loop {
        let page = Page { limit, before: all.last().map(|job| job.sequence_number) };
        let next = store.list_jobs(filter, page).await.expect("answered");
        assert!(next.len() <= limit);
        if next.is_empty() {
            return all;
        }
        all.extend(next);
    }
}

/// A reader sees every job once, whichever jobs end while it reads.
pub async fn pages_hold_while_jobs_end(harness: &dyn Harness) {
    let store = harness.fresh().await;
    submit(&*store, jobs(120)).await;
    let mut held = claim(&*store, 120).await;
    let mut seen: Vec<JobId> = Vec::new();
    let mut before = None;
    loop {
        // At both ends of what is left: jobs that were read and jobs that come.
        let last = held.len().saturating_sub(1);
        for (index, again) in [(last, true), (last.saturating_sub(1), false), (0, false), (0, true)] {
            if held.is_empty() {
                break;
            }
            let job = held.remove(index.min(held.len() - 1));
            must(&*store, job.id, fail(&job, Code::InputInvalid), at(1)).await;
            if again {
                must(&*store, job.id, JobCommand::Retry, at(2)).await;
            }
        }
        let page = store.list_jobs(&JobFilter::default(), Page { limit: 7, before }).await.expect("answered");
        let Some(last) = page.last() else { break };
        before = Some(last.sequence_number);
        seen.extend(ids(&page));
    }
    assert_eq!(seen.len(), 120);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 120);
}

/// A short name that an ended job shares is not unique.
pub async fn a_prefix_counts_ended_jobs(harness: &dyn Harness) {
    const ID: u128 = 0xfeed_0000_0000_0000_0000_0000_0000_0000;
    let store = harness.fresh().await;
    let drafts = (0..2).map(|n| job().with(|job| job.id = JobId::from_u128(ID + n))).collect();
    let stored = submit(&*store, drafts).await;
    let feed = JobKey::Prefix("feed".into());
    must(&*store, stored[0].id, JobCommand::Cancel, at(1)).await;
    assert_eq!(code(store.job(&feed).await), Code::InvalidField, "one is open, one has ended");
    must(&*store, stored[1].id, JobCommand::Cancel, at(9)).await;
    assert_eq!(code(store.job(&feed).await), Code::InvalidField, "both have ended");
    assert_eq!(store.purge(at(5), 9).await.expect("answered"), 1);
    assert_eq!(store.job(&feed).await.expect("one is left").id, stored[1].id);
    let number = JobKey::Sequence(stored[1].sequence_number);
    assert_eq!(store.job(&number).await.expect("it has its number").state, JobState::Canceled);
}

/// Lines that arrive after the end are kept with the others.
pub async fn logs_go_on_after_the_end(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let line = |text: &str| LogLine { at: at(1), level: "info".into(), text: text.into() };
    let held = claimed(&*store).await;
    store.append_logs(held.id, 1, vec![line("before")]).await.expect("accepted");
    must(&*store, held.id, fail(&held, Code::EncodeFailed), at(1)).await;
    store.append_logs(held.id, 1, vec![line("after")]).await.expect("accepted");
    must(&*store, held.id, JobCommand::Retry, at(2)).await;
    store.append_logs(held.id, 2, vec![line("again")]).await.expect("accepted");
    let again = claim(&*store, 1).await.remove(0);
    must(&*store, again.id, complete(&again), at(3)).await;
    let expected = [(1, line("before")), (1, line("after")), (2, line("again"))];
    assert_eq!(store.logs(held.id).await.expect("answered"), expected);
    assert_eq!(store.purge(at(100), 9).await.expect("answered"), 1);
    assert_eq!(code(store.append_logs(held.id, 1, vec![line("gone")]).await), Code::JobNotFound);
}

/// In claims, lists, counts, purges and by name.
pub async fn a_retried_job_is_open_everywhere(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let ended = end_many(&*store, 5).await;
    let failed = job_in(&*store, JobState::Failed).await;
    let again = must(&*store, failed.id, JobCommand::Retry, at(5)).await;
    let queued = JobFilter { states: vec![JobState::Queued], ..JobFilter::default() };
    assert_eq!(list(&*store, &queued).await, std::slice::from_ref(&again));
    let over = JobFilter { states: vec![JobState::Failed], ..JobFilter::default() };
    assert!(list(&*store, &over).await.is_empty());
    let counts = store.counts().await.expect("answered");
    assert_eq!(counts.by_state.get(&JobState::Queued), Some(&1));
    assert_eq!(counts.by_state.get(&JobState::Failed).copied().unwrap_or(0), 0);
    assert_eq!(store.purge(at(100), 100).await.expect("answered"), ended.len() as u64);
    let held = claim(&*store, 9).await.remove(0);
    assert_eq!((held.id, held.input.as_deref()), (again.id, Some("in.mp4")));
    must(&*store, held.id, JobCommand::Cancel, at(6)).await;
    assert_eq!(store.purge(at(100), 100).await.expect("answered"), 1);
}

/// A repeated submission gets the ended job; a wrong one is refused.
pub async fn an_ended_job_keeps_its_key(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let stored = submit_one(&*store, job().key("k", "d")).await;
    let held = claim(&*store, 1).await.remove(0);
    let done = must(&*store, stored.id, complete(&held), at(1)).await;
    let again = try_submit(&*store, vec![job().key("k", "d")]).await.expect("accepted").remove(0);
    assert_eq!((again.created, again.job), (false, done));
    assert_eq!(code(try_submit(&*store, vec![job().key("k", "other")]).await), Code::IdempotencyMismatch);
    assert_eq!(store.purge(at(100), 9).await.expect("answered"), 1);
    let fresh = try_submit(&*store, vec![job().key("k", "other")]).await.expect("accepted").remove(0);
    assert!(fresh.created && fresh.job.id != stored.id);
}

/// Also when the job it names ended long ago, and among many; a purged one is unknown.
pub async fn an_ended_job_settles_what_is_submitted_later(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let done = end_many(&*store, 100).await;
    let failed = job_in(&*store, JobState::Failed).await;
    let named: Vec<JobId> = ids(&done);
    assert_eq!(submit_one(&*store, job().after(&named)).await.state, JobState::Queued);
    let mixed: Vec<JobId> = named.iter().copied().take(99).chain([failed.id]).collect();
    assert_eq!(submit_one(&*store, job().after(&mixed)).await.state, JobState::Failed);
    let open = submit_one(&*store, job()).await;
    let waits = submit_one(&*store, job().after(&[done[0].id, open.id])).await;
    assert_eq!(waits.state, JobState::Waiting);
    assert_eq!(store.purge(at(100), 1000).await.expect("answered"), 101, "all but the one that is named");
    assert_eq!(code(try_submit(&*store, vec![job().after(&[done[1].id])]).await), Code::InvalidField);
    let held = JobCommand::Finish { lease: lease(&claim_named(&*store, open.id).await), outcome: released() };
    assert_eq!(must(&*store, open.id, held, at(1)).await.state, JobState::Queued);
}

fn released() -> Outcome {
    Outcome::Released("drain".into())
}

async fn claim_named(store: &dyn Store, id: JobId) -> Job {
    claim(store, 64).await.into_iter().find(|job| job.id == id).expect("it is given")
}
