//! The grammar by table and by property.

use proptest::prelude::*;

use super::*;
use crate::units::RESOLUTION_NAMES;

/// Text, size, rate, codec, words, live hint, classification.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, bool, Option<Classification>);

#[test]
fn scenarios_and_what_they_say() {
    use Classification::{Benchmark, Debug, Test};
    let rows: &[Row] = &[
        ("1080p30-h264", "1080p", "30", "h264", "", false, None),
        ("4K60-h265", "4k", "60", "h265", "", false, None),
        ("720p30-vp9", "720p", "30", "vp9", "", false, None),
        ("1080p-h264", "1080p", "", "h264", "", false, None),
        ("live-4k", "4k", "", "", "live", true, None),
        ("live-stream", "", "", "", "live stream", true, None),
        ("live-rtmp", "", "", "", "live rtmp", true, None),
        ("transcode", "", "", "", "transcode", false, None),
        ("1080p-test", "1080p", "", "", "test", false, Some(Test)),
        ("test1", "", "", "", "test1", false, Some(Test)),
        ("4K-h265", "4k", "", "h265", "", false, None),
        ("HEVC-2160P23.976-Debug", "4k", "24000/1001", "h265", "debug", false, Some(Debug)),
        ("benchmark-test-144p240-AV1", "144p", "240", "av1", "benchmark test", false, Some(Benchmark)),
        ("job-7-1080p1", "1080p", "1", "", "job 7", false, None),
        ("vp8-my_clip.v2", "", "", "vp8", "my_clip.v2", false, None),
        ("testing", "", "", "", "testing", false, None),
        ("x264-360p", "360p", "", "h264", "", false, None),
    ];
    for (text, size, fps, codec, words, live, classification) in rows {
        let scenario: Scenario = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        let shown = |value: Option<String>| value.unwrap_or_default();
        assert_eq!(shown(scenario.size.map(|size| size.to_string())), size.replace("2160p", "4k"), "{text}");
        assert_eq!(shown(scenario.fps.map(|fps| fps.to_string())), *fps, "{text}");
        assert_eq!(shown(scenario.codec.map(|codec| codec.to_string())), *codec, "{text}");
        assert_eq!(scenario.words.join(" "), *words, "{text}");
        assert_eq!(scenario.is_live_hint(), *live, "{text}");
        assert_eq!(scenario.classification(), *classification, "{text}");
        assert_eq!(scenario.to_string(), *text);
        let json = serde_json::to_string(&scenario).unwrap();
        assert_eq!(serde_json::from_str::<Scenario>(&json).unwrap(), scenario);
    }
    for example in EXAMPLES {
        assert!(rows.iter().any(|row| row.0 == *example), "{example} has no row");
    }
}

#[test]
fn words_that_only_look_as_if() {
    for (text, instead) in [
        ("1080pp", "1080p"),
        ("720p3000", "720p30"),
        ("720p0-h264", "720p"),
        ("720p10000", "720p100"),
        ("720p030", "720p"),
        ("1080p30fps", "1080p30"),
        ("4khdr", "4k"),
        ("1081p", "1080p"),
        ("1080i", "1080p"),
        ("1080", "1080p"),
        ("p720", "720p"),
        ("hd1080", "1080p"),
        ("l080p", "1080p"),
        ("uhd", "4k"),
        ("8k", "4k"),
        ("720p-30", "720p30"),
        ("1920x1080", "1080p"),
        ("1080p-h2644", "h264"),
        ("h.264", "h264"),
        ("x26", "h264"),
        ("h266", "h264"),
        ("vp10", "vp8"),
        ("av2", "av1"),
        ("hecv", "hevc"),
    ] {
        let error = text.parse::<Scenario>().unwrap_err();
        assert_eq!(error.code(), Code::UnknownScenario, "{text}");
        let meant = format!("did you mean {instead}?");
        assert!(error.message().contains(&meant), "{text}: {error}");
    }
    let error = "1080pp".parse::<Scenario>().unwrap_err();
    assert_eq!(error.message(), "unknown scenario word \"1080pp\"; did you mean 1080p?");
    for (text, hint) in [
        ("60fps", "1080p60"),
        ("h264-60", "fps"),
        ("720p-5m", "bitrate"),
        ("720p-opus", "audio_codec"),
        ("prores", "vp9"),
    ] {
        let error = text.parse::<Scenario>().unwrap_err();
        assert_eq!(error.code(), Code::UnknownScenario, "{text}");
        assert!(error.hint_text().contains(hint), "{text}: {}", error.hint_text());
    }
}

