//! Finding: keys, lists, filters, pages, numbers, logs.

use std::collections::BTreeSet;

use crate::error::Code;
use crate::id::{JobId, JobKey, NodeId, TenantId};
use crate::job::{Classification, EngineName, JobState, Priority, Queue};
use crate::lifecycle::JobCommand;
use crate::protocol::LogLine;
use crate::store::{JobFilter, MAX_LOG_LINES, Page, Store};

use super::Harness;
use super::fixture::*;

const ID: u128 = 0xabcd_ef01_2345_6789_abcd_ef01_2345_6789;

/// By the full id, by its start with or without dashes, and by the number.
pub async fn jobs_are_found_by_id_number_and_prefix(harness: &dyn Harness) {
    let store = harness.fresh().await;
    submit(&*store, jobs(3)).await;
    let wanted = submit_one(&*store, job().with(|job| job.id = JobId::from_u128(ID))).await;
    let number = wanted.sequence_number.to_string();
    for name in [
        &*wanted.id.to_string(),
        "abcd",
        "abcdef01",
        "abcdef01-2345",
        "abcdef012345",
        "ABCDEF01-2345-6789-ABCD",
        &number,
    ] {
        let key: JobKey = name.parse().expect("it is a key");
        assert_eq!(store.job(&key).await.expect(name), wanted);
    }
}

/// Two ids that start alike are told apart, and the refusal says so.
pub async fn a_prefix_must_be_unique(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let twins = [ID, ID + 1].map(|id| job().with(|job| job.id = JobId::from_u128(id)));
    submit(&*store, twins.into()).await;
    let error = store.job(&JobKey::Prefix("abcd".into())).await.expect_err("it is ambiguous");
    assert_eq!((error.code(), error.field_name()), (Code::InvalidField, Some("job_id")));
    let whole = "abcdef01-2345-6789-abcd-ef012345678";
    assert_eq!(code(store.job(&JobKey::Prefix(whole.into())).await), Code::InvalidField);
}

/// Also for texts that no parser would let through.
pub async fn what_is_missing_is_not_found(harness: &dyn Harness) {
    let store = harness.fresh().await;
    submit_one(&*store, job().with(|job| job.id = JobId::from_u128(ID))).await;
    let prefixes = ["ffff", "%", "____", "abcd%", "abcdef01'", "", "----", "abcd\0", "ab", &"a".repeat(40)];
    let keys = prefixes.iter().map(|prefix| JobKey::Prefix((*prefix).to_owned()));
    let others =
        [JobKey::Id(JobId::from_u128(1)), JobKey::Sequence(0), JobKey::Sequence(2), JobKey::Sequence(u64::MAX)];
    for key in keys.chain(others) {
        assert_eq!(code(store.job(&key).await), Code::JobNotFound, "{key:?}");
    }
}

/// The newest submission leads.
pub async fn lists_are_newest_first(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let mut stored = submit(&*store, jobs(5)).await;
    must(&*store, stored[2].id, JobCommand::Cancel, at(1)).await;
    stored.reverse();
    let page = store.list_jobs(&JobFilter::default(), Page { limit: 3, before: None }).await.expect("answered");
    assert_eq!(ids(&page), ids(&stored[..3]));
}

/// Reading on from the last number misses nothing and repeats nothing, also while jobs arrive.
pub async fn pages_cover_everything_once(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let mut expected = ids(&submit(&*store, jobs(23)).await);
    expected.reverse();
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = store.list_jobs(&JobFilter::default(), Page { limit: 5, before }).await.expect("answered");
        let Some(last) = page.last() else { break };
        before = Some(last.sequence_number);
        seen.extend(ids(&page));
        submit_one(&*store, job()).await;
    }
    assert_eq!(seen, expected);
}

