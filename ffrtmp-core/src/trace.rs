//! Who else tells the story of a job: the context of a distributed trace, as the W3C's
//! `traceparent` has it, and the ids of the spans that ffrtmp makes of a job.
//!
//! Ids are not sent from node to node. The trace of a job that nobody else traces has the job's id,
//! and the id of a span follows from the job, the attempt and its name, so master and agent agree on
//! the parents without a word. Making and sending spans is the facade's affair.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Code, Error};
use crate::id::{Fence, JobId};

/// Name of the HTTP header.
pub const TRACEPARENT: &str = "traceparent";

/// A place in a trace: whatever is done in it is a child of `span`.
///
/// Its text is that of the header `traceparent`, <https://www.w3.org/TR/trace-context/>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace.
    pub trace: NonZeroU128,
    /// The span.
    pub span: NonZeroU64,
    /// Whether spans are recorded.
    pub sampled: bool,
}

/// A span that ffrtmp makes of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SpanName {
    /// The master takes the job in; the root of all others.
    Submit,
    /// The job waits in the queue.
    Schedule,
    /// The master gives the job to a node.
    Claim,
    /// The node works on it.
    Attempt,
    /// The input is fetched, the output prepared.
    Stage,
    /// The engine works.
    Transcode,
    /// The input is opened and planned for.
    Probe,
    /// The media is made.
    Encode,
    /// The media is read back.
    Verify,
    /// The output becomes visible.
    Publish,
    /// The master takes the result.
    Result,
}

impl SpanName {
    /// Its name, as it is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Schedule => "schedule",
            Self::Claim => "claim",
            Self::Attempt => "attempt",
            Self::Stage => "stage",
            Self::Transcode => "transcode",
            Self::Probe => "probe",
            Self::Encode => "encode",
            Self::Verify => "verify",
            Self::Publish => "publish",
            Self::Result => "result",
        }
    }

    /// The span that it is a part of; `None` for the first.
    #[must_use]
    pub const fn parent(self) -> Option<Self> {
        Some(match self {
            Self::Submit => return None,
            Self::Schedule => Self::Submit,
            Self::Claim => Self::Schedule,
            // Not the agent's: it may trace nothing.
            Self::Attempt | Self::Result => Self::Claim,
            Self::Stage | Self::Transcode | Self::Publish => Self::Attempt,
            Self::Probe | Self::Encode | Self::Verify => Self::Transcode,
        })
    }

    /// The id of this span of an attempt; the submission is that of none, the fence 0.
    #[must_use]
    pub fn id(self, job: JobId, fence: Fence) -> NonZeroU64 {
        let fence = if self == Self::Submit { 0 } else { fence.0 };
        let bytes = job.as_u128().to_be_bytes().into_iter().chain(fence.to_be_bytes()).chain(self.as_str().bytes());
        // FNV-1a, then the finalizer of splitmix64, which spreads what differs in few bits.
        let hash = bytes
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        NonZeroU64::new(hash ^ (hash >> 31)).unwrap_or(NonZeroU64::MIN)
    }
}

/// What share of the jobs that nobody else traces is traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleRatio(f64);

impl SampleRatio {
    /// All of them.
    pub const ALL: Self = Self(1.0);

    /// Whether the trace with this id is recorded. Everybody with the same ratio decides the same.
    #[must_use]
    pub fn takes(self, trace: NonZeroU128) -> bool {
        // The last 56 bits are the random ones of every kind of id.
        const BITS: u32 = 56;
        let part = trace.get() & ((1 << BITS) - 1);
        (part as f64) < self.0 * (1_u64 << BITS) as f64
    }
}

impl FromStr for SampleRatio {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(Self(ratio)),
            _ => Err(Error::new(Code::InvalidConfig, format!("{text:?} is no share"))
                .field("tracing-sample-ratio")
                .hint("give a number from 0 to 1; 0.1 traces every tenth job")),
        }
    }
}

impl TraceContext {
    /// The context of a job at its submission, given that of whoever submits it and the master's
    /// share. Somebody else's decision stands; without a share nothing is recorded.
    #[must_use]
    pub fn of_submission(caller: Option<Self>, job: JobId, share: Option<SampleRatio>) -> Option<Self> {
        match (caller, share) {
            (Some(caller), Some(_)) => Some(caller),
            (Some(caller), None) => Some(Self { sampled: false, ..caller }),
            (None, share) => {
                let trace = NonZeroU128::new(job.as_u128())?;
                let span = SpanName::Submit.id(job, Fence::default());
                share?.takes(trace).then_some(Self { trace, span, sampled: true })
            }
        }
    }

