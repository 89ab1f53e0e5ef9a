//! What a job needs of a node and what a node has to offer, and whether the two meet.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Capabilities, Gpu, Node};
use crate::encoding::{Hardware, VideoEncoder};
use crate::error::Result;
use crate::job::{EngineName, Job};
use crate::media::{Container, Target, VideoCodec};
use crate::policy::limits::{DEFAULT_DISK_MB, DEFAULT_MEMORY_MB};
use crate::scenario::Scenario;

/// What a job needs of a node. Jobs with equal requirements, of one tenant and one queue, stand in
/// one [`crate::store::Lane`]; the claim compares a node with lanes, not with jobs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Requirements {
    /// The engine that must run it.
    pub engine: EngineName,
    /// The codec that must be encoded; absent for `copy`.
    pub video_codec: Option<VideoCodec>,
    /// The very encoder, where the request names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<VideoEncoder>,
    /// Whether it takes an encode session of a graphics processor.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gpu: bool,
    /// Megabytes (2^20 bytes) of memory that the machine must have; 0 for what any machine has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub memory_mb: u64,
    /// Megabytes (2^20 bytes) of free disk; 0 for what any machine has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub disk_mb: u64,
    /// Labels that the node must carry, from the job's labels that start with `node.`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What a node has to offer. What it did not say counts as enough, but an encoder on a device must
/// be listed: only a test encode shows that it works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// What it can do.
    pub capabilities: Capabilities,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Memory of the machine, in bytes.
    pub memory_bytes: Option<u64>,
    /// Free space for work, in bytes.
    pub disk_bytes: Option<u64>,
    /// Encode sessions that its graphics processors hold at once, the ones in use included.
    pub gpu_sessions: Option<u32>,
}

impl Offer {
    /// Whether a node with this offer can run whatever one with the other can, as far as
    /// [`Requirements::unmet`] looks. A node whose encode sessions are counted may have none left
    /// where the other has.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let (mine, its) = (&self.capabilities, &other.capabilities);
        let codecs = match (&mine.video_codecs, &its.video_codecs) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(its)) => its.iter().all(|codec| mine.contains(codec)),
        };
        // No list of encoders stands for every encoder that is not on a device.
        let encoders = match (mine.encoders.is_empty(), its.encoders.is_empty()) {
            (true, _) => !its.encoders.iter().any(|name| is_on_device(name)),
            (false, true) => false,
            (false, false) => its.encoders.iter().all(|encoder| mine.encoders.contains(encoder)),
        };
        let enough = |mine: Option<u64>, its: Option<u64>| mine.is_none() || its.is_some() && mine >= its;
        its.engines.iter().all(|engine| mine.engines.contains(engine))
            && codecs
            && encoders
            && (self.gpu_sessions.is_none() || other.gpu_sessions == Some(0))
            && enough(self.memory_bytes, other.memory_bytes)
            && enough(self.disk_bytes, other.disk_bytes)
            && other.labels.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }
}

impl Requirements {
    /// Just an engine.
    #[must_use]
    pub fn engine(engine: EngineName) -> Self {
        Self { engine, video_codec: None, encoder: None, gpu: false, memory_mb: 0, disk_mb: 0, labels: BTreeMap::new() }
    }

    /// What a job needs: its engine, the codec that it encodes or the very encoder, an encode
    /// session if the encoder is on a device, labels `node.KEY`, and memory and disk where its
    /// limits are above the defaults of [`crate::policy::limits`].
    ///
    /// # Errors
    /// `unknown_scenario` for a stored scenario that this version cannot read.
    pub fn of(job: &Job) -> Result<Self> {
        let scenario: Scenario = if job.scenario.is_empty() { Scenario::default() } else { job.scenario.parse()? };
        let asked = &job.parameters;
        let encoder = asked.encoder.filter(|_| asked.codec != Some(Target::Copy));
        let container = asked.container.or_else(|| job.output.as_deref().and_then(Container::from_path));
        let video_codec = match asked.codec {
            Some(Target::Copy) => None,
            Some(Target::Encode(codec)) => Some(codec),
            None => {
                let wished = encoder.map(VideoEncoder::codec).or(scenario.codec);
                container.unwrap_or(Container::Mp4).default_video().map(|default| wished.unwrap_or(default))
            }
        };
        let node_labels = job.labels.iter().filter_map(|(key, value)| Some((key.strip_prefix("node.")?, value)));
        Ok(Self {
            engine: job.engine_used.unwrap_or(EngineName::Ffmpeg),
            video_codec,
            encoder,
            gpu: video_codec.is_some()
                && encoder.map_or(asked.hardware == Some(Hardware::Require), VideoEncoder::is_hardware),
            memory_mb: beyond(DEFAULT_MEMORY_MB, job.resource_limits.max_memory_mb),
            disk_mb: beyond(DEFAULT_DISK_MB, job.resource_limits.max_disk_mb),
            labels: node_labels.map(|(key, value)| (key.to_owned(), value.clone())).collect(),
        })
    }

