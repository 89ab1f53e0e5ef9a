//! What happens to real files.

use ffrtmp_core::error::Code;
use ffrtmp_core::media::Container::{Mkv, Mp4, MpegTs};

use super::{Case, Quirk, case};

pub(super) fn cases() -> Vec<Case> {
    [sizes(), fields(), times(), company(), colors(), limits()].into_iter().flatten().collect()
}

fn sizes() -> Vec<Case> {
    let refused = |name, size: &str| {
        let reason = "less than 16 pixels, which no encoder here takes";
        case(name, format!("V~0.2 -vf scale={size} -c:v ffv1 -pix_fmt yuv444p"))
            .but(Quirk::Refused(Code::InputUnsupported, reason))
    };
    let cut = "crop=trunc(iw/2)*2:trunc(ih/2)*2:0:0";
    vec![
        refused("1x1.mkv", "1:1"),
        refused("2x2.mkv", "2:2"),
        refused("15x15.mkv", "15:15"),
        refused("300x7.mkv", "300:7"),
        case("16x16.mkv", "V:16x16~0.2 -c:v ffv1"),
        case("17x17.mkv", "V~0.2 -vf scale=17:17 -c:v ffv1 -pix_fmt yuv444p").but(Quirk::Reference(cut)),
        case("161x91.mkv", "V A -vf scale=161:91 -c:v ffv1 -pix_fmt yuv444p -c:a flac").but(Quirk::Reference(cut)),
        case("161x91.avi", "V~0.2 -vf scale=161:91 -c:v rawvideo -pix_fmt bgr24").but(Quirk::Reference(cut)),
        case("193x109.webm", "V -vf scale=193:109 -c:v libvpx -deadline realtime -cpu-used 8")
            .but(Quirk::Reference(cut)),
        case("tall.mkv", "V:32x1200~0.2 -c:v ffv1"),
        case("wide.mkv", "V:9000x32~0.1 -c:v ffv1"),
        case("anamorphic.mp4", "V A -vf setsar=4/3 XA"),
        case("anamorphic.mkv", "V A -vf setsar=64/45 XA"),
        case("anamorphic.mpg", "V:352x288~0.2 A~0.2 -c:v mpeg2video -aspect 16:9 -c:a mp2"),
        case("cropped.mp4", "V~0.2 X && -i 1.mov -c copy -bsf:v h264_metadata=crop_left=8:crop_top=4"),
        case("cropped.mkv", "V~0.2 X && -i 1.mov -c copy -bsf:v h264_metadata=crop_right=6:crop_bottom=2"),
    ]
}

fn fields() -> Vec<Case> {
    let deinterlaced = "bwdif=mode=send_frame:deint=interlaced";
    let fields = |name, order: &str, codec: &str| {
        let woven =
            format!("-vf tinterlace=interleave_{},setfield={order}", if order == "tff" { "top" } else { "bottom" });
        case(name, format!("V@50 A {woven} {codec} -flags +ildct+ilme")).but(Quirk::Reference(deinterlaced))
    };
    vec![
        fields("tff.mp4", "tff", "-c:v libx264 -preset ultrafast -x264-params tff=1 -c:a aac"),
        fields("bff.mp4", "bff", "-c:v libx264 -preset ultrafast -x264-params bff=1 -c:a aac"),
        fields("tff.ts", "tff", "-c:v mpeg2video -c:a mp2"),
        fields("bff.mkv", "bff", "-c:v mpeg2video -c:a mp2"),
    ]
}

fn times() -> Vec<Case> {
    let pyramid = "-c:v libx264 -preset fast -bf 8 -b_strategy 0 -x264-params b-pyramid=normal";
    let no_times = "packets do not say when their pictures are shown";
    let untimed = |name, make: &str| {
        let case = case(name, make).but(Quirk::OtherTimes).but(Quirk::Seconds(0.6, "as the rate in the stream says"));
        case.no_copy(&[Mkv, Mp4, MpegTs], Code::InputUnsupported, no_times)
    };
    vec![
        case("pyramid.mp4", format!("V~1 A~1 {pyramid} -c:a aac")),
        case("pyramid.ts", format!("V~1 A~1 {pyramid} -c:a aac")),
        case("pyramid.mkv", format!("V~1 A~1 {pyramid} -c:a libopus")),
        case(
            "open-gop.mp4",
            "V~1 A~1 -c:v libx265 -preset ultrafast -x265-params log-level=none:open-gop=1:keyint=5:bframes=3 -c:a aac",
        ),
        case("late-picture.mp4", "-itsoffset 0.4 V -itsoffset 0 A~1 XA"),
        case("late-sound.mp4", "V~1 -itsoffset 0.4 A XA"),
        case("late-sound.mkv", "V~1 -itsoffset 0.4 A X -c:a flac"),
        case("hidden.mp4", "V~2 A~2 XA && -ss 0.5 -i 1.mov -c copy"),
        case("hidden.mov", "V~2 A~2 XA -c:a pcm_s16le && -ss 1.1 -i 1.mov -c copy"),
        case("negative.mkv", "-itsoffset -0.3 A -itsoffset 0 V -avoid_negative_ts disabled XA"),
        case("starts-at-5000.ts", "V A XA -output_ts_offset 5000"),
        case("starts-at-5.mkv", "V A XA -output_ts_offset 5"),
        case("wraps.ts", "V~2 A~2 XA -output_ts_offset 95442.7"),
        case("jumps-back.ts", "V A XA -output_ts_offset 10")
            .but(Quirk::Twice)
            .but(Quirk::OtherTimes)
            .but(Quirk::Seconds(1.28, "one after the other, each as long as its sound")),
        case("jumps-back.mpg", "V A -c:v mpeg2video -c:a mp2")
            .but(Quirk::Twice)
            .but(Quirk::OtherTimes)
            .but(Quirk::Seconds(1.2, "one after the other"))
            .no_copy(&[Mkv, Mp4, MpegTs], Code::InputUnsupported, no_times),
        untimed("untimed.h264", "V X -f h264"),
        untimed("untimed.hevc", "V -c:v libx265 -preset ultrafast -x265-params log-level=none -f hevc"),
        case("untimed.m4v", "V -c:v mpeg4 -bf 2 -f m4v")
            .but(Quirk::OtherTimes)
            .but(Quirk::Seconds(0.6, "as the rate in the stream says")),
        untimed("untimed.m2v", "V -c:v mpeg2video -bf 2 -f mpeg2video"),
        case("reordered.avi", "V A:44100 -c:v mpeg4 -bf 2 -c:a mp3")
            .no_copy(&[Mkv, Mp4], Code::InputUnsupported, no_times)
            .but(Quirk::OtherTimes),
        case("longer-sound.mp4", "V~0.4 A~1.2 XA"),
        case("longer-picture.mkv", "V~1.2 A~0.4 XA"),
        case("pause.mkv", "V~2 A~2 -af aselect=not(between(t\\,0.5\\,1.2)) X -c:a pcm_s16le"),
        case("hourly.mkv", "V~0.16 X -vf setpts=N*3600/TB -vsync passthrough"),
        case("hourly.mp4", "V~0.16 X -vf setpts=N*3600/TB -vsync passthrough -video_track_timescale 1000"),
        case("thousand.mkv", "V@1000~0.1 X"),
        case("one-picture.mp4", "V~0.04 X"),
        case("one-picture.png.mkv", "V~0.04 A~0.6 -c:v png -c:a flac"),
    ]
}

