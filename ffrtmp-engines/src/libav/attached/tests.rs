//! Covers and attachments from container to container, read back with `ffprobe` and `ffmpeg`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use ffrtmp_core::engine::{Control, MediaBounds};
use tempfile::TempDir;

use super::super::probe;
use super::super::sys::Guard;
use super::*;

struct Bench(TempDir);

impl Bench {
    /// `None`, with a line, where `ffmpeg` is not installed.
    fn new() -> Option<Self> {
        if Command::new("ffmpeg").arg("-version").output().is_err() {
            eprintln!("skipped: ffmpeg is not installed");
            return None;
        }
        Some(Self(tempfile::tempdir().unwrap()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn ffmpeg(&self, arguments: &str) {
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-y"]).args(arguments.split_whitespace());
        let made = command.current_dir(self.0.path()).output().unwrap();
        // Without an output it only dumps, and then complains.
        assert!(
            made.status.success() || arguments.contains("dump_attachment"),
            "{arguments}: {}",
            String::from_utf8_lossy(&made.stderr)
        );
    }

    /// Copies the sound, and everything that is attached.
    fn copy(&self, input: &str, container: Container, muxer: &str, name: &str) -> Vec<String> {
        let (mut input, _) = probe::open(&self.path(input), &MediaBounds::default(), &Control::default()).unwrap();
        let path = self.path(name);
        let file = File::create(&path).unwrap();
        let mut output = Output::new(muxer, file, &path, Guard::new(Control::default()), None).unwrap();
        let sound = input.streams().find(|stream| stream.is_audio()).unwrap();
        let lane = output.add_copied(sound).unwrap();
        let (sound, base) = (sound.index(), sound.time_base());
        let pictures: Vec<_> = input.streams().filter(|s| s.is_cover_art()).map(|s| s.index()).collect();
        let files: Vec<_> = input.streams().filter(|s| s.is_attachment()).map(|s| s.index()).collect();
        let (attached, warnings) = gather(&input, container, &pictures, &files);
        let lanes: Vec<_> = attached.iter().map(|one| one.add_to(&mut output).unwrap()).collect();
        output.start(&[("strict", "experimental")]).unwrap();
        for (one, lane) in attached.iter().zip(lanes) {
            assert!(one.source().is_cover_art() || one.source().is_attachment());
            if let Some(mut packet) = one.packet().unwrap() {
                packet.set_stream(lane);
                output.write(&mut packet).unwrap();
            }
        }
        drop(attached);
        let mut packet = Packet::new();
        while input.read(&mut packet).is_ok() {
            if packet.stream() == sound {
                packet.rescale(base, output.time_base(lane));
                packet.set_stream(lane);
                output.write(&mut packet).unwrap();
            }
        }
        output.finish().unwrap();
        warnings
    }

    /// The pictures of a file, as the bytes that were put in.
    fn pictures(&self, name: &str) -> Vec<Vec<u8>> {
        let count = facts(&self.path(name), "stream_disposition=attached_pic").iter().filter(|l| *l == "1").count();
        (0..count)
            .map(|index| {
                self.ffmpeg(&format!("-i {name} -map 0:v:{index} -c copy -frames:v 1 -f image2pipe got.bin"));
                fs::read(self.path("got.bin")).unwrap()
            })
            .collect()
    }
}

fn facts(path: &Path, entries: &str) -> Vec<String> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", entries, "-of", "csv=p=0"])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).filter(|line| !line.is_empty()).collect()
}

#[test]
fn pictures_go_from_any_container_that_has_them_to_any_other() {
    let Some(bench) = Bench::new() else { return };
    bench.ffmpeg("-f lavfi -i testsrc2=s=64x48 -frames:v 1 cover.png");
    bench.ffmpeg("-i cover.png -q:v 3 cover.jpg");
    let sound = "-f lavfi -i sine=d=1";
    for extension in ["png", "jpg"] {
        let picture = fs::read(bench.path(&format!("cover.{extension}"))).unwrap();
        let attach = format!("-i cover.{extension} -map 0 -map 1 -c:v copy -disposition:v attached_pic");
        let mime = if extension == "png" { "image/png" } else { "image/jpeg" };
        bench.ffmpeg(&format!("{sound} {attach} -c:a aac in.m4a"));
        bench.ffmpeg(&format!("{sound} {attach} -c:a libmp3lame in.mp3"));
        bench.ffmpeg(&format!("{sound} {attach} -c:a flac in.flac"));
        bench.ffmpeg(&format!("{sound} -c:a flac -attach cover.{extension} -metadata:s:t mimetype={mime} in.mka"));
        let mut cases = Vec::new();
        for source in ["in.m4a", "in.mp3", "in.flac", "in.mka"] {
            cases.push((source, Container::Mkv, "matroska", "out.mkv"));
            cases.push((source, Container::Mp4, "mp4", "out.mp4"));
        }
        cases.push(("in.mp3", Container::Mp4, "mp3", "out.mp3"));
        cases.push(("in.flac", Container::Mp4, "flac", "out.flac"));
        for (source, container, muxer, name) in cases {
            let what = format!("{extension} in {source} to {name}");
            assert!(bench.copy(source, container, muxer, name).is_empty(), "{what}");
            assert_eq!(bench.pictures(name), std::slice::from_ref(&picture), "{what}");
            assert_eq!(facts(&bench.path(name), "stream=codec_type"), ["audio", "video"], "{what}");
        }
    }
}

#[test]
fn attached_files_keep_their_bytes_name_and_type() {
    let Some(bench) = Bench::new() else { return };
    let font: Vec<u8> = (0..50_000_u32).map(|value| (value.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(bench.path("font.ttf"), &font).unwrap();
    fs::write(bench.path("notes.txt"), "words").unwrap();
    bench.ffmpeg(
        "-f lavfi -i sine=d=1 -c:a flac -attach font.ttf -metadata:s:t:0 mimetype=application/x-truetype-font \
         -metadata:s:t:0 filename=Schrift.ttf -attach notes.txt -metadata:s:t:1 mimetype=application/x-odd in.mka",
    );
    assert!(bench.copy("in.mka", Container::Mkv, "matroska", "out.mkv").is_empty());
    let tags = "stream=codec_type:stream_tags=filename,mimetype";
    assert_eq!(facts(&bench.path("out.mkv"), tags), facts(&bench.path("in.mka"), tags));
    for (index, wanted) in [font.as_slice(), b"words"].into_iter().enumerate() {
        bench.ffmpeg(&format!("-dump_attachment:t:{index} got.bin -i out.mkv"));
        assert_eq!(fs::read(bench.path("got.bin")).unwrap(), wanted);
    }
}

#[test]
fn what_is_too_large_stays_behind_with_a_warning() {
    let Some(bench) = Bench::new() else { return };
    let large = File::create(bench.path("large.bin")).unwrap();
    large.set_len(MAX_BYTES as u64 + 1).unwrap();
    bench.ffmpeg("-f lavfi -i sine=d=1 -c:a flac -attach large.bin -metadata:s:t mimetype=application/x-odd in.mka");
    let warnings = bench.copy("in.mka", Container::Mkv, "matroska", "out.mkv");
    assert_eq!(warnings, ["stream 1 was left out: an attachment of more than 32 MiB"]);
    assert_eq!(facts(&bench.path("out.mkv"), "stream=codec_type"), ["audio"]);
}
