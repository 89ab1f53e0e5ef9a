//! What audio encoders take: sample formats, rates, layouts, bit rates.

use ffrtmp_core::encoding::Channels;
use ffrtmp_core::media::AudioCodec;
use ffrtmp_core::plan::AudioEncode;

use super::super::sys::AudioFormat;

/// The encoder of an audio codec.
pub(in super::super) const fn audio_encoder(codec: AudioCodec) -> &'static str {
    match codec {
        AudioCodec::Aac => "aac",
        AudioCodec::Opus => "libopus",
        AudioCodec::Mp3 => "libmp3lame",
        AudioCodec::Flac => "flac",
    }
}

/// The sound of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Sound {
    /// Samples per second.
    pub(in super::super) sample_rate: u32,
    /// libav's name of a sample.
    pub(in super::super) sample_format: String,
    /// Number of channels.
    pub(in super::super) channels: u16,
    /// Layout in libav's words, where the source has one.
    pub(in super::super) layout: Option<String>,
}

/// What to open the encoder with, the best first: the next one is for where the encoder refuses.
pub(in super::super) fn audio_formats(plan: &AudioEncode, sound: &Sound) -> Vec<AudioFormat> {
    let limits = Limits::of(plan.codec);
    let wanted = plan.sample_rate.unwrap_or(sound.sample_rate);
    let format = |layout: &str| AudioFormat {
        sample_rate: limits.rate(wanted),
        sample_format: limits.sample_format(&sound.sample_format),
        layout: layout.to_owned(),
        bit_rate: limits.bit_rate(plan.bitrate.bps(), limits.rate(wanted), channels(layout)),
    };
    limits.layouts(plan.channels, sound).into_iter().map(format).collect()
}

/// Whether two layouts have the same speakers: some have two names for the pair behind.
pub(in super::super) fn same_speakers(one: &str, other: &str) -> bool {
    one == other || TWINS.contains(&(one, other)) || TWINS.contains(&(other, one))
}

/// Layouts that differ only in whether two speakers are called back or side.
const TWINS: &[(&str, &str)] = &[("quad(side)", "quad"), ("5.0(side)", "5.0"), ("5.1(side)", "5.1")];

/// What an encoder takes.
struct Limits {
    codec: AudioCodec,
    /// Rates, falling.
    rates: &'static [u32],
    /// The layout for each number of channels.
    layouts: &'static [&'static str],
    /// Further layouts that come back as they were.
    more: &'static [&'static str],
}

impl Limits {
    const fn of(codec: AudioCodec) -> Self {
        match codec {
            AudioCodec::Aac => Self {
                codec,
                rates: &[96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350],
                layouts: &["mono", "stereo", "3.0", "4.0", "5.0", "5.1", "6.1", "7.1"],
                // For these AAC writes a table of channels.
                more: &["2.1", "3.0(back)", "quad", "quad(side)", "6.0(front)"],
            },
            AudioCodec::Opus => Self {
                codec,
                // It decodes at this rate whatever went in.
                rates: &[48000],
                layouts: &["mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1"],
                more: &[],
            },
            AudioCodec::Mp3 => Self {
                codec,
                rates: &[48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000],
                layouts: &["mono", "stereo"],
                more: &[],
            },
            AudioCodec::Flac => Self {
                codec,
                rates: &[192_000, 176_400, 96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 8000],
                layouts: &["mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1"],
                more: &["5.0(side)", "5.1(side)"],
            },
        }
    }

    /// The wanted rate, or the next higher one, but not beyond the usual 48 kHz for its sake.
    fn rate(&self, wanted: u32) -> u32 {
        if self.rates.contains(&wanted) {
            return wanted;
        }
        let highest = self.rates.first().copied().unwrap_or(48000);
        if wanted > highest {
            let usual = if self.codec == AudioCodec::Flac { highest } else { 48000 };
            return usual;
        }
        self.rates.iter().copied().rev().find(|rate| *rate >= wanted).unwrap_or(highest)
    }