fn company() -> Vec<Case> {
    let both = "-map 0 -map 1 -map 2 -map 3 XA -metadata:s:s:0 language=eng -metadata:s:s:1 language=fra";
    let cover = "V:64x64@1~1 -map 0 -map 1 -map 2 XA -c:v:1";
    let art = "-frames:v:1 1 -disposition:v:1 attached_pic";
    vec![
        case("texts.mkv", format!("V A -i en.srt -i fr.srt {both} -c:s:0 srt -c:s:1 ass -disposition:s:1 forced")),
        case("texts.mp4", format!("V A -i en.srt -i fr.srt {both} -c:s mov_text")),
        case(
            "texts.webm",
            "V -i en.srt -i fr.srt -map 0 -map 1 -map 2 -c:v libvpx -deadline realtime -cpu-used 8 -c:s webvtt",
        ),
        case("chapters.mp4", "V A -i chapters.txt -map 0 -map 1 -map_metadata 2 -map_chapters 2 XA"),
        case("chapters.mkv", "V A -i chapters.txt -map 0 -map 1 -map_metadata 2 -map_chapters 2 XA"),
        case("cover.mp4", format!("V A {cover} mjpeg -bf:v:1 0 -pix_fmt:v:1 yuvj420p {art}")),
        case("cover.mkv", format!("V A {cover} png {art}")),
        case("timecode.mov", "V A XA -timecode 01:00:00:00"),
        case("timecode.mxf", "V:720x576~0.2 A~0.2 -c:v mpeg2video -c:a pcm_s16le -timecode 01:00:00:00"),
        case("two-pictures.mkv", "V V:64x64 A -map 0 -map 1 -map 2 XA"),
        case("two-pictures.ts", "V:96x64 V A -map 0 -map 1 -map 2 XA"),
        case("titled.mkv", "V A XA -metadata title=Tïtle -metadata:s:a:0 title=Commentary"),
    ]
}

fn colors() -> Vec<Case> {
    let x265 = "-c:v libx265 -preset ultrafast -pix_fmt yuv420p10le -x265-params log-level=none:repeat-headers=1";
    let hdr = "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:range=limited:hdr10=1:\
               master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400";
    let tags = "-color_primaries bt709 -color_trc bt709 -colorspace bt709 -color_range tv";
    vec![
        case("hdr10.mp4", format!("V {x265}:{hdr}")),
        case("hdr10.mkv", format!("V {x265}:{hdr}")),
        case("hlg.mp4", format!("V {x265}:colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc:range=limited")),
        case("bt709.mp4", format!("V A XA {tags}")),
        case("bt709.mkv", format!("V A XA {tags}")),
        case("bt601.mov", "V A XA -color_primaries smpte170m -color_trc smpte170m -colorspace smpte170m"),
    ]
}

fn limits() -> Vec<Case> {
    let huge = b"YUV4MPEG2 W16000 H16000 F25:1 Ip A1:1 C420\nFRAME\n";
    vec![
        case("huge.y4m", "")
            .but(Quirk::Bytes(huge))
            .but(Quirk::Refused(Code::InputTooLarge, "more pixels than allowed")),
        case("crowd.mkv", format!("A:8000~0.1 {} -c:a pcm_s16le", "-map 0 ".repeat(130)))
            .but(Quirk::Refused(Code::InputTooLarge, "more streams than allowed")),
        case("weeks.mkv", "V X -vf setpts=N*80000/TB -vsync passthrough")
            .but(Quirk::Refused(Code::InputTooLarge, "longer than allowed")),
    ]
}
