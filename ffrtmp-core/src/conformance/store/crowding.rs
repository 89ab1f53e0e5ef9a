//! Many words at once: heartbeats of a whole fleet, ends by the hundred, and what one caller does
//! while another one does the opposite.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::error::{Code, Result};
use crate::id::JobId;
use crate::job::{Job, JobState};
use crate::lifecycle::JobCommand;
use crate::protocol::LogLine;
use crate::store::{Due, Rank, Store};

use super::Harness;
use super::fixture::*;

/// Stores and claims this many.
async fn held(store: &dyn Store, count: usize) -> Vec<Job> {
    submit(store, jobs(count)).await;
    let held = claim(store, count).await;
    assert_eq!(held.len(), count);
    held
}

async fn apply_all(store: &dyn Store, commands: Vec<(JobId, JobCommand)>, second: u64) -> Vec<Result<Job>> {
    store.apply(commands, at(second)).await.expect("the store works")
}

/// Three hundred attempts in one call.
pub async fn many_heartbeats_renew_at_once(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let held = held(&*store, 300).await;
    for beat in 1..=3_u64 {
        let commands = held.iter().map(|job| (job.id, progress(job, beat as f64))).collect();
        for (job, answer) in held.iter().zip(apply_all(&*store, commands, beat * 20).await) {
            let job_now = answer.expect("accepted");
            assert_eq!((job_now.id, job_now.state, job_now.progress), (job.id, JobState::Running, beat as f64));
            assert_eq!(job_now.lease_expires_at, Some(at(beat * 20) + LEASE));
        }
        assert!(store.due(at(beat * 20 + 29), 999).await.expect("answered").is_empty());
    }
    assert_eq!(store.due(at(90), 999).await.expect("answered").len(), 300);
    assert_eq!(stored(&*store, held[299].id).await.progress, 3.0);
}

/// Attempts that are over stand among those that go on.
pub async fn stale_heartbeats_stop_nobody(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let held = held(&*store, 60).await;
    for (n, job) in held.iter().enumerate() {
        let over = match n % 4 {
            0 => continue,
            1 => JobCommand::Cancel,
            2 => complete(job),
            _ => evict(job, Code::LeaseExpired),
        };
        must(&*store, job.id, over, at(1)).await;
    }
    let mut commands: Vec<_> = held.iter().map(|job| (job.id, progress(job, 5.0))).collect();
    commands.insert(30, (JobId::random(), progress(&held[0], 5.0)));
    let mut answers = apply_all(&*store, commands, 20).await;
    assert_eq!(code(answers.remove(30)), Code::JobNotFound);
    for (n, answer) in answers.into_iter().enumerate() {
        match n % 4 {
            0 => assert_eq!(answer.expect("it goes on").lease_expires_at, Some(at(20) + LEASE)),
            _ => assert_eq!(code(answer), Code::StaleFence, "job {n}"),
        }
    }
    let due: BTreeSet<_> = store.due(at(49), 999).await.expect("answered").into_iter().map(named).collect();
    let retrying = held.iter().enumerate().filter(|(n, _)| n % 4 == 3).map(|(_, job)| job.id).collect();
    assert_eq!(due, retrying, "leases were renewed; only backoffs are over");
}

fn named(due: Due) -> JobId {
    match due {
        Due::LeaseExpired(id, _) | Due::BackoffOver(id) => id,
    }
}

/// Good, stale, repeated and unknown ones, three hundred in a call.
pub async fn a_batch_of_ends_is_answered_in_order(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let held = held(&*store, 300).await;
    let mut batch = Vec::new();
    let mut expected = Vec::new();
    for (n, job) in held.iter().enumerate() {
        let (command, outcome) = match n % 6 {
            0 => (complete(job), Ok(JobState::Completed)),
            1 => (fail(job, Code::InputInvalid), Ok(JobState::Failed)),
            2 => (fail(job, Code::Network), Ok(JobState::Retrying)),
            3 => (release(job), Ok(JobState::Queued)),
            4 => {
                must(&*store, job.id, JobCommand::Cancel, at(1)).await;
                (complete(job), Err(Code::StaleFence))
            }
            _ => {
                must(&*store, job.id, complete(job), at(1)).await;
                (complete(job), Ok(JobState::Completed))
            }
        };
        batch.push((job.id, command));
        expected.push(outcome);
        if n % 50 == 0 {
            batch.push((JobId::random(), complete(job)));
            expected.push(Err(Code::JobNotFound));
        }
    }
    let answers = apply_all(&*store, batch.clone(), 2).await;
    let outcome = |answer: &Result<Job>| answer.as_ref().map(|job| job.state).map_err(crate::Error::code);
    assert_eq!(answers.iter().map(outcome).collect::<Vec<_>>(), expected);
    let again = apply_all(&*store, batch, 3).await;
    assert_eq!(again.iter().map(outcome).collect::<Vec<_>>(), expected, "the same call again");
    for (first, second) in answers.iter().zip(&again) {
        assert_eq!(first.as_ref().ok(), second.as_ref().ok());
    }
    let counts = store.counts().await.expect("answered").by_state;
    let count = |state| counts.get(&state).copied().unwrap_or(0);
    let states = [JobState::Completed, JobState::Failed, JobState::Retrying, JobState::Queued, JobState::Canceled];
    assert_eq!(states.map(count), [100, 50, 50, 50, 50]);
}

