//! The job: what was asked, where it stands, what came out. How it may change is in
//! [`crate::lifecycle`]; how a request becomes one is in [`crate::request`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::cost::{JobCost, Spent};
use crate::encoding::{
    Channels, Chunking, Deinterlace, EncoderOptions, Hardware, Ladder, RateMode, SegmentKind, Selection, Stills,
    Timing, ToneMap, VideoEncoder,
};
use crate::error::JobError;
use crate::id::{Fence, JobId, NodeId, TenantId};
use crate::live::{LiveReport, OutputMode, Secret};
use crate::media::{AudioCodec, Container, SubtitleCodec, Target, VideoCodec, named_enum};
use crate::trace::TraceContext;
use crate::units::{Bitrate, Crf, FrameRate, Joules, PictureSize, Seconds};

named_enum!(
    /// Where a job stands. [`crate::fsm`] says what may follow what.
    JobState, "state" {
        /// Jobs it depends on have not completed yet.
        Waiting "waiting",
        /// Ready to be claimed.
        Queued "queued",
        /// Held by a person; a job that was running keeps its node.
        Paused "paused",
        /// Claimed by a node that has not started it yet.
        Assigned "assigned",
        /// An attempt runs.
        Running "running",
        /// An attempt failed for a transient reason; the next one waits for its backoff.
        Retrying "retrying",
        /// Ended well.
        Completed "completed",
        /// Ended with an error.
        Failed "failed",
        /// Ended by a person.
        Canceled "canceled" | "cancelled",
        /// Refused because nothing in the fleet can ever run it.
        Rejected "rejected",
    }
);

named_enum!(
    /// Order of urgency, most urgent first.
    Priority, "priority" {
        /// Before everything else.
        Live "live",
        /// Before medium.
        High "high",
        /// The default.
        Medium "medium" | "normal" | "default",
        /// After medium.
        Low "low",
        /// When nothing else waits.
        Batch "batch",
    }
);

named_enum!(
    /// The queue, most urgent first.
    Queue, "queue" {
        /// Real-time work.
        Live "live",
        /// The default.
        Default "default",
        /// Bulk work.
        Batch "batch",
    }
);

named_enum!(
    /// Which engine a job asks for.
    EngineChoice, "engine" {
        /// Let [`crate::policy::engine`] choose, with its reason stored in the job.
        Auto "auto",
        /// In-process libav.
        Ffmpeg "ffmpeg" | "libav",
        /// GStreamer pipelines.
        Gstreamer "gstreamer" | "gst",
    }
);

named_enum!(
    /// An engine that runs attempts.
    EngineName, "engine" {
        /// In-process libav.
        Ffmpeg "ffmpeg" | "libav",
        /// GStreamer pipelines.
        Gstreamer "gstreamer" | "gst",
        /// No codec at all: for tests and simulations.
        Synthetic "synthetic",
    }
);

named_enum!(
    /// What a job is for; only `production` counts for service levels.
    Classification, "classification" {
        /// Work for users.
        Production "production",
        /// A trial of the system.
        Test "test",
        /// A measurement.
        Benchmark "benchmark",
        /// A hunt for a fault.
        Debug "debug",
    }
);

named_enum!(
    /// Why a job failed, for counting.
    FailureReason, "failure_reason" {
        /// Nothing could run it.
        CapabilityMismatch "capability_mismatch",
        /// The engine failed.
        RuntimeError "runtime_error",
        /// A time limit passed.
        Timeout "timeout",
        /// The request was wrong.
        UserError "user_error",
        /// A connection failed.
        NetworkError "network_error",
        /// The input was wrong.
        InputError "input_error",
        /// ffrtmp or its machines failed.
        PlatformError "platform_error",
        /// Disk, memory or another resource ran out.
        ResourceError "resource_error",
    }
);

impl JobState {
    /// Whether the job has ended.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled | Self::Rejected)
    }

    /// Whether an attempt may be under way on a node.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Assigned | Self::Running)
    }
}

