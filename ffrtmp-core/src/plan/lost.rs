//! Wishes that nothing would come of: refused, because silence would be taken for consent.

use super::OutputRequest;
use super::check::contradiction;
use crate::encoding::{Ladder, RateMode, Selection};
use crate::error::Result;
use crate::job::Parameters;
use crate::media::{AudioCodec, Target};
use crate::units::Bitrate;

/// A length fits a whole number of times if it is off by less than this, in seconds.
const EVEN: f64 = 0.000_5;

impl OutputRequest {
    /// # Errors
    /// `invalid_field`, naming the wish that would be lost.
    pub(super) fn check_lost_wishes(&self) -> Result<()> {
        let nothing = Some(&Selection::None);
        let Parameters { video_stream, audio_streams, .. } = &self.parameters;
        if video_stream.as_ref() == nothing && audio_streams.as_ref() == nothing {
            let what = "neither pictures nor sound were asked for";
            return Err(contradiction("audio_streams", what, "leave out video_stream or audio_streams"));
        }
        self.check_rates()?;
        self.check_buffer()?;
        self.check_sound()?;
        self.check_still_details()?;
        self.check_segment_keys()
    }

    fn check_rates(&self) -> Result<()> {
        let parameters = &self.parameters;
        let is_above =
            |rate: Option<Bitrate>, max: Option<Bitrate>| rate.zip(max).is_some_and(|(rate, max)| rate > max);
        if is_above(parameters.bitrate, parameters.max_bitrate) {
            return Err(contradiction("max_bitrate", "the bound is below the bit rate", "give at least the bit rate"));
        }
        let Some(ladder) = &parameters.ladder else { return Ok(()) };
        if parameters.bitrate.is_some() {
            return Err(contradiction(
                "bitrate",
                "every rendition of a ladder has its own bit rate",
                "give it in the ladder, such as 1080p:5M,720p:3M",
            ));
        }
        let Ladder::Renditions(renditions) = ladder else { return Ok(()) };
        match renditions.iter().any(|own| is_above(own.bitrate, own.max_bitrate.or(parameters.max_bitrate))) {
            true => {
                Err(contradiction("max_bitrate", "the bound is below a rendition's bit rate", "give at least that"))
            }
            false => Ok(()),
        }
    }

    fn check_buffer(&self) -> Result<()> {
        let parameters = &self.parameters;
        let rungs_have_rates = parameters.ladder.is_some() && parameters.crf.is_none();
        let has_rate = parameters.bitrate.is_some() || rungs_have_rates || self.takes_table_rate();
        if parameters.rate_mode == Some(RateMode::Cbr) && !has_rate {
            return Err(contradiction("rate_mode", "a constant rate needs a rate", "give bitrate as well"));
        }
        if parameters.buffer_size.is_some() && !has_rate && parameters.max_bitrate.is_none() {
            let hint = "give max_bitrate or bitrate as well";
            return Err(contradiction("buffer_size", "a buffer needs a rate that fills it", hint));
        }
        Ok(())
    }

    /// Whether the bit rate table is used where nothing else says.
    fn takes_table_rate(&self) -> bool {
        self.parameters.crf.is_none() && (self.scenario.names_output() || self.scenario.is_live_hint())
    }

    fn check_sound(&self) -> Result<()> {
        let parameters = &self.parameters;
        let copied = parameters.audio_codec == Some(Target::Copy);
        let changes = [
            ("audio_bitrate", parameters.audio_bitrate.is_some()),
            ("audio_channels", parameters.audio_channels.is_some_and(|wish| wish != crate::encoding::Channels::Source)),
            ("audio_sample_rate", parameters.audio_sample_rate.is_some()),
        ];
        if let Some((wish, _)) = changes.iter().find(|(_, wished)| copied && *wished) {
            let hint = format!("leave out {wish}, or name an audio codec");
            return Err(contradiction(wish, "a copied track stays as it is", &hint));
        }
        let codec = match (parameters.audio_codec, self.named_container()) {
            (Some(Target::Encode(codec)), _) => Some(codec),
            (None, Some(container)) => Some(container.default_audio()),
            _ => None,
        };
        if let Some((rate, codec)) = parameters.audio_sample_rate.zip(codec)
            && !rates(codec).is_empty()
            && !rates(codec).contains(&rate)
        {
            let known: Vec<String> = rates(codec).iter().map(u32::to_string).collect();
            let hint = format!("{codec} has {}; or leave it out", known.join(", "));
            return Err(contradiction("audio_sample_rate", &format!("{codec} has no {rate} Hz"), &hint));
        }
        if parameters.audio_codec == Some(Target::Encode(AudioCodec::Flac)) && parameters.audio_bitrate.is_some() {
            return Err(contradiction("audio_bitrate", "flac takes the bits that it needs", "leave it out"));
        }
        Ok(())
    }

    fn check_still_details(&self) -> Result<()> {
        let stills = &self.parameters.stills;
        let (no_thumbnails, no_sprite) = (stills.thumbnails.is_none(), stills.sprite_interval.is_none());
        for (detail, of, lost) in [
            ("thumbnail_width", "thumbnails", stills.thumbnail_width.is_some() && no_thumbnails),
            ("sprite_width", "sprite_interval", stills.sprite_width.is_some() && no_sprite),
            ("sprite_columns", "sprite_interval", stills.sprite_columns.is_some() && no_sprite),
        ] {
            if lost {
                let (detail, hint) = (format!("stills.{detail}"), format!("give stills.{of} as well"));
                return Err(contradiction(&detail, "nothing is taken that it describes", &hint));
            }
        }
        Ok(())
    }

    /// Segments begin at key frames, so the one must fit into the other.
    fn check_segment_keys(&self) -> Result<()> {
        let parameters = &self.parameters;
        let Some((segment, keys)) = parameters.segment_duration.zip(parameters.keyframe_interval) else {
            return Ok(());
        };
        let times = segment.value() / keys.value();
        if times >= 1.0 - EVEN && (times - times.round()).abs() * keys.value() < EVEN {
            return Ok(());
        }
        let what = format!("key frames every {keys} s do not fit into segments of {segment} s");
        Err(contradiction("keyframe_interval", &what, "give the length of a segment, or a half or a third of it"))
    }
}

/// Samples per second that a codec has; FLAC takes any.
const fn rates(codec: AudioCodec) -> &'static [u32] {
    match codec {
        AudioCodec::Aac => &[96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000],
        AudioCodec::Mp3 => &[48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000],
        AudioCodec::Opus => &[48000],
        AudioCodec::Flac => &[],
    }
}
