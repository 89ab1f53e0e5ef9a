//! From the names that the API has for things to those that were typed: `parameters.crf` is `--crf`.

use ffrtmp::core::Error;

/// Where the input and the output stand on the command line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// The input, such as `IN` or `--input`.
    pub(crate) input: &'static str,
    /// The output, such as `OUT` or `--out`.
    pub(crate) output: &'static str,
}

/// Of `ffrtmp transcode`.
pub(crate) const TRANSCODE: Places = Places { input: "IN", output: "OUT" };
/// Of `ffrtmp jobs submit`.
pub(crate) const SUBMIT: Places = Places { input: "--input", output: "--out" };

/// Fields whose flag has another name.
const RENAMED: &[(&str, &str)] = &[
    ("max_cpu_percent", "--cpu-limit"),
    ("max_memory_mb", "--memory-limit"),
    ("max_disk_mb", "--disk-limit"),
    ("timeout_sec", "--timeout"),
    ("labels", "--label"),
];

/// Words that mean a flag wherever they stand in a message.
const FLAGS: &[&str] = &[
    "adapt_preset",
    "bitrate",
    "crf",
    "audio_bitrate",
    "audio_channels",
    "audio_codec",
    "audio_sample_rate",
    "audio_streams",
    "bit_depth",
    "buffer_size",
    "encoder_options",
    "keyframe_interval",
    "max_bitrate",
    "output_mode",
    "rate_mode",
    "rtmp_url",
    "scene_cut",
    "segment_duration",
    "segment_type",
    "stall_timeout",
    "stream_key",
    "subtitle_codec",
    "subtitle_streams",
    "tone_map",
    "two_pass",
    "video_stream",
];

/// The same error about flags.
pub(crate) fn in_flags(error: Error, places: Places) -> Error {
    let field = error.field_name().map(|field| flag(field, places));
    let mut again = Error::new(error.code(), words(error.message())).hint(words(error.hint_text()));
    if let Some(field) = field {
        again = again.field(field);
    }
    match std::error::Error::source(&error).map(ToString::to_string) {
        Some(source) => again.source(source),
        None => again,
    }
}

/// The flag that a field of a request comes from; what is no such field stays.
fn flag(field: &str, places: Places) -> String {
    let inner = ["parameters.", "resource_limits."].iter().find_map(|group| field.strip_prefix(group));
    let name = inner.unwrap_or(field);
    let name = name.strip_prefix("resource_limits.").unwrap_or(name);
    let base = name.split(['.', '[']).next().unwrap_or_default();
    if let Some((_, flag)) = RENAMED.iter().find(|(own, _)| *own == base) {
        return (*flag).to_owned();
    }
    match (base, name.split_once('.')) {
        ("input", _) => places.input.to_owned(),
        ("output", _) => places.output.to_owned(),
        ("encoder_options", Some((_, option))) => format!("--encoder-option {option}"),
        ("encoder_options", None) => "--encoder-option".to_owned(),
        ("stills", Some((_, still))) => dashed(still),
        _ if inner.is_some() || TOP.contains(&base) || FLAGS.contains(&base) => dashed(base),
        _ => field.to_owned(),
    }
}

/// Fields of a job beside its parameters that have a flag of their own name.
const TOP: &[&str] = &[
    "scenario",
    "confidence",
    "engine",
    "classification",
    "queue",
    "priority",
    "tenant",
    "max_retries",
    "deadline",
    "depends_on",
    "codec",
    "encoder",
];

fn dashed(name: &str) -> String {
    format!("--{}", name.replace('_', "-"))
}

/// Text with the flags' names in place of the fields'.
pub(crate) fn words(text: &str) -> String {
    let text = text.replace("the parameter container", "--container").replace("parameters.", "");
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(|letter| !is_part(letter)) {
        let word = piece.trim_end_matches(|letter| !is_part(letter));
        match FLAGS.contains(&word) {
            true if word == "encoder_options" => out.push_str("--encoder-option"),
            true => out.push_str(&dashed(word)),
            false => out.push_str(word),
        }
        out.push_str(&piece[word.len()..]);
    }
    out
}

#[cfg(test)]
mod tests {
    use ffrtmp::core::Code;

    use super::*;

    #[test]
    fn errors_name_what_was_typed() {
        for (field, typed) in [
            ("parameters.crf", "--crf"),
            ("parameters.encoder_options.tune", "--encoder-option tune"),
            ("parameters.stills.sprite_width", "--sprite-width"),
            ("parameters.ladder[1].crf", "--ladder"),
            ("resource_limits.max_memory_mb", "--memory-limit"),
            ("scenario", "--scenario"),
            ("audio_codec", "--audio-codec"),
            ("output", "OUT"),
            ("input", "IN"),
            ("--input", "--input"),
            ("FFRTMP_RUNNER", "FFRTMP_RUNNER"),
        ] {
            let error = Error::new(Code::InvalidField, "out of range").field(field);
            assert_eq!(in_flags(error, TRANSCODE).field_name(), Some(typed), "{field}");
        }
        let error = Error::new(Code::InvalidField, "x").hint("leave out audio_bitrate, or name an audio codec");
        let told = Error::new(Code::InvalidField, "parameters.audio_streams: the input has no such stream");
        assert_eq!(in_flags(told, SUBMIT).message(), "--audio-streams: the input has no such stream");
        assert_eq!(in_flags(error, SUBMIT).hint_text(), "leave out --audio-bitrate, or name an audio codec");
    }
}
