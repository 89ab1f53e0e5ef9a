//! What packages may hold: codecs, late streams, sound alone, subtitles.

use std::fs;

use super::*;

#[test]
fn codecs_and_ranges_are_told() {
    let bench = Bench::new();
    let picture = "-f lavfi -i testsrc2=s=192x108:r=24000/1001:d=2.2";
    let sound = "-f lavfi -i sine=440:r=48000:d=2.2";
    let cases = [
        (
            "hdr.mp4",
            format!(
                "{picture} {sound} -c:v libx265 -preset ultrafast -pix_fmt yuv420p10le -tag:v hvc1 -c:a eac3 \
                 -x265-params log-level=error:keyint=24:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
            ),
            ("hvc1.2.4.L", "ec-3", "PQ"),
        ),
        (
            "vp9.webm",
            format!("{picture} {sound} -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 24 -c:a libopus"),
            ("vp09.00.1", "opus", "SDR"),
        ),
        (
            "av1.mp4",
            format!("{picture} {sound} -c:v libaom-av1 -cpu-used 8 -usage realtime -g 24 -c:a aac"),
            ("av01.0.0", "mp4a.40.2", "SDR"),
        ),
        (
            "flac.mkv",
            format!("{picture} {sound} -c:v libx264 -pix_fmt yuv420p -g 24 -c:a flac -aspect 4:3"),
            ("avc1.6400", "fLaC", "SDR"),
        ),
        (
            "mp3.mkv",
            format!("{picture} {sound} -c:v libx264 -pix_fmt yuv420p -g 24 -c:a libmp3lame"),
            ("avc1.6400", "mp4a.6B", "SDR"),
        ),
    ];
    for (name, arguments, (video, audio, range)) in cases {
        let Some(source) = bench.make(name, &arguments) else { return };
        let primary = bench.path(&format!("of-{name}.m3u8"));
        pack(
            &primary,
            settings(Manifest::Both, Segments::Cmaf),
            &MediaBounds::default(),
            std::slice::from_ref(&source),
        )
        .unwrap();
        let master = master(&primary);
        let variant = &master.variants[0];
        let codecs = variant.codecs.as_deref().unwrap();
        assert!(codecs.starts_with(video) && codecs.ends_with(&format!(",{audio}")), "{name}: {codecs}");
        assert_eq!(variant.frame_rate, Some(23.976), "{name}");
        let other = variant.other_attributes.as_ref().unwrap();
        assert_eq!(other["VIDEO-RANGE"].to_string(), range, "{name}");
        let shown = variant.resolution.unwrap();
        assert_eq!((shown.width, shown.height), if name == "flac.mkv" { (144, 108) } else { (192, 108) }, "{name}");
        let mpd = fs::read_to_string(bench.path(&format!("of-{name}")).join("manifest.mpd")).unwrap();
        dash_mpd_core::parse(&mpd).unwrap();
        assert!(mpd.contains("frameRate=\"24000/1001\""), "{name}");
        for stream in ["v:0", "a:0"] {
            let (ours, theirs) = (frames(&primary, stream).len(), frames(&source, stream).len());
            assert!(ours.abs_diff(theirs) <= if stream == "v:0" { 0 } else { 2 }, "{name} {stream}: {ours} {theirs}");
        }
    }
}

#[test]
fn streams_that_begin_late_stay_late() {
    let bench = Bench::new();
    let picture = "-f lavfi -i testsrc2=s=192x108:r=25:d=5";
    let x264 = "-c:v libx264 -preset ultrafast -bf 2 -g 25 -pix_fmt yuv420p";
    let late_sound = format!("{picture} -itsoffset 1.5 -f lavfi -i sine=440:r=48000:d=3 {x264} -c:a aac");
    let late_picture =
        format!("{picture} -f lavfi -i sine=440:r=48000:d=6 -vf setpts=PTS+1.5/TB -vsync passthrough {x264} -c:a aac");
    for (name, arguments, delay) in [("sound.mp4", late_sound, 1.5), ("picture.mp4", late_picture, -1.5)] {
        let Some(source) = bench.make(name, &arguments) else { return };
        for segments in [Segments::Cmaf, Segments::MpegTs] {
            let primary = bench.path(&format!("{name}-{segments}.m3u8"));
            pack(&primary, settings(Manifest::Hls, segments), &MediaBounds::default(), std::slice::from_ref(&source))
                .unwrap();
            let (seen, heard) = (frames(&primary, "v:0")[0], frames(&primary, "a:0")[0]);
            assert!((heard - seen - delay).abs() < 1024.0 / 48000.0 + 0.003, "{name} {segments}: {seen} {heard}");
        }
    }
}

