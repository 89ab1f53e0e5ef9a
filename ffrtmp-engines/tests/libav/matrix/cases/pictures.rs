//! Codecs, containers, pixel formats, rates and turns.

use ffrtmp_core::error::Code;
use ffrtmp_core::media::Container::{Mkv, Mp4, MpegTs};

use super::{Case, Quirk, case};

pub(super) fn cases() -> Vec<Case> {
    [codecs(), pixels(), rates(), turns()].into_iter().flatten().collect()
}

fn codecs() -> Vec<Case> {
    vec![
        case("h264.mp4", "V A XA"),
        case("h264.mov", "V A XA -c:a pcm_s16le"),
        case("h264.mkv", "V A X -c:a flac"),
        case("h264.ts", "V A XA"),
        case("h264.m2ts", "V A X -c:a ac3"),
        case("h264.flv", "V A:44100 XA"),
        case("h264.avi", "V A:44100 X -bf 0 -c:a mp3"),
        case("h264.3gp", "V A XA"),
        case("fragmented.mp4", "V A XA -g 5 -movflags frag_keyframe+delay_moov"),
        case("hevc.mp4", "V A -c:v libx265 -preset ultrafast -x265-params log-level=none -tag:v hvc1 -c:a aac"),
        case("hevc.mkv", "V A -c:v libx265 -preset ultrafast -x265-params log-level=none -c:a libopus"),
        case("hevc.ts", "V A -c:v libx265 -preset ultrafast -x265-params log-level=none -c:a mp2"),
        case("vp8.webm", "V A -c:v libvpx -deadline realtime -cpu-used 8 -c:a libvorbis"),
        case("vp8.mkv", "V A -c:v libvpx -deadline realtime -cpu-used 8 -auto-alt-ref 0 -c:a libopus"),
        case("vp9.webm", "V A -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus"),
        case("vp9.mp4", "V A -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus"),
        case("vp9.ivf", "V -c:v libvpx-vp9 -deadline realtime -cpu-used 8"),
        case("av1.mp4", "V~0.2 A~0.2 -c:v libaom-av1 -cpu-used 8 -usage realtime -c:a aac"),
        case("av1.mkv", "V~0.2 A~0.2 -c:v libaom-av1 -cpu-used 8 -usage realtime -c:a libopus"),
        case("mpeg4.avi", "V A:44100 -c:v mpeg4 -c:a mp3"),
        case("mpeg4.mp4", "V A -c:v mpeg4 -bf 2 -c:a aac"),
        case("mpeg4.3gp", "V A:8000 -c:v mpeg4 -c:a aac"),
        case("mpeg2.mpg", "V A -c:v mpeg2video -bf 2 -c:a mp2")
            .but(Quirk::OtherTimes)
            .but(Quirk::Seconds(0.6, "as it was made"))
            .no_copy(&[Mkv, Mp4, MpegTs], Code::InputUnsupported, "where a pack begins, the muxer leaves times out"),
        case("mpeg2.ts", "V A -c:v mpeg2video -bf 2 -c:a mp2"),
        case("mpeg2.vob", "V A -c:v mpeg2video -c:a ac3 -f vob"),
        case("mpeg2.mxf", "V:720x576~0.2 A~0.2 -c:v mpeg2video -c:a pcm_s16le"),
        case("mpeg1.mpg", "V A:44100 -c:v mpeg1video -c:a mp2"),
        case("mpeg1.mkv", "V A:44100 -c:v mpeg1video -c:a mp3"),
        case("mjpeg.avi", "V A -c:v mjpeg -q:v 2 -c:a pcm_s16le"),
        case("mjpeg.mov", "V A -c:v mjpeg -q:v 2 -c:a pcm_s16be"),
        case("prores.mov", "V~0.2 A~0.2 -c:v prores_ks -c:a pcm_s24le"),
        case("prores.mkv", "V~0.2 A~0.2 -c:v prores_ks -profile:v 4444 -pix_fmt yuva444p10le -c:a pcm_s24le"),
        case("dv.dv", "V:720x576~0.2 A~0.2 -c:v dvvideo -pix_fmt yuv420p -ac 2 -aspect 4:3"),
        case("dv.avi", "V:720x480@30000/1001~0.2 A~0.2 -c:v dvvideo -pix_fmt yuv411p -c:a pcm_s16le"),
        case("ffv1.mkv", "V A -c:v ffv1 -c:a flac"),
        case("ffv1.avi", "V A -c:v ffv1 -c:a pcm_s24le"),
        case("raw.avi", "V A -c:v rawvideo -pix_fmt yuv420p -c:a pcm_u8"),
        case("raw.nut", "V A -c:v rawvideo -pix_fmt yuv422p -c:a pcm_f32le"),
        case("plain.y4m", "V -pix_fmt yuv420p"),
        case("deep.y4m", "V -pix_fmt yuv444p10le -strict -1"),
        case("ntsc.dv", "V:720x480@30000/1001~0.2 A~0.2 -c:v dvvideo -pix_fmt yuv411p -ac 2"),
        case("theora.ogg", "V:192x112 A -c:v libtheora -q:v 9 -c:a libvorbis"),
        case("theora.mkv", "V:192x112 A -c:v libtheora -q:v 9 -c:a libvorbis"),
        case("wmv2.wmv", "V:192x112 A:44100 -c:v wmv2 -b:v 2M -c:a wmav2"),
        case("wmv2.avi", "V:192x112 A:44100 -c:v wmv2 -b:v 2M -c:a wmav2"),
        case("wmv1.asf", "V:192x112 A:44100 -c:v wmv1 -b:v 2M -c:a mp3"),
        case("msmpeg4.avi", "V A:44100 -c:v msmpeg4 -c:a mp3"),
        case("flv1.flv", "V A:44100 -c:v flv -b:v 2M -c:a mp3"),
        case("flv1.mkv", "V A:22050 -c:v flv -b:v 2M -c:a mp3"),
        case("h263.3gp", "V:176x144 A:8000 -c:v h263 -c:a aac"),
        case("h263.avi", "V:176x144@30000/1001 A:8000 -c:v h263 -c:a pcm_alaw"),
        case("huffyuv.avi", "V A -c:v huffyuv -pix_fmt yuv422p -c:a pcm_s16le"),
        case("huffyuv.mkv", "V A -c:v huffyuv -pix_fmt bgr0 -c:a pcm_s16le"),
        case("utvideo.avi", "V A -c:v utvideo -pix_fmt gbrp -c:a adpcm_ms"),
        case("magicyuv.mkv", "V -c:v magicyuv -pix_fmt gbrp"),
        case("png.mov", "V~0.2 A~0.2 -c:v png -c:a alac"),
        case("png.mkv", "V~0.2 -c:v png -pix_fmt rgba"),
        case("rgba.avi", "V~0.2 -c:v png -pix_fmt rgba"),
        case("gif.gif", "V~0.3"),
        case("slow.gif", "V:64x48@5~1"),
        case("qtrle.mov", "V~0.2 -c:v qtrle").no_copy(
            &[Mkv],
            Code::VerifyFailed,
            "Matroska does not keep the bits per pixel",
        ),
        case("qtrle-alpha.mov", "V~0.2 A~0.2 -c:v qtrle -pix_fmt argb -c:a adpcm_ima_qt"),
        case("dnxhr.mov", "V:256x144~0.2 A~0.2 -c:v dnxhd -profile:v dnxhr_lb -pix_fmt yuv422p -c:a pcm_s24le"),
        case("dnxhr.mxf", "V:256x144~0.2 A~0.2 -c:v dnxhd -profile:v dnxhr_lb -pix_fmt yuv422p -c:a pcm_s16le"),
        case("cineform.mov", "V:192x112~0.2 -c:v cfhd -pix_fmt yuv422p10le"),
        case("jpeg2000.mxf", "V~0.2 -c:v jpeg2000 -pix_fmt yuv420p"),
        case("dirac.mkv", "V~0.2 A~0.2 -c:v vc2 -pix_fmt yuv422p -c:a pcm_s16le"),
        case("snow.avi", "V~0.2 -c:v snow -strict -2"),
        case("svq1.mov", "V -c:v svq1"),
        case("cinepak.avi", "V:64x48~0.2 -c:v cinepak")
            .but(Quirk::Similar(0.8, "an old codec, with artefacts of its own")),
        case("v210.mov", "V~0.2 -c:v v210"),
        case("rv20.rm", "V:176x144 A -c:v rv20 -b:v 2M -c:a ac3"),
    ]
}

