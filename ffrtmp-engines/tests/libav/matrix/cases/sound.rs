//! Audio codecs, layouts, sample rates and tracks.

use super::{Case, Quirk, case};

pub(super) fn cases() -> Vec<Case> {
    [alone(), layouts(), rates(), tracks()].into_iter().flatten().collect()
}

fn alone() -> Vec<Case> {
    vec![
        case("tone.mp3", "A:44100 -c:a mp3"),
        case("tagged.mp3", "A:44100 V:64x64@1~1 -map 0 -map 1 -c:v mjpeg -frames:v 1 -c:a mp3 -metadata title=Tone"),
        case("tone.flac", "A -c:a flac -metadata title=Tone"),
        case("cover.flac", "A V:64x64@1~1 -map 0 -map 1 -c:v png -frames:v 1 -disposition:v attached_pic -c:a flac"),
        case("tone.wav", "A:8000 -c:a pcm_s16le"),
        case("adpcm.wav", "A:11025 -c:a adpcm_ima_wav"),
        case("deep.wav", "A:96000 -c:a pcm_f32le"),
        case("tone.aac", "A -c:a aac"),
        case("tone.ac3", "A -c:a ac3"),
        case("tone.eac3", "A -c:a eac3"),
        case("tone.ogg", "A -c:a libopus"),
        case("tone.oga", "A -c:a flac -f ogg"),
        case("tone.m4a", "A -c:a alac"),
        case("tone.caf", "A:16000 -c:a pcm_alaw"),
        case("tone.aiff", "A -c:a pcm_s24be"),
        case("tone.au", "A:8000 -c:a pcm_mulaw"),
        case("tone.wv", "A -c:a wavpack"),
        case("tone.tta", "A -c:a tta"),
        case("tone.wma", "A:44100 -c:a wmav2 -f asf")
            .but(Quirk::Seconds(0.62, "nothing comes out of the first two packets")),
        case("tone.w64", "A:192000 -c:a pcm_s32le"),
        case("tone.mka", "A:16000 -c:a libspeex -f matroska"),
    ]
}

fn layouts() -> Vec<Case> {
    let with = |layout: &str, codec: &str| format!("V A X -af aformat=channel_layouts={layout} -c:a {codec}");
    vec![
        case("mono.mkv", with("mono", "aac")),
        case("stereo.mp4", with("stereo", "aac")),
        case("21.mkv", with("2.1", "flac")),
        case("21.mov", with("2.1", "pcm_s16le")),
        case("30.mkv", with("3.0", "aac")),
        case("quad.mkv", with("quad", "flac")),
        case("40.mp4", with("4.0", "aac")),
        case("50.mp4", with("5.0", "aac")),
        case("50.mkv", with("5.0", "ac3")),
        case("51.mp4", with("5.1", "aac")),
        case("51.mkv", with("5.1", "eac3")),
        case("51.webm", "V A -c:v libvpx -deadline realtime -cpu-used 8 -af aformat=channel_layouts=5.1 -c:a libopus"),
        case("61.mkv", with("6.1", "flac")),
        case("61.wav", "A -af aformat=channel_layouts=6.1 -c:a pcm_s16le"),
        case("71.mp4", with("7.1", "aac")),
        case("71.mkv", with("7.1", "flac")),
    ]
}

fn rates() -> Vec<Case> {
    let at = |rate: u32, codec: &str| format!("V A:{rate} X -c:a {codec}");
    vec![
        case("8000.mp4", at(8_000, "aac")),
        case("11025.mkv", at(11_025, "mp3")),
        case("16000.mp4", at(16_000, "aac")),
        case("22050.avi", "V A:22050 -c:v mpeg4 -c:a mp3"),
        case("32000.mp4", at(32_000, "aac")),
        case("32000.ts", at(32_000, "mp2")),
        case("88200.mkv", at(88_200, "flac")),
        case("96000.mp4", at(96_000, "aac")),
        case("192000.mkv", at(192_000, "flac")),
    ]
}

fn tracks() -> Vec<Case> {
    let three = "-map 0 -map 1 -map 2 -map 3 X -metadata:s:a:0 language=eng -metadata:s:a:1 language=fra \
                 -metadata:s:a:2 language=deu -disposition:a:0 default -disposition:a:1 0 -disposition:a:2 0";
    vec![
        case("tracks.mkv", format!("V A A:44100 A:32000 {three} -c:a:0 aac -c:a:1 ac3 -c:a:2 mp3 -ac:a:1 6")),
        case("tracks.mp4", format!("V A A:44100 A:32000 {three} -c:a aac -ac:a:2 2")),
        case("tracks.ts", format!("V A A:44100 A:32000 {three} -c:a mp2")),
        case("silent.mp4", "V X"),
        case("silent.webm", "V -c:v libvpx -deadline realtime -cpu-used 8"),
        case("forty.mkv", format!("A:8000~0.2 {} -c:a pcm_s16le", "-map 0 ".repeat(40))),
    ]
}
