//! The file format of the synthetic engine: a line that names it, a line of JSON that describes
//! it, and 64 bytes per frame that follow from the frame's number, so that a reader notices what
//! is missing or damaged.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use ffrtmp_core::engine::MediaBounds;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::{AudioInfo, MediaInfo, StreamInfo, StreamKind, VideoCodec, VideoInfo};
use ffrtmp_core::units::{FrameRate, Ratio, Resolution};
use serde::{Deserialize, Serialize};

/// Bytes of a frame.
pub(super) const FRAME_BYTES: usize = 64;

const MAGIC: &[u8] = b"ffrtmp synthetic media 1\n";
const MAX_HEADER: u64 = 4096;

/// What a synthetic file says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) codec: VideoCodec,
    pub(super) size: Resolution,
    #[serde(with = "exact")]
    pub(super) fps: FrameRate,
    pub(super) frames: u64,
}

/// A frame rate as two numbers: as a single one it would be rounded.
mod exact {
    use ffrtmp_core::units::FrameRate;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(fps: &FrameRate, serializer: S) -> Result<S::Ok, S::Error> {
        (fps.num, fps.den).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FrameRate, D::Error> {
        let (num, den) = Deserialize::deserialize(deserializer)?;
        FrameRate::new(num, den).map_err(D::Error::custom)
    }
}

/// The content of a frame.
pub(super) fn frame(number: u64) -> [u8; FRAME_BYTES] {
    let mut state = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut content = [0; FRAME_BYTES];
    for word in content.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    content
}

impl Header {
    pub(super) fn seconds(&self) -> f64 {
        self.frames as f64 / self.fps.as_f64()
    }

    /// Writes it and returns its length.
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<u64> {
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        to.write_all(MAGIC)?;
        to.write_all(&text)?;
        Ok((MAGIC.len() + text.len()) as u64)
    }

    /// Reads that of a file, and the size of the file in bytes.
    pub(super) fn read(path: &Path) -> Result<(Self, u64)> {
        let (mut reader, size) = open(path)?;
        let header = Self::parse(&mut reader).ok_or_else(|| invalid(path, "is not synthetic media"))?;
        Ok((header, size))
    }

    fn parse(reader: &mut impl BufRead) -> Option<Self> {
        let mut reader = reader.take(MAX_HEADER);
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line).ok()?;
        if line != MAGIC {
            return None;
        }
        line.clear();
        reader.read_until(b'\n', &mut line).ok()?;
        serde_json::from_slice(&line).ok()
    }

    pub(super) fn check(&self, bounds: &MediaBounds) -> Result<()> {
        let too_large = |what: &str| Err(Error::new(Code::InputTooLarge, what).field("input"));
        match () {
            () if self.size.pixels() > bounds.max_pixels => too_large("the picture has more pixels than allowed"),
            () if self.seconds() > bounds.max_duration.as_secs_f64() => too_large("the media is longer than allowed"),
            () => Ok(()),
        }
    }

    pub(super) fn describe(&self, size_bytes: u64) -> MediaInfo {
        let seconds = Some(self.seconds());
        let stream = |index, kind, codec: &str| StreamInfo {
            index,
            kind,
            codec: codec.into(),
            profile: None,
            language: None,
            default: true,
            title: None,
            dispositions: Vec::new(),
            duration_seconds: seconds,
            start_seconds: Some(0.0),
            frames: None,
            bit_rate: None,
            time_base: Ratio { num: 1, den: 90_000 },
            video: None,
            audio: None,
        };
        let video = VideoInfo {
            width: self.size.width,
            height: self.size.height,
            sample_aspect_ratio: Ratio { num: 1, den: 1 },
            frame_rate: Some(self.fps),
            pixel_format: Some("yuv420p".into()),
            rotation: 0,
            field_order: "progressive".into(),
            color_range: None,
            color_primaries: None,
            color_transfer: None,
            color_space: None,
            bit_depth: Some(8),
            hdr: None,
            cover_art: false,
        };
        let audio = AudioInfo { sample_rate: 48_000, channels: 2, layout: Some("stereo".into()) };
        MediaInfo {
            format: "synthetic".into(),
            duration_seconds: seconds,
            size_bytes,
            streams: vec![
                StreamInfo {
                    frames: Some(self.frames),
                    video: Some(video),
                    ..stream(0, StreamKind::Video, self.codec.as_str())
                },
                StreamInfo { audio: Some(audio), ..stream(1, StreamKind::Audio, "aac") },
            ],
            ..MediaInfo::default()
        }
    }
}

/// Reads a file back and compares it with what was to be written; returns its size.
pub(super) fn verify(path: &Path, expected: &Header) -> Result<u64> {
    let wrong = |what: &str| Error::new(Code::VerifyFailed, what);
    let (mut reader, size) = open(path).map_err(|error| wrong("the output cannot be read").source(error))?;
    if Header::parse(&mut reader).as_ref() != Some(expected) {
        return Err(wrong("the output does not begin as it was written"));
    }
    let mut content = [0; FRAME_BYTES];
    for number in 0..expected.frames {
        reader.read_exact(&mut content).map_err(|error| wrong("the output ends early").source(error))?;
        if content != frame(number) {
            return Err(wrong("a frame of the output is damaged"));
        }
    }
    match reader.read(&mut content) {
        Ok(0) => Ok(size),
        _ => Err(wrong("the output goes on after its end")),
    }
}

/// Opens a regular, non-empty file; anything else could block for ever.
fn open(path: &Path) -> Result<(BufReader<File>, u64)> {
    let input = |code, what: &str| Error::new(code, format!("{} {what}", path.display())).field("input");
    let meta = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => input(Code::InputNotFound, "does not exist").source(error),
        _ => input(Code::InputUnreadable, "cannot be opened").source(error),
    })?;
    let kind = meta.file_type();
    if !meta.is_file() {
        let what = if meta.is_dir() {
            "is a directory"
        } else if kind.is_fifo() {
            "is a named pipe"
        } else {
            "is not a regular file"
        };
        return Err(input(Code::InputUnreadable, what));
    }
    if meta.len() == 0 {
        return Err(invalid(path, "is empty"));
    }
    let file = File::open(path).map_err(|error| input(Code::InputUnreadable, "cannot be opened").source(error))?;
    Ok((BufReader::new(file), meta.len()))
}

fn invalid(path: &Path, what: &str) -> Error {
    Error::new(Code::InputInvalid, format!("{} {what}", path.display())).field("input")
}
