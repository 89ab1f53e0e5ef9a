//! Every codec in every container that takes it.

use ffrtmp_core::media::{AudioCodec, Container, VideoCodec};

use crate::workbench::{AudioPlan, Bench, ENGINE, VideoPlan, at, frames, media, plan, probe};

#[test]
fn every_codec_fits_its_containers() {
    let bench = Bench::new();
    for container in Container::ALL.iter().copied().filter(|container| !container.is_segmented()) {
        for video in VideoCodec::ALL.iter().copied().filter(|codec| container.carries_video(*codec)) {
            for audio in AudioCodec::ALL.iter().copied().filter(|codec| container.carries_audio(*codec)) {
                let name = format!("{video}-{audio}.{container}");
                let (report, output) = bench.generate(&at(plan(container, video, audio), 25, 1), 0.6, &name);
                assert_eq!(report.frames, 15, "{name}");
                assert!((report.duration_seconds - 0.6).abs() < 0.045, "{name}: {}", report.duration_seconds);
                let info = probe(&output);
                let (stream, picture) = info.best_video().unwrap();
                let codec = if video == VideoCodec::H265 { "hevc" } else { video.as_str() };
                assert_eq!((stream.codec.as_str(), picture.width, picture.height), (codec, 192, 108), "{name}");
                let (stream, sound) = info.audio().next().unwrap();
                assert_eq!(
                    (stream.codec.as_str(), sound.sample_rate, sound.channels),
                    (audio.as_str(), 48000, 2),
                    "{name}"
                );
                if let Some(times) = frames(&output, "v") {
                    assert_eq!(times.len(), 15, "{name}: {times:?}");
                }
                assert!(report.hash.unwrap().starts_with("blake3:") && report.size_bytes > 1000, "{name}");
                assert!(report.warnings.is_empty(), "{name}: {:?}", report.warnings);
            }
        }
    }
}

#[test]
fn copied_streams_keep_every_packet() {
    let bench = Bench::new();
    let made = at(plan(Container::Mkv, VideoCodec::H264, AudioCodec::Aac), 25, 1);
    let (source, input) = bench.generate(&made, 1.0, "in.mkv");
    for container in [Container::Mp4, Container::Mkv, Container::MpegTs] {
        let mut copy = made.clone();
        copy.container = container;
        copy.video = Some(VideoPlan::Copy);
        copy.audio = Some(AudioPlan::Copy);
        let (report, output) = bench.run(&copy, &input, &format!("out.{container}")).unwrap();
        assert_eq!(report.frames, source.frames, "{container}");
        assert_eq!(report.video_encoder.as_deref(), Some("copy"));
        if let Some(times) = frames(&output, "v") {
            assert_eq!(times.len(), 25, "{container}");
        }
    }
    // The usual remux of a file from the web.
    if let Some(clip) = media("bbb720.mp4") {
        let mut copy = made;
        copy.container = Container::MpegTs;
        copy.video = Some(VideoPlan::Copy);
        copy.audio = Some(AudioPlan::Copy);
        assert_eq!(bench.run(&copy, &clip, "bbb.ts").unwrap().0.frames, 132);
    }
}

#[test]
fn index_is_in_front_and_hevc_is_tagged_for_players() {
    let bench = Bench::new();
    let (_, output) = bench.generate(&plan(Container::Mp4, VideoCodec::H265, AudioCodec::Aac), 0.5, "out.mp4");
    let bytes = std::fs::read(output).unwrap();
    let find = |needle: &[u8]| bytes.windows(needle.len()).position(|window| window == needle);
    assert!(find(b"moov").unwrap() < find(b"mdat").unwrap());
    assert!(find(b"hvc1").is_some());
}

#[test]
fn software_encoders_pass_their_test() {
    use ffrtmp_core::engine::Engine;
    let capabilities = ENGINE.capabilities();
    let encoders: Vec<_> = capabilities.video_encoders.iter().map(|(codec, _)| *codec).collect();
    assert_eq!(encoders, VideoCodec::ALL, "install the encoders that are missing");
    assert_eq!(capabilities.audio_encoders, ["aac", "libopus", "libmp3lame", "flac"]);
}