#[test]
fn sound_alone_is_a_package() {
    let bench = Bench::new();
    let sound = "-f lavfi -i sine=440:r=48000:d=7 -f lavfi -i sine=880:r=48000:d=7 -map 0 -map 1 -c:a aac \
                 -metadata:s:a:0 language=eng -metadata:s:a:1 language=../../x -b:a 64k";
    let Some(source) = bench.make("in.mkv", sound) else { return };
    let primary = bench.path("radio.m3u8");
    pack(&primary, settings(Manifest::Both, Segments::Cmaf), &MediaBounds::default(), &[source]).unwrap();
    let master = master(&primary);
    assert_eq!(master.variants.len(), 1);
    assert_eq!(master.variants[0].codecs.as_deref(), Some("mp4a.40.2"));
    assert_eq!(master.alternatives.len(), 2);
    for (path, playlist) in playlists(&primary) {
        // The last second is no segment of its own at a target of two.
        assert_eq!(playlist.segments.len(), 4, "{}", path.display());
        assert!((seconds(&playlist) - 7.0).abs() < 0.05);
    }
    assert!(frames(&primary, "a:0").len().abs_diff(7 * 48000 / 1024) <= 2);
    assert!(frames(&bench.path("radio/manifest.mpd"), "a:1").len().abs_diff(7 * 48000 / 1024) <= 2);
}

#[test]
fn subtitles_are_cut_with_the_video() {
    let bench = Bench::new();
    fs::write(
        bench.path("in.vtt"),
        "WEBVTT\n\n00:00.500 --> 00:01.000\nfirst\n\n00:01.500 --> 00:04.500\n<i>long</i>\n",
    )
    .unwrap();
    let film = format!(
        "-f lavfi -i testsrc2=s=192x108:r=25:d=7 -i {} -c:v libx264 -preset ultrafast -g 50 -pix_fmt yuv420p \
         -c:s webvtt -metadata:s:s:0 language=fre",
        bench.path("in.vtt").display()
    );
    let Some(source) = bench.make("in.mkv", &film) else { return };
    let primary = bench.path("film.m3u8");
    pack(&primary, settings(Manifest::Both, Segments::Cmaf), &MediaBounds::default(), &[source]).unwrap();
    let master = master(&primary);
    let text = &master.alternatives[0];
    assert_eq!((text.language.as_deref(), text.group_id.as_str(), text.default), (Some("fr"), "subtitles", false));
    assert_eq!(master.variants[0].subtitles.as_deref(), Some("subtitles"));
    let all = playlists(&primary);
    let (path, playlist) = &all[0];
    let shown: Vec<Vec<String>> = (playlist.segments.iter())
        .map(|segment| fs::read_to_string(path.with_file_name(&segment.uri)).unwrap())
        .map(|text| ["first", "<i>long</i>"].into_iter().filter(|cue| text.contains(cue)).map(str::to_owned).collect())
        .collect();
    assert_eq!(shown, [vec!["first", "<i>long</i>"], vec!["<i>long</i>"], vec!["<i>long</i>"], vec![]]);
    let mpd = dash_mpd_core::parse(&fs::read_to_string(bench.path("film/manifest.mpd")).unwrap()).unwrap();
    let base = &mpd.periods[0].adaptations[1].representations[0].BaseURL[0].base;
    let cues = ffprobe(&bench.path("film").join(base), "-show_entries packet=pts_time,duration_time -of csv=p=0");
    assert_eq!(cues.lines().collect::<Vec<_>>(), ["0.500000,0.500000", "1.500000,3.000000"]);
}
