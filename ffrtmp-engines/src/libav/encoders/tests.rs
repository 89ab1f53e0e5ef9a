//! Settings by table: what a plan means to each encoder, and what each refuses.

use std::collections::BTreeMap;

use ffrtmp_core::encoding::{EncoderOptions, Hardware, Profile, Tune};
use ffrtmp_core::plan::{Gop, RateControl, Vbv};
use ffrtmp_core::units::{Bitrate, Crf, Ratio, Resolution, Seconds};

use super::*;

pub(super) fn plan(encoder: &str) -> VideoEncode {
    let encoder: VideoEncoder = encoder.parse().unwrap();
    VideoEncode {
        name: "720p".to_owned(),
        codec: encoder.codec(),
        encoder: Some(encoder),
        hardware: Hardware::Auto,
        size: Resolution { width: 1280, height: 720 },
        sample_aspect_ratio: Ratio { num: 1, den: 1 },
        fps: None,
        bit_depth: None,
        rate: quality(None),
        preset: None,
        gop: Gop::Free,
        options: EncoderOptions::default(),
    }
}

fn kbps(kbps: u64) -> Bitrate {
    Bitrate::from_kbps(kbps)
}

fn quality(cap: Option<Vbv>) -> RateControl {
    RateControl::Quality { crf: Crf::try_from(30.0).unwrap(), cap }
}

fn average(max_rate: u64, two_pass: bool) -> RateControl {
    let cap = Vbv { max_rate: kbps(max_rate), buffer: kbps(2000) };
    RateControl::Average { bitrate: kbps(1000), cap, two_pass }
}

fn constant() -> RateControl {
    RateControl::Constant { bitrate: kbps(1000), buffer: kbps(500) }
}

fn seconds(seconds: f64) -> Seconds {
    Seconds::try_from(seconds).unwrap()
}

fn try_set(encoder: &str, plan: &VideoEncode, threads: usize, pass: Pass<'_>) -> Result<BTreeMap<String, String>> {
    settings(encoder, plan, (25, 1), threads, pass, &HdrMetadata::default()).map(|pairs| pairs.into_iter().collect())
}

fn set(encoder: &str, change: impl Fn(&mut VideoEncode)) -> BTreeMap<String, String> {
    let mut plan = plan(encoder);
    change(&mut plan);
    try_set(encoder, &plan, 0, Pass::Single).unwrap()
}

/// That the settings have each `key=value` of a list; a key with `!` must be absent.
fn assert_has(settings: &BTreeMap<String, String>, expected: &str, case: &str) {
    for pair in expected.split_whitespace() {
        match (pair.strip_prefix('!'), pair.split_once('=')) {
            (Some(key), _) => assert!(!settings.contains_key(key), "{case}: {key} in {settings:?}"),
            (None, Some((key, value))) if key.ends_with("-params") => {
                let list = settings.get(key).map_or("", String::as_str);
                assert!(list.split(':').any(|own| own == value.replace('~', "=")), "{case}: {pair} in {list}");
            }
            (None, Some((key, value))) => {
                assert_eq!(settings.get(key).map(String::as_str), Some(value), "{case}: {key}");
            }
            (None, None) => unreachable!("{pair}"),
        }
    }
}

#[test]
fn words_and_numbers_mean_the_same_everywhere() {
    for (encoder, preset, expected) in [
        ("libx264", "Veryfast", "preset=veryfast"),
        ("libx265", "medium", "preset=medium"),
        ("libvpx-vp9", "ultrafast", "cpu-used=8 deadline=realtime lag-in-frames=0"),
        ("libvpx-vp9", "medium", "cpu-used=4 deadline=good lag-in-frames=25 auto-alt-ref=1 row-mt=1 tile-columns=2"),
        ("libvpx-vp9", "3", "cpu-used=3"),
        ("libvpx", "fast", "cpu-used=5 deadline=good auto-alt-ref=0"),
        ("libvpx", "ultrafast", "cpu-used=-8 deadline=realtime"),
        ("libsvtav1", "12", "preset=12"),
        ("libaom-av1", "ultrafast", "usage=realtime cpu-used=8 row-mt=1"),
        ("libaom-av1", "veryfast", "usage=good cpu-used=6 tile-columns=1"),
        ("librav1e", "10", "speed=10"),
        ("librav1e", "medium", "speed=6 tile-columns=2"),
        ("h264_nvenc", "slow", "preset=p5"),
        ("hevc_qsv", "ultrafast", "preset=veryfast"),
        ("h264_vaapi", "medium", "compression_level=4"),
    ] {
        let settings = set(encoder, |plan| plan.preset = Some(preset.to_owned()));
        assert_has(&settings, expected, &format!("{encoder} {preset}"));
    }
}