    /// Whether a node with this offer can run it.
    #[must_use]
    pub fn met_by(&self, offer: &Offer) -> bool {
        self.unmet(offer).is_none()
    }

    /// The first thing that the offer lacks, in words such as `hevc_nvenc` or `4096 MB of memory`.
    #[must_use]
    pub fn unmet(&self, offer: &Offer) -> Option<String> {
        let Capabilities { engines, video_codecs, encoders, .. } = &offer.capabilities;
        if !engines.contains(&self.engine) {
            return Some(format!("engine {}", self.engine));
        }
        let lists = |encoder: VideoEncoder| encoders.iter().any(|name| name == encoder.as_str());
        let lacks = |encoder: &VideoEncoder| (encoder.is_hardware() || !encoders.is_empty()) && !lists(*encoder);
        if let Some(encoder) = self.encoder.filter(lacks) {
            return Some(encoder.to_string());
        }
        let encodes = |codec: &VideoCodec| video_codecs.as_ref().is_none_or(|codecs| codecs.contains(codec));
        if let Some(codec) = self.video_codec.filter(|codec| !encodes(codec)) {
            return Some(format!("an encoder of {codec}"));
        }
        let hardware = |codec: VideoCodec| {
            VideoEncoder::ALL.iter().any(|known| known.is_hardware() && known.codec() == codec && lists(*known))
        };
        if self.gpu
            && (offer.gpu_sessions == Some(0) || self.encoder.is_none() && !self.video_codec.is_some_and(hardware))
        {
            return Some(format!("a hardware encoder of {}", self.video_codec.map_or("video", VideoCodec::as_str)));
        }
        let short = |needed: u64, has: Option<u64>| has.is_some_and(|has| has < needed.saturating_mul(MEGABYTE));
        // A machine of 4 GB reports less: firmware and kernel keep a part.
        if short(self.memory_mb, offer.memory_bytes.map(|bytes| bytes.saturating_add(bytes / 15))) {
            return Some(format!("{} MB of memory", self.memory_mb));
        }
        if short(self.disk_mb, offer.disk_bytes) {
            return Some(format!("{} MB of free disk", self.disk_mb));
        }
        let missing = self.labels.iter().find(|(key, value)| offer.labels.get(*key) != Some(value));
        missing.map(|(key, value)| format!("label {key}={value}"))
    }

    /// The requirements in words, such as `ffmpeg/h264/zone=eu`.
    #[must_use]
    pub fn class(&self) -> String {
        let codec = self.video_codec.map_or("copy", VideoCodec::as_str);
        let mut class = format!("{}/{}", self.engine, self.encoder.map_or(codec, VideoEncoder::as_str));
        if self.gpu && self.encoder.is_none() {
            class.push_str("/gpu");
        }
        for (amount, what) in [(self.memory_mb, "memory"), (self.disk_mb, "disk")] {
            if amount > 0 {
                class.push_str(&format!("/{what}={amount}MB"));
            }
        }
        for (key, value) in &self.labels {
            class.push_str(&format!("/{key}={value}"));
        }
        class
    }
}

impl Node {
    /// What it has to offer now.
    #[must_use]
    pub fn offer(&self) -> Offer {
        let about = &self.about;
        let said = |bytes: u64| (bytes > 0).then_some(bytes);
        Offer {
            capabilities: about.capabilities.clone(),
            labels: about.labels.clone(),
            memory_bytes: said(about.ram_total_bytes),
            disk_bytes: said(self.telemetry.disk_available_bytes),
            gpu_sessions: Gpu::session_bounds(&about.gpus),
        }
    }
}

const MEGABYTE: u64 = 1 << 20;

fn is_on_device(encoder: &str) -> bool {
    VideoEncoder::ALL.iter().any(|known| known.is_hardware() && known.as_str() == encoder)
}

