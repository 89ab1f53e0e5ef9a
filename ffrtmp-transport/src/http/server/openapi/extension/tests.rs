//! The document and the parser must refuse the same requests.

use std::cell::RefCell;
use std::collections::HashMap;

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::error::Error;
use ffrtmp_core::id::JobId;
use ffrtmp_core::request::{self, Prepared};
use regex::Regex;

use super::*;

/// Outputs beside those with each of the extensions.
const OUTPUTS: &[&str] = &[
    "/media/OUT.MkV",
    "/media/a.mp4.Mp3",
    "/media/out",
    "out.",
    ".mp4",
    "/a.webm/out",
    "/a.webm/.mp4",
    "..ts",
    "/media/out.avi",
    "out.xmp4",
    "/media/out.mp4x",
    "file:///media/out.webm",
    "file:///media/out.exe",
    "rtmp://host/live/a.webm",
    "srt://host.example:9000",
];

#[test]
fn extensions_are_those_that_containers_are_known_by() {
    let message = serde_json::from_str::<Container>("\"?\"").unwrap_err().to_string();
    let mut known: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
    let mut own = EXTENSIONS.to_vec();
    known.sort_unstable();
    own.sort_unstable();
    assert_eq!(own, known, "{message}");
}

#[test]
fn codecs_go_with_the_same_names_in_the_document_and_in_the_parser() {
    let document = Document::new();
    let [codecs, sounds, texts] = ["codec", "audio_codec", "subtitle_codec"].map(|name| document.choices(name));
    let null = &[Value::Null][..];
    for (output, container) in document.places() {
        let is_usual = usual_outputs().contains(&output);
        for codec in &codecs {
            // Other spellings need not be tried with all that is possible.
            for sound in if is_usual || codec.is_null() { &sounds } else { null } {
                for text in if is_usual || codec.is_null() && sound.is_null() { &texts } else { null } {
                    let wishes = json!({ "codec": codec, "audio_codec": sound, "subtitle_codec": text });
                    let body = body(output.as_deref(), &container, &wishes);
                    let taken = take(&body);
                    assert_eq!(document.accepts(&body), taken.is_ok(), "{body}: {:?}", taken.err());
                }
            }
        }
    }
}

#[test]
fn what_the_document_lets_pass_is_taken() {
    let document = Document::new();
    let mut wishes: Vec<(&str, Value)> = WISHES.iter().map(|(name, value)| (*name, value.parse().unwrap())).collect();
    for name in ["codec", "audio_codec", "subtitle_codec", "segment_type"] {
        wishes.extend(document.choices(name).into_iter().filter(|value| !value.is_null()).map(|value| (name, value)));
    }
    for (output, container) in document.places().into_iter().filter(|(output, _)| usual_outputs().contains(output)) {
        for (first, (name, value)) in wishes.iter().enumerate() {
            for (other, other_value) in &wishes[first..] {
                let body = body(output.as_deref(), &container, &json!({ *name: value, *other: other_value }));
                if document.accepts(&body) {
                    take(&body).unwrap_or_else(|error| panic!("{body}: {error}"));
                }
            }
        }
    }
}

