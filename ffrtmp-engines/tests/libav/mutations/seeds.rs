//! The files that are damaged: every family of demuxers, with what makes them branch.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Pictures and sound of a third of a second, the same on every run.
const BOTH: &str = "-f lavfi -i testsrc2=s=96x64:r=25:d=0.32 -f lavfi -i sine=r=22050:d=0.32";
const SOUND: &str = "-f lavfi -i sine=r=22050:d=0.6";
const H264: &str = "-c:v libx264 -preset ultrafast -x264-params threads=1:bframes=1 -c:a aac";

/// Names and how they are made; the first ones are inputs of later ones only.
const FILES: [(&str, &str, &str); 13] = [
    ("cover.jpg", "-f lavfi -i testsrc2=s=32x32:r=1:d=1", "-frames:v 1"),
    ("plain.mp4", BOTH, H264),
    (
        "everything.mp4",
        "BOTH -i text.srt -i chapters.txt -i cover.jpg -map 0 -map 1 -map 2 -map 4",
        "H264 -c:s mov_text -c:v:1 copy -disposition:v:1 attached_pic -map_metadata 3 -map_chapters 3 -movflags +faststart",
    ),
    ("fragments.mp4", BOTH, "H264 -movflags +frag_keyframe+empty_moov+default_base_moof -g 4"),
    (
        "everything.mkv",
        "BOTH -i text.srt -i chapters.txt -map 0 -map 1 -map 2",
        "H264 -c:s srt -map_metadata 3 -map_chapters 3 -attach text.srt -metadata:s:t mimetype=text/plain",
    ),
    ("vp9.webm", BOTH, "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus"),
    ("h264.ts", BOTH, H264),
    ("mpeg4.avi", BOTH, "-c:v mpeg4 -c:a mp3"),
    ("h263.flv", BOTH, "-c:v flv -c:a mp3"),
    ("theora.ogg", BOTH, "-c:v libtheora -c:a libvorbis"),
    ("mpeg2.mpg", BOTH, "-c:v mpeg2video -c:a mp2"),
    ("tagged.mp3", "SOUND -i cover.jpg -map 0 -map 1", "-c:a mp3 -c:v copy -metadata title=Tone -id3v2_version 3"),
    ("plain.flac", SOUND, "-c:a flac"),
];

const TEXT: &str = "1\n00:00:00,050 --> 00:00:00,150\nfirst\n\n2\n00:00:00,200 --> 00:00:00,300\n<i>second</i>\n";
const CHAPTERS: &str = ";FFMETADATA1\ntitle=Mutant\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=150\ntitle=One\n\
                        [CHAPTER]\nTIMEBASE=1/1000\nSTART=150\nEND=320\ntitle=Two\n";

pub(super) struct Seeds(Vec<Seed>);

pub(super) struct Seed {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

impl Seeds {
    /// Makes them; `None`, with a line, where `ffmpeg` is not installed.
    pub(super) fn make(folder: &Path) -> Option<Self> {
        fs::write(folder.join("text.srt"), TEXT).unwrap();
        fs::write(folder.join("chapters.txt"), CHAPTERS).unwrap();
        for (name, inputs, outputs) in FILES {
            let arguments = format!("{inputs} {outputs}");
            let arguments = arguments.replace("BOTH", BOTH).replace("SOUND", SOUND).replace("H264", H264);
            let run = Command::new("ffmpeg")
                .args(["-nostdin", "-v", "error", "-y"])
                .args(arguments.split_whitespace())
                .args(["-flags", "+bitexact", "-fflags", "+bitexact", name])
                .current_dir(folder)
                .status();
            let Ok(status) = run else {
                eprintln!("skipped: ffmpeg is not installed");
                return None;
            };
            assert!(status.success(), "{name}");
        }
        Some(Self::read(folder))
    }

    /// Those that were made.
    pub(super) fn read(folder: &Path) -> Self {
        let damaged = FILES.iter().skip(1);
        Self(
            damaged
                .map(|(name, ..)| Seed { name: (*name).to_owned(), bytes: fs::read(folder.join(name)).unwrap() })
                .collect(),
        )
    }

    pub(super) fn of(&self, number: u64) -> &Seed {
        &self.0[(number % self.0.len() as u64) as usize]
    }
}
