//! The shape of a request: names, types, one value after the other.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::encoding::{EncoderOptions, Ladder, Rendition, Selection, Stills};
use crate::error::{Code, Error, Result, nearest};
use crate::job::{JobRequest, Parameters, ResourceLimits};
use crate::live::Secret;
use crate::units::{Crf, Seconds};

/// Reads the body of `POST /jobs`.
///
/// `null` is the same as leaving a field out. `resource_limits` may stand inside `parameters`; a
/// limit that is given in both places is the outer one. A duration, bit rate or frame rate may be a number
/// or a text.
///
/// # Errors
/// `unknown_field` with the nearest known name, `invalid_field` naming the field, such as
/// `parameters.duration`; `invalid_request` for anything but an object.
pub fn parse(body: Value) -> Result<JobRequest> {
    let Value::Object(fields) = body else {
        return Err(Error::new(Code::InvalidRequest, format!("a job is an object, not {}", kind(&body)))
            .hint("send an object such as {\"scenario\": \"720p30-h264\"}"));
    };
    let mut job = Fields::new("", fields);
    let mut inner = job.object("parameters")?;
    let outer_limits = limits(job.object("resource_limits")?)?;
    let inner_limits = limits(inner.object("resource_limits")?)?;
    let scenario = job.text("scenario")?;
    let request = JobRequest {
        scenario: scenario.as_deref().unwrap_or_default().to_owned(),
        input: job.text("input")?,
        output: job.text("output")?,
        confidence: job.text("confidence")?,
        engine: job.named("engine")?,
        classification: job.named("classification")?,
        queue: job.named("queue")?,
        priority: job.named("priority")?,
        tenant: job.named("tenant")?,
        parameters: parameters(inner)?,
        resource_limits: merge(outer_limits, inner_limits),
        max_retries: job.integer("max_retries")?,
        depends_on: job.list("depends_on")?,
        labels: job.labels("labels")?,
        deadline: job.time("deadline")?,
        traceparent: job.named("traceparent")?,
    };
    // First of all a misspelt name, which may be why the scenario is missing.
    job.nothing_left()?;
    match scenario {
        Some(_) => Ok(request),
        None => Err(invalid(
            "scenario",
            "is missing",
            "give one such as 720p30-h264; `ffrtmp scenarios` prints the grammar",
        )),
    }
}

fn parameters(mut fields: Fields) -> Result<Parameters> {
    let parameters = Parameters {
        duration: fields.number_or_text::<Seconds>("duration")?,
        bitrate: fields.number_or_text("bitrate")?,
        codec: fields.named("codec")?,
        preset: fields.preset("preset")?,
        resolution: fields.named("resolution")?,
        fps: fields.number_or_text("fps")?,
        crf: fields.number_or_text::<Crf>("crf")?,
        audio_codec: fields.named("audio_codec")?,
        audio_bitrate: fields.number_or_text("audio_bitrate")?,
        container: fields.named("container")?,
        encoder: fields.named("encoder")?,
        hardware: fields.named("hardware")?,
        max_bitrate: fields.number_or_text("max_bitrate")?,
        buffer_size: fields.number_or_text("buffer_size")?,
        rate_mode: fields.named("rate_mode")?,
        two_pass: fields.truth("two_pass")?,
        keyframe_interval: fields.number_or_text("keyframe_interval")?,
        scene_cut: fields.truth("scene_cut")?,
        bit_depth: fields.integer("bit_depth")?,
        deinterlace: fields.named("deinterlace")?,
        tone_map: fields.named("tone_map")?,
        timing: fields.named("timing")?,
        encoder_options: encoder_options(fields.object("encoder_options")?)?,
        audio_channels: fields.number_or_text("audio_channels")?,
        audio_sample_rate: fields.integer("audio_sample_rate")?,
        subtitle_codec: fields.named("subtitle_codec")?,
        video_stream: fields.streams("video_stream")?,
        audio_streams: fields.streams("audio_streams")?,
        subtitle_streams: fields.streams("subtitle_streams")?,
        ladder: fields.ladder("ladder")?,
        segment_duration: fields.number_or_text("segment_duration")?,
        segment_type: fields.named("segment_type")?,
        stills: stills(fields.object("stills")?)?,
        chunks: fields.named("chunks")?,
        output_mode: fields.named("output_mode")?,
        rtmp_url: fields.text("rtmp_url")?,
        stream_key: fields.text("stream_key")?.map(Secret::new),
        record: fields.text("record")?,
        stall_timeout: fields.number_or_text("stall_timeout")?,
        slate: fields.truth("slate")?,
        adapt_preset: fields.truth("adapt_preset")?,
    };
    fields.known.push("resource_limits");
    fields.nothing_left()?;
    Ok(parameters)
}

