//! Subtitles, covers and attachments through the whole engine: what each container ends up with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ffrtmp_core::engine::{Control, Engine, MediaBounds, Source, Task};
use ffrtmp_core::job::{JobReport, Parameters};
use ffrtmp_core::media::Container;
use ffrtmp_core::plan::OutputRequest;
use ffrtmp_core::units::Seconds;

use crate::workbench::{Bench, ENGINE, Listener};

const PICTURES: &str = "-f lavfi -i testsrc2=s=64x48:r=10:d=8";
const FRENCH: &str = "1\n00:00:00,500 --> 00:00:01,500\n<i>Bonjour</i>\n\n2\n00:00:02,000 --> 00:00:04,000\nUn\n\n\
                      3\n00:00:05,000 --> 00:00:07,250\nDeux\nlignes\n\n";

/// Runs a task with the defaults of a container.
fn run(bench: &Bench, input: &Path, container: Container, duration: Option<f64>) -> (JobReport, PathBuf) {
    let output = bench.path(&format!("out.{container}"));
    let parameters = Parameters {
        duration: duration.map(|seconds| Seconds::try_from(seconds).unwrap()),
        preset: Some("ultrafast".to_owned()),
        ..Parameters::default()
    };
    let task = Task {
        source: Source::File(input.to_owned()),
        output: output.clone(),
        request: OutputRequest { parameters, container: Some(container), ..OutputRequest::default() },
        bounds: MediaBounds::default(),
        live: None,
    };
    (ENGINE.run(&task, &Control::default(), &Listener::default()).unwrap(), output)
}