/// Wishes that depend on the container or on whether there are pictures, beside those that are
/// made of the document's own words.
const WISHES: &[(&str, &str)] = &[
    ("resolution", r#""720p""#),
    ("bitrate", r#""2M""#),
    ("crf", "20"),
    ("preset", "5"),
    ("preset", "12"),
    ("ladder", r#""720p,480p""#),
    ("bit_depth", "10"),
    ("stills", r#"{"poster": 1}"#),
    ("video_stream", r#""none""#),
    ("video_stream", "0"),
    ("audio_streams", r#""none""#),
    ("audio_sample_rate", "44100"),
    ("encoder", r#""h264_nvenc""#),
    ("encoder", r#""libx265""#),
    ("encoder", r#""libvpx""#),
    ("encoder", r#""libvpx-vp9""#),
    ("encoder", r#""av1_vaapi""#),
    ("output_mode", "\"rtmp\""),
    ("output_mode", "\"file\""),
    ("rtmp_url", "\"rtmp://media.example/live\""),
    ("stream_key", "\"key\""),
    ("record", "\"/media/record.mkv\""),
    ("stall_timeout", "\"30s\""),
];

/// A schema of the document with the master's own parser beside it.
struct Document {
    schemas: Map<String, Value>,
}

impl Document {
    fn new() -> Self {
        Self { schemas: super::super::by_hand() }
    }

    /// Every value that a parameter can have, `null` among them.
    fn choices(&self, parameter: &str) -> Vec<Value> {
        self.schemas["JobParameters"]["properties"][parameter]["enum"].as_array().unwrap().clone()
    }

    /// Outputs and containers: where both are given the container decides, but for names of sound.
    fn places(&self) -> Vec<(Option<String>, Value)> {
        let others = EXTENSIONS.iter().map(|extension| format!("/media/out.{extension}"));
        let others = others.chain(OUTPUTS.iter().map(|output| (*output).to_owned())).map(Some);
        let mut outputs = usual_outputs();
        outputs.extend(others.filter(|output| !outputs.contains(output)).collect::<Vec<_>>());
        let by_name = outputs.into_iter().map(|output| (output, Value::Null));
        let by_word = self.choices("container").into_iter().filter(|container| !container.is_null());
        let by_both = by_word.flat_map(|container| {
            [None, Some("/media/out.m4a"), Some("/media/out.exe")]
                .map(|name| (name.map(str::to_owned), container.clone()))
        });
        by_name.chain(by_both).collect()
    }

    fn accepts(&self, body: &Value) -> bool {
        let is_refused = |schema: &str, body: &Value| self.holds(&self.schemas[schema]["not"], body);
        !is_refused("JobRequest", body) && !is_refused("JobParameters", &body["parameters"])
    }

    /// Whether a value fits a schema, as far as clauses make use of the language.
    fn holds(&self, schema: &Value, value: &Value) -> bool {
        schema.as_object().unwrap().iter().all(|(keyword, content)| {
            let mut parts = content.as_array().into_iter().flatten();
            match (keyword.as_str(), value) {
                ("description", _) => true,
                ("$ref", _) => self.holds(&self.schemas[content.as_str().unwrap().rsplit('/').next().unwrap()], value),
                ("type", Value::Null) => content == "null",
                ("type", Value::Object(_)) => content == "object",
                ("type", Value::String(_)) => content == "string",
                ("type", Value::Number(number)) => content == "number" || content == "integer" && number.is_u64(),
                ("type", _) => false,
                ("enum", _) => parts.any(|part| part == value),
                ("not", _) => !self.holds(content, value),
                ("allOf", _) => parts.all(|part| self.holds(part, value)),
                ("anyOf", _) => parts.any(|part| self.holds(part, value)),
                ("required", Value::Object(fields)) => parts.all(|name| fields.contains_key(name.as_str().unwrap())),
                ("properties", Value::Object(fields)) => {
                    let mut tests = content.as_object().unwrap().iter();
                    tests.all(|(name, test)| fields.get(name).is_none_or(|value| self.holds(test, value)))
                }
                ("pattern", Value::String(text)) => matches(content.as_str().unwrap(), text),
                ("minimum", Value::Number(number)) => number.as_f64() >= content.as_f64(),
                ("exclusiveMinimum", Value::Number(number)) => number.as_f64() > content.as_f64(),
                ("required" | "properties" | "pattern" | "minimum" | "exclusiveMinimum", _) => true,
                (other, _) => panic!("a clause uses {other}"),
            }
        })
    }
}

/// One name for everything that an output's can stand for.
fn usual_outputs() -> Vec<Option<String>> {
    let containers = Container::ALL.iter().map(|container| container.as_str());
    let extensions = containers.chain(["m4a", "mka", "weba", "exe"]);
    [None].into_iter().chain(extensions.map(|extension| Some(format!("/media/out.{extension}")))).collect()
}

fn body(output: Option<&str>, container: &Value, wishes: &Value) -> Value {
    let mut parameters = wishes.clone();
    parameters["container"] = container.clone();
    json!({ "scenario": "transcode", "input": "/media/in.mkv", "output": output, "parameters": parameters })
}

fn take(body: &Value) -> Result<Prepared, Error> {
    request::prepare(request::parse(body.clone())?, JobId::from_u128(1), 3, Timestamp::default())
}

/// A pattern and where it was found or not. There are few texts, and looking takes its time.
struct Pattern {
    regex: Regex,
    found: HashMap<String, bool>,
}

fn matches(pattern: &str, text: &str) -> bool {
    thread_local!(static PATTERNS: RefCell<HashMap<String, Pattern>> = RefCell::default());
    PATTERNS.with_borrow_mut(|patterns| {
        if !patterns.contains_key(pattern) {
            let new = Pattern { regex: Regex::new(pattern).unwrap(), found: HashMap::new() };
            patterns.insert(pattern.to_owned(), new);
        }
        let Pattern { regex, found } = patterns.get_mut(pattern).unwrap();
        match found.get(text) {
            Some(is_found) => *is_found,
            None => *found.entry(text.to_owned()).or_insert(regex.is_match(text)),
        }
    })
}