#[test]
fn rates_become_what_each_encoder_calls_them() {
    let cap = Some(Vbv { max_rate: kbps(2000), buffer: kbps(4000) });
    for (encoder, rate, expected) in [
        ("libx264", quality(None), "crf=30 !b !maxrate"),
        ("libx264", quality(cap), "crf=30 maxrate=2000000 bufsize=4000000"),
        ("libx264", average(1500, false), "b=1000000 maxrate=1500000 bufsize=2000000 !crf"),
        ("libx264", constant(), "b=1000000 maxrate=1000000 bufsize=500000 nal-hrd=cbr"),
        ("libx265", quality(cap), "crf=30 maxrate=2000000 bufsize=4000000"),
        ("libx265", constant(), "b=1000000 maxrate=1000000 x265-params=strict-cbr~1"),
        ("libvpx", quality(None), "crf=30 b=27648000"),
        ("libvpx", quality(cap), "crf=30 b=2000000"),
        ("libvpx-vp9", quality(None), "crf=30 b=0"),
        ("libvpx-vp9", quality(cap), "crf=30 b=2000000 maxrate=2000000 bufsize=4000000"),
        ("libvpx-vp9", constant(), "b=1000000 minrate=1000000 maxrate=1000000 lag-in-frames=0"),
        ("libsvtav1", quality(None), "crf=30 !b"),
        ("libsvtav1", quality(cap), "crf=30 maxrate=2000000 svtav1-params=mbr-overshoot-pct~25"),
        ("libsvtav1", average(1500, false), "b=1000000 !maxrate"),
        ("libaom-av1", quality(None), "crf=30 b=0"),
        ("libaom-av1", constant(), "usage=realtime cpu-used=6 minrate=1000000 maxrate=1000000"),
        ("librav1e", quality(None), "qp=121 !b"),
        ("librav1e", average(1500, false), "b=1000000 !maxrate"),
        ("h264_nvenc", quality(cap), "rc=vbr cq=30 b=0 maxrate=2000000"),
        ("hevc_nvenc", constant(), "rc=cbr b=1000000"),
        ("h264_qsv", average(1500, false), "b=1000000 maxrate=1500000"),
        ("h264_vaapi", quality(None), "rc_mode=CQP global_quality=30"),
        ("h264_vaapi", quality(cap), "rc_mode=QVBR maxrate=2000000"),
    ] {
        assert_has(&set(encoder, |plan| plan.rate = rate), expected, &format!("{encoder} {rate:?}"));
    }
}

#[test]
fn what_an_encoder_has_not_is_refused_with_those_that_have_it() {
    let cap = Some(Vbv { max_rate: kbps(2000), buffer: kbps(4000) });
    let option = |change: fn(&mut EncoderOptions)| {
        let mut options = EncoderOptions::default();
        change(&mut options);
        options
    };
    let none = EncoderOptions::default();
    for (encoder, rate, options, field, able) in [
        ("librav1e", quality(cap), none, "max_bitrate", "libsvtav1"),
        ("libaom-av1", quality(cap), none, "max_bitrate", "libvpx-vp9"),
        ("libsvtav1", average(1200, false), none, "max_bitrate", "libx264"),
        ("libsvtav1", average(1500, true), none, "two_pass", "libaom-av1"),
        ("librav1e", average(1500, true), none, "two_pass", "libvpx-vp9"),
        ("h264_nvenc", average(1500, true), none, "two_pass", "libx264"),
        ("librav1e", constant(), none, "rate_mode", "libvpx-vp9"),
        ("libx264", quality(None), option(|o| o.film_grain = Some(8)), "encoder_options.film_grain", "libsvtav1"),
        ("libx264", quality(None), option(|o| o.tile_columns = Some(1)), "encoder_options.tile_columns", "libaom-av1"),
        ("libvpx-vp9", quality(None), option(|o| o.b_frames = Some(2)), "encoder_options.b_frames", "libx265"),
        ("libx265", quality(None), option(|o| o.tune = Some(Tune::Film)), "encoder_options.tune", "libx264"),
        ("libsvtav1", quality(None), option(|o| o.level = Some(4.1)), "encoder_options.level", "libx264"),
        ("libx264", quality(None), option(|o| o.profile = Some(Profile::Main10)), "encoder_options.profile", "libx265"),
        (
            "h264_nvenc",
            quality(None),
            option(|o| o.profile = Some(Profile::High10)),
            "encoder_options.profile",
            "libx264",
        ),
    ] {
        let plan = VideoEncode { rate, options, ..plan(encoder) };
        let error = try_set(encoder, &plan, 0, Pass::Single).unwrap_err();
        assert_eq!(error.code(), Code::InvalidField, "{encoder} {field}");
        assert_eq!(error.field_name(), Some(format!("parameters.{field}").as_str()), "{encoder}");
        assert!(error.hint_text().contains(able), "{encoder} {field}: {}", error.hint_text());
        assert!(!error.hint_text().contains(&format!("{encoder} ")), "{encoder} {field}: {}", error.hint_text());
    }
}

