//! What `ffprobe` sees in a file: it decodes everything.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct Seen {
    pub(super) streams: Vec<Stream>,
    pub(super) format: Format,
    #[serde(default)]
    pub(super) chapters: Vec<Chapter>,
    #[serde(default, rename = "packets_and_frames")]
    moments: Vec<Moment>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Format {
    pub(super) format_name: String,
    #[serde(default, deserialize_with = "number")]
    pub(super) duration: Option<f64>,
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Chapter {
    #[serde(deserialize_with = "number")]
    pub(super) start_time: Option<f64>,
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Stream {
    pub(super) index: usize,
    #[serde(default)]
    pub(super) codec_type: String,
    #[serde(default)]
    pub(super) codec_name: String,
    #[serde(default)]
    pub(super) width: u32,
    #[serde(default)]
    pub(super) height: u32,
    pub(super) sample_aspect_ratio: Option<String>,
    pub(super) pix_fmt: Option<String>,
    pub(super) field_order: Option<String>,
    pub(super) color_range: Option<String>,
    pub(super) color_space: Option<String>,
    pub(super) color_transfer: Option<String>,
    pub(super) color_primaries: Option<String>,
    pub(super) r_frame_rate: Option<String>,
    pub(super) channels: Option<u32>,
    pub(super) channel_layout: Option<String>,
    #[serde(default, deserialize_with = "number")]
    pub(super) sample_rate: Option<f64>,
    #[serde(default)]
    pub(super) disposition: BTreeMap<String, i32>,
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
    #[serde(default)]
    side_data_list: Vec<SideData>,
}

#[derive(Debug, Deserialize)]
struct SideData {
    rotation: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Moment {
    r#type: String,
    stream_index: Option<usize>,
    #[serde(default, deserialize_with = "number")]
    pts_time: Option<f64>,
    #[serde(default, deserialize_with = "number")]
    best_effort_timestamp_time: Option<f64>,
    #[serde(default, deserialize_with = "number", alias = "pkt_duration_time")]
    duration_time: Option<f64>,
    #[serde(default)]
    nb_samples: u32,
    #[serde(default, deserialize_with = "number")]
    size: Option<f64>,
}

/// A frame that a player shows or plays.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) at: Option<f64>,
    pub(super) length: Option<f64>,
}

/// Numbers stand in quotes.
fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.and_then(|text| text.parse().ok()))
}

const ENTRIES: &str = "format:format_tags:stream:stream_tags:stream_disposition:stream_side_data=rotation:chapter:\
                       chapter_tags:packet=stream_index,pts_time,size:\
                       frame=stream_index,best_effort_timestamp_time,pkt_duration_time,duration_time,nb_samples";

impl Seen {
    pub(super) fn read(path: &Path) -> Self {
        let run = Command::new("ffprobe")
            .args(["-v", "fatal", "-of", "json", "-show_entries", ENTRIES])
            .arg(path)
            .output()
            .unwrap();
        serde_json::from_slice(&run.stdout)
            .unwrap_or_else(|error| panic!("{}: {error} {}", path.display(), String::from_utf8_lossy(&run.stderr)))
    }

    /// The largest picture that is not a cover, the first of equals.
    pub(super) fn video(&self) -> Option<&Stream> {
        let pictures = self.streams.iter().filter(|stream| stream.codec_type == "video" && !stream.is_cover());
        pictures.filter(|stream| stream.width > 0).rev().max_by_key(|stream| stream.width * stream.height)
    }

    pub(super) fn of_type(&self, kind: &str) -> Vec<&Stream> {
        self.streams.iter().filter(|stream| stream.codec_type == kind && !stream.is_cover()).collect()
    }

    pub(super) fn covers(&self) -> usize {
        self.streams.iter().filter(|stream| stream.is_cover()).count()
    }

    pub(super) fn frames(&self, stream: &Stream) -> Vec<Shown> {
        let frames = self.moments.iter().filter(|moment| moment.r#type == "frame");
        let rate = stream.sample_rate.filter(|rate| *rate > 0.0);
        let shown = |moment: &Moment| Shown {
            at: moment.best_effort_timestamp_time,
            length: rate.map(|rate| f64::from(moment.nb_samples) / rate).or(moment.duration_time),
        };
        frames.filter(|moment| moment.stream_index == Some(stream.index)).map(shown).collect()
    }

    /// Presentation times of packets; empty ones carry news about the stream only.
    pub(super) fn packets(&self, stream: &Stream) -> Vec<Option<f64>> {
        let packets = self.moments.iter().filter(|moment| moment.r#type == "packet" && moment.size != Some(0.0));
        packets.filter(|moment| moment.stream_index == Some(stream.index)).map(|moment| moment.pts_time).collect()
    }
}

impl Stream {
    pub(super) fn is_cover(&self) -> bool {
        self.disposition.get("attached_pic") == Some(&1)
    }

    /// Counterclockwise degrees.
    pub(super) fn rotation(&self) -> Option<f64> {
        self.side_data_list.iter().find_map(|data| data.rotation)
    }

    /// Width by height as a viewer sees it.
    pub(super) fn display_aspect(&self) -> f64 {
        let pixel = self.sample_aspect_ratio.as_deref().and_then(|text| text.split_once(':'));
        let pixel = pixel.map_or(1.0, |(num, den)| num.parse::<f64>().unwrap() / den.parse::<f64>().unwrap());
        let coded = f64::from(self.width) * if pixel > 0.0 { pixel } else { 1.0 } / f64::from(self.height);
        if self.is_sideways() { 1.0 / coded } else { coded }
    }

    pub(super) fn is_sideways(&self) -> bool {
        self.rotation().is_some_and(|degrees| (degrees / 90.0).round() as i64 % 2 != 0)
    }

    pub(super) fn tag(&self, name: &str) -> Option<&str> {
        self.tags.get(name).map(String::as_str)
    }
}