/// A need above what any machine is taken to have, rounded up to 1,024 MB: lanes stay few.
fn beyond(default: u64, limit: Option<u64>) -> u64 {
    limit.filter(|limit| *limit > default).map_or(0, |limit| limit.div_ceil(1024).saturating_mul(1024))
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(amount: &u64) -> bool {
    *amount == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::id::JobId;
    use crate::job::{JobRequest, Parameters, ResourceLimits};
    use crate::request;

    fn needs(parameters: Parameters, resource_limits: ResourceLimits) -> Requirements {
        let request = JobRequest {
            scenario: "transcode".into(),
            input: Some("in.mkv".into()),
            parameters,
            resource_limits,
            ..JobRequest::default()
        };
        request::prepare(request, JobId::from_u128(1), 0, Timestamp::default()).unwrap().requirements
    }

    fn offer(encoders: &[&str]) -> Offer {
        let encoders = encoders.iter().map(|name| (*name).to_owned()).collect();
        Offer {
            capabilities: Capabilities { encoders, ..Capabilities::default() },
            memory_bytes: Some(8192 * MEGABYTE),
            disk_bytes: Some(10_000 * MEGABYTE),
            gpu_sessions: Some(2),
            ..Offer::default()
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let plain = || needs(Parameters::default(), ResourceLimits::default());
        let encoder = |name: &str| Parameters { encoder: Some(name.parse().unwrap()), ..Parameters::default() };
        let required = Parameters { hardware: Some(Hardware::Require), ..Parameters::default() };
        let memory = ResourceLimits { max_memory_mb: Some(9000), ..ResourceLimits::default() };
        let disk = ResourceLimits { max_disk_mb: Some(11_000), ..ResourceLimits::default() };
        let software = offer(&["libx264", "libx265"]);
        let device = offer(&["libx264", "h264_nvenc", "hevc_nvenc"]);
        for (needs, offer, missing) in [
            (plain(), &software, None),
            (plain(), &Offer::default(), None),
            (needs(encoder("hevc_nvenc"), ResourceLimits::default()), &software, Some("hevc_nvenc")),
            (needs(encoder("hevc_nvenc"), ResourceLimits::default()), &device, None),
            (needs(encoder("hevc_nvenc"), ResourceLimits::default()), &offer(&[]), Some("hevc_nvenc")),
            (needs(encoder("hevc_nvenc"), ResourceLimits::default()), &Offer::default(), Some("hevc_nvenc")),
            (needs(encoder("libx265"), ResourceLimits::default()), &Offer::default(), None),
            (needs(required.clone(), ResourceLimits::default()), &software, Some("a hardware encoder of h264")),
            (needs(required.clone(), ResourceLimits::default()), &device, None),
            (
                needs(required, ResourceLimits::default()),
                &Offer { gpu_sessions: Some(0), ..device.clone() },
                Some("a hardware encoder of h264"),
            ),
            (needs(Parameters::default(), memory), &software, Some("9216 MB of memory")),
            (needs(Parameters::default(), memory), &Offer::default(), None),
            (needs(Parameters::default(), disk), &software, Some("11264 MB of free disk")),
            (Requirements::engine(EngineName::Gstreamer), &software, Some("engine gstreamer")),
        ] {
            assert_eq!(needs.unmet(offer).as_deref(), missing, "{}", needs.class());
        }
    }

    #[test]
    fn an_offer_without_a_list_covers_software_only() {
        let lists: [&[&str]; 4] = [&[], &["libx264"], &["libx264", "libx265"], &["libx264", "h264_nvenc"]];
        let covered = [
            [true, true, true, false],
            [false, true, false, false],
            [false, true, true, false],
            [false, true, false, true],
        ];
        for (mine, row) in lists.iter().zip(covered) {
            for (its, covers) in lists.iter().zip(row) {
                let without_devices = |list: &[&str]| Offer { gpu_sessions: None, ..offer(list) };
                assert_eq!(without_devices(mine).covers(&without_devices(its)), covers, "{mine:?} for {its:?}");
            }
        }
    }

    #[test]
    fn limits_up_to_the_defaults_ask_for_nothing() {
        let limits = ResourceLimits { max_memory_mb: Some(2048), max_disk_mb: Some(5000), ..ResourceLimits::default() };
        let needs = needs(Parameters::default(), limits);
        assert_eq!((needs.memory_mb, needs.disk_mb, needs.gpu), (0, 0, false));
        assert_eq!(beyond(2048, Some(2049)), 3072);
        assert_eq!(serde_json::to_string(&needs).unwrap(), r#"{"engine":"ffmpeg","video_codec":"h264"}"#);
    }
}