/// Lines of `ffprobe`, without the empty ones that programs of a transport stream leave.
fn facts(path: &Path, entries: &str) -> Vec<String> {
    let output =
        Command::new("ffprobe").args(["-v", "error", "-show_entries", entries, "-of", "csv=p=0"]).arg(path).output();
    let output = output.unwrap();
    assert!(output.stderr.is_empty(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.trim_matches(',').to_owned()).filter(|line| !line.is_empty()).collect()
}

/// What a player shows of a subtitle stream, as SubRip.
fn shown(path: &Path, stream: usize) -> String {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(path)
        .args(["-map", &format!("0:s:{stream}"), "-f", "srt", "-"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A film with two languages of subtitles, a font and a cover.
fn film(bench: &Bench) -> Option<PathBuf> {
    fs::write(bench.path("fr.srt"), FRENCH).unwrap();
    fs::write(bench.path("font.ttf"), [7; 999]).unwrap();
    bench.ffmpeg("cover.jpg", "-f lavfi -i testsrc2=s=32x32 -frames:v 1")?;
    bench.ffmpeg("de.ass", "-i fr.srt")?;
    let streams = "-i fr.srt -i de.ass -map 0 -map 1 -map 2 -c:v libx264 -preset ultrafast -c:s:0 subrip -c:s:1 ass \
                   -metadata:s:s:0 language=fre -metadata:s:s:0 title=Sous-titres -disposition:s:0 forced \
                   -metadata:s:s:1 language=ger -disposition:s:1 hearing_impaired";
    let files = "-attach font.ttf -metadata:s:t:0 mimetype=application/x-truetype-font \
                 -attach cover.jpg -metadata:s:t:1 mimetype=image/jpeg";
    bench.ffmpeg("film.mkv", &format!("{PICTURES} {streams} {files}"))
}

#[test]
fn every_container_gets_the_subtitles_that_it_can_carry() {
    let bench = Bench::new();
    let Some(film) = film(&bench) else { return };
    let cases = [
        (Container::Mp4, &["mov_text", "mov_text"][..]),
        (Container::Fmp4, &["mov_text", "mov_text"]),
        (Container::Mkv, &["subrip", "ass"]),
        (Container::Webm, &["webvtt", "webvtt"]),
        (Container::MpegTs, &[]),
    ];
    for (container, codecs) in cases {
        let (report, output) = run(&bench, &film, container, None);
        let streams = facts(&output, "stream=codec_type,codec_name");
        let found: Vec<_> = streams.iter().filter_map(|line| line.strip_suffix(",subtitle")).collect();
        assert_eq!(found, codecs, "{container}");
        for stream in 0..codecs.len() {
            let (found, wanted) = (plain(&shown(&output, stream)), plain(FRENCH));
            // libav reads no lengths of text out of fragments, though they are written there.
            let cut = |text: &str| if container == Container::Fmp4 { without_ends(text) } else { text.to_owned() };
            assert_eq!(cut(&found), cut(&wanted), "{container}, stream {stream}");
        }
        if codecs.is_empty() {
            let told = report.warnings.iter().filter(|warning| warning.contains("no text subtitles")).count();
            assert_eq!(told, 2, "{:?}", report.warnings);
            continue;
        }
        let tags = facts(&output, "stream_tags=language");
        let wanted = ["fre", "ger"];
        assert!(wanted.iter().all(|tag| tags.iter().any(|found| found == tag)), "{container}: {tags:?}");
        let forced = facts(&output, "stream_disposition=forced");
        assert!(forced.iter().any(|line| line == "1"), "{container}: {forced:?}");
    }
}

fn without_ends(text: &str) -> String {
    text.lines().map(|line| line.split(" to ").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Times and words without the tags of styles, which players of each format add to.
fn plain(srt: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for letter in srt.replace("-->", "to").replace('\r', "").chars() {
        match letter {
            '<' => inside = true,
            '>' => inside = false,
            _ if !inside => text.push(letter),
            _ => {}
        }
    }
    text
}

/// MPEG-4 shows one text at a time.
#[test]
fn texts_that_overlap_are_all_shown() {
    let bench = Bench::new();
    let srt = |texts: &[(&str, &str)]| {
        let each = (1..).zip(texts).map(|(number, (times, words))| format!("{number}\n{times}\n{words}\n\n"));
        each.collect::<String>()
    };
    let (first, second) = ("00:00:01,000 --> 00:00:04,000", "00:00:02,000 --> 00:00:06,000");
    fs::write(bench.path("in.srt"), srt(&[(first, "Un"), (second, "Deux"), (second, "Trois")])).unwrap();
    let streams = "-i in.srt -map 0 -map 1 -c:v libx264 -preset ultrafast -g 10 -c:s ass";
    let Some(film) = bench.ffmpeg("film.mkv", &format!("{PICTURES} {streams}")) else { return };
    let wanted = plain(&srt(&[
        ("00:00:01,000 --> 00:00:02,000", "Un"),
        ("00:00:02,000 --> 00:00:04,000", "Un\nDeux\nTrois"),
        ("00:00:04,000 --> 00:00:06,000", "Deux\nTrois"),
    ]));
    for container in [Container::Mp4, Container::Fmp4] {
        let (report, output) = run(&bench, &film, container, None);
        let found = plain(&shown(&output, 0));
        // As above: libav reads no lengths of text out of fragments.
        let cut = |text: &str| if container == Container::Fmp4 { without_ends(text) } else { text.to_owned() };
        assert_eq!(cut(&found), cut(&wanted), "{container}");
        assert_eq!(report.warnings, Vec::<String>::new(), "{container}");
    }
}

#[test]
fn styles_survive_where_the_container_has_them() {
    let bench = Bench::new();
    let Some(film) = film(&bench) else { return };
    for container in [Container::Mp4, Container::Mkv, Container::Webm] {
        let (_, output) = run(&bench, &film, container, None);
        for stream in 0..2 {
            assert!(shown(&output, stream).contains("<i>Bonjour</i>"), "{container}: {}", shown(&output, stream));
        }
    }
}

#[test]
fn a_cut_ends_the_last_text_and_leaves_out_what_comes_after() {
    let bench = Bench::new();
    let Some(film) = film(&bench) else { return };
    for container in [Container::Mp4, Container::Mkv] {
        let (report, output) = run(&bench, &film, container, Some(3.0));
        let text = shown(&output, 0);
        assert!(text.contains("00:00:02,000 --> 00:00:03,000\nUn") && !text.contains("Deux"), "{container}: {text}");
        assert!((report.duration_seconds - 3.0).abs() < 0.11, "{container}: {}", report.duration_seconds);
    }
}

#[test]
fn a_track_without_text_in_the_range_stays_empty() {
    let bench = Bench::new();
    fs::write(bench.path("late.srt"), "1\n00:00:05,000 --> 00:00:06,000\nSpät\n\n").unwrap();
    let streams = "-i late.srt -map 0 -map 1 -c:v libx264 -preset ultrafast";
    let Some(late) = bench.ffmpeg("late.mkv", &format!("{PICTURES} {streams} -c:s subrip")) else { return };
    let silent = bench.ffmpeg("silent.mkv", &format!("{PICTURES} {streams} -c:s subrip -t 4")).unwrap();
    let copied = bench.ffmpeg("copied.mp4", &format!("{PICTURES} {streams} -c:s mov_text -t 4")).unwrap();
    for container in [Container::Mp4, Container::Fmp4, Container::Mkv] {
        for (input, seconds) in [(&late, Some(1.0)), (&silent, None), (&copied, Some(1.0))] {
            let (report, output) = run(&bench, input, container, seconds);
            let context = format!("{} to {container}: {:?}", input.display(), report.warnings);
            let streams = facts(&output, "stream=codec_type");
            assert_eq!(streams, ["video", "subtitle"], "{context}");
            assert_eq!(shown(&output, 0).trim(), "", "{context}");
            let told = report.warnings.iter().any(|warning| warning.contains("had no text in this range and is empty"));
            // The copy brings the empty sample that the source has.
            assert!(told || input == &copied, "{context}");
        }
    }
}

#[test]
fn covers_and_fonts_go_along_where_there_is_a_place() {
    let bench = Bench::new();
    let Some(film) = film(&bench) else { return };
    let cover = fs::read(bench.path("cover.jpg")).unwrap();
    for (container, pictures, files) in
        [(Container::Mkv, 1, 1), (Container::Mp4, 1, 0), (Container::Webm, 0, 0), (Container::MpegTs, 0, 0)]
    {
        let (report, output) = run(&bench, &film, container, None);
        let covers = facts(&output, "stream_disposition=attached_pic");
        assert_eq!(covers.iter().filter(|line| *line == "1").count(), pictures, "{container}");
        let kinds = facts(&output, "stream=codec_type");
        assert_eq!(kinds.iter().filter(|kind| *kind == "attachment").count(), files, "{container}");
        let left = report.warnings.iter().filter(|w| w.contains("cover art") || w.contains("an attachment")).count();
        assert_eq!(left, 2 - pictures - files, "{container}: {:?}", report.warnings);
        if pictures == 1 {
            let got = bench.ffmpeg("got.bin", &format!("-i {} -map 0:v:1 -c copy -f image2pipe", output.display()));
            assert_eq!(fs::read(got.unwrap()).unwrap(), cover, "{container}");
        }
    }
}