/// Encoding wishes that go beyond the scenario; they win over it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Parameters {
    /// Seconds of output: cuts a longer input; the length of a generated one (10 by default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Seconds>,
    /// Average video bit rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bitrate: Option<Bitrate>,
    /// Video codec, or `copy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "h264"))]
    pub codec: Option<Target<VideoCodec>>,
    /// Encoder preset: x264 words (`ultrafast` … `veryslow`) for every codec, or a number for
    /// SVT-AV1 (0–13) and libvpx (0–8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Picture size: a name such as `720p`, or `WIDTHxHEIGHT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<PictureSize>,
    /// Frames per second; without it the source's timing is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fps: Option<FrameRate>,
    /// Constant quality instead of a bit rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crf: Option<Crf>,
    /// A particular encoder of the codec, such as `libaom-av1`; the best that works by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoder: Option<VideoEncoder>,
    /// Whether encoders on devices are used; `auto` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware: Option<Hardware>,
    /// Bound on the video bit rate: caps a quality, or the peaks of an average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bitrate: Option<Bitrate>,
    /// Bits of the decoder's buffer behind `max_bitrate`; two seconds of it by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer_size: Option<Bitrate>,
    /// How `bitrate` is held: `vbr` (default) or `cbr`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_mode: Option<RateMode>,
    /// Look at everything once before encoding, so that `bitrate` is spent where it is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub two_pass: Option<bool>,
    /// Seconds between key frames at most; 10 by default, 2 for ladders and segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyframe_interval: Option<Seconds>,
    /// Whether scene cuts get key frames of their own; by default they do, except in ladders and segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scene_cut: Option<bool>,
    /// Bits per component, 8 or 10; the source's by default, where the codec has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bit_depth: Option<u8>,
    /// What to do with interlaced pictures; `auto` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deinterlace: Option<Deinterlace>,
    /// How high dynamic range becomes standard range; `off` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tone_map: Option<ToneMap>,
    /// What decides when pictures are shown; `constant` without `fps` takes the source's average rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timing: Option<Timing>,
    /// Options of the encoder.
    #[serde(skip_serializing_if = "EncoderOptions::is_empty")]
    pub encoder_options: EncoderOptions,
    /// Audio codec, or `copy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "aac"))]
    pub audio_codec: Option<Target<AudioCodec>>,
    /// Audio bit rate per track.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_bitrate: Option<Bitrate>,
    /// Speakers of every track; the source's by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_channels: Option<Channels>,
    /// Samples per second of every track; the source's by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_sample_rate: Option<u32>,
    /// Codec of text subtitles, or `copy`; what the container takes by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "srt"))]
    pub subtitle_codec: Option<Target<SubtitleCodec>>,
    /// Video stream to work on: `default` (the largest), `none`, or an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "default"))]
    pub video_stream: Option<Selection>,
    /// Audio streams: `default` (all), `none`, or indices and languages such as `1,eng`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "default"))]
    pub audio_streams: Option<Selection>,
    /// Subtitles: `default` (all text), `all`, `none`, or indices and languages.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "default"))]
    pub subtitle_streams: Option<Selection>,
    /// Output container; without it the output's extension decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// Several renditions from one decode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ladder: Option<Ladder>,
    /// Seconds of a segment of HLS or DASH; 6 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_duration: Option<Seconds>,
    /// What the segments are; `fmp4` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_type: Option<SegmentKind>,
    /// Still pictures from the same decode.
    #[serde(skip_serializing_if = "Stills::is_empty")]
    pub stills: Stills,
    /// Whether the pictures are encoded in chunks side by side; `auto` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunks: Option<Chunking>,
    /// What becomes of the output: `file`, or `rtmp` to send it to an RTMP server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_mode: Option<OutputMode>,
    /// RTMP server and application, `rtmp://HOST/APPLICATION`; by default the media server of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtmp_url: Option<String>,
    /// Key of the stream on the RTMP server; the job's id by default. Answers show `***` for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub stream_key: Option<Secret>,
    /// File that an output on the network is recorded to as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// Seconds without a picture from a live source after which the job ends; 300 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall_timeout: Option<Seconds>,
    /// Whether the outputs get a still picture and silence while a live source is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slate: Option<bool>,
    /// Whether a faster preset is taken while live encoding cannot keep up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapt_preset: Option<bool>,
}

