//! What becomes of a subtitle stream in each container.
//!
//! One table over codec names as libav gives them: whether a stream is copied, which text codec it
//! is converted to, or why it is left out. It knows nothing of languages or of what was selected.

use std::fmt;

use crate::media::{Container, SubtitleCodec, Target};

/// What is done with a subtitle stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Its packets pass through.
    Copy,
    /// Its text is decoded and written in another format.
    Convert(SubtitleCodec),
    /// The output does not get it.
    LeaveOut(Reason),
}

/// Why a subtitle stream is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The container has no place for subtitles.
    NoSubtitles(Container),
    /// The container has no place for subtitles that are text.
    NoText(Container),
    /// The subtitles are pictures of a kind that the container has no place for.
    Pictures(Container),
    /// The container takes this text codec in no form that the source could be converted to.
    NotCarried(Container, SubtitleCodec),
    /// The container does not take the source's codec unchanged.
    NotCopied(Container),
    /// Pictures would have to be read to become text.
    NotText,
    /// The text cannot be decoded.
    Unknown,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSubtitles(container) => write!(f, "{container} carries no subtitles"),
            Self::NoText(container) => write!(f, "{container} carries no text subtitles"),
            Self::Pictures(container) => write!(f, "{container} does not carry subtitles that are such pictures"),
            Self::NotCarried(container, codec) => write!(f, "{container} does not carry {codec}"),
            Self::NotCopied(container) => write!(f, "{container} does not carry them as they are"),
            Self::NotText => f.write_str("they are pictures, which are not read as text"),
            Self::Unknown => f.write_str("this format cannot be decoded"),
        }
    }
}

/// What is done with a stream of this codec when nothing else is asked for.
///
/// Text is copied where the container has it in the same form, else converted to the container's
/// own form. Matroska gets SubRip for plain text, and ASS where places, fonts or colours would be
/// lost in it.
#[must_use]
pub fn treatment(source_codec: &str, container: Container) -> Treatment {
    if may_copy(source_codec, container) {
        return Treatment::Copy;
    }
    let target = match container {
        Container::Mp3 | Container::Flac | Container::Ogg => {
            return Treatment::LeaveOut(Reason::NoSubtitles(container));
        }
        Container::MpegTs => None,
        Container::Mp4 | Container::Fmp4 => Some(SubtitleCodec::MovText),
        Container::Mkv => Some(matroska_form(source_codec)),
        Container::Webm | Container::Hls | Container::Dash => Some(SubtitleCodec::WebVtt),
    };
    match (Nature::of(source_codec), target) {
        (Nature::Pictures, _) => Treatment::LeaveOut(Reason::Pictures(container)),
        (Nature::Unknown, _) => Treatment::LeaveOut(Reason::Unknown),
        (Nature::Text, None) => Treatment::LeaveOut(Reason::NoText(container)),
        (Nature::Text, Some(codec)) => Treatment::Convert(codec),
    }
}

/// What is done with a stream where `copy` or a codec is asked for.
#[must_use]
pub fn requested(source_codec: &str, container: Container, wish: Option<Target<SubtitleCodec>>) -> Treatment {
    let usual = treatment(source_codec, container);
    match (wish, usual) {
        (None, _) | (_, Treatment::LeaveOut(_)) | (Some(Target::Copy), Treatment::Copy) => usual,
        (Some(Target::Copy), Treatment::Convert(_)) => Treatment::LeaveOut(Reason::NotCopied(container)),
        (Some(Target::Encode(codec)), _) if !carries(container, codec) => {
            Treatment::LeaveOut(Reason::NotCarried(container, codec))
        }
        (Some(Target::Encode(codec)), _) if own_codec(source_codec) == Some(codec) => usual,
        (Some(Target::Encode(codec)), _) if is_text(source_codec) => Treatment::Convert(codec),
        (Some(Target::Encode(_)), _) => Treatment::LeaveOut(Reason::NotText),
    }
}

/// Whether the container carries text in this form.
#[must_use]
pub const fn carries(container: Container, codec: SubtitleCodec) -> bool {
    match container {
        Container::Mp4 | Container::Fmp4 => matches!(codec, SubtitleCodec::MovText),
        Container::Mkv => !matches!(codec, SubtitleCodec::MovText),
        Container::Webm | Container::Hls | Container::Dash => matches!(codec, SubtitleCodec::WebVtt),
        Container::MpegTs | Container::Mp3 | Container::Flac | Container::Ogg => false,
    }
}

/// Whether the container takes packets of this codec as they are.
#[must_use]
pub fn may_copy(source_codec: &str, container: Container) -> bool {
    match container {
        Container::Mp4 | Container::Fmp4 => source_codec == "mov_text",
        Container::Mkv => matches!(
            source_codec,
            "subrip" | "ass" | "webvtt" | "dvb_subtitle" | "hdmv_pgs_subtitle" | "hdmv_text_subtitle" | "dvd_subtitle"
        ),
        Container::Webm | Container::Hls | Container::Dash => source_codec == "webvtt",
        Container::MpegTs => matches!(source_codec, "dvb_subtitle" | "dvb_teletext"),
        Container::Mp3 | Container::Flac | Container::Ogg => false,
    }
}

/// Whether the codec is text that can be decoded.
#[must_use]
pub fn is_text(source_codec: &str) -> bool {
    Nature::of(source_codec) == Nature::Text
}

/// Whether the codec is known to be pictures.
#[must_use]
pub fn is_pictures(source_codec: &str) -> bool {
    Nature::of(source_codec) == Nature::Pictures
}

