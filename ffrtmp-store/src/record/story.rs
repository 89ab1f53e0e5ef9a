//! The JSON of what a job has gone through. Times are microseconds; within the transitions each is
//! counted from the one before it, the state before a change is the state after the previous one,
//! and reasons that this program writes often are numbers.

use std::borrow::Cow;

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::cost::Spent;
use ffrtmp_core::error::JobError;
use ffrtmp_core::id::{Fence, NodeId};
use ffrtmp_core::job::{
    Attempt, AttemptOutcome, EngineName, FailureReason, Job, JobReport, JobState, SlaVerdict, StateTransition,
};
use ffrtmp_core::lifecycle::MAX_TRANSITIONS;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::ser::{SerializeTuple, Serializer};
use serde::{Deserialize, Serialize};

use super::report::Measured;
use super::{Coded, Record};

/// Reasons of transitions as numbers. They are stored: only ever add to the end.
const REASONS: &[&str] = &[
    "submitted",
    "attempt started",
    "output published",
    "backoff over",
    "ready for another node",
    "everything it waited for completed",
    "canceled by a person",
    "paused by a person",
    "resumed by a person",
    "retried by a person",
];

/// What the start of an attempt says.
const STARTED: &str = REASONS[1];

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Story<'a> {
    // What a hot row has in columns.
    #[serde(rename = "f", skip_serializing_if = "is_zero")]
    fence: u64,
    #[serde(rename = "n", skip_serializing_if = "is_zero")]
    attempt: u32,
    #[serde(rename = "rc", skip_serializing_if = "is_zero")]
    retry_count: u32,
    #[serde(rename = "p", skip_serializing_if = "is_zero")]
    progress: f64,
    #[serde(rename = "qa", with = "micros", skip_serializing_if = "Option::is_none")]
    queued_at: Option<Timestamp>,
    #[serde(rename = "sa", with = "micros", skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(rename = "la", with = "micros", skip_serializing_if = "Option::is_none")]
    last_activity_at: Option<Timestamp>,
    #[serde(rename = "le", with = "micros", skip_serializing_if = "Option::is_none")]
    lease_expires_at: Option<Timestamp>,
    #[serde(rename = "ra", with = "micros", skip_serializing_if = "Option::is_none")]
    retry_at: Option<Timestamp>,
    // What no row has in columns.
    #[serde(rename = "nn", skip_serializing_if = "Option::is_none")]
    node_name: Option<Cow<'a, str>>,
    /// The engine and why, where they are not those of the submission.
    #[serde(rename = "e", skip_serializing_if = "Option::is_none")]
    engine: Option<(Option<EngineName>, Option<Cow<'a, str>>)>,
    #[serde(rename = "err", skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'a, JobError>>,
    #[serde(rename = "fr", skip_serializing_if = "Option::is_none")]
    failure_reason: Option<FailureReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sla: Option<Cow<'a, SlaVerdict>>,
    #[serde(rename = "ca", with = "micros", skip_serializing_if = "Option::is_none")]
    completed_at: Option<Timestamp>,
    #[serde(rename = "as", skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<Try<'a>>,
    #[serde(rename = "st", skip_serializing_if = "Vec::is_empty")]
    transitions: Vec<Step<'a>>,
    #[serde(rename = "sp", skip_serializing_if = "Option::is_none")]
    spent: Option<Cow<'a, Spent>>,
    #[serde(rename = "m", skip_serializing_if = "Option::is_none")]
    result: Option<Measured<'a>>,
    /// As earlier versions wrote it.
    #[serde(rename = "r", skip_serializing)]
    long_result: Option<Box<JobReport>>,
}

impl<'a> Story<'a> {
    /// What stands beside the columns of a hot row.
    pub(super) fn beside_columns(record: &'a Record) -> Self {
        // The exhaustive pattern is the reminder: a new field must be kept somewhere.
        let Job {
            id: _,
            sequence_number: _,
            tenant: _,
            state: _,
            scenario: _,
            input: _,
            output: _,
            confidence: _,
            engine: _,
            engine_used,
            engine_reason,
            classification: _,
            queue: _,
            priority: _,
            parameters: _,
            resource_limits: _,
            max_retries: _,
            depends_on: _,
            labels: _,
            deadline: _,
            trace: _,
            node_id: _,
            node_name,
            attempt: _,
            fence: _,
            retry_count: _,
            progress: _,
            created_at: _,
            queued_at: _,
            started_at: _,
            last_activity_at: _,
            completed_at,
            lease_expires_at: _,
            retry_at: _,
            error,
            failure_reason,
            waiting_reason: _,
            result,
            spent,
            sla,
            attempts,
            state_transitions,
        } = &record.job;
        let same_engine = *engine_used == record.chosen.engine && *engine_reason == record.chosen.reason;
        Self {
            node_name: node_name.as_deref().map(Cow::Borrowed),
            engine: (!same_engine).then(|| (*engine_used, engine_reason.as_deref().map(Cow::Borrowed))),
            error: error.as_ref().map(Cow::Borrowed),
            failure_reason: *failure_reason,
            sla: sla.as_ref().map(Cow::Borrowed),
            completed_at: *completed_at,
            attempts: tries(attempts, &record.job),
            transitions: steps(
                &state_transitions[..state_transitions.len() - usize::from(is_just_started(&record.job))],
            ),
            result: result.as_deref().map(Measured::of),
            spent: spent.as_deref().map(Cow::Borrowed),
            ..Self::default()
        }
    }