impl Parameters {
    /// These wishes, and those of `base` where nothing is wished here.
    #[must_use]
    pub fn over(self, base: Self) -> Self {
        Self {
            duration: self.duration.or(base.duration),
            bitrate: self.bitrate.or(base.bitrate),
            codec: self.codec.or(base.codec),
            preset: self.preset.or(base.preset),
            resolution: self.resolution.or(base.resolution),
            fps: self.fps.or(base.fps),
            crf: self.crf.or(base.crf),
            encoder: self.encoder.or(base.encoder),
            hardware: self.hardware.or(base.hardware),
            max_bitrate: self.max_bitrate.or(base.max_bitrate),
            buffer_size: self.buffer_size.or(base.buffer_size),
            rate_mode: self.rate_mode.or(base.rate_mode),
            two_pass: self.two_pass.or(base.two_pass),
            keyframe_interval: self.keyframe_interval.or(base.keyframe_interval),
            scene_cut: self.scene_cut.or(base.scene_cut),
            bit_depth: self.bit_depth.or(base.bit_depth),
            deinterlace: self.deinterlace.or(base.deinterlace),
            tone_map: self.tone_map.or(base.tone_map),
            timing: self.timing.or(base.timing),
            encoder_options: if self.encoder_options.is_empty() { base.encoder_options } else { self.encoder_options },
            audio_codec: self.audio_codec.or(base.audio_codec),
            audio_bitrate: self.audio_bitrate.or(base.audio_bitrate),
            audio_channels: self.audio_channels.or(base.audio_channels),
            audio_sample_rate: self.audio_sample_rate.or(base.audio_sample_rate),
            subtitle_codec: self.subtitle_codec.or(base.subtitle_codec),
            video_stream: self.video_stream.or(base.video_stream),
            audio_streams: self.audio_streams.or(base.audio_streams),
            subtitle_streams: self.subtitle_streams.or(base.subtitle_streams),
            container: self.container.or(base.container),
            ladder: self.ladder.or(base.ladder),
            segment_duration: self.segment_duration.or(base.segment_duration),
            segment_type: self.segment_type.or(base.segment_type),
            stills: if self.stills.is_empty() { base.stills } else { self.stills },
            chunks: self.chunks.or(base.chunks),
            output_mode: self.output_mode.or(base.output_mode),
            rtmp_url: self.rtmp_url.or(base.rtmp_url),
            stream_key: self.stream_key.or(base.stream_key),
            record: self.record.or(base.record),
            stall_timeout: self.stall_timeout.or(base.stall_timeout),
            slate: self.slate.or(base.slate),
            adapt_preset: self.adapt_preset.or(base.adapt_preset),
        }
    }
}

/// Limits of one attempt. What is absent takes the defaults of [`crate::policy::limits`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResourceLimits {
    /// Percent of one core: 200 is two cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cpu_percent: Option<u32>,
    /// Megabytes (2^20 bytes) of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory_mb: Option<u64>,
    /// Megabytes (2^20 bytes) of disk, inputs and outputs together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_disk_mb: Option<u64>,
    /// Seconds of wall time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_sec: Option<u64>,
}

/// What a person asks for: the body of `POST /jobs`. Unknown fields are refused by
/// [`crate::request::parse`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobRequest {
    /// What to make, in the scenario grammar, such as `720p30-h264`.
    #[cfg_attr(feature = "openapi", schema(example = "720p30-h264"))]
    pub scenario: String,
    /// Path or URI of the source; without it the agent generates a test picture and tone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Path or URI of the result; without it the agent keeps it in its work directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Kept for older clients: `auto`, `high`, `medium` or `low`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<String>,
    /// Engine; `auto` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineChoice>,
    /// What the job is for; by default what the scenario's words say, else `production`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
    /// Queue; by default `live` if the scenario's words say so, else `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    /// Priority; `medium` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Whose it is, for fair shares and caps; `default` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Encoding wishes.
    pub parameters: Parameters,
    /// Limits of an attempt; also accepted inside `parameters`.
    pub resource_limits: ResourceLimits,
    /// Retries after transient failures; the master's default (3) if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// Jobs that must complete first.
    pub depends_on: Vec<JobId>,
    /// Free labels, to filter by.
    pub labels: BTreeMap<String, String>,
    /// When the result is wanted; the scheduler `deadline` takes the earliest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// The trace that the submission is a part of, as the header `traceparent` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<TraceContext>,
}

named_enum!(
    /// How an attempt ended.
    AttemptOutcome, "outcome" {
        /// Its output is published.
        Completed "completed",
        /// It failed, or its node was lost.
        Failed "failed",
        /// Its node gave the job back unharmed.
        Released "released",
        /// A person canceled the job.
        Canceled "canceled",
    }
);

/// One attempt at a job. Its log lines carry its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Attempt {
    /// Counts from 1 over all rounds.
    pub number: u32,
    /// The fence under which it ran.
    pub fence: Fence,
    /// Who ran it.
    pub node_id: NodeId,
    /// Its name.
    pub node_name: String,
    /// When the node was given the job.
    pub assigned_at: Timestamp,
    /// When the node began; absent if it never did.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When it ended; absent while it runs.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// How it ended; absent while it runs.
    #[serde(default)]
    pub outcome: Option<AttemptOutcome>,
    /// What went wrong.
    #[serde(default)]
    pub error: Option<JobError>,
}

/// One change of state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StateTransition {
    /// State before; the same as `to` for the submission itself.
    pub from: JobState,
    /// State after.
    pub to: JobState,
    /// When.
    pub at: Timestamp,
    /// Why, in words.
    pub reason: String,
}

