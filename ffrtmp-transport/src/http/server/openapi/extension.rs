//! What the name of an output says, in JSON Schema.
//!
//! The clauses of `requests.json` that say which wishes exclude each other name the parameters
//! `container` and `video_stream`. Where a request leaves one of these out, the extension of its
//! `output` stands for it, so every such clause is told once more here about the names that stand
//! for its value. Which extension stands for what is for [`Container`] to say.

use ffrtmp_core::media::Container;
use serde_json::{Map, Value, json};

/// Extensions that stand for something, in small letters.
const EXTENSIONS: &[&str] = &[
    "mp4", "m4v", "mov", "m4a", "fmp4", "cmaf", "cmfv", "mkv", "matroska", "mka", "webm", "weba", "ts", "mpegts",
    "m2ts", "mts", "hls", "m3u8", "dash", "mpd", "mp3", "flac", "ogg", "opus", "oga",
];
/// Whatever has an extension.
const EXTENDED: &str = "[^/]\\.[^./]+$";
/// A stream has a name, but it is no file name.
const STREAM: &str = "^(?:rtmps?|rtsp|srt):";

/// The schema of what is refused because of the name of the output. It has a name of its own
/// because tools that make requests of schemas give up on one that spells out too much.
const CONFLICT: &str = "JobOutputConflict";

/// Adds what is refused because of the name of the output, and lets `JobRequest` refuse it.
pub(super) fn infer(schemas: &mut Map<String, Value>) {
    let mut conflicts = vec![foreign_extension()];
    for inference in [Inference::of_container(), Inference::of_video_stream()] {
        for clause in refused(schemas, "JobRequest") {
            conflicts.extend(inference.apply(clause));
        }
        for wishes in refused(schemas, "JobParameters") {
            let mut clause = json!({ "required": ["parameters"], "properties": { "parameters": wishes.take() } });
            conflicts.extend(inference.apply(&mut clause));
            *wishes = clause["properties"]["parameters"].take();
        }
    }
    if let Some(clauses) = clauses(schemas, "JobRequest") {
        clauses.push(json!({ "$ref": format!("#/components/schemas/{CONFLICT}") }));
    }
    let description = "A job that is refused because its output is named for something else than it asks for.";
    schemas.insert(CONFLICT.to_owned(), json!({ "description": description, "anyOf": conflicts }));
}

/// The clauses of a schema of which none may hold.
fn refused<'a>(schemas: &'a mut Map<String, Value>, name: &str) -> impl Iterator<Item = &'a mut Value> {
    clauses(schemas, name).into_iter().flatten()
}

fn clauses<'a>(schemas: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Vec<Value>> {
    schemas.get_mut(name)?.pointer_mut("/not/anyOf")?.as_array_mut()
}

/// An extension that stands for no container, where the parameters name none.
fn foreign_extension() -> Value {
    json!({
        "required": ["output"],
        "properties": {
            "output": {
                "type": "string",
                "pattern": EXTENDED,
                "not": { "anyOf": [{ "pattern": ending(EXTENSIONS) }, { "pattern": STREAM }] }
            },
            "parameters": { "properties": { "container": { "type": "null" } } }
        }
    })
}

/// A parameter that the name of the output stands for where it is not given.
struct Inference {
    parameter: &'static str,
    /// Its values, each with the extensions that stand for it.
    values: Vec<(Value, Vec<&'static str>)>,
}

impl Inference {
    fn of_container() -> Self {
        let named = |container| extensions(|name| Container::from_path(name) == Some(container));
        let values = Container::ALL.iter().map(|container| (container.as_str().into(), named(*container))).collect();
        Self { parameter: "container", values }
    }

    fn of_video_stream() -> Self {
        Self { parameter: "video_stream", values: vec![("none".into(), extensions(Container::is_name_of_sound))] }
    }

    /// What else is refused if the clause is. The clause itself is kept to requests that give the
    /// parameter if it would refuse others because of what they leave out, but their output says.
    fn apply(&self, clause: &mut Value) -> Vec<Value> {
        let Some(wishes) = clause.pointer("/properties/parameters") else { return Vec::new() };
        let unsaid = assume(wishes, self.parameter, None);
        let mut said: Vec<(Assumed, Vec<&str>)> = Vec::new();
        for (value, extensions) in &self.values {
            let assumed = assume(wishes, self.parameter, Some(value));
            match said.iter_mut().find(|(known, _)| *known == assumed) {
                Some((_, known)) => known.extend(extensions),
                None => said.push((assumed, extensions.clone())),
            }
        }
        let is_too_much = unsaid != Assumed::Never && said.iter().any(|(assumed, _)| *assumed == Assumed::Never);
        said.retain(|(assumed, _)| *assumed != unsaid);
        let mut derived = Vec::new();
        if is_too_much {
            let others: Vec<&str> = said.iter().flat_map(|(_, extensions)| extensions).copied().collect();
            derived.extend(self.derive(clause, &json!({ "not": named(&others) }), unsaid));
        }
        derived.extend(said.into_iter().filter_map(|(assumed, names)| self.derive(clause, &named(&names), assumed)));
        if is_too_much {
            let wishes = &mut clause["properties"]["parameters"];
            *wishes = json!({ "type": "object", "allOf": [self.is_given(), wishes.take()] });
        }
        derived
    }