#[test]
fn presets_and_qualities_that_do_not_exist_are_refused() {
    for bad in ["", "quick", "-1", "1000", "fast:crf=1"] {
        let plan = VideoEncode { preset: Some(bad.to_owned()), ..plan("libx264") };
        let error = try_set("libx264", &plan, 0, Pass::Single).unwrap_err();
        assert_eq!((error.code(), error.field_name()), (Code::InvalidField, Some("parameters.preset")), "{bad}");
    }
    let crf = RateControl::Quality { crf: Crf::try_from(60.0).unwrap(), cap: None };
    let plan = VideoEncode { rate: crf, ..plan("libx264") };
    assert_eq!(try_set("libx264", &plan, 0, Pass::Single).unwrap_err().field_name(), Some("parameters.crf"));
}

#[test]
fn options_reach_the_encoder() {
    let all = |options: EncoderOptions, encoder: &str| set(encoder, |plan| plan.options = options);
    let x26x = EncoderOptions {
        tune: Some(Tune::Grain),
        level: Some(4.1),
        b_frames: Some(2),
        references: Some(3),
        lookahead: Some(20),
        aq_mode: Some(1),
        aq_strength: Some(0.8),
        ..EncoderOptions::default()
    };
    assert_has(
        &all(x26x, "libx264"),
        "tune=grain level=4.1 bf=2 refs=3 rc-lookahead=20 aq-mode=1 aq-strength=0.8",
        "x264",
    );
    let x265 =
        "tune=grain bf=2 refs=3 x265-params=level-idc~4.1 x265-params=rc-lookahead~20 x265-params=aq-strength~0.8";
    assert_has(&all(x26x, "libx265"), x265, "x265");
    let tiles = EncoderOptions { tile_columns: Some(2), tile_rows: Some(1), ..EncoderOptions::default() };
    assert_has(&all(tiles, "libvpx-vp9"), "tile-columns=2 tile-rows=1", "vp9");
    assert_has(&all(tiles, "librav1e"), "tile-columns=4 tile-rows=2", "rav1e");
    let grain = EncoderOptions { film_grain: Some(8), lookahead: Some(16), ..EncoderOptions::default() };
    assert_has(&all(grain, "libsvtav1"), "svtav1-params=film-grain~8 svtav1-params=lookahead~16", "svt");
    assert_has(&all(grain, "libaom-av1"), "denoise-noise-level=8 lag-in-frames=16", "aom");
}

#[test]
fn key_frames_are_the_senders_where_it_is_heard() {
    let fixed = Gop::Fixed(seconds(2.0));
    for (encoder, rate, gop, who, expected) in [
        ("libx264", quality(None), Gop::Free, KeyFrames::Encoder, "g=250 !sc_threshold flags=+cgop"),
        ("libx264", quality(None), Gop::AtMost(seconds(4.0)), KeyFrames::Encoder, "g=100 !forced-idr"),
        ("libx264", quality(None), fixed, KeyFrames::Sender, "g=250 sc_threshold=0 forced-idr=1"),
        (
            "libx265",
            quality(None),
            fixed,
            KeyFrames::Sender,
            "forced-idr=1 x265-params=scenecut~0 x265-params=open-gop~0",
        ),
        ("libvpx-vp9", quality(None), fixed, KeyFrames::Sender, "g=250 keyint_min=250"),
        ("libsvtav1", quality(None), fixed, KeyFrames::Sender, "svtav1-params=enable-force-key-frames~1"),
        ("libsvtav1", average(1500, false), fixed, KeyFrames::Count(50), "g=50 svtav1-params=irefresh-type~2"),
        ("libaom-av1", quality(None), fixed, KeyFrames::Count(50), "g=50 keyint_min=50"),
        ("librav1e", quality(None), fixed, KeyFrames::Count(50), "g=50 keyint_min=50"),
        ("h264_nvenc", quality(None), fixed, KeyFrames::Sender, "forced-idr=1 no-scenecut=1"),
        ("libx264", quality(None), Gop::FixedAndCuts(seconds(20.0)), KeyFrames::Sender, "g=2000 sc_threshold=0"),
    ] {
        let plan = VideoEncode { rate, gop, ..plan(encoder) };
        assert_eq!(key_frames(encoder, &plan, (25, 1)), who, "{encoder} {gop:?}");
        assert_has(&try_set(encoder, &plan, 0, Pass::Single).unwrap(), expected, &format!("{encoder} {gop:?}"));
    }
}