named_enum!(
    /// How the energy of an attempt was found.
    EnergySource, "energy_source" {
        /// Read from the processor's RAPL counters, attributed by CPU time.
        Rapl "rapl",
        /// The same, and the graphics processor's part as its driver tells it.
        RaplNvml "rapl+nvml",
        /// Modelled: CPU seconds times a stated power per core.
        Modelled "modelled" | "model",
    }
);

/// What an attempt measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobReport {
    /// Where the output is.
    pub output_uri: Option<String>,
    /// Size of the output file.
    pub size_bytes: u64,
    /// Length of the output in seconds.
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub duration_seconds: f64,
    /// Video frames in the output.
    pub frames: u64,
    /// Frames encoded per second of wall time.
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub fps: f64,
    /// Seconds of output made per second of wall time.
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub speed: f64,
    /// Wall time of the attempt.
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub wall_seconds: f64,
    /// User and system CPU time of the attempt.
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub cpu_seconds: f64,
    /// Largest resident memory of the attempt's process.
    pub peak_memory_bytes: u64,
    /// Bytes read from the input.
    pub input_bytes: u64,
    /// Bytes written to the output.
    pub output_bytes: u64,
    /// Energy, if it could be measured or modelled.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<f64>, minimum = 0))]
    pub energy_joules: Option<Joules>,
    /// How the energy was found.
    pub energy_source: Option<EnergySource>,
    /// Time for which the limit on the processor held the attempt back, if there was one in force.
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled_seconds: Option<f64>,
    /// Graphics processor that encoded, as its index on the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<u32>,
    /// Layers of the sandbox that were not in force, each with its reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sandbox_off: Vec<String>,
    /// `blake3:` and the hexadecimal digest of the output file.
    pub hash: Option<String>,
    /// Video encoder that ran, such as `libx264`.
    pub video_encoder: Option<String>,
    /// Video codec of the output.
    pub video_codec: Option<String>,
    /// Picture size of the output.
    pub resolution: Option<String>,
    /// Average bit rate of the whole output in bits per second.
    pub bit_rate: u64,
    /// What a reader should know: fallbacks, skipped streams, repaired timestamps.
    pub warnings: Vec<String>,
    /// Every file that was made, the primary one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<OutputFile>,
    /// Every rendition that was encoded, the largest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub renditions: Vec<RenditionReport>,
    /// Whether the pictures were encoded in chunks, and why or why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunking: Option<ChunkReport>,
    /// What was measured of a live attempt.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::protocol::object")]
    pub live: Option<Box<LiveReport>>,
    /// What the attempt spent its time on, in the order in which it began.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageTime>,
    /// What it cost, by the rates of the master; what nodes say of it does not count.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::protocol::object")]
    pub cost: Option<Box<JobCost>>,
    /// Measures that this version does not name, such as those of foreign agents.
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(ignore))]
    pub other: BTreeMap<String, serde_json::Value>,
}

named_enum!(
    /// A part of an attempt. What comes before it, the wait for a node, is in the job itself.
    Stage, "stage" {
        /// What it takes is reserved, its input fetched, and a place made for its output.
        StageIn "stage_in",
        /// The input is opened and described, and the work planned.
        Probe "probe",
        /// The media is made.
        Encode "encode",
        /// What was made is read back and hashed.
        Verify "verify",
        /// The output becomes visible and durable.
        Publish "publish",
    }
);

/// How long an attempt spent in one of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StageTime {
    /// Which part.
    pub name: Stage,
    /// Seconds from the beginning of the attempt to that of the part.
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub offset_seconds: f64,
    /// Seconds that it took.
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub seconds: f64,
}

impl StageTime {
    /// A part that began at `offset` and took `length`, to the microsecond.
    #[must_use]
    pub fn new(name: Stage, offset: Duration, length: Duration) -> Self {
        let seconds = |time: Duration| time.as_micros() as f64 / 1e6;
        Self { name, offset_seconds: seconds(offset), seconds: seconds(length) }
    }

    /// The same, seen from an instant that is earlier by `by`.
    #[must_use]
    pub fn later(self, by: Duration) -> Self {
        let offset_seconds = ((self.offset_seconds + by.as_secs_f64()) * 1e6).round() / 1e6;
        Self { offset_seconds, ..self }
    }
}

/// One file of an output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OutputFile {
    /// Path relative to the directory of the primary file.
    pub path: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// `blake3:` and the hexadecimal digest.
    pub hash: String,
}