    /// Everything but what an ended row has in columns, and the report.
    pub(super) fn whole(record: &'a Record) -> Self {
        let job = &record.job;
        Self {
            fence: job.fence.0,
            attempt: job.attempt,
            retry_count: job.retry_count,
            progress: job.progress,
            queued_at: job.queued_at,
            started_at: job.started_at,
            last_activity_at: job.last_activity_at,
            lease_expires_at: job.lease_expires_at,
            retry_at: job.retry_at,
            completed_at: None,
            result: None,
            ..Self::beside_columns(record)
        }
    }

    /// Puts everything into the job, whose node is known already.
    pub(super) fn tell(self, job: &mut Job) {
        job.fence = Fence(self.fence);
        job.attempt = self.attempt;
        job.retry_count = self.retry_count;
        job.progress = self.progress;
        job.queued_at = self.queued_at;
        job.started_at = self.started_at;
        job.last_activity_at = self.last_activity_at;
        job.lease_expires_at = self.lease_expires_at;
        job.retry_at = self.retry_at;
        job.node_name = self.node_name.map(Cow::into_owned);
        if let Some((engine, reason)) = self.engine {
            job.engine_used = engine;
            job.engine_reason = reason.map(Cow::into_owned);
        }
        job.error = self.error.map(Cow::into_owned);
        job.failure_reason = self.failure_reason;
        job.sla = self.sla.map(Cow::into_owned);
        job.completed_at = self.completed_at;
        job.attempts = self.attempts.into_iter().filter_map(|attempt| attempt.attempt(job)).collect();
        job.state_transitions = transitions(self.transitions);
        job.spent = self.spent.map(|spent| Box::new(spent.into_owned()));
        job.result = self.result.map(|measured| Box::new(measured.report())).or(self.long_result);
    }
}

/// Whether the last change of the job is the start of its attempt. The columns tell that, so the
/// story is still the one of the claim, and a start writes none.
pub(super) fn is_just_started(job: &Job) -> bool {
    let said = |last: &StateTransition| {
        (last.from, last.to) == (JobState::Assigned, JobState::Running)
            && Some(last.at) == job.started_at
            && last.reason == STARTED
    };
    job.state == JobState::Running
        && job.state_transitions.last().is_some_and(said)
        && job.attempts.last().is_some_and(|attempt| attempt.started_at == job.started_at)
}

/// Tells the start of an attempt again, where the columns have it and the story does not.
pub(super) fn tell_start(job: &mut Job) {
    let untold = job.state_transitions.last().is_some_and(|last| last.to == JobState::Assigned);
    let (JobState::Running, Some(at), true) = (job.state, job.started_at, untold) else { return };
    if job.state_transitions.len() >= MAX_TRANSITIONS {
        job.state_transitions.remove(1);
    }
    let (from, to) = (JobState::Assigned, JobState::Running);
    job.state_transitions.push(StateTransition { from, to, at, reason: STARTED.to_owned() });
    if let Some(attempt) = job.attempts.last_mut() {
        attempt.started_at = Some(at);
    }
}

fn tries<'a>(attempts: &'a [Attempt], job: &Job) -> Vec<Try<'a>> {
    let mut tries: Vec<_> = attempts.iter().map(|attempt| Try::of(attempt, job)).collect();
    if let Some(last) = tries.last_mut().filter(|_| is_just_started(job)) {
        last.started_at = None;
    }
    tries
}

/// An attempt. The node of the job's last attempt stands in the job.
#[derive(Serialize, Deserialize)]
struct Try<'a> {
    #[serde(rename = "n")]
    number: u32,
    #[serde(rename = "f")]
    fence: u64,
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    node_id: Option<NodeId>,
    #[serde(rename = "nn", default, skip_serializing_if = "Option::is_none")]
    node_name: Option<Cow<'a, str>>,
    #[serde(rename = "a", with = "micros")]
    assigned_at: Option<Timestamp>,
    #[serde(rename = "s", default, with = "micros", skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(rename = "e", default, with = "micros", skip_serializing_if = "Option::is_none")]
    ended_at: Option<Timestamp>,
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    outcome: Option<AttemptOutcome>,
    #[serde(rename = "err", default, skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'a, JobError>>,
}