    /// Whose child the submission of a job is: nobody's where the trace began with it.
    #[must_use]
    pub fn caller(self, job: JobId) -> Option<NonZeroU64> {
        (self.span != SpanName::Submit.id(job, Fence::default())).then_some(self.span)
    }

    /// The trace's id as 32 hexadecimal digits, as logs and backends show it.
    #[must_use]
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

impl FromStr for TraceContext {
    type Err = Error;

    /// Reads a `traceparent` of any version.
    fn from_str(text: &str) -> Result<Self, Error> {
        read(text).ok_or_else(|| {
            Error::new(Code::InvalidField, "not a trace context")
                .field(TRACEPARENT)
                .hint("give 00-TRACE-SPAN-FLAGS in lower-case hexadecimal, as the W3C's trace context has it")
        })
    }
}

fn read(text: &str) -> Option<TraceContext> {
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = text.split('-');
    let mut part = |length: usize| parts.next().filter(|part| part.len() == length && is_hex(part));
    let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    // Later versions may have more behind; what is known of them stays where it is.
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    Some(TraceContext {
        trace: NonZeroU128::new(u128::from_str_radix(trace, 16).ok()?)?,
        span: NonZeroU64::new(u64::from_str_radix(span, 16).ok()?)?,
        sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
    })
}

impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceContext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn contexts_are_read_and_written() {
        assert_eq!(PARENT.parse::<TraceContext>().unwrap().to_string(), PARENT);
        let later = PARENT.replacen("00", "01", 1) + "-what-comes-later";
        assert_eq!(later.parse::<TraceContext>().unwrap().to_string(), PARENT);
        let quiet: TraceContext = PARENT.replace("-01", "-00").parse().unwrap();
        assert!(!quiet.sampled);
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            let error = wrong.parse::<TraceContext>().unwrap_err();
            assert_eq!((error.code(), error.field_name()), (Code::InvalidField, Some(TRACEPARENT)), "{wrong}");
        }
    }

    #[test]
    fn the_decision_of_the_caller_stands_and_others_follow_the_share() {
        let (job, caller) = (JobId::random(), PARENT.parse::<TraceContext>().unwrap());
        let quiet = TraceContext { sampled: false, ..caller };
        let none: SampleRatio = "0".parse().unwrap();
        let of = TraceContext::of_submission;
        assert_eq!(of(Some(caller), job, Some(none)), Some(caller));
        assert_eq!(of(Some(quiet), job, Some(SampleRatio::ALL)), Some(quiet));
        assert_eq!(of(Some(caller), job, None), Some(quiet), "nothing is recorded, and the log knows the trace");
        assert_eq!(of(None, job, None), None);
        assert_eq!(of(None, job, Some(none)), None);
        let root = of(None, job, Some(SampleRatio::ALL)).unwrap();
        assert_eq!((root.trace.get(), root.caller(job)), (job.as_u128(), None));
        assert_eq!(caller.caller(job), Some(caller.span));
        let quarter: SampleRatio = "0.25".parse().unwrap();
        let taken = (0..4000).filter(|_| of(None, JobId::random(), Some(quarter)).is_some()).count();
        assert!((800..1200).contains(&taken), "{taken} of 4000");
        for wrong in ["-0.1", "1.1", "NaN", "much", ""] {
            assert_eq!(wrong.parse::<SampleRatio>().unwrap_err().code(), Code::InvalidConfig, "{wrong}");
        }
    }

    #[test]
    fn spans_of_jobs_and_attempts_have_ids_of_their_own() {
        let jobs = [JobId::from_u128(1), JobId::from_u128(2)];
        let names = [SpanName::Schedule, SpanName::Claim, SpanName::Attempt, SpanName::Result];
        let mut seen = std::collections::BTreeSet::new();
        for (job, fence, name) in
            jobs.iter().flat_map(|job| (1..50).flat_map(move |fence| names.map(|it| (job, fence, it))))
        {
            assert!(seen.insert(name.id(*job, Fence(fence))));
        }
        assert_eq!(SpanName::Submit.id(jobs[0], Fence(1)), SpanName::Submit.id(jobs[0], Fence(2)), "one submission");
    }
}
