//! The formats and codecs that foreign bytes may reach.
//!
//! The libraries know hundreds more: formats that open other files, codecs of games and of formats
//! that are not accepted. What is not named here is refused, whatever a file says that it is.

/// Demuxers that read one file and open no other. Playlists, scripts, session descriptions,
/// image sequences and devices are not among them.
pub(super) const DEMUXERS: &[&str] = &[
    "aac",
    "ac3",
    "aiff",
    "amr",
    "asf",
    "asf_o",
    "au",
    "av1",
    "avi",
    "caf",
    "dnxhd",
    "dts",
    "dtshd",
    "dv",
    "eac3",
    "flac",
    "flv",
    "gif",
    "gxf",
    "h263",
    "h264",
    "hevc",
    "ivf",
    "live_flv",
    "loas",
    "m4v",
    "matroska",
    "mjpeg",
    "mjpeg_2000",
    "mlp",
    "mov",
    "mp3",
    "mpeg",
    "mpegts",
    "mpegvideo",
    "mxf",
    "nsv",
    "nut",
    "obu",
    "ogg",
    "rm",
    "truehd",
    "tta",
    "vc1",
    "voc",
    "vvc",
    "w64",
    "wav",
    "webm",
    "wtv",
    "wv",
    "y4m",
    "yuv4mpegpipe",
];

/// Decoders of what these containers carry, by libav's names of implementations.
#[rustfmt::skip]
pub(super) const DECODERS: &[&str] = &[
    "012v", "8bps", "aac", "aac_latm", "ac3", "adpcm_adx", "adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms", "adpcm_swf",
    "adpcm_yamaha", "alac", "amrnb", "amrwb", "ape", "ass", "atrac3", "atrac3plus", "av1", "bmp", "cavs", "cfhd",
    "cinepak", "cook", "dca", "dirac", "dnxhd", "dvaudio", "dvbsub", "dvdsub", "dvvideo", "eac3", "ffv1", "ffvhuff",
    "flac", "flashsv", "flashsv2", "flv", "fraps", "g722", "g723_1", "g726", "gif", "gsm", "gsm_ms", "h261", "h263",
    "h263i", "h263p", "h264", "hap", "hevc", "huffyuv", "indeo3", "indeo4", "indeo5", "jpeg2000", "libaom-av1",
    "libdav1d", "libopenjpeg", "libopus", "libspeex", "libvorbis", "libvpx", "libvpx-vp9", "magicyuv", "mjpeg",
    "mjpegb", "mlp", "mov_text", "mp1", "mp1float", "mp2", "mp2float", "mp3", "mp3float", "mpeg1video",
    "mpeg2video", "mpeg4", "mpegvideo", "msmpeg4", "msmpeg4v1", "msmpeg4v2", "msrle", "msvideo1", "nellymoser",
    "opus", "pcm_alaw", "pcm_bluray", "pcm_dvd", "pcm_f16le", "pcm_f24le", "pcm_f32be", "pcm_f32le", "pcm_f64be",
    "pcm_f64le", "pcm_mulaw", "pcm_s16be", "pcm_s16be_planar", "pcm_s16le", "pcm_s16le_planar", "pcm_s24be",
    "pcm_s24le", "pcm_s24le_planar", "pcm_s32be", "pcm_s32le", "pcm_s32le_planar", "pcm_s64be", "pcm_s64le",
    "pcm_s8", "pcm_s8_planar", "pcm_u16be", "pcm_u16le", "pcm_u24be", "pcm_u24le", "pcm_u32be", "pcm_u32le",
    "pcm_u8", "pgssub", "png", "prores", "qcelp", "qdm2", "qdmc", "qtrle", "r210", "ralf", "rawvideo", "real_144",
    "real_288", "rpza", "rv10", "rv20", "rv30", "rv40", "s302m", "sipr", "smc", "snow", "sp5x", "speex", "srt",
    "ssa", "subrip", "svq1", "svq3", "text", "theora", "tiff", "truehd", "tta", "utvideo", "v210", "v308", "v408",
    "v410", "vc1", "vc1image", "vorbis", "vp3", "vp4", "vp5", "vp6", "vp6a", "vp6f", "vp7", "vp8", "vp9", "vvc",
    "wavpack", "webp", "webvtt", "wmalossless", "wmapro", "wmav1", "wmav2", "wmavoice", "wmv1", "wmv2", "wmv3",
    "wmv3image", "xsub", "y41p", "yuv4", "zlib",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_opens_other_files_is_accepted() {
        for name in ["hls", "dash", "concat", "sdp", "rtsp", "image2", "ass", "vobsub", "webm_dash_manifest", "lavfi"] {
            assert!(!DEMUXERS.contains(&name), "{name}");
        }
        for name in ["ansi", "wrapped_avframe", "h264_cuvid", "librsvg", "fits"] {
            assert!(!DECODERS.contains(&name), "{name}");
        }
    }
}