#[test]
fn scenarios_that_are_refused() {
    let long = "a".repeat(MAX_LENGTH + 1);
    for text in [
        "",
        "-",
        "-i",
        "--",
        "720p-",
        "a--b",
        " ",
        "720p 30",
        "720p;ls",
        "720p\n",
        "720p\0",
        "é",
        "%d",
        "../etc",
        "1080p-720p",
        "4k-2160p",
        "h264-h265",
        "hevc-h265",
        &long,
    ] {
        let error = text.parse::<Scenario>().unwrap_err();
        assert_eq!((error.code(), error.field_name()), (Code::InvalidField, Some("scenario")), "{text:?}: {error}");
        assert!(error.to_string().len() < 300 && !error.to_string().contains(['\n', '\0']), "{text:?}");
    }
}

#[test]
fn an_empty_scenario_survives_the_wire_but_nobody_writes_one() {
    assert_eq!(serde_json::from_str::<Scenario>("\"\"").unwrap(), Scenario::default());
    assert_eq!(serde_json::to_string(&Scenario::default()).unwrap(), "\"\"");
}

#[test]
fn the_words_for_people_are_the_words_of_the_parser() {
    for word in WORDS {
        let scenario: Scenario = word.word.parse().unwrap();
        let takes_effect = match word.kind {
            WordKind::Size => scenario.size.is_some_and(|size| word.meaning.ends_with(&size.resolution().to_string())),
            WordKind::Codec => scenario.codec.is_some(),
            WordKind::Hint => scenario.is_live_hint(),
            WordKind::Classification => scenario.classification().is_some(),
        };
        assert!(takes_effect, "{word:?}");
    }
    for (name, _) in RESOLUTION_NAMES {
        assert!(words::of_kind(WordKind::Size).any(|word| word == *name), "{name}");
    }
    for codec in VideoCodec::ALL {
        assert!(words::of_kind(WordKind::Codec).any(|word| word == codec.as_str()), "{codec}");
    }
}

prop_compose! {
    fn any_scenario()(
        mut words in proptest::collection::vec("[ac-gi-uw-z][bcdfgj-n]{2,6}", 0..3),
        size in proptest::option::of((0..RESOLUTION_NAMES.len(), proptest::option::of(1_u32..=240))),
        codec in proptest::option::of(0..VideoCodec::ALL.len()),
        after in proptest::collection::vec("[ac-gi-uw-z][bcdfgj-n]{2,6}", 0..3),
        upper in any::<bool>(),
    ) -> (String, Option<usize>, Option<u32>, Option<VideoCodec>, usize) {
        words.extend(size.map(|(name, fps)| {
            format!("{}{}", RESOLUTION_NAMES[name].0, fps.map(|fps| fps.to_string()).unwrap_or_default())
        }));
        words.extend(codec.map(|codec| VideoCodec::ALL[codec].to_string()));
        words.extend(after.iter().cloned());
        if words.is_empty() {
            words.push("transcode".into());
        }
        let labels = words.len() - usize::from(size.is_some()) - usize::from(codec.is_some());
        let text = words.join("-");
        let text = if upper { text.to_ascii_uppercase() } else { text };
        (text, size.map(|(name, _)| name), size.and_then(|(_, fps)| fps), codec.map(|codec| VideoCodec::ALL[codec]), labels)
    }
}

proptest! {
    #[test]
    fn every_valid_combination_says_what_it_names((text, size, fps, codec, labels) in any_scenario()) {
        let scenario: Scenario = text.parse().unwrap();
        prop_assert_eq!(scenario.size.map(PictureSize::resolution), size.map(|name| RESOLUTION_NAMES[name].1));
        prop_assert_eq!(scenario.fps, fps.map(FrameRate::whole));
        prop_assert_eq!(scenario.codec, codec);
        prop_assert_eq!(scenario.words.len(), labels);
        prop_assert_eq!(scenario.to_string().parse::<Scenario>().unwrap(), scenario);
    }

    #[test]
    fn any_text_is_read_or_refused_with_the_fields_name(text in "\\PC{0,40}|[0-9hpkvxa46.-]{1,20}") {
        match text.parse::<Scenario>() {
            Ok(scenario) => prop_assert_eq!(scenario.as_str(), text.as_str()),
            Err(error) => {
                prop_assert_eq!(error.field_name(), Some("scenario"));
                if error.code() == Code::UnknownScenario {
                    let lower = text.to_ascii_lowercase();
                    let named = lower.split('-').any(|word| error.message().contains(&format!("{word:?}")));
                    prop_assert!(named, "{}", error);
                }
            }
        }
    }
}