/// Each field alone finds the one job that differs in it.
pub async fn every_filter_filters(harness: &dyn Harness) {
    let store = harness.fresh().await;
    submit(&*store, jobs(3)).await;
    let tenant: TenantId = serde_json::from_value("other".into()).expect("a tenant is a text");
    let special = job().rank(-1).with(|job| {
        job.tenant = tenant.clone();
        job.queue = Queue::Live;
        job.priority = Priority::Low;
        job.classification = Classification::Debug;
        job.scenario = "other".into();
        job.labels = labels(&[("team", "a"), ("x", "y")]);
        job.created_at = at(100);
    });
    let id = submit_one(&*store, special).await.id;
    store.claim(&order(42, 1), at(100)).await.expect("answered");
    let any = JobFilter::default;
    let alone = [
        JobFilter { tenant: Some(tenant), ..any() },
        JobFilter { states: vec![JobState::Running, JobState::Assigned], ..any() },
        JobFilter { queue: Some(Queue::Live), ..any() },
        JobFilter { priority: Some(Priority::Low), ..any() },
        JobFilter { classification: Some(Classification::Debug), ..any() },
        JobFilter { node_id: Some(NodeId::from_u128(42)), ..any() },
        JobFilter { scenario: Some("other".into()), ..any() },
        JobFilter { labels: labels(&[("team", "a")]), ..any() },
        JobFilter { labels: labels(&[("team", "a"), ("x", "y")]), ..any() },
        JobFilter { created_after: Some(at(100)), ..any() },
    ];
    for filter in alone {
        assert_eq!(ids(&list(&*store, &filter).await), [id], "{filter:?}");
    }
    let before = JobFilter { created_before: Some(at(100)), ..any() };
    assert_eq!(list(&*store, &before).await.len(), 3);
    assert_eq!(list(&*store, &any()).await.len(), 4);
}

/// One field that does not match is enough.
pub async fn filters_must_all_match(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let carried = labels(&[("team", "a")]);
    submit_one(&*store, job().with(|job| job.labels.clone_from(&carried))).await;
    let fits = JobFilter {
        states: vec![JobState::Queued],
        queue: Some(Queue::Default),
        labels: carried,
        created_after: Some(at(0)),
        created_before: Some(at(1)),
        ..JobFilter::default()
    };
    assert_eq!(list(&*store, &fits).await.len(), 1);
    for filter in [
        JobFilter { states: vec![JobState::Failed], ..fits.clone() },
        JobFilter { queue: Some(Queue::Live), ..fits.clone() },
        JobFilter { labels: labels(&[("team", "a"), ("x", "y")]), ..fits.clone() },
        JobFilter { labels: labels(&[("team", "A")]), ..fits.clone() },
        JobFilter { created_after: Some(at(1)), ..fits.clone() },
        JobFilter { created_before: Some(at(0)), ..fits },
    ] {
        assert!(list(&*store, &filter).await.is_empty(), "{filter:?}");
    }
}

/// Nothing in a label is a pattern, a path or a piece of a query.
pub async fn labels_are_compared_literally(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let texts = ["a.b", "a", "%", "_", "'", "\"", "\\", "$.a", "a\0b", "🎬", "", "[0]", "a\nb", "?1"];
    let drafts = texts.map(|text| job().with(|job| job.labels = labels(&[(text, text), ("same", text)])));
    let stored = submit(&*store, drafts.into()).await;
    for (text, job) in texts.iter().zip(&stored) {
        for pair in [(*text, *text), ("same", *text)] {
            let filter = JobFilter { labels: labels(&[pair]), ..JobFilter::default() };
            assert_eq!(ids(&list(&*store, &filter).await), [job.id], "{pair:?}");
        }
        let scenario = JobFilter { scenario: Some((*text).to_owned()), ..JobFilter::default() };
        assert!(list(&*store, &scenario).await.is_empty());
    }
}

/// The numbers are those that counting the list would give, after every kind of change.
pub async fn counts_follow_the_jobs(harness: &dyn Harness) {
    let store = harness.fresh().await;
    assert_counted(&*store).await;
    for (state, count) in JobState::ALL.iter().zip(1..) {
        for _ in 0..count {
            job_in(&*store, *state).await;
        }
        assert_counted(&*store).await;
    }
    let live = job().with(|job| {
        job.queue = Queue::Live;
        job.priority = Priority::Live;
        job.engine_used = Some(EngineName::Gstreamer);
    });
    let id = submit_one(&*store, live).await.id;
    assert_counted(&*store).await;
    let counts = store.counts().await.expect("answered");
    assert_eq!(counts.queued_by_queue.get(&Queue::Live), Some(&1));
    assert_eq!(counts.by_engine.get(&EngineName::Gstreamer), Some(&1));
    must(&*store, id, JobCommand::Cancel, at(1)).await;
    store.purge(at(100), 1).await.expect("answered");
    assert_counted(&*store).await;
}

