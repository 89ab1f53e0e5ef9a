//! What a stream is for, as its container says.

use ffmpeg_sys_next as ffi;

use super::StreamView;

/// Dispositions that people and players choose by, in libav's words.
const NAMES: &[(i32, &str)] = &[
    (ffi::AV_DISPOSITION_FORCED, "forced"),
    (ffi::AV_DISPOSITION_HEARING_IMPAIRED, "hearing_impaired"),
    (ffi::AV_DISPOSITION_VISUAL_IMPAIRED, "visual_impaired"),
    (ffi::AV_DISPOSITION_COMMENT, "comment"),
    (ffi::AV_DISPOSITION_DUB, "dub"),
    (ffi::AV_DISPOSITION_ORIGINAL, "original"),
    (ffi::AV_DISPOSITION_LYRICS, "lyrics"),
    (ffi::AV_DISPOSITION_KARAOKE, "karaoke"),
    (ffi::AV_DISPOSITION_CAPTIONS, "captions"),
    (ffi::AV_DISPOSITION_DESCRIPTIONS, "descriptions"),
];

impl StreamView<'_> {
    /// What the stream is for, beside being the default or cover art.
    pub(crate) fn dispositions(&self) -> impl Iterator<Item = &'static str> {
        let own = self.raw().disposition;
        NAMES.iter().filter(move |(flag, _)| own & flag != 0).map(|(_, name)| *name)
    }
}
