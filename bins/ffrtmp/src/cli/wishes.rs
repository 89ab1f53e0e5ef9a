//! Encoding wishes as flags, the same for a submitted job and a local transcode.

use clap::Args;
use ffrtmp::core::Result;
use ffrtmp::core::encoding::{
    Channels, Chunking, Deinterlace, EncoderOptions, Hardware, Ladder, RateMode, SegmentKind, Selection, Stills,
    Timing, ToneMap, VideoEncoder,
};
use ffrtmp::core::job::Parameters;
use ffrtmp::core::media::{AudioCodec, Container, SubtitleCodec, Target, VideoCodec};
use ffrtmp::core::units::{Bitrate, Crf, FrameRate, Moment, PictureSize, Seconds};

use super::values::{Named, pair, parse, positive, quality, seconds};

/// What the output shall be; what is left open comes from the scenario, then from the source.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Wishes {
    /// Seconds of output, or [HH:]MM:SS: cuts a longer input
    #[arg(long, value_name = "SECONDS", value_parser = seconds::<Seconds>, allow_negative_numbers = true)]
    pub(crate) duration: Option<Seconds>,
    /// Average video bit rate, such as 5M or 800k
    #[arg(long, value_name = "RATE", value_parser = parse::<Bitrate>, allow_negative_numbers = true)]
    pub(crate) bitrate: Option<Bitrate>,
    /// Video codec: h264, h265, vp8, vp9, av1, or copy to pass the stream through
    #[arg(long, value_parser = parse::<Target<VideoCodec>>)]
    pub(crate) codec: Option<Target<VideoCodec>>,
    /// Encoder preset: ultrafast … veryslow, or a number
    #[arg(long)]
    pub(crate) preset: Option<String>,
    /// Picture size: a name such as 720p, or WIDTHxHEIGHT
    #[arg(long, value_name = "SIZE", value_parser = parse::<PictureSize>, allow_negative_numbers = true)]
    pub(crate) resolution: Option<PictureSize>,
    /// Frames per second, such as 30, 29.97 or 30000/1001
    #[arg(long, value_name = "RATE", value_parser = parse::<FrameRate>, allow_negative_numbers = true)]
    pub(crate) fps: Option<FrameRate>,
    /// Constant quality instead of a bit rate: 0 (best) to 63
    #[arg(long, value_name = "QUALITY", value_parser = quality, allow_negative_numbers = true)]
    pub(crate) crf: Option<Crf>,
    /// Audio codec: aac, opus, mp3, flac, or copy to pass the streams through
    #[arg(long, value_name = "CODEC", value_parser = parse::<Target<AudioCodec>>)]
    pub(crate) audio_codec: Option<Target<AudioCodec>>,
    /// Audio bit rate per stereo track, such as 128k
    #[arg(long, value_name = "RATE", value_parser = parse::<Bitrate>, allow_negative_numbers = true)]
    pub(crate) audio_bitrate: Option<Bitrate>,
    /// Bound on the video bit rate: caps a quality, or the peaks of an average
    #[arg(long, value_name = "RATE", value_parser = parse::<Bitrate>, allow_negative_numbers = true, help_heading = "Picture")]
    pub(crate) max_bitrate: Option<Bitrate>,
    /// Bits of the decoder's buffer behind the bound, such as 10M
    #[arg(long, value_name = "BITS", value_parser = parse::<Bitrate>, allow_negative_numbers = true, help_heading = "Picture")]
    pub(crate) buffer_size: Option<Bitrate>,
    /// How --bitrate is held
    #[arg(long, value_parser = Named::of(RateMode::ALL, RateMode::as_str), help_heading = "Picture")]
    pub(crate) rate_mode: Option<RateMode>,
    /// Look at everything once before encoding, so that --bitrate is spent where it is needed
    #[arg(long, help_heading = "Picture")]
    pub(crate) two_pass: bool,
    /// A particular encoder of the codec
    #[arg(long, value_parser = Named::of(VideoEncoder::ALL, VideoEncoder::as_str), help_heading = "Picture")]
    pub(crate) encoder: Option<VideoEncoder>,
    /// Whether encoders on devices are used
    #[arg(long, value_parser = Named::of(Hardware::ALL, Hardware::as_str), help_heading = "Picture")]
    pub(crate) hardware: Option<Hardware>,
    /// Seconds between key frames at most
    #[arg(long, value_name = "SECONDS", value_parser = seconds::<Seconds>, allow_negative_numbers = true, help_heading = "Picture")]
    pub(crate) keyframe_interval: Option<Seconds>,
    /// Whether scene cuts get key frames of their own
    #[arg(long, value_name = "BOOL", value_parser = clap::value_parser!(bool), help_heading = "Picture")]
    pub(crate) scene_cut: Option<bool>,
    /// Bits per component: 8 or 10
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8), allow_negative_numbers = true, help_heading = "Picture")]
    pub(crate) bit_depth: Option<u8>,
    /// What to do with interlaced pictures
    #[arg(long, value_parser = Named::of(Deinterlace::ALL, Deinterlace::as_str), help_heading = "Picture")]
    pub(crate) deinterlace: Option<Deinterlace>,
    /// How high dynamic range becomes standard range
    #[arg(long, value_name = "CURVE", value_parser = Named::of(ToneMap::ALL, ToneMap::as_str), help_heading = "Picture")]
    pub(crate) tone_map: Option<ToneMap>,
    /// What decides when pictures are shown
    #[arg(long, value_parser = Named::of(Timing::ALL, Timing::as_str), help_heading = "Picture")]
    pub(crate) timing: Option<Timing>,
    /// Option of the encoder, such as tune=film or b_frames=4 (repeatable)
    #[arg(long = "encoder-option", value_name = "KEY=VALUE", value_parser = pair, help_heading = "Picture")]
    pub(crate) encoder_options: Vec<(String, String)>,
    /// Whether the pictures are encoded in chunks side by side
    #[arg(long, value_parser = Named::of(Chunking::ALL, Chunking::as_str), help_heading = "Picture")]
    pub(crate) chunks: Option<Chunking>,
    /// Speakers of every track
    #[arg(long, value_name = "LAYOUT", value_parser = Named::of(Channels::ALL, Channels::as_str), help_heading = "Sound")]
    pub(crate) audio_channels: Option<Channels>,
    /// Samples per second of every track
    #[arg(long, value_name = "HZ", value_parser = positive::<u32>, allow_negative_numbers = true, help_heading = "Sound")]
    pub(crate) audio_sample_rate: Option<u32>,
    /// Video stream: default (the largest), none, or an index
    #[arg(long, value_name = "STREAM", value_parser = parse::<Selection>, help_heading = "Streams")]
    pub(crate) video_stream: Option<Selection>,
    /// Audio streams: default (all), none, or indices and languages such as 1,eng
    #[arg(long, value_name = "STREAMS", value_parser = parse::<Selection>, help_heading = "Streams")]
    pub(crate) audio_streams: Option<Selection>,
    /// Subtitles: default (all text), all, none, or indices and languages
    #[arg(long, value_name = "STREAMS", value_parser = parse::<Selection>, help_heading = "Streams")]
    pub(crate) subtitle_streams: Option<Selection>,
    /// Codec of text subtitles: mov_text, srt, ass, webvtt, or copy
    #[arg(long, value_name = "CODEC", value_parser = parse::<Target<SubtitleCodec>>, help_heading = "Streams")]
    pub(crate) subtitle_codec: Option<Target<SubtitleCodec>>,
    /// Container: mp4, fmp4, mkv, webm, ts, hls, dash, mp3, flac, ogg; by default what the output's name says
    #[arg(long, value_parser = Named::of(Container::ALL, Container::as_str), help_heading = "Output")]
    pub(crate) container: Option<Container>,
    /// Several renditions from one decode: auto, or a list such as 1080p:5M,720p:crf24,480p
    #[arg(long, value_name = "LADDER", value_parser = parse::<Ladder>, help_heading = "Output")]
    pub(crate) ladder: Option<Ladder>,
    /// Seconds of a segment of HLS or DASH
    #[arg(long, value_name = "SECONDS", value_parser = seconds::<Seconds>, allow_negative_numbers = true, help_heading = "Output")]
    pub(crate) segment_duration: Option<Seconds>,
    /// What the segments are
    #[arg(long, value_parser = Named::of(SegmentKind::ALL, SegmentKind::as_str), help_heading = "Output")]
    pub(crate) segment_type: Option<SegmentKind>,
    /// Take a poster at this time: seconds, or [HH:]MM:SS
    #[arg(long, value_name = "SECONDS", value_parser = seconds::<Moment>, allow_negative_numbers = true, help_heading = "Stills")]
    pub(crate) poster: Option<Moment>,
    /// Take this many thumbnails, spread evenly
    #[arg(long, value_name = "N", value_parser = positive::<u32>, allow_negative_numbers = true, help_heading = "Stills")]
    pub(crate) thumbnails: Option<u32>,
    /// Width of a thumbnail
    #[arg(long, value_name = "PIXELS", value_parser = positive::<u32>, allow_negative_numbers = true, help_heading = "Stills")]
    pub(crate) thumbnail_width: Option<u32>,
    /// Make a sprite sheet with a picture every so many seconds, and its WebVTT index
    #[arg(long, value_name = "SECONDS", value_parser = seconds::<Seconds>, allow_negative_numbers = true, help_heading = "Stills")]
    pub(crate) sprite_interval: Option<Seconds>,
    /// Width of a picture of the sprite sheet
    #[arg(long, value_name = "PIXELS", value_parser = positive::<u32>, allow_negative_numbers = true, help_heading = "Stills")]
    pub(crate) sprite_width: Option<u32>,
    /// Pictures in a row of the sprite sheet
    #[arg(long, value_name = "N", value_parser = positive::<u32>, allow_negative_numbers = true, help_heading = "Stills")]
    pub(crate) sprite_columns: Option<u32>,
}