fn pixels() -> Vec<Case> {
    let x264 = |format: &str| format!("V A XA -pix_fmt {format}");
    let ffv1 = |format: &str| format!("V~0.2 A~0.2 -c:v ffv1 -pix_fmt {format} -c:a flac");
    vec![
        case("422.mp4", x264("yuv422p")),
        case("444.mp4", x264("yuv444p")),
        case("full.mp4", x264("yuvj420p")),
        case(
            "full.mkv",
            "V A -c:v libx265 -preset ultrafast -x265-params log-level=none:range=full -vf scale=out_range=full -color_range pc -c:a aac",
        ),
        case("420p10.mp4", x264("yuv420p10le")),
        case("422p10.mkv", x264("yuv422p10le")),
        case("444p10.mp4", x264("yuv444p10le")),
        case("gray.mkv", x264("gray")),
        case("hevc10.mkv", "V -c:v libx265 -preset ultrafast -x265-params log-level=none -pix_fmt yuv420p10le"),
        case("hevc12.mp4", "V -c:v libx265 -preset ultrafast -x265-params log-level=none -pix_fmt yuv444p12le"),
        case("444p12.mkv", ffv1("yuv444p12le")),
        case("gray10.mkv", ffv1("gray10le")),
        case("gray.avi", ffv1("gray")),
        case("alpha420.nut", ffv1("yuva420p")),
        case("gray.mov", "V~0.2 -c:v png -pix_fmt gray"),
        case("rgb48.mkv", ffv1("rgb48le")),
        case("bgr0.mkv", ffv1("bgr0")),
        case("gbrp.mp4", "V -c:v libx264rgb -preset ultrafast -qp 10"),
        case(
            "alpha420.webm",
            "V~0.3 -vf format=yuva420p,colorchannelmixer=aa=0.5 -c:v libvpx-vp9 -cpu-used 8 -deadline realtime -pix_fmt yuva420p",
        ),
        case("alpha420.mkv", ffv1("yuva420p")),
        case("alpha444.mov", "V~0.2 -c:v prores_ks -profile:v 4444 -pix_fmt yuva444p10le"),
        case("uyvy.mov", "V~0.2 -c:v rawvideo -pix_fmt uyvy422"),
        case("nv12.avi", "V~0.2 -c:v rawvideo -pix_fmt nv12"),
        case("410.avi", ffv1("yuv410p")),
        case("440.mkv", ffv1("yuv440p")),
    ]
}

