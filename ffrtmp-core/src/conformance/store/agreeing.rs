//! Whatever happens in whatever order, a store says what one would expect who reads its contract:
//! the job alone decides what a command does, and all answers are those of a plain [`Model`].

use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::Code;
use crate::id::{JobId, NodeId};
use crate::job::{Job, JobState, Priority, Queue};
use crate::lifecycle::{JobCommand, Lease};
use crate::store::{Caps, ClaimOrder, Counts, JobFilter, Page, Rank, Store};

use super::Harness;
use super::fixture::*;
use super::model::Model;

/// Every command that there is, for an attempt or without one.
fn commands(lease: Lease) -> Vec<JobCommand> {
    let held = |outcome| JobCommand::Finish { lease, outcome };
    vec![
        JobCommand::Start { lease, engine: None },
        JobCommand::Progress { lease, percent: Some(12.5), renew_for: LEASE },
        JobCommand::Renew { lease, renew_for: LEASE * 2 },
        held(crate::lifecycle::Outcome::Completed(Box::default())),
        held(crate::lifecycle::Outcome::Failed(error(Code::DiskFull))),
        held(crate::lifecycle::Outcome::Failed(error(Code::InputInvalid))),
        held(crate::lifecycle::Outcome::Released("drain".into())),
        JobCommand::Evict { fence: lease.fence, error: error(Code::NodeLost) },
        JobCommand::Cancel,
        JobCommand::Pause,
        JobCommand::Resume,
        JobCommand::Retry,
        JobCommand::Requeue,
        JobCommand::Ready,
        JobCommand::DependencyFailed(JobId::from_u128(9), None),
        JobCommand::Reject(error(Code::CapabilityMissing)),
    ]
}

/// Every pair, by the attempt that holds or held the job, by one before it and by a stranger.
pub async fn every_command_in_every_state_does_what_the_job_says(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let count = commands(lease_of(&job().0.job)).len();
    for state in JobState::ALL {
        for index in 0..count {
            for (node, older) in [(None, 0), (None, 1), (Some(NodeId::from_u128(99)), 0)] {
                let before = job_in(&*store, *state).await;
                let mut lease = lease_of(&before);
                lease.node = node.unwrap_or(lease.node);
                lease.fence.0 = lease.fence.0.saturating_sub(older);
                let command = commands(lease).swap_remove(index);
                let shown = format!("{command:?} in {state}");
                let mut expected = before.clone();
                let said = expected.apply(command.clone(), at(7)).map_err(|error| error.code());
                let answer = apply(&*store, before.id, command, at(7)).await.map_err(|error| error.code());
                assert_eq!(answer, said.map(|_| expected.clone()), "{shown}");
                assert_eq!(stored(&*store, before.id).await, expected, "{shown}");
                if !expected.state.is_final() {
                    must(&*store, before.id, JobCommand::Cancel, at(8)).await;
                }
            }
        }
    }
}

fn lease_of(job: &Job) -> Lease {
    Lease { node: job.node_id.unwrap_or(NodeId::from_u128(1)), fence: job.fence }
}

/// Some hundred steps of every kind, several times; a failure names the seed and the step.
pub async fn random_stories_agree_with_a_plain_model(harness: &dyn Harness) {
    for seed in 1..=4 {
        let mut story = Story {
            store: harness.fresh().await,
            model: Model::default(),
            dice: Dice(seed),
            now: at(0),
            named: vec![],
        };
        for step in 0..250 {
            story.now = story.now + Duration::from_millis(story.dice.below(9000));
            let place = format!("seed {seed}, step {step}");
            story.step(&place).await;
            if step % 10 == 0 {
                story.compare(&place).await;
            }
        }
        story.compare(&format!("seed {seed}, at the end")).await;
    }
}

/// `SplitMix64`: small, seeded, the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize].clone()
    }
}