async fn assert_counted(store: &dyn Store) {
    let mut counts = store.counts().await.expect("answered");
    let mut expected = crate::store::Counts::default();
    for job in list(store, &JobFilter::default()).await {
        *expected.by_state.entry(job.state).or_default() += 1;
        *expected.by_queue.entry(job.queue).or_default() += 1;
        if job.state == JobState::Queued {
            *expected.queued_by_priority.entry(job.priority).or_default() += 1;
            *expected.queued_by_queue.entry(job.queue).or_default() += 1;
        }
        if let Some(engine) = job.engine_used {
            *expected.by_engine.entry(engine).or_default() += 1;
            if job.state == JobState::Completed {
                *expected.completed_by_engine.entry(engine).or_default() += 1;
            }
        }
    }
    counts.by_state.retain(|_, count| *count > 0);
    counts.by_queue.retain(|_, count| *count > 0);
    counts.queued_by_priority.retain(|_, count| *count > 0);
    counts.queued_by_queue.retain(|_, count| *count > 0);
    counts.by_engine.retain(|_, count| *count > 0);
    counts.completed_by_engine.retain(|_, count| *count > 0);
    assert_eq!(counts, expected);
}

fn line(text: impl Into<String>) -> LogLine {
    LogLine { at: at(3), level: "warning".into(), text: text.into() }
}

/// Lines come back as they were written, under their attempt.
pub async fn logs_keep_order_and_attempt(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let stored = submit(&*store, jobs(2)).await;
    let (id, other) = (stored[0].id, stored[1].id);
    assert!(store.logs(id).await.expect("answered").is_empty());
    store.append_logs(id, 1, vec![line("one\0\n"), line("two 🎬")]).await.expect("accepted");
    store.append_logs(other, 1, vec![line("elsewhere")]).await.expect("accepted");
    store.append_logs(id, 2, vec![line("")]).await.expect("accepted");
    store.append_logs(id, 2, Vec::new()).await.expect("accepted");
    let expected = [(1, line("one\0\n")), (1, line("two 🎬")), (2, line(""))];
    assert_eq!(store.logs(id).await.expect("answered"), expected);
}

/// The oldest lines make room.
pub async fn logs_keep_the_newest_lines(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let id = submit_one(&*store, job()).await.id;
    let step = MAX_LOG_LINES / 4;
    for part in 0..5 {
        let lines = (0..step).map(|n| line((part * step + n).to_string())).collect();
        store.append_logs(id, 1, lines).await.expect("accepted");
    }
    store.append_logs(id, 2, vec![line("last")]).await.expect("accepted");
    let logs = store.logs(id).await.expect("answered");
    assert_eq!(logs.len(), MAX_LOG_LINES);
    assert_eq!(logs[0], (1, line((step + 1).to_string())));
    assert_eq!(logs[MAX_LOG_LINES - 1], (2, line("last")));
    let distinct: BTreeSet<_> = logs.iter().map(|(_, line)| &line.text).collect();
    assert_eq!(distinct.len(), MAX_LOG_LINES);
}

/// Nor does one call get past the limit.
pub async fn a_log_longer_than_the_limit_in_one_call(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let id = submit_one(&*store, job()).await.id;
    let lines = (0..MAX_LOG_LINES + 5).map(|n| line(n.to_string())).collect();
    store.append_logs(id, 1, lines).await.expect("accepted");
    let logs = store.logs(id).await.expect("answered");
    assert_eq!((logs.len(), logs[0].1.text.as_str()), (MAX_LOG_LINES, "5"));
}

/// Lines of many jobs in one call, of one job twice among them; one job that is gone is refused.
pub async fn many_logs_in_one_call(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let stored = ids(&submit(&*store, jobs(40)).await);
    must(&*store, stored[3], JobCommand::Cancel, at(1)).await;
    let mut logs: Vec<_> =
        stored.iter().zip(1..).map(|(id, n)| (*id, n, vec![line(n.to_string()), line("x")])).collect();
    logs.push((stored[0], 2, vec![line("again")]));
    logs.push((stored[1], 2, Vec::new()));
    store.append_many(logs).await.expect("accepted");
    for (id, n) in stored.iter().zip(1..) {
        let mut expected = vec![(n, line(n.to_string())), (n, line("x"))];
        expected.extend((n == 1).then(|| (2, line("again"))));
        assert_eq!(store.logs(*id).await.expect("answered"), expected);
    }
    let gone = vec![(stored[0], 3, vec![line("y")]), (JobId::random(), 1, vec![line("y")])];
    assert_eq!(code(store.append_many(gone).await), Code::JobNotFound);
    store.append_many(Vec::new()).await.expect("nothing is no mistake");
}

/// Lines for a job that is gone are refused.
pub async fn logs_of_an_unknown_job(harness: &dyn Harness) {
    let store = harness.fresh().await;
    assert_eq!(code(store.append_logs(JobId::random(), 1, vec![line("x")]).await), Code::JobNotFound);
    assert_eq!(code(store.logs(JobId::random()).await), Code::JobNotFound);
}