fn rates() -> Vec<Case> {
    let vfr = "-vf select=not(mod(n\\,7))+not(mod(n\\,3)) -vsync vfr";
    vec![
        case("23976.mp4", "V@24000/1001 A XA"),
        case("23976.mkv", "V@24000/1001 A XA"),
        case("2997.mp4", "V@30000/1001 A XA"),
        case("60.ts", "V@60 A XA"),
        case("60.mov", "V@60 A XA"),
        case("one.mp4", "V@1~4 A~4 XA"),
        case("one.mkv", "V@1~4 A~4 XA"),
        case("240.mp4", "V@240~0.2 A~0.2 XA"),
        case("240.mkv", "V@240~0.2 A~0.2 XA"),
        case("half.mp4", "V@1/2~6 A~6 XA"),
        case("half.avi", "V@1/2~6 A~6 -c:v mpeg4 -c:a pcm_s16le"),
        case("vfr.mp4", format!("V@30~1 A~1 {vfr} XA")),
        case("vfr.mkv", format!("V@30~1 A~1 {vfr} XA")),
        case("vfr.webm", format!("V@30~1 A~1 {vfr} -c:v libvpx -deadline realtime -cpu-used 8 -c:a libopus")),
        case("jitter.mkv", "V A -vf setpts=PTS+mod(N\\,3)*0.007/TB -vsync passthrough XA"),
    ]
}

fn turns() -> Vec<Case> {
    let turned = |name, matrix| case(name, "V A XA").but(Quirk::Matrix(matrix));
    vec![
        turned("turn90.mp4", [0, 1, -1, 0]),
        turned("turn90.mov", [0, 1, -1, 0]),
        turned("turn180.mp4", [-1, 0, 0, -1]),
        turned("turn180.mov", [-1, 0, 0, -1]),
        turned("turn270.mp4", [0, -1, 1, 0]),
        turned("turn270.mov", [0, -1, 1, 0]),
        turned("mirrored.mp4", [-1, 0, 0, 1]),
        turned("mirrored90.mov", [0, 1, 1, 0]),
        case("turned-wide.mp4", "V A -vf setsar=4/3 XA").but(Quirk::Matrix([0, 1, -1, 0])),
    ]
}