impl Wishes {
    /// The same as the API knows them.
    ///
    /// # Errors
    /// `unknown_field` or `invalid_field` for an option of the encoder.
    pub(crate) fn parameters(&self) -> Result<Parameters> {
        Ok(Parameters {
            duration: self.duration,
            bitrate: self.bitrate,
            codec: self.codec,
            preset: self.preset.clone(),
            resolution: self.resolution,
            fps: self.fps,
            crf: self.crf,
            audio_codec: self.audio_codec,
            audio_bitrate: self.audio_bitrate,
            max_bitrate: self.max_bitrate,
            buffer_size: self.buffer_size,
            rate_mode: self.rate_mode,
            encoder: self.encoder,
            hardware: self.hardware,
            keyframe_interval: self.keyframe_interval,
            scene_cut: self.scene_cut,
            bit_depth: self.bit_depth,
            deinterlace: self.deinterlace,
            tone_map: self.tone_map,
            timing: self.timing,
            chunks: self.chunks,
            audio_channels: self.audio_channels,
            audio_sample_rate: self.audio_sample_rate,
            subtitle_codec: self.subtitle_codec,
            segment_duration: self.segment_duration,
            segment_type: self.segment_type,
            container: self.container,
            video_stream: self.video_stream.clone(),
            audio_streams: self.audio_streams.clone(),
            subtitle_streams: self.subtitle_streams.clone(),
            ladder: self.ladder.clone(),
            two_pass: self.two_pass.then_some(true),
            encoder_options: encoder_options(&self.encoder_options)?,
            stills: Stills {
                poster: self.poster,
                thumbnails: self.thumbnails,
                thumbnail_width: self.thumbnail_width,
                sprite_interval: self.sprite_interval,
                sprite_width: self.sprite_width,
                sprite_columns: self.sprite_columns,
            },
            ..Parameters::default()
        })
    }
}

/// Options of the encoder as the API reads them: a number where it is one.
fn encoder_options(pairs: &[(String, String)]) -> Result<EncoderOptions> {
    let value = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::from(text));
    let object: serde_json::Map<_, _> = pairs.iter().map(|(key, text)| (key.clone(), value(text))).collect();
    if object.is_empty() {
        return Ok(EncoderOptions::default());
    }
    let body = serde_json::json!({"scenario": "", "parameters": {"encoder_options": object}});
    ffrtmp::core::request::parse(body).map(|request| request.parameters.encoder_options)
}