/// The same end twice in one call, and then another one.
pub async fn two_ends_in_one_batch_are_one_effect(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let held = held(&*store, 3).await;
    let batch = held.iter().flat_map(|job| {
        [(job.id, complete(job)), (job.id, complete(job)), (job.id, fail(job, Code::Network))].into_iter()
    });
    let answers = apply_all(&*store, batch.collect(), 1).await;
    for (job, three) in held.iter().zip(answers.chunks(3)) {
        let first = three[0].as_ref().expect("accepted");
        assert_eq!((first.id, first.state), (job.id, JobState::Completed));
        assert_eq!(three[1].as_ref().ok(), Some(first));
        assert_eq!(three[2].as_ref().err().map(crate::Error::code), Some(Code::StaleFence));
        assert_eq!(stored(&*store, job.id).await, *first);
    }
}

/// The whole life of a hundred jobs in four calls.
pub async fn a_claim_of_many_is_renewed_started_and_finished(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let held = held(&*store, 100).await;
    for step in [start as fn(&Job) -> JobCommand, |job| progress(job, 50.0), complete] {
        let batch = held.iter().map(|job| (job.id, step(job))).collect();
        assert!(apply_all(&*store, batch, 1).await.iter().all(Result::is_ok));
    }
    assert!(lanes(&*store).await.is_empty());
    let counts = store.counts().await.expect("answered").by_state;
    assert_eq!(counts.into_iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>(), [(JobState::Completed, 100)]);
}

/// A submission and the end of what it names, at once: the job is ready, or it is found waiting.
async fn race_a_dependency(harness: &dyn Harness, end: fn(&Job) -> JobCommand, settled: JobState) {
    let store = harness.fresh().await;
    for round in 0..40 {
        let first = claimed(&*store).await;
        let (ending, id, command) = (store.clone(), first.id, end(&first));
        let end = tokio::spawn(async move { must(&*ending, id, command, at(1)).await });
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        let second = submit_one(&*store, job().after(&[first.id])).await;
        assert!(end.await.expect("no panic").state.is_final());
        let waiting = ids(&store.dependents(first.id).await.expect("answered"));
        let now = stored(&*store, second.id).await.state;
        match now {
            JobState::Waiting => assert_eq!(waiting, [second.id], "nobody would ever let it go"),
            state => assert_eq!((state, waiting.len()), (settled, 0)),
        }
        if !now.is_final() {
            must(&*store, second.id, JobCommand::Cancel, at(2)).await;
        }
    }
}

/// Either way it will run.
pub async fn a_dependency_that_ends_meanwhile_is_not_missed(harness: &dyn Harness) {
    race_a_dependency(harness, complete, JobState::Queued).await;
}

/// Either way it will fail.
pub async fn a_failing_dependency_that_ends_meanwhile_is_not_missed(harness: &dyn Harness) {
    race_a_dependency(harness, |held| fail(held, Code::InputInvalid), JobState::Failed).await;
}

/// Several callers find out that a dependency completed; each dependent is queued once.
pub async fn dependents_are_let_go_once(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let first = claimed(&*store).await;
    let waiting = ids(&submit(&*store, (0..50).map(|_| job().after(&[first.id])).collect()).await);
    must(&*store, first.id, complete(&first), at(1)).await;
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let (store, waiting) = (store.clone(), waiting.clone());
        callers.spawn(async move {
            let batch = waiting.into_iter().map(|id| (id, JobCommand::Ready)).collect();
            apply_all(&*store, batch, 2).await.iter().filter(|answer| answer.is_ok()).count()
        });
    }
    assert_eq!(callers.join_all().await.into_iter().sum::<usize>(), 50);
    assert_eq!(ids(&claim(&*store, 100).await), waiting);
    assert!(store.dependents(first.id).await.expect("answered").is_empty());
}

