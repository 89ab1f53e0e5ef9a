//! The inputs: real clips where they are, generated ones where not, made once and kept.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, sys};

/// Makes inputs and remembers them by name.
#[derive(Debug)]
pub(crate) struct Clips {
    dir: PathBuf,
    media: PathBuf,
    smoke: bool,
}

impl Clips {
    pub(crate) fn at(dir: &Path, smoke: bool) -> Result<Self> {
        let dir = if smoke { dir.join("smoke") } else { dir.to_owned() };
        std::fs::create_dir_all(&dir)?;
        let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media");
        let media = std::env::var_os("FFRTMP_MEDIA").map_or_else(beside, PathBuf::from);
        Ok(Self { dir, media, smoke })
    }

    /// 720p with sound, 25 frames per second: 21 s, and one second in a smoke run.
    pub(crate) fn hd(&self) -> Result<PathBuf> {
        let first = self.media.join("bbb720.mp4");
        match (first.exists(), self.smoke) {
            (true, true) => {
                self.made("hd.mp4", |out| ffmpeg(&["-i", text(&first)?, "-t", "1", "-c", "copy", text(out)?]))
            }
            (true, false) => {
                self.made("hd.mp4", |out| ffmpeg(&["-stream_loop", "3", "-i", text(&first)?, "-c", "copy", text(out)?]))
            }
            (false, smoke) => self.made("hd.mp4", |out| {
                let seconds = if smoke { "1" } else { "21" };
                generated("1280x720", seconds, text(out)?)
            }),
        }
    }

    /// A few seconds of 720p with sound, as it was published.
    pub(crate) fn short(&self) -> Result<PathBuf> {
        let first = self.media.join("bbb720.mp4");
        if first.exists() { Ok(first) } else { self.hd() }
    }

    /// [`Clips::hd`] without its sound.
    pub(crate) fn silent(&self) -> Result<PathBuf> {
        let source = self.hd()?;
        self.made("silent.mp4", |out| ffmpeg(&["-i", text(&source)?, "-an", "-c", "copy", text(out)?]))
    }

    /// 1080p with sound, 25 frames per second, the picture of [`Clips::hd`] made larger: 8 s.
    pub(crate) fn full_hd(&self) -> Result<PathBuf> {
        let source = self.hd()?;
        let seconds = if self.smoke { "0.5" } else { "8" };
        self.made("fullhd.mp4", |out| {
            let scale = "scale=1920:1080:flags=lanczos";
            let picture = ["-vf", scale, "-c:v", "libx264", "-preset", "veryfast", "-crf", "16", "-c:a", "copy"];
            ffmpeg(&[&["-i", text(&source)?, "-t", seconds], &picture[..], &[text(out)?]].concat())
        })
    }

    /// [`Clips::full_hd`] without its sound.
    pub(crate) fn full_hd_silent(&self) -> Result<PathBuf> {
        let source = self.full_hd()?;
        self.made("fullhd-silent.mp4", |out| ffmpeg(&["-i", text(&source)?, "-an", "-c", "copy", text(out)?]))
    }

    /// One second of 360p with sound, several pieces of [`Clips::hd`].
    pub(crate) fn seconds(&self, count: usize) -> Result<Vec<PathBuf>> {
        let source = self.hd()?;
        (0..count)
            .map(|index| {
                let start = if self.smoke { 0.0 } else { index as f64 * 0.5 };
                let (start, name) = (start.to_string(), format!("second{index}.mp4"));
                self.made(&name, |out| {
                    let scale = ["-vf", "scale=640:360", "-c:v", "libx264", "-crf", "18", "-preset", "veryfast"];
                    let cut = ["-ss", &start, "-i", text(&source)?, "-t", "1"];
                    ffmpeg(&[&cut[..], &scale[..], &["-c:a", "aac", text(out)?]].concat())
                })
            })
            .collect()
    }

    fn made(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let path = self.dir.join(name);
        if !path.exists() {
            let part = self.dir.join(format!("part-{name}"));
            make(&part)?;
            std::fs::rename(&part, &path)?;
        }
        Ok(path)
    }
}

fn generated(size: &str, seconds: &str, out: &str) -> Result<()> {
    let picture = format!("testsrc2=size={size}:rate=25:duration={seconds}");
    let tone = format!("sine=frequency=440:sample_rate=48000:duration={seconds}");
    let inputs = ["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &tone];
    let codecs = ["-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-c:a", "aac", out];
    ffmpeg(&[&inputs[..], &codecs[..]].concat())
}

fn ffmpeg(words: &[&str]) -> Result<()> {
    sys::run(Command::new("ffmpeg").args(["-v", "error", "-nostdin", "-y"]).args(words)).map(drop)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()).into())
}
