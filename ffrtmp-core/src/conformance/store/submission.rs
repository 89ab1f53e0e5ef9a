//! Submitting: numbers, keys, batches, dependencies.

use crate::error::Code;
use crate::id::{JobId, TenantId};
use crate::job::{JobState, Priority, Queue};
use crate::lifecycle::JobCommand;
use crate::store::JobFilter;

use super::Harness;
use super::fixture::*;

/// Numbers begin at 1 and grow in the order of submission, within a batch too.
pub async fn sequence_numbers_grow_from_one(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let mut numbers = vec![submit_one(&*store, job()).await.sequence_number];
    numbers.extend(submit(&*store, jobs(3)).await.iter().map(|job| job.sequence_number));
    assert_eq!(numbers[0], 1);
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

/// Nothing of a job is lost or changed on its way through the store, whatever its texts hold.
pub async fn a_stored_job_comes_back_whole(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let nasty = ["-i", "--", "; DROP TABLE jobs;", "%d", "a\nb", "\0", "'\"\\", "\u{202e}abc", "🎬", "?1", ""];
    for text in nasty.into_iter().map(str::to_owned).chain([format!("x{}", "y".repeat(1_000_000))]) {
        let draft = job().with(|job| {
            job.scenario.clone_from(&text);
            job.input = Some(text.clone());
            job.labels.insert(text.clone(), text.clone());
            job.queue = Queue::Live;
            job.priority = Priority::Batch;
            job.parameters.preset = Some(text.clone());
            job.progress = 0.1 + 0.2;
        });
        let sent = draft.0.job.clone();
        let answered = submit_one(&*store, draft).await;
        let mut expected = sent;
        expected.sequence_number = answered.sequence_number;
        assert_eq!(answered, expected);
        assert_eq!(stored(&*store, answered.id).await, expected);
    }
}

/// The same key and digest answer with the job as it is by now, and make no second one.
pub async fn a_key_makes_a_submission_repeatable(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let first = try_submit(&*store, vec![job().key("k", "d")]).await.expect("accepted").remove(0);
    assert!(first.created);
    let held = claim(&*store, 1).await.remove(0);
    let again = try_submit(&*store, vec![job().key("k", "d")]).await.expect("accepted").remove(0);
    assert!(!again.created);
    assert_eq!(again.job, held);
    assert_eq!(list(&*store, &JobFilter::default()).await.len(), 1);
}

/// The same key with another digest is the caller's mistake and stores nothing.
pub async fn a_key_with_another_digest_is_refused(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let first = submit_one(&*store, job().key("k", "d")).await;
    assert_eq!(code(try_submit(&*store, vec![job().key("k", "e")]).await), Code::IdempotencyMismatch);
    assert_eq!(code(try_submit(&*store, vec![job(), job().key("k", "e")]).await), Code::IdempotencyMismatch);
    assert_eq!(
        code(try_submit(&*store, vec![job().key("n", "d"), job().key("n", "e")]).await),
        Code::IdempotencyMismatch
    );
    assert_eq!(ids(&list(&*store, &JobFilter::default()).await), [first.id]);
}

/// A batch that repeats a key answers twice with one job.
pub async fn the_same_key_twice_in_a_batch_is_one_job(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let answers = try_submit(&*store, vec![job().key("k", "d"), job(), job().key("k", "d")]).await.expect("accepted");
    assert_eq!(answers.iter().map(|answer| answer.created).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(answers[0].job, answers[2].job);
    assert_eq!(list(&*store, &JobFilter::default()).await.len(), 2);
}

/// Two tenants may use the same key.
pub async fn keys_belong_to_a_tenant(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let other: TenantId = serde_json::from_value("other".into()).expect("a tenant is a text");
    let first = submit_one(&*store, job().key("k", "d")).await;
    let second = submit_one(&*store, job().key("k", "e").with(|job| job.tenant = other.clone())).await;
    assert_ne!(first.id, second.id);
    let filter = JobFilter { tenant: Some(other), ..JobFilter::default() };
    assert_eq!(ids(&list(&*store, &filter).await), [second.id]);
}

/// One bad job in a batch leaves no trace of the good ones.
pub async fn a_batch_is_stored_whole_or_not_at_all(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let mut batch = jobs(20);
    batch[0] = job().key("k", "d");
    let before = batch[0].id();
    batch.push(job().after(&[JobId::random()]));
    assert_eq!(code(try_submit(&*store, batch).await), Code::InvalidField);
    assert!(list(&*store, &JobFilter::default()).await.is_empty());
    assert_eq!(code(store.job(&before.into()).await), Code::JobNotFound);
    assert!(claim(&*store, 64).await.is_empty());
    assert!(lanes(&*store).await.is_empty());
    assert!(store.counts().await.expect("answered").by_state.values().all(|count| *count == 0));
    let again = try_submit(&*store, vec![job().key("k", "other")]).await.expect("the key is free").remove(0);
    assert!(again.created);
}

/// An empty batch is accepted.
pub async fn an_empty_batch_is_nothing(harness: &dyn Harness) {
    let store = harness.fresh().await;
    assert!(try_submit(&*store, Vec::new()).await.expect("accepted").is_empty());
    assert!(store.apply(Vec::new(), at(0)).await.expect("accepted").is_empty());
}

/// An id that is stored, or that stands twice in a batch, is refused.
pub async fn a_job_id_is_stored_once(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let first = submit_one(&*store, job()).await;
    assert!(try_submit(&*store, vec![job().with(|job| job.id = first.id)]).await.is_err());
    let twice = JobId::random();
    let same = || job().with(|job| job.id = twice);
    assert!(try_submit(&*store, vec![same(), same()]).await.is_err());
    assert_eq!(list(&*store, &JobFilter::default()).await, [first]);
}

/// The refusal names the field.
pub async fn an_unknown_dependency_is_refused(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let known = submit_one(&*store, job()).await;
    let refused = try_submit(&*store, vec![job().after(&[known.id, JobId::random()])]).await;
    let error = refused.expect_err("it is refused");
    assert_eq!((error.code(), error.field_name()), (Code::InvalidField, Some("depends_on")));
}

/// It waits until all of them completed, and nobody can claim it before.
pub async fn a_job_waits_for_its_dependencies(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let done = job_in(&*store, JobState::Completed).await;
    let open = job_in(&*store, JobState::Running).await;
    let waiting = submit_one(&*store, job().after(&[done.id, open.id])).await;
    assert_eq!(waiting.state, JobState::Waiting);
    assert!(claim(&*store, 64).await.is_empty());
    must(&*store, waiting.id, JobCommand::Ready, at(5)).await;
    assert_eq!(ids(&claim(&*store, 64).await), [waiting.id]);
}

/// It is stored as queued, with the change in its story.
pub async fn completed_dependencies_make_it_ready_at_once(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let done = [job_in(&*store, JobState::Completed).await.id, job_in(&*store, JobState::Completed).await.id];
    let ready = submit_one(&*store, job().after(&done)).await;
    assert_eq!(ready.state, JobState::Queued);
    assert_eq!(ready.queued_at, Some(at(0)));
    assert_eq!(ready.state_transitions.last().map(|step| step.to), Some(JobState::Queued));
    assert_eq!(ids(&claim(&*store, 1).await), [ready.id]);
}

/// A failed, canceled or rejected dependency outweighs all others.
pub async fn an_ended_dependency_fails_it_at_once(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let open = submit_one(&*store, job()).await;
    for state in [JobState::Failed, JobState::Canceled, JobState::Rejected] {
        let ended = job_in(&*store, state).await;
        let failed = submit_one(&*store, job().after(&[open.id, ended.id])).await;
        assert_eq!(failed.state, JobState::Failed, "{state}");
        let error = failed.error.as_ref().expect("why");
        let told = format!("job {}, which this one depends on, ended as {state}", ended.id);
        assert_eq!((error.code, &error.message), (Code::DependencyFailed, &told));
        assert_eq!(failed.completed_at, Some(at(0)));
        assert_eq!(stored(&*store, failed.id).await, failed);
    }
}

/// A job may name one that stands behind it in the batch.
pub async fn a_batch_may_name_its_own_jobs_in_any_order(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let (first, second, third) = (job(), job(), job());
    let (first_id, second_id) = (first.id(), second.id());
    let batch = vec![third.after(&[second_id, first_id]), second.after(&[first_id]), first];
    let stored = submit(&*store, batch).await;
    assert_eq!(states(&stored), [JobState::Waiting, JobState::Waiting, JobState::Queued]);
    let dependents = store.dependents(first_id).await.expect("answered");
    assert_eq!(ids(&dependents), [stored[0].id, stored[1].id]);
}

/// What depends on a failure fails with it, however long the chain and whatever its order.
pub async fn failure_passes_through_a_chain_of_one_batch(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let canceled = job_in(&*store, JobState::Canceled).await;
    let mut before = canceled.id;
    let mut chain: Vec<Draft> = (0..100)
        .map(|_| {
            let next = job().after(&[before]);
            before = next.id();
            next
        })
        .collect();
    chain.reverse();
    chain.push(job());
    let stored = submit(&*store, chain).await;
    assert!(stored[..100].iter().all(|job| job.state == JobState::Failed), "{:?}", states(&stored));
    assert_eq!(stored[100].state, JobState::Queued);
}

/// Jobs that wait for each other would wait for ever.
pub async fn a_circle_is_refused(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let (one, two) = (job(), job());
    let (one_id, two_id) = (one.id(), two.id());
    let selfish = job();
    let selfish_id = selfish.id();
    for batch in [vec![one.after(&[two_id]), two.after(&[one_id])], vec![selfish.after(&[selfish_id])]] {
        let error = try_submit(&*store, batch).await.expect_err("it is refused");
        assert_eq!((error.code(), error.field_name()), (Code::InvalidField, Some("depends_on")));
    }
    assert!(list(&*store, &JobFilter::default()).await.is_empty());
}

/// Naming a job twice is no mistake.
pub async fn a_dependency_named_twice_counts_once(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let first = job();
    let first_id = first.id();
    let stored = submit(&*store, vec![job().after(&[first_id, first_id]), first]).await;
    assert_eq!(states(&stored), [JobState::Waiting, JobState::Queued]);
    assert_eq!(ids(&store.dependents(first_id).await.expect("answered")), [stored[0].id]);
}

/// Only jobs that still wait are told of.
pub async fn dependents_are_those_that_wait(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let first = submit_one(&*store, job()).await;
    let waiting = submit(&*store, (0..3).map(|_| job().after(&[first.id])).collect()).await;
    submit_one(&*store, job()).await;
    assert_eq!(ids(&store.dependents(first.id).await.expect("answered")), ids(&waiting));
    must(&*store, waiting[0].id, JobCommand::Ready, at(1)).await;
    must(&*store, waiting[1].id, JobCommand::Cancel, at(1)).await;
    must(&*store, waiting[2].id, JobCommand::DependencyFailed(first.id, Some(JobState::Failed)), at(1)).await;
    assert!(store.dependents(first.id).await.expect("answered").is_empty());
    assert!(store.dependents(JobId::random()).await.expect("answered").is_empty());
}