fn encoder_options(mut fields: Fields) -> Result<EncoderOptions> {
    let options = EncoderOptions {
        tune: fields.named("tune")?,
        profile: fields.named("profile")?,
        level: fields.number("level")?,
        b_frames: fields.integer("b_frames")?,
        references: fields.integer("references")?,
        lookahead: fields.integer("lookahead")?,
        aq_mode: fields.integer("aq_mode")?,
        aq_strength: fields.number("aq_strength")?,
        tile_columns: fields.integer("tile_columns")?,
        tile_rows: fields.integer("tile_rows")?,
        film_grain: fields.integer("film_grain")?,
    };
    fields.nothing_left()?;
    Ok(options)
}

fn stills(mut fields: Fields) -> Result<Stills> {
    let stills = Stills {
        poster: fields.number_or_text("poster")?,
        thumbnails: fields.integer("thumbnails")?,
        thumbnail_width: fields.integer("thumbnail_width")?,
        sprite_interval: fields.number_or_text("sprite_interval")?,
        sprite_width: fields.integer("sprite_width")?,
        sprite_columns: fields.integer("sprite_columns")?,
    };
    fields.nothing_left()?;
    Ok(stills)
}

fn rendition(mut fields: Fields) -> Result<Rendition> {
    let rendition = Rendition {
        name: fields.text("name")?,
        resolution: fields.named("resolution")?,
        bitrate: fields.number_or_text("bitrate")?,
        max_bitrate: fields.number_or_text("max_bitrate")?,
        crf: fields.number_or_text("crf")?,
    };
    fields.nothing_left()?;
    Ok(rendition)
}

fn limits(mut fields: Fields) -> Result<ResourceLimits> {
    let limits = ResourceLimits {
        max_cpu_percent: fields.integer("max_cpu_percent")?,
        max_memory_mb: fields.integer("max_memory_mb")?,
        max_disk_mb: fields.integer("max_disk_mb")?,
        timeout_sec: fields.integer("timeout_sec")?,
    };
    fields.nothing_left()?;
    Ok(limits)
}

fn merge(outer: ResourceLimits, inner: ResourceLimits) -> ResourceLimits {
    ResourceLimits {
        max_cpu_percent: outer.max_cpu_percent.or(inner.max_cpu_percent),
        max_memory_mb: outer.max_memory_mb.or(inner.max_memory_mb),
        max_disk_mb: outer.max_disk_mb.or(inner.max_disk_mb),
        timeout_sec: outer.timeout_sec.or(inner.timeout_sec),
    }
}

/// The fields of one object, taken out one by one. What is asked for is known; what is left at the
/// end is not.
struct Fields {
    path: String,
    fields: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Fields {
    fn new(path: &str, fields: Map<String, Value>) -> Self {
        Self { path: path.to_owned(), fields, known: Vec::new() }
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    fn object(&mut self, name: &'static str) -> Result<Self> {
        match self.take(name) {
            None => Ok(Self::new(&self.path_of(name), Map::new())),
            Some(Value::Object(fields)) => Ok(Self::new(&self.path_of(name), fields)),
            Some(other) => Err(self.wrong_type(name, "an object", &other)),
        }
    }

    fn time(&mut self, name: &'static str) -> Result<Option<Timestamp>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        text.parse()
            .map(Some)
            .map_err(|_| invalid(name, "is not a time", "give RFC 3339, such as 2026-01-31T12:00:00Z"))
    }

    fn text(&mut self, name: &'static str) -> Result<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong_type(name, "a text", &other)),
        }
    }

    /// A value with a notation, given as text.
    fn named<T: FromStr<Err = Error>>(&mut self, name: &'static str) -> Result<Option<T>> {
        self.text(name)?.map(|text| self.read(name, &text)).transpose()
    }

    /// A value with a notation, given as text or number.
    fn number_or_text<T: FromStr<Err = Error>>(&mut self, name: &'static str) -> Result<Option<T>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => self.read(name, &text).map(Some),
            Some(Value::Number(number)) => self.read(name, &plain(&number)).map(Some),
            Some(other) => Err(self.wrong_type(name, "a number or a text", &other)),
        }
    }