/// One rendition of a ladder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RenditionReport {
    /// Its name.
    pub name: String,
    /// Picture size.
    pub resolution: String,
    /// Encoder that ran.
    pub video_encoder: String,
    /// Frames.
    pub frames: u64,
    /// Average bit rate of its video in bits per second.
    pub bit_rate: u64,
}

/// How the pictures were divided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChunkReport {
    /// Number of chunks; 1 if the pictures were not divided.
    pub chunks: u32,
    /// Encoders that worked side by side.
    pub workers: u32,
    /// Why.
    pub reason: String,
}

/// Whether a finished production job kept its service level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SlaVerdict {
    /// Whether the job counts at all.
    pub counted: bool,
    /// Whether it kept its level.
    pub compliant: bool,
    /// Why.
    pub reason: String,
}

/// A job with everything known about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Job {
    /// Identity.
    pub id: JobId,
    /// Counts submissions from 1; 0 until the store has given it.
    pub sequence_number: u64,
    /// Whose it is.
    #[serde(default)]
    pub tenant: TenantId,
    /// Where it stands.
    pub state: JobState,
    /// The scenario as it was given.
    pub scenario: String,
    /// Path or URI of the source.
    pub input: Option<String>,
    /// Path or URI of the result.
    pub output: Option<String>,
    /// As it was given.
    pub confidence: Option<String>,
    /// Engine that was asked for.
    pub engine: EngineChoice,
    /// Engine that runs or ran it, or the one chosen at submission.
    pub engine_used: Option<EngineName>,
    /// Why that engine.
    pub engine_reason: Option<String>,
    /// What it is for.
    pub classification: Classification,
    /// Queue.
    pub queue: Queue,
    /// Priority.
    pub priority: Priority,
    /// Encoding wishes.
    pub parameters: Box<Parameters>,
    /// Limits, with defaults filled in.
    pub resource_limits: ResourceLimits,
    /// Retries allowed.
    pub max_retries: u32,
    /// Jobs that must complete first.
    pub depends_on: Vec<JobId>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// When the result is wanted.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
    /// The trace that it is told in: whose child the submission is, or the submission itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// Node of the current or last attempt.
    pub node_id: Option<NodeId>,
    /// Its name.
    pub node_name: Option<String>,
    /// Attempts so far, the current one included.
    pub attempt: u32,
    /// Fence of the current or last attempt.
    pub fence: Fence,
    /// Retries used in this round.
    pub retry_count: u32,
    /// Percent done, 0 to 100.
    pub progress: f64,
    /// Submission.
    pub created_at: Timestamp,
    /// Last time it became ready to be claimed.
    pub queued_at: Option<Timestamp>,
    /// Start of the current or last attempt.
    pub started_at: Option<Timestamp>,
    /// Last sign of life of the attempt.
    pub last_activity_at: Option<Timestamp>,
    /// End.
    pub completed_at: Option<Timestamp>,
    /// When the current lease ends, unless it is renewed.
    pub lease_expires_at: Option<Timestamp>,
    /// When the backoff of a retrying job is over.
    pub retry_at: Option<Timestamp>,
    /// What went wrong, in the last attempt that failed.
    pub error: Option<JobError>,
    /// The same for counting; set when the job failed.
    pub failure_reason: Option<FailureReason>,
    /// Why it is not running yet, in words; worked out when the job is shown.
    #[serde(default)]
    pub waiting_reason: Option<String>,
    /// What was measured, once it completed.
    pub result: Option<Box<JobReport>>,
    /// What attempts used that made no output, and what that cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<Box<Spent>>,
    /// Service-level verdict, once it ended.
    pub sla: Option<SlaVerdict>,
    /// Every attempt so far, oldest first; the last 50 of a very long story.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// Every change of state so far, oldest first; the last 200 of a very long story.
    pub state_transitions: Vec<StateTransition>,
}

/// A job as the API shows it: the job, and `status` as a second name of `state`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobView {
    /// The job.
    #[serde(flatten)]
    pub job: Job,
    /// The same as `state`, for older clients.
    pub status: JobState,
    /// What all its attempts cost so far, by the rates of the master: `cost` of `result` and of `spent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<JobCost>,
}

impl From<Job> for JobView {
    /// As answers show it: without its stream key.
    fn from(mut job: Job) -> Self {
        if let Some(key) = &mut job.parameters.stream_key {
            *key = Secret::hidden();
        }
        Self::with_secrets(job)
    }
}

impl JobView {
    /// As the agent needs it that runs the job.
    #[must_use]
    pub fn with_secrets(job: Job) -> Self {
        Self { status: job.state, cost: job.cost(), job }
    }
}