/// The wish that stands for the source's own codec.
fn own_codec(source_codec: &str) -> Option<SubtitleCodec> {
    SubtitleCodec::ALL.iter().copied().find(|codec| match codec {
        SubtitleCodec::Srt => source_codec == "subrip",
        other => source_codec == other.as_str(),
    })
}

fn matroska_form(source_codec: &str) -> SubtitleCodec {
    match source_codec {
        "eia_608" | "jacosub" | "microdvd" | "realtext" | "sami" | "ssa" | "stl" => SubtitleCodec::Ass,
        _ => SubtitleCodec::Srt,
    }
}

/// What the packets of a codec hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    Text,
    Pictures,
    Unknown,
}

impl Nature {
    fn of(codec: &str) -> Self {
        match codec {
            "ass" | "eia_608" | "jacosub" | "microdvd" | "mov_text" | "mpl2" | "pjs" | "realtext" | "sami" | "ssa"
            | "stl" | "subrip" | "subviewer" | "subviewer1" | "text" | "vplayer" | "webvtt" => Self::Text,
            "dvb_subtitle" | "dvb_teletext" | "dvd_subtitle" | "hdmv_pgs_subtitle" | "xsub" => Self::Pictures,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use Container::{Dash, Flac, Fmp4, Hls, Mkv, Mp3, Mp4, MpegTs, Ogg, Webm};
    use SubtitleCodec::{Ass, MovText, Srt, WebVtt};
    use Treatment::{Convert, Copy};

    const NONE: Treatment = Treatment::LeaveOut(Reason::Unknown);

    fn same(left: Treatment, right: Treatment) -> bool {
        matches!((left, right), (Treatment::LeaveOut(_), Treatment::LeaveOut(_))) || left == right
    }

    #[test]
    fn each_container_gets_what_it_can_carry() {
        // Source; then MP4, Matroska, WebM, transport stream, HLS.
        let table = [
            ("mov_text", [Copy, Convert(Srt), Convert(WebVtt), NONE, Convert(WebVtt)]),
            ("subrip", [Convert(MovText), Copy, Convert(WebVtt), NONE, Convert(WebVtt)]),
            ("text", [Convert(MovText), Convert(Srt), Convert(WebVtt), NONE, Convert(WebVtt)]),
            ("ass", [Convert(MovText), Copy, Convert(WebVtt), NONE, Convert(WebVtt)]),
            ("webvtt", [Convert(MovText), Copy, Copy, NONE, Copy]),
            ("eia_608", [Convert(MovText), Convert(Ass), Convert(WebVtt), NONE, Convert(WebVtt)]),
            ("microdvd", [Convert(MovText), Convert(Ass), Convert(WebVtt), NONE, Convert(WebVtt)]),
            ("dvb_subtitle", [NONE, Copy, NONE, Copy, NONE]),
            ("dvb_teletext", [NONE, NONE, NONE, Copy, NONE]),
            ("hdmv_pgs_subtitle", [NONE, Copy, NONE, NONE, NONE]),
            ("dvd_subtitle", [NONE, Copy, NONE, NONE, NONE]),
            ("xsub", [NONE, NONE, NONE, NONE, NONE]),
            ("ttml", [NONE, NONE, NONE, NONE, NONE]),
            ("unknown", [NONE, NONE, NONE, NONE, NONE]),
        ];
        for (codec, wanted) in table {
            for (container, wanted) in [Mp4, Mkv, Webm, MpegTs, Hls].into_iter().zip(wanted) {
                let found = treatment(codec, container);
                assert!(same(found, wanted), "{codec} in {container}: {found:?}");
            }
            for (one, other) in [(Fmp4, Mp4), (Dash, Hls)] {
                assert!(same(treatment(codec, one), treatment(codec, other)), "{codec} in {one}");
            }
            for container in [Mp3, Flac, Ogg] {
                assert_eq!(treatment(codec, container), Treatment::LeaveOut(Reason::NoSubtitles(container)), "{codec}");
            }
        }
    }

    #[test]
    fn what_is_converted_to_is_carried() {
        for codec in ["ass", "eia_608", "mov_text", "sami", "subrip", "text", "webvtt", "pjs"] {
            for container in Container::ALL {
                if let Convert(target) = treatment(codec, *container) {
                    assert!(carries(*container, target), "{codec} to {target} in {container}");
                    assert_ne!(own_codec(codec), Some(target), "{codec} in {container}");
                }
            }
        }
    }

    #[test]
    fn wishes_are_kept_or_refused_with_the_reason() {
        let cases = [
            ("subrip", Mkv, Some(Target::Encode(Srt)), Copy),
            ("subrip", Mkv, Some(Target::Encode(Ass)), Convert(Ass)),
            ("ass", Mkv, Some(Target::Encode(Srt)), Convert(Srt)),
            ("ass", Mkv, Some(Target::Copy), Copy),
            ("ass", Mp4, None, Convert(MovText)),
            ("ass", Mp4, Some(Target::Copy), Treatment::LeaveOut(Reason::NotCopied(Mp4))),
            ("ass", Mp4, Some(Target::Encode(Ass)), Treatment::LeaveOut(Reason::NotCarried(Mp4, Ass))),
            ("dvd_subtitle", Mkv, Some(Target::Encode(Srt)), Treatment::LeaveOut(Reason::NotText)),
            ("dvd_subtitle", Mkv, Some(Target::Copy), Copy),
            ("dvd_subtitle", Mp4, Some(Target::Copy), Treatment::LeaveOut(Reason::Pictures(Mp4))),
            ("subrip", MpegTs, None, Treatment::LeaveOut(Reason::NoText(MpegTs))),
        ];
        for (codec, container, wish, wanted) in cases {
            assert_eq!(requested(codec, container, wish), wanted, "{codec} in {container}: {wish:?}");
        }
    }
}