#[test]
fn passes_keep_what_they_measured_where_the_encoder_looks() {
    let path = Path::new("/tmp/a: b'c/stats");
    for (encoder, pass, expected) in [
        ("libx264", Pass::First(path), vec![("flags", "+pass1+cgop"), ("passlogfile", "/tmp/a: b'c/stats")]),
        ("libx264", Pass::Second(path), vec![("flags", "+pass2+cgop"), ("passlogfile", "/tmp/a: b'c/stats")]),
        (
            "libx265",
            Pass::Second(path),
            vec![("x265-params", r"log-level=none:pass=2:stats=/tmp/a\:\ b\'c/stats:open-gop=0"), ("flags", "+cgop")],
        ),
        ("libvpx-vp9", Pass::First(path), vec![("flags", "+pass1+cgop"), ("deadline", "good")]),
        ("libaom-av1", Pass::Second(path), vec![("flags", "+pass2+cgop"), ("usage", "good")]),
    ] {
        let plan = VideoEncode { rate: average(1500, true), preset: Some("ultrafast".to_owned()), ..plan(encoder) };
        let settings = try_set(encoder, &plan, 0, pass).unwrap();
        for (key, value) in expected {
            assert_eq!(settings.get(key).map(String::as_str), Some(value), "{encoder} {key}");
        }
    }
}

#[test]
fn one_thread_is_one_thread() {
    for (encoder, expected) in [
        ("libx264", "threads=1 x264-params=lookahead-threads~1"),
        ("libx265", "threads=1 x265-params=pools~none"),
        ("libvpx-vp9", "threads=1"),
        ("libaom-av1", "threads=1"),
        ("librav1e", "threads=1"),
        ("libsvtav1", "svtav1-params=lp~1"),
    ] {
        assert_has(&try_set(encoder, &plan(encoder), 1, Pass::Single).unwrap(), expected, encoder);
    }
    assert_has(&set("libx264", |_| {}), "threads=auto", "as many as there are");
}

#[test]
fn depth_profile_and_source_agree_or_are_refused() {
    let depth_of = |encoder: &str, bits: Option<u8>, profile: Option<Profile>, source: i32| {
        let options = EncoderOptions { profile, ..EncoderOptions::default() };
        depth(encoder, &VideoEncode { bit_depth: bits, options, ..plan(encoder) }, source)
    };
    for (encoder, bits, profile, source, expected) in [
        ("libx264", None, None, 10, 8),
        ("libx264", Some(10), None, 8, 10),
        ("libx264", None, Some(Profile::High10), 8, 10),
        ("libx265", None, None, 10, 10),
        ("libx265", None, Some(Profile::Main), 10, 8),
        ("libx265", Some(10), Some(Profile::Main10), 8, 10),
        ("libvpx-vp9", None, Some(Profile::Profile2), 8, 10),
        ("libsvtav1", Some(10), Some(Profile::Main), 8, 10),
        ("libvpx", None, None, 10, 8),
    ] {
        assert_eq!(depth_of(encoder, bits, profile, source).unwrap(), expected, "{encoder} {bits:?} {profile:?}");
    }
    for (encoder, bits, profile, field) in [
        ("libx265", Some(8), Some(Profile::Main10), "parameters.encoder_options.profile"),
        ("h264_nvenc", Some(10), None, "parameters.bit_depth"),
        ("libvpx", Some(10), None, "parameters.bit_depth"),
    ] {
        assert_eq!(depth_of(encoder, bits, profile, 8).unwrap_err().field_name(), Some(field), "{encoder}");
    }
}

#[test]
fn the_screen_of_the_source_reaches_the_encoder() {
    let hdr = HdrMetadata {
        mastering: "G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(10000000,1)".parse().ok(),
        light: "1000,400".parse().ok(),
    };
    for (encoder, expected) in [
        (
            "libx265",
            "master-display=G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(10000000,1):max-cll=1000,400:hdr10=1",
        ),
        (
            "libsvtav1",
            "mastering-display=G(0.17000,0.79700)B(0.13100,0.04600)R(0.70800,0.29200)WP(0.31270,0.32900)L(1000.00000,0.00010):content-light=1000,400",
        ),
    ] {
        let pairs = settings(encoder, &plan(encoder), (25, 1), 0, Pass::Single, &hdr).unwrap();
        let list = pairs.into_iter().find(|(key, _)| key.ends_with("-params")).unwrap().1;
        assert!(list.contains(expected), "{encoder}: {list}");
    }
}

#[test]
fn only_an_encoder_that_asks_is_told_its_graphics_processor() {
    for (encoder, gpu, setting) in [
        ("h264_nvenc", Some(1), Some(("gpu", "1"))),
        ("av1_nvenc", None, None),
        ("h264_vaapi", Some(1), None),
        ("libx264", Some(1), None),
    ] {
        let wanted = setting.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(device(encoder, gpu), wanted, "{encoder} {gpu:?}");
    }
}
