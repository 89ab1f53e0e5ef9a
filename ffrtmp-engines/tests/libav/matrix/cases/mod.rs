//! The table of inputs.

mod oddities;
mod pictures;
mod sound;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ffrtmp_core::error::Code;
use ffrtmp_core::media::Container;

use crate::shapes::turn_track;
use crate::workbench::Bench;

/// One input and what to say about it.
pub(super) struct Case {
    /// Name of the file; its ending is the container.
    pub(super) name: &'static str,
    /// Arguments of `ffmpeg`, with [short forms](expand); a part behind `&&` reads `1.mov`, which
    /// the one before wrote.
    pub(super) make: String,
    pub(super) quirks: Vec<Quirk>,
}

/// What is true of an input beyond the rules.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Quirk {
    /// It is refused, for a reason.
    Refused(Code, &'static str),
    /// It cannot be copied into this container, for a reason.
    NoCopy(Container, Code, &'static str),
    /// `ffmpeg` filters that make of the source what is to come out.
    Reference(&'static str),
    /// Pictures are less like the source's than usual, for a reason.
    Similar(f64, &'static str),
    /// Length of the output, where that is not what `ffprobe` sees.
    Seconds(f64, &'static str),
    /// Times in the source say nothing.
    OtherTimes,
    /// The display matrix of the picture's track.
    Matrix([i32; 4]),
    /// The file follows itself.
    Twice,
    /// The file is these bytes.
    Bytes(&'static [u8]),
}

/// Every case.
pub(super) fn all() -> Vec<Case> {
    [pictures::cases(), sound::cases(), oddities::cases()].into_iter().flatten().collect()
}

fn case(name: &'static str, make: impl Into<String>) -> Case {
    Case { name, make: make.into(), quirks: Vec::new() }
}

impl Case {
    fn but(mut self, quirk: Quirk) -> Self {
        self.quirks.push(quirk);
        self
    }

    fn no_copy(self, to: &[Container], code: Code, reason: &'static str) -> Self {
        to.iter().fold(self, |case, to| case.but(Quirk::NoCopy(*to, code, reason)))
    }

    /// Makes the file.
    ///
    /// # Errors
    /// What `ffmpeg` says.
    pub(super) fn make(&self, bench: &Bench) -> Result<PathBuf, String> {
        let path = bench.path(self.name);
        for quirk in &self.quirks {
            if let Quirk::Bytes(bytes) = quirk {
                fs::write(&path, bytes).unwrap();
                return Ok(path);
            }
        }
        prepare(bench.path("").as_path());
        let steps: Vec<&str> = self.make.split(" && ").collect();
        for (place, step) in steps.iter().enumerate() {
            let last = place + 1 == steps.len();
            let name = if last { self.name.to_owned() } else { format!("{}.mov", place + 1) };
            ffmpeg(bench, &expand(step), &name)?;
        }
        for quirk in &self.quirks {
            match quirk {
                Quirk::Matrix(matrix) => turn_track(&path, &path, *matrix),
                Quirk::Twice => fs::write(&path, fs::read(&path).unwrap().repeat(2)).unwrap(),
                _ => {}
            }
        }
        Ok(path)
    }

    pub(super) fn has(&self, quirk: &Quirk) -> bool {
        self.quirks.contains(quirk)
    }

    /// Whether `ffprobe` can look at it.
    pub(super) fn is_seen(&self) -> bool {
        self.refusal().is_none()
    }

    /// The container changes with every transcode.
    pub(super) fn into(&self) -> Container {
        let extension = self.name.rsplit('.').next().unwrap_or_default();
        if matches!(extension, "mp4" | "mov" | "m4a" | "3gp") { Container::Mkv } else { Container::Mp4 }
    }

    pub(super) fn refusal(&self) -> Option<(Code, &'static str)> {
        self.quirks.iter().find_map(|quirk| match quirk {
            Quirk::Refused(code, reason) => Some((*code, *reason)),
            _ => None,
        })
    }

    /// Filters for the source, with a comma at the end.
    pub(super) fn reference(&self) -> String {
        let filters = self.quirks.iter().filter_map(|quirk| match quirk {
            Quirk::Reference(filters) => Some(format!("{filters},")),
            _ => None,
        });
        filters.collect()
    }

    pub(super) fn similar(&self) -> Option<f64> {
        self.quirks.iter().find_map(|quirk| if let Quirk::Similar(value, _) = quirk { Some(*value) } else { None })
    }

    pub(super) fn seconds(&self) -> Option<f64> {
        self.quirks.iter().find_map(|quirk| if let Quirk::Seconds(value, _) = quirk { Some(*value) } else { None })
    }
}

fn ffmpeg(bench: &Bench, arguments: &str, name: &str) -> Result<(), String> {
    let run = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y", "-threads", "1"])
        .args(arguments.split_whitespace())
        .arg(name)
        .current_dir(bench.path(""))
        .output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&run.stderr);
    if run.status.success() { Ok(()) } else { Err(format!("ffmpeg {arguments} {name}: {said}")) }
}

/// Files that some cases put in.
fn prepare(folder: &Path) {
    let text = |word: &str| {
        format!("1\n00:00:00,100 --> 00:00:00,200\n{word} one\n\n2\n00:00:00,300 --> 00:00:00,500\n{word} two\n")
    };
    fs::write(folder.join("en.srt"), text("word")).unwrap();
    fs::write(folder.join("fr.srt"), text("mot")).unwrap();
    let chapters = ";FFMETADATA1\ntitle=Film\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=Begin\n\
                    [CHAPTER]\nTIMEBASE=1/1000\nSTART=200\nEND=600\ntitle=End\n";
    fs::write(folder.join("chapters.txt"), chapters).unwrap();
}

/// Writes short forms out: `V:SIZE@RATE~SECONDS` is a moving picture of even size (192x108@25~0.6), `A:RATE~SECONDS`
/// a tone (48000~0.6), `X` H.264 and `XA` H.264 with AAC.
fn expand(make: &str) -> String {
    let words = make.split_whitespace().map(|word| match word {
        "X" => "-c:v libx264 -preset ultrafast -bf 2".to_owned(),
        "XA" => "-c:v libx264 -preset ultrafast -bf 2 -c:a aac".to_owned(),
        _ => picture(word).or_else(|| tone(word)).unwrap_or_else(|| word.to_owned()),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn picture(word: &str) -> Option<String> {
    let rest = word.strip_prefix('V').filter(|rest| rest.is_empty() || rest.starts_with([':', '@', '~']))?;
    let (rest, seconds) = rest.split_once('~').unwrap_or((rest, "0.6"));
    let (rest, rate) = rest.split_once('@').unwrap_or((rest, "25"));
    let size = rest.strip_prefix(':').unwrap_or("192x108");
    Some(format!("-f lavfi -i testsrc2=s={size}:r={rate}:d={seconds}"))
}

fn tone(word: &str) -> Option<String> {
    let rest = word.strip_prefix('A').filter(|rest| rest.is_empty() || rest.starts_with([':', '~']))?;
    let (rest, seconds) = rest.split_once('~').unwrap_or((rest, "0.6"));
    let rate = rest.strip_prefix(':').unwrap_or("48000");
    Some(format!("-f lavfi -i sine=r={rate}:d={seconds}"))
}