struct Story {
    store: std::sync::Arc<dyn Store>,
    model: Model,
    dice: Dice,
    now: Timestamp,
    /// Every job that ever was.
    named: Vec<JobId>,
}

impl Story {
    async fn step(&mut self, place: &str) {
        match self.dice.below(20) {
            0..6 => self.submit(place).await,
            6..10 => self.claim(place).await,
            10..12 => self.beat(place).await,
            12 => self.rerank().await,
            13 => self.purge(place).await,
            _ => self.command(place).await,
        }
    }

    fn draft(&mut self) -> Draft {
        let needs = self.dice.of(&[needs(), needs(), needs_gpu(), needs_label("zone", "eu")]);
        let (name, queue) = (self.dice.of(&["a", "b", "c"]), self.dice.of(Queue::ALL));
        let (priority, retries) = (self.dice.of(Priority::ALL), self.dice.below(3) as u32);
        let id = u128::from(self.dice.next()) << 64 | u128::from(self.dice.next());
        let rank = self.dice.below(50) as i64 - 25;
        let draft = job().tenant(name).queue(queue).needs(needs).rank(rank).with(|job| {
            job.id = JobId::from_u128(id);
            job.priority = priority;
            job.max_retries = retries;
        });
        let living: Vec<JobId> = self.model.jobs().map(|job| job.id).collect();
        if living.len() < 2 || self.dice.below(5) > 0 {
            return draft;
        }
        let mut dependencies = vec![self.dice.of(&living), self.dice.of(&living)];
        dependencies.dedup();
        draft.after(&dependencies)
    }

    async fn submit(&mut self, place: &str) {
        let drafts: Vec<Draft> = (0..1 + self.dice.below(4)).map(|_| self.draft()).collect();
        let sent: Vec<_> = drafts.iter().map(|draft| draft.0.clone()).collect();
        let news = drafts.into_iter().map(|draft| draft.0).collect();
        let stored = self.store.submit(news, self.now).await.unwrap_or_else(|error| panic!("{place}: {error}"));
        for (new, stored) in sent.into_iter().zip(stored) {
            self.named.push(new.job.id);
            let expected = self.model.submit(new, stored.job.sequence_number, self.now);
            assert_eq!(stored.job, expected, "{place}");
        }
    }

    async fn claim(&mut self, place: &str) {
        let offer = self.dice.of(&[carrying(&[("zone", "eu")]), with_gpu(2), with_gpu(1), carrying(&[])]);
        let named = Caps { tenants: [(tenant("a"), 1), (tenant("b"), 5)].into(), ..queue_cap(3) };
        let caps = self.dice.of(&[Caps::default(), queue_cap(4), tenant_cap(3), named]);
        let node = 1 + u128::from(self.dice.below(3));
        let order = ClaimOrder { offer, caps, ..order(node, self.dice.below(6) as usize) };
        let given = self.store.claim(&order, self.now).await.unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(given, self.model.claim(&order, self.now), "{place}: {order:?}");
    }

    /// A node reports on everything it holds, and ends some of it.
    async fn beat(&mut self, place: &str) {
        let node = NodeId::from_u128(1 + u128::from(self.dice.below(3)));
        let held: Vec<Job> = self.model.held_by(node).cloned().collect();
        let mut batch = Vec::new();
        for job in held {
            let percent = self.dice.below(100) as f64;
            batch.push((job.id, progress(&job, percent)));
            let end: fn(&Job) -> JobCommand =
                self.dice.of(&[complete, release, |job| fail(job, Code::Network), |job| fail(job, Code::InputInvalid)]);
            if self.dice.below(2) == 0 {
                batch.push((job.id, end(&job)));
            }
        }
        self.apply(batch, place).await;
    }

    async fn command(&mut self, place: &str) {
        let mut batch = Vec::new();
        for _ in 0..1 + self.dice.below(4) {
            if self.named.is_empty() {
                return;
            }
            let id = self.dice.of(&self.named);
            let mut lease = self.model.jobs().find(|job| job.id == id).map_or(lease_of(&job().0.job), lease_of);
            lease.fence.0 = lease.fence.0.saturating_sub(self.dice.below(5) / 4);
            batch.push((id, self.dice.of(&commands(lease))));
        }
        self.apply(batch, place).await;
    }

