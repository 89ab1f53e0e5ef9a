//! The words of the grammar as data: what the parser knows, `ffrtmp scenarios` prints, and
//! `docs/scenarios.md` shows.

use crate::units::RESOLUTION_NAMES;

/// The grammar in one line.
pub const GRAMMAR: &str = "[word-…]RESOLUTION[FPS][-CODEC][-word…]";

/// Scenarios that people use.
pub const EXAMPLES: &[&str] = &[
    "1080p30-h264",
    "4K60-h265",
    "720p30-vp9",
    "1080p-h264",
    "live-4k",
    "live-stream",
    "live-rtmp",
    "transcode",
    "1080p-test",
    "test1",
    "4K-h265",
];

/// A word with a meaning. Every other word is a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word in lower case.
    pub word: &'static str,
    /// What kind of word it is.
    pub kind: WordKind,
    /// What it does, in words.
    pub meaning: &'static str,
}

/// What a word decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordKind {
    /// The picture size; a rate may follow without a space.
    Size,
    /// The video codec.
    Codec,
    /// The queue and the engine, unless the request says else.
    Hint,
    /// What the job is for, unless the request says else.
    Classification,
}

macro_rules! words {
    ($($kind:ident { $($word:literal $meaning:literal),* $(,)? })*) => {
        /// Every word with a meaning, by kind.
        pub const WORDS: &[Word] = &[$($(Word { word: $word, kind: WordKind::$kind, meaning: $meaning },)*)*];
    };
}

words! {
    Size {
        "4k" "fits into 3840x2160",
        "2160p" "fits into 3840x2160",
        "1440p" "fits into 2560x1440",
        "1080p" "fits into 1920x1080",
        "720p" "fits into 1280x720",
        "576p" "fits into 1024x576",
        "480p" "fits into 854x480",
        "360p" "fits into 640x360",
        "240p" "fits into 426x240",
        "144p" "fits into 256x144",
    }
    Codec {
        "h264" "H.264 / AVC",
        "h265" "H.265 / HEVC",
        "hevc" "H.265 / HEVC",
        "vp8" "VP8",
        "vp9" "VP9",
        "av1" "AV1",
    }
    Hint {
        "live" "live queue, GStreamer engine",
        "rtmp" "live queue, GStreamer engine",
        "stream" "live queue, GStreamer engine",
    }
    Classification {
        "test" "does not count for service levels",
        "debug" "does not count for service levels",
        "benchmark" "does not count for service levels",
    }
}

/// Splits a word behind the size name that it starts with.
pub(super) fn split_size(word: &str) -> Option<(&str, &str)> {
    RESOLUTION_NAMES.iter().find(|(name, _)| word.starts_with(name)).map(|(name, _)| word.split_at(name.len()))
}

/// The words of one kind.
pub(super) fn of_kind(kind: WordKind) -> impl Iterator<Item = &'static str> {
    WORDS.iter().filter(move |word| word.kind == kind).map(|word| word.word)
}