/// A heartbeat that crosses the end of its attempt neither revives it nor loses it.
pub async fn heartbeats_and_ends_agree(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let held = held(&*store, 100).await;
    let mut callers = JoinSet::new();
    for beat in 0..8 {
        let (store, held) = (store.clone(), held.clone());
        callers.spawn(async move {
            let commands = |job: &Job| (job.id, if beat == 3 { complete(job) } else { progress(job, 1.0) });
            for chunk in held.chunks(10) {
                for answer in apply_all(&*store, chunk.iter().map(commands).collect(), 1).await {
                    match answer {
                        Ok(job) => assert!(job.state == JobState::Completed || beat != 3, "{}", job.state),
                        Err(error) => assert_eq!((error.code(), beat != 3), (Code::StaleFence, true)),
                    }
                }
            }
        });
    }
    callers.join_all().await;
    for job in &held {
        let now = stored(&*store, job.id).await;
        assert_eq!((now.state, now.lease(), now.attempts.len()), (JobState::Completed, None, 1));
    }
    assert!(lanes(&*store).await.is_empty());
    assert!(store.due(at(9999), 9).await.expect("answered").is_empty());
}

/// A job that a person holds back is not given; one that was given first is refused or frozen.
pub async fn a_pause_and_a_claim_agree(harness: &dyn Harness) {
    let store = harness.fresh().await;
    for _ in 0..50 {
        let id = submit_one(&*store, job()).await.id;
        let pausing = store.clone();
        let pause = tokio::spawn(async move { apply(&*pausing, id, JobCommand::Pause, at(1)).await });
        let given = claim(&*store, 1).await;
        let paused = pause.await.expect("no panic");
        let state = stored(&*store, id).await.state;
        match (given.len(), &paused) {
            (0, Ok(_)) => assert_eq!(state, JobState::Paused),
            (1, Err(error)) => assert_eq!((error.code(), state), (Code::WrongState, JobState::Assigned)),
            other => panic!("{other:?} in {state}"),
        }
        must(&*store, id, JobCommand::Cancel, at(2)).await;
    }
}

/// A queue that is turned over while nodes claim from it gives every job once.
pub async fn reranks_lose_nobody(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let all = ids(&submit(&*store, jobs(300)).await);
    let mut callers = JoinSet::new();
    for node in 1..=4_u128 {
        let store = store.clone();
        callers.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let given = store.claim(&order(node, 3), at(0)).await.expect("answered");
                if given.is_empty() {
                    return mine;
                }
                mine.extend(ids(&given));
            }
        });
    }
    let turning = (store.clone(), all.clone());
    let turn = tokio::spawn(async move {
        for round in 0..10_i64 {
            let ranks = turning.1.iter().zip(0..).map(|(id, n)| (*id, Rank(if round % 2 == 0 { -n } else { n })));
            turning.0.rerank(ranks.collect()).await.expect("accepted");
        }
    });
    let mut given: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    turn.await.expect("no panic");
    given.extend(ids(&claim(&*store, 300).await));
    assert_eq!(given.len(), 300);
    assert_eq!(given.into_iter().collect::<BTreeSet<_>>(), all.into_iter().collect());
}

/// The named job is kept, or the one that names it is refused: none waits for what is gone.
pub async fn a_purge_and_a_new_dependent_agree(harness: &dyn Harness) {
    let store = harness.fresh().await;
    for _ in 0..40 {
        let done = job_in(&*store, JobState::Completed).await;
        let open = submit_one(&*store, job()).await;
        let purging = store.clone();
        let purge = tokio::spawn(async move { purging.purge(at(100), 1000).await.expect("answered") });
        let answer = try_submit(&*store, vec![job().after(&[done.id, open.id])]).await;
        let purged = purge.await.expect("no panic");
        let kept = store.job(&done.id.into()).await;
        match answer {
            Ok(stored) => {
                assert_eq!((stored[0].job.state, purged), (JobState::Waiting, 0));
                assert_eq!(kept.expect("it is named").state, JobState::Completed);
                must(&*store, stored[0].job.id, JobCommand::Cancel, at(1)).await;
            }
            Err(error) => assert_eq!((error.code(), purged, code(kept)), (Code::InvalidField, 1, Code::JobNotFound)),
        }
        must(&*store, open.id, JobCommand::Cancel, at(1)).await;
        store.purge(at(100), 1000).await.expect("answered");
    }
}

/// Every line of every writer, each writer's in its order.
pub async fn logs_of_many_writers_are_all_kept(harness: &dyn Harness) {
    const LINES: usize = 50;
    let store = harness.fresh().await;
    let id = submit_one(&*store, job()).await.id;
    let mut writers = JoinSet::new();
    for writer in 1..=8_u32 {
        let store: Arc<dyn Store> = store.clone();
        writers.spawn(async move {
            for line in 0..LINES {
                let line = LogLine { at: at(0), level: "info".into(), text: format!("{line:03}") };
                store.append_logs(id, writer, vec![line]).await.expect("accepted");
            }
        });
    }
    writers.join_all().await;
    let logs = store.logs(id).await.expect("answered");
    assert_eq!(logs.len(), 8 * LINES);
    for writer in 1..=8 {
        let mine: Vec<_> = logs.iter().filter(|(attempt, _)| *attempt == writer).map(|(_, line)| &line.text).collect();
        assert_eq!(mine.len(), LINES);
        assert!(mine.is_sorted());
    }
}