    async fn apply(&mut self, batch: Vec<(JobId, JobCommand)>, place: &str) {
        let answers = self.store.apply(batch.clone(), self.now).await.unwrap_or_else(|e| panic!("{place}: {e}"));
        assert_eq!(answers.len(), batch.len(), "{place}");
        for ((id, command), answer) in batch.into_iter().zip(answers) {
            let shown = format!("{place}: {command:?}");
            let expected = self.model.apply(id, command, self.now);
            assert_eq!(answer.map_err(|error| error.code()), expected, "{shown}");
        }
    }

    async fn rerank(&mut self) {
        let ids: Vec<JobId> = self.named.iter().rev().take(20).copied().collect();
        let ranks: Vec<_> = ids.into_iter().map(|id| (id, Rank(self.dice.below(50) as i64 - 25))).collect();
        self.model.rerank(&ranks);
        self.store.rerank(ranks).await.expect("accepted");
    }

    async fn purge(&mut self, place: &str) {
        let before = self.now - Duration::from_secs(self.dice.below(200));
        let purged = self.store.purge(before, 10_000).await.expect("answered");
        assert_eq!(purged, self.model.purge(before), "{place}");
    }

    /// Everything that can be asked.
    async fn compare(&mut self, place: &str) {
        let store = &*self.store;
        let any = JobFilter::default;
        for filter in [
            any(),
            JobFilter { states: vec![JobState::Queued, JobState::Completed], ..any() },
            JobFilter { tenant: Some(tenant("b")), queue: Some(Queue::Default), ..any() },
            JobFilter { node_id: Some(NodeId::from_u128(2)), ..any() },
        ] {
            let expected = self.model.list(&filter);
            assert_eq!(list(store, &filter).await, expected, "{place}: {filter:?}");
            let before = expected.get(expected.len() / 2).map(|job| job.sequence_number);
            let page = store.list_jobs(&filter, Page { limit: 3, before }).await.expect("answered");
            let older = expected.iter().filter(|job| before.is_none_or(|before| job.sequence_number < before));
            assert_eq!(page, older.take(3).cloned().collect::<Vec<_>>(), "{place}: {filter:?}");
        }
        assert_eq!(lanes(store).await, self.model.lanes(), "{place}");
        assert_eq!(without_zeros(store.counts().await.expect("answered")), self.model.counts(), "{place}");
        let due = store.due(self.now, 10_000).await.expect("answered");
        let mut expected = self.model.due(self.now);
        let position = |item: &(Timestamp, _)| due.iter().position(|due| *due == item.1);
        expected.sort_by_key(|item| (item.0, position(item)));
        assert_eq!(due, expected.into_iter().map(|(_, due)| due).collect::<Vec<_>>(), "{place}");
        if let Some(id) = self.named.last() {
            let dependency = self.dice.of(&self.named);
            let waiting = ids(&store.dependents(dependency).await.expect("answered"));
            assert_eq!(waiting, self.model.dependents(dependency), "{place}");
            let known = self.model.jobs().find(|job| job.id == *id).cloned().ok_or(Code::JobNotFound);
            assert_eq!(store.job(&(*id).into()).await.map_err(|error| error.code()), known, "{place}");
        }
    }
}

fn without_zeros(mut counts: Counts) -> Counts {
    counts.by_state.retain(|_, count| *count > 0);
    counts.by_queue.retain(|_, count| *count > 0);
    counts.queued_by_priority.retain(|_, count| *count > 0);
    counts.queued_by_queue.retain(|_, count| *count > 0);
    counts.by_engine.retain(|_, count| *count > 0);
    counts.completed_by_engine.retain(|_, count| *count > 0);
    counts
}