    /// The clause for outputs that meet a condition, where the parameter is not given.
    fn derive(&self, clause: &Value, output: &Value, assumed: Assumed) -> Option<Value> {
        let absent = json!({ self.parameter: { "type": "null" } });
        let parameters = match assumed {
            Assumed::Never => return None,
            Assumed::Always => json!({ "properties": { "parameters": { "properties": absent } } }),
            Assumed::If(wishes) => json!({
                "required": ["parameters"],
                "properties": { "parameters": { "type": "object", "properties": absent, "allOf": [wishes] } }
            }),
        };
        let mut conditions = vec![output.clone(), parameters];
        conditions.extend(
            clause.as_object().map(|own| without(own, "parameters")).filter(|rest| !rest.is_empty()).map(Value::Object),
        );
        Some(json!({ "allOf": conditions }))
    }

    fn is_given(&self) -> Value {
        json!({ "required": [self.parameter], "properties": { self.parameter: { "not": { "type": "null" } } } })
    }
}

/// What is left of a clause once one property is known.
#[derive(Debug, PartialEq)]
enum Assumed {
    Always,
    Never,
    If(Value),
}

impl Assumed {
    fn open(self) -> Option<Value> {
        match self {
            Self::If(rest) => Some(rest),
            Self::Always | Self::Never => None,
        }
    }
}

/// A clause about an object in which the property has this value, or is absent.
fn assume(clause: &Value, property: &str, value: Option<&Value>) -> Assumed {
    let Value::Object(own) = clause else { return Assumed::If(clause.clone()) };
    let is_required =
        own.get("required").and_then(Value::as_array).is_some_and(|names| names.contains(&property.into()));
    let test = own.get("properties").and_then(|tests| tests.get(property));
    let fails = match value {
        Some(value) => test.is_some_and(|test| !admits(test, value)),
        None => is_required,
    };
    if fails {
        return Assumed::Never;
    }
    let mut left = without(own, property);
    left.remove("type");
    for keyword in ["allOf", "anyOf", "not"] {
        let Some(inner) = left.remove(keyword) else { continue };
        let inner = match inner {
            Value::Array(parts) => parts.iter().map(|part| assume(part, property, value)).collect(),
            part => vec![assume(&part, property, value)],
        };
        match join(keyword, inner) {
            Assumed::Always => {}
            Assumed::Never => return Assumed::Never,
            Assumed::If(inner) => drop(left.insert(keyword.into(), inner)),
        }
    }
    if left.is_empty() { Assumed::Always } else { Assumed::If(left.into()) }
}

/// What a keyword makes of its parts.
fn join(keyword: &str, parts: Vec<Assumed>) -> Assumed {
    let decides = if keyword == "allOf" { Assumed::Never } else { Assumed::Always };
    if parts.contains(&decides) {
        return if keyword == "anyOf" { Assumed::Always } else { Assumed::Never };
    }
    let mut open: Vec<Value> = parts.into_iter().filter_map(Assumed::open).collect();
    match (keyword, open.is_empty()) {
        ("anyOf", true) => Assumed::Never,
        (_, true) => Assumed::Always,
        ("not", false) => Assumed::If(open.swap_remove(0)),
        (_, false) => Assumed::If(open.into()),
    }
}

/// Whether a test of the kinds that `requests.json` makes of a name lets it pass.
fn admits(test: &Value, name: &Value) -> bool {
    let is_listed = test.get("enum").and_then(Value::as_array).is_none_or(|names| names.contains(name));
    is_listed && test.get("not").is_none_or(|test| !admits(test, name)) && test["type"] != "null"
}

/// A clause that says nothing of one property.
fn without(clause: &Map<String, Value>, property: &str) -> Map<String, Value> {
    let mut left = clause.clone();
    if let Some(names) = left.get_mut("required").and_then(Value::as_array_mut) {
        names.retain(|name| name != property);
    }
    if let Some(tests) = left.get_mut("properties").and_then(Value::as_object_mut) {
        tests.remove(property);
    }
    left.retain(|_, value| *value != json!([]) && *value != json!({}));
    left
}

/// The extensions with which a file's name is such a one.
fn extensions(is_such: impl Fn(&str) -> bool) -> Vec<&'static str> {
    EXTENSIONS.iter().copied().filter(|extension| is_such(&format!("a.{extension}"))).collect()
}

/// An output that is a file with one of the extensions.
fn named(extensions: &[&str]) -> Value {
    let output = json!({ "type": "string", "pattern": ending(extensions), "not": { "pattern": STREAM } });
    json!({ "required": ["output"], "properties": { "output": output } })
}

/// Names with one of the extensions, in letters of either case.
fn ending(extensions: &[&str]) -> String {
    let either = |letter: char| match letter.is_ascii_alphabetic() {
        true => format!("[{letter}{}]", letter.to_ascii_uppercase()),
        false => letter.to_string(),
    };
    let names: Vec<String> = extensions.iter().map(|name| name.chars().map(either).collect()).collect();
    format!("[^/]\\.(?:{})$", names.join("|"))
}

#[cfg(test)]
mod tests;
