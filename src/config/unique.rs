//! YAML whose keys are said once. Read as plain values, the last of two would win and the first be
//! lost without a word.

use std::fmt;

use figment::providers::{Format as _, Yaml};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The keys and values of a file's text; a file that says nothing has none.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn parse(text: &str) -> Result<Map<String, Value>, String> {
    match Yaml::from_str::<Top>(text).map_err(|error| error.to_string())?.0 {
        Value::Object(values) => Ok(values),
        Value::Null => Ok(Map::new()),
        _ => Err("it has no keys".to_owned()),
    }
}

struct Top(Value);

impl<'de> serde::Deserialize<'de> for Top {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Once.deserialize(deserializer).map(Self)
    }
}

/// Reads a value and refuses a second one of the same name.
#[derive(Clone, Copy)]
struct Once;

impl<'de> DeserializeSeed<'de> for Once {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true or false, a list, or lines of the form `key: value`")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        // As a value of JSON it would be null, which is as good as not said.
        if value.is_finite() { Ok(value.into()) } else { Err(E::custom(format!("{value} is no number"))) }
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self)? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = map.next_key_seed(self)? {
            let Some(key) = name(&key) else {
                map.next_value::<IgnoredAny>()?;
                return Err(A::Error::custom("a key is no text"));
            };
            if values.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key} is there twice")));
            }
            let value = map.next_value_seed(self)?;
            values.insert(key, value);
        }
        Ok(values.into())
    }
}

fn name(key: &Value) -> Option<String> {
    match key {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(word) => Some(word.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_said_once_at_each_place() {
        let read = parse("a: {b: 1, c: [x, {b: 2}]}\nb: ~\n").expect("every key once at its place");
        assert_eq!(Value::from(read), serde_json::json!({"a": {"b": 1, "c": ["x", {"b": 2}]}, "b": null}));
        assert!(parse("").expect("nothing").is_empty());
        for (text, says) in [
            ("a: 1\na: 2", "a is there twice"),
            ("a: {b: 1, b: 1}", "b is there twice"),
            ("- a", "keys"),
            ("a: .nan", "NaN is no number"),
            ("a: [1, -.inf]", "-inf is no number"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