impl<'a> Try<'a> {
    fn of(attempt: &'a Attempt, job: &Job) -> Self {
        let same_id = job.node_id == Some(attempt.node_id);
        let same_name = job.node_name.as_ref() == Some(&attempt.node_name);
        Self {
            number: attempt.number,
            fence: attempt.fence.0,
            node_id: (!same_id).then_some(attempt.node_id),
            node_name: (!same_name).then_some(Cow::Borrowed(&attempt.node_name)),
            assigned_at: Some(attempt.assigned_at),
            started_at: attempt.started_at,
            ended_at: attempt.ended_at,
            outcome: attempt.outcome,
            error: attempt.error.as_ref().map(Cow::Borrowed),
        }
    }

    /// The attempt, with the job's node where it was the same; `None` if there is no node at all.
    fn attempt(self, job: &Job) -> Option<Attempt> {
        Some(Attempt {
            number: self.number,
            fence: Fence(self.fence),
            node_id: self.node_id.or(job.node_id)?,
            node_name: self.node_name.map(Cow::into_owned).or_else(|| job.node_name.clone())?,
            assigned_at: self.assigned_at.unwrap_or_default(),
            started_at: self.started_at,
            ended_at: self.ended_at,
            outcome: self.outcome,
            error: self.error.map(Cow::into_owned),
        })
    }
}

/// A transition as `[state, microseconds since the one before, reason]`, with the state before it
/// at the end where that does not follow from the one before.
struct Step<'a> {
    to: JobState,
    after: i64,
    reason: Cow<'a, str>,
    from: Option<JobState>,
}

fn steps(transitions: &[StateTransition]) -> Vec<Step<'_>> {
    let before = std::iter::once(None).chain(transitions.iter().map(Some));
    transitions.iter().zip(before).map(|(transition, before)| Step::after(before, transition)).collect()
}

impl<'a> Step<'a> {
    fn after(before: Option<&StateTransition>, transition: &'a StateTransition) -> Self {
        let StateTransition { from, to, at, reason } = transition;
        let expected = before.map_or(*to, |before| before.to);
        let since = before.map_or(0, |before| before.at.as_micros());
        Self {
            to: *to,
            after: at.as_micros().wrapping_sub(since),
            reason: Cow::Borrowed(reason),
            from: (*from != expected).then_some(*from),
        }
    }
}

fn transitions(steps: Vec<Step<'_>>) -> Vec<StateTransition> {
    let (mut state, mut micros) = (None, 0_i64);
    let transition = |step: Step<'_>| {
        micros = micros.wrapping_add(step.after);
        let from = step.from.or(state).unwrap_or(step.to);
        state = Some(step.to);
        StateTransition { from, to: step.to, at: Timestamp::from_micros(micros), reason: step.reason.into_owned() }
    };
    steps.into_iter().map(transition).collect()
}

impl Serialize for Step<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(if self.from.is_some() { 4 } else { 3 })?;
        tuple.serialize_element(&self.to.code())?;
        tuple.serialize_element(&self.after)?;
        match REASONS.iter().position(|known| *known == self.reason) {
            Some(number) => tuple.serialize_element(&number)?,
            None => tuple.serialize_element(&self.reason)?,
        }
        if let Some(from) = self.from {
            tuple.serialize_element(&from.code())?;
        }
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for Step<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Step<'static>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a transition: [state, microseconds, reason]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
                let missing = || de::Error::invalid_length(0, &"3 or 4 parts");
                let to = state(parts.next_element()?.ok_or_else(missing)?)?;
                let after = parts.next_element()?.ok_or_else(missing)?;
                let Reason(reason) = parts.next_element()?.ok_or_else(missing)?;
                let from = parts.next_element()?.map(state).transpose()?;
                Ok(Step { to, after, reason, from })
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

fn state<E: de::Error>(code: i16) -> Result<JobState, E> {
    JobState::from_code(code).ok_or_else(|| E::custom(format!("no state has the number {code}")))
}

struct Reason(Cow<'static, str>);

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Reason;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a reason or its number")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Reason, E> {
                let known = usize::try_from(number).ok().and_then(|number| REASONS.get(number));
                known
                    .map(|reason| Reason(Cow::Borrowed(reason)))
                    .ok_or_else(|| E::custom(format!("no reason has the number {number}")))
            }

            fn visit_str<E: de::Error>(self, reason: &str) -> Result<Reason, E> {
                Ok(Reason(Cow::Owned(reason.to_owned())))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// Times as microseconds since the Unix epoch.
pub(super) mod micros {
    use ffrtmp_core::clock::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        at.map(Timestamp::as_micros).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<i64>::deserialize(deserializer)?.map(Timestamp::from_micros))
    }
}

pub(super) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Adds a member, JSON already, to an object.
pub(super) fn append(object: &mut String, key: &str, value: &str) {
    object.pop();
    let comma = if object.len() > 1 { "," } else { "" };
    object.extend([comma, "\"", key, "\":", value, "}"]);
}