    /// A preset: a word, or a number that stands for itself.
    fn preset(&mut self, name: &'static str) -> Result<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(other) => Err(self.wrong_type(name, "a text or a number", &other)),
        }
    }

    /// A selection of streams: a text, or the index of one.
    fn streams(&mut self, name: &'static str) -> Result<Option<Selection>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => self.read(name, &text).map(Some),
            Some(Value::Number(index)) if index.is_u64() => self.read(name, &index.to_string()).map(Some),
            Some(other) => Err(self.wrong_type(name, "a text such as 1,eng or the index of a stream", &other)),
        }
    }

    fn truth(&mut self, name: &'static str) -> Result<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(truth)),
            Some(other) => Err(self.wrong_type(name, "true or false", &other)),
        }
    }

    fn number(&mut self, name: &'static str) -> Result<Option<f64>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_f64()),
            Some(other) => Err(self.wrong_type(name, "a number", &other)),
        }
    }

    /// A text such as `1080p:5M,720p`, or a list of texts and objects.
    fn ladder(&mut self, name: &'static str) -> Result<Option<Ladder>> {
        let ladder = match self.take(name) {
            None => return Ok(None),
            Some(Value::String(text)) => self.read(name, &text)?,
            Some(Value::Array(items)) => {
                let read = |(index, item): (usize, Value)| {
                    let name = format!("{name}[{index}]");
                    match item {
                        Value::Object(fields) => rendition(Self::new(&self.path_of(&name), fields)),
                        item => self.read_item(&name, &item),
                    }
                };
                Ladder::Renditions(items.into_iter().take(MAX_ITEMS).enumerate().map(read).collect::<Result<_>>()?)
            }
            Some(other) => return Err(self.wrong_type(name, "auto, a text such as 1080p:5M,720p, or a list", &other)),
        };
        ladder.check()?;
        Ok(Some(ladder))
    }

    fn integer<T: TryFrom<u64>>(&mut self, name: &'static str) -> Result<Option<T>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        if let Some(number) = value.as_u64().and_then(|number| T::try_from(number).ok()) {
            return Ok(Some(number));
        }
        match value {
            Value::Number(number) => {
                Err(invalid(&self.path_of(name), &format!("is {number}"), "give a whole number from 0"))
            }
            other => Err(self.wrong_type(name, "a whole number", &other)),
        }
    }

    fn list<T: FromStr<Err = Error>>(&mut self, name: &'static str) -> Result<Vec<T>> {
        let items = match self.take(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(self.wrong_type(name, "a list", &other)),
        };
        items.iter().enumerate().map(|(index, item)| self.read_item(&format!("{name}[{index}]"), item)).collect()
    }

    fn read_item<T: FromStr<Err = Error>>(&self, name: &str, item: &Value) -> Result<T> {
        match item {
            Value::String(text) => self.read(name, text),
            other => Err(self.wrong_type(name, "a text", other)),
        }
    }

    fn labels(&mut self, name: &'static str) -> Result<std::collections::BTreeMap<String, String>> {
        let Self { path, fields, .. } = self.object(name)?;
        let label = |(key, value): (String, Value)| match value {
            Value::String(text) => Ok((key, text)),
            other => Err(wrong_type(&format!("{path}.{}", shorten(&key)), "a text", &other)),
        };
        fields.into_iter().filter(|(_, value)| !value.is_null()).map(label).collect()
    }

    fn nothing_left(&self) -> Result<()> {
        let Some(unknown) = self.fields.keys().next() else { return Ok(()) };
        let hint = match nearest(unknown, self.known.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("known: {}", self.known.join(", ")),
        };
        let path = self.path_of(&shorten(unknown));
        Err(Error::new(Code::UnknownField, "is not a field of a job").field(path).hint(hint))
    }

    /// Reads a notation; an error names the whole path and never repeats a long text.
    fn read<T: FromStr<Err = Error>>(&self, name: &str, text: &str) -> Result<T> {
        let path = self.path_of(name);
        if text.len() > MAX_NOTATION {
            return Err(invalid(&path, &format!("is {} bytes long", text.len()), "give a short value"));
        }
        text.parse().map_err(|error: Error| invalid(&path, error.message(), error.hint_text()))
    }

    fn wrong_type(&self, name: &str, expected: &str, got: &Value) -> Error {
        wrong_type(&self.path_of(name), expected, got)
    }
}

/// Items of a list that are looked at; no list may be so long.
const MAX_ITEMS: usize = 100;
/// Longest text of a value that has a notation, such as a bit rate or an id.
const MAX_NOTATION: usize = 100;

/// A number as people write it, never with an exponent; next to nothing is nothing.
fn plain(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(value) if value.abs() < 1e-9 => "0".into(),
        Some(value) if !number.is_u64() && !number.is_i64() => value.to_string(),
        _ => number.to_string(),
    }
}

fn shorten(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

fn wrong_type(path: &str, expected: &str, got: &Value) -> Error {
    invalid(path, &format!("is {}", kind(got)), &format!("give {expected}"))
}

fn kind(value: &Value) -> impl Display + use<> {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn invalid(path: &str, message: &str, hint: &str) -> Error {
    Error::new(Code::InvalidField, message).field(path).hint(hint)
}