    /// FLAC keeps samples of up to 16 bits as they are and gives everything else its 24.
    fn sample_format(&self, source: &str) -> &'static str {
        match self.codec {
            AudioCodec::Aac | AudioCodec::Mp3 => "fltp",
            AudioCodec::Opus => "flt",
            AudioCodec::Flac if matches!(source.trim_end_matches('p'), "u8" | "s16") => "s16",
            AudioCodec::Flac => "s32",
        }
    }

    /// Layouts to try, the best one first.
    fn layouts<'a>(&self, wanted: Channels, sound: &'a Sound) -> Vec<&'a str> {
        match wanted {
            Channels::Mono => vec!["mono"],
            Channels::Stereo => vec!["stereo"],
            Channels::Surround51 => vec![self.by_count(6)],
            Channels::Surround71 => vec![self.by_count(8)],
            Channels::Source => self.nearest(sound),
        }
    }

    fn nearest<'a>(&self, sound: &'a Sound) -> Vec<&'a str> {
        let own = sound.layout.as_deref().filter(|own| self.layouts.contains(own) || self.more.contains(own));
        let by_count = self.by_count(sound.channels);
        // Where an encoder has no place for seven, it may have one for eight.
        let wider = (by_count == "6.1").then_some("7.1");
        let mut layouts: Vec<&str> = own.into_iter().chain([by_count]).chain(wider).chain(["stereo"]).collect();
        layouts.dedup();
        layouts
    }

    fn by_count(&self, channels: u16) -> &'static str {
        let place = usize::from(channels.max(1)).min(self.layouts.len()) - 1;
        self.layouts[place]
    }

    /// The rate of a stereo track, grown with the channels, within what the encoder can spend.
    fn bit_rate(&self, stereo: u64, sample_rate: u32, channels: u64) -> u64 {
        let grown = if channels == 1 && self.codec == AudioCodec::Mp3 { stereo / 2 } else { stereo / 2 * channels };
        match self.codec {
            // 6144 bits per channel and frame of 1024 samples.
            AudioCodec::Aac => {
                grown.clamp(8_000 * channels, (u64::from(sample_rate) * 6 * channels).min(256_000 * channels))
            }
            AudioCodec::Opus => grown.clamp(6_000 * channels, 256_000 * channels),
            AudioCodec::Mp3 => mp3_rate(grown, sample_rate),
            AudioCodec::Flac => 0,
        }
    }
}

/// The nearest bit rate that layer III has at a sample rate: MPEG-1 from 32 kHz, MPEG-2 below,
/// MPEG-2.5 below 16 kHz.
fn mp3_rate(wanted: u64, sample_rate: u32) -> u64 {
    const MPEG1: &[u64] = &[32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
    const MPEG2: &[u64] = &[8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
    let rates = match sample_rate {
        32000.. => MPEG1,
        16000.. => MPEG2,
        // LAME stops here.
        _ => &MPEG2[..8],
    };
    rates.iter().map(|kbps| kbps * 1000).min_by_key(|rate| rate.abs_diff(wanted)).unwrap_or(128_000)
}

fn channels(layout: &str) -> u64 {
    match layout {
        "mono" => 1,
        "stereo" => 2,
        "2.1" | "3.0" | "3.0(back)" => 3,
        "4.0" | "quad" | "quad(side)" => 4,
        "5.0" | "5.0(side)" => 5,
        "5.1" | "5.1(side)" | "6.0(front)" => 6,
        "6.1" => 7,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use ffrtmp_core::units::Bitrate;

    use super::*;

    fn best(codec: AudioCodec, wanted: Channels, sound: (u32, &str, u16, Option<&str>)) -> (u32, String, String, u64) {
        let plan = AudioEncode { codec, bitrate: Bitrate::from_kbps(128), channels: wanted, sample_rate: None };
        let (sample_rate, sample_format, channels, layout) = sound;
        let sound =
            Sound { sample_rate, sample_format: sample_format.to_owned(), channels, layout: layout.map(str::to_owned) };
        let best = audio_formats(&plan, &sound).remove(0);
        (best.sample_rate, best.sample_format.to_owned(), best.layout, best.bit_rate)
    }

    #[test]
    fn every_codec_gets_what_it_takes() {
        use AudioCodec as C;
        let surround = (48000, "s32", 6, Some("5.1(side)"));
        for (codec, wanted, sound, expected) in [
            (C::Aac, Channels::Source, surround, (48000, "fltp", "5.1", 384_000)),
            (C::Aac, Channels::Source, (44100, "s16", 4, Some("quad")), (44100, "fltp", "quad", 256_000)),
            (C::Aac, Channels::Source, (192_000, "s32", 2, None), (48000, "fltp", "stereo", 128_000)),
            (C::Aac, Channels::Mono, (8000, "s16", 2, None), (8000, "fltp", "mono", 48_000)),
            (C::Aac, Channels::Source, (37000, "flt", 8, Some("7.1(wide)")), (44100, "fltp", "7.1", 512_000)),
            (C::Opus, Channels::Source, surround, (48000, "flt", "5.1", 384_000)),
            (C::Opus, Channels::Source, (44100, "s16", 4, Some("4.0")), (48000, "flt", "quad", 256_000)),
            (C::Opus, Channels::Surround71, (44100, "s16", 2, None), (48000, "flt", "7.1", 512_000)),
            (C::Mp3, Channels::Source, surround, (48000, "fltp", "stereo", 128_000)),
            (C::Mp3, Channels::Source, (96000, "s32", 1, Some("mono")), (48000, "fltp", "mono", 64_000)),
            (C::Mp3, Channels::Source, (11025, "u8", 2, None), (11025, "fltp", "stereo", 64_000)),
            (C::Flac, Channels::Source, surround, (48000, "s32", "5.1(side)", 0)),
            (C::Flac, Channels::Source, (44100, "s16p", 2, None), (44100, "s16", "stereo", 0)),
            (C::Flac, Channels::Source, (96000, "fltp", 12, None), (96000, "s32", "7.1", 0)),
        ] {
            let (rate, format, layout, bits) = best(codec, wanted, sound);
            assert_eq!((rate, format.as_str(), layout.as_str(), bits), expected, "{codec} {wanted} {sound:?}");
        }
    }
}
