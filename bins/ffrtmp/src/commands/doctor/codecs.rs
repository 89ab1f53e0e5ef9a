//! Engines and encoders.

use ffrtmp::core::engine::EngineCapabilities;
use ffrtmp::core::job::EngineName;
use ffrtmp::core::media::VideoCodec;
use ffrtmp::engines::{IsolatedEngine, isolated};

use super::{Finding, Standing};

/// Debian package of the software encoder of each codec. `libavcodec` is built against all of them
/// there; a machine that lacks one has another build of libavcodec.
const PACKAGES: &[(VideoCodec, &str, &str)] = &[
    (VideoCodec::H264, "encoder h264", "apt install libavcodec-extra libx264-dev"),
    (VideoCodec::H265, "encoder h265", "apt install libavcodec-extra libx265-dev"),
    (VideoCodec::Vp8, "encoder vp8", "apt install libavcodec-extra libvpx-dev"),
    (VideoCodec::Vp9, "encoder vp9", "apt install libavcodec-extra libvpx-dev"),
    (VideoCodec::Av1, "encoder av1", "apt install libavcodec-extra libsvtav1enc-dev"),
];

const AUDIO: &[(&str, &str, &str, &str)] = &[
    ("encoder aac", "aac", "aac", "apt install libavcodec-extra"),
    ("encoder opus", "opus", "libopus", "apt install libavcodec-extra libopus-dev"),
];

pub(super) fn findings() -> Vec<Finding> {
    const WHAT: &str = "engine ffmpeg";
    let engine = match crate::local::engine() {
        Ok(engine) => engine,
        Err(error) => return vec![Finding::not(WHAT, Standing::Missing, error.to_string(), error.hint_text())],
    };
    match engine.try_capabilities() {
        Err(error) => vec![Finding::not(WHAT, Standing::Missing, error.to_string(), error.hint_text())],
        Ok(known) => {
            let mut findings = vec![Finding::works(WHAT, known.versions.join(", "))];
            findings.extend(PACKAGES.iter().map(|row| video(known, row)));
            findings.extend(AUDIO.iter().map(|row| audio(known, row)));
            findings.push(hardware(known));
            findings.extend(live());
            findings
        }
    }
}

fn video(known: &EngineCapabilities, (codec, what, package): &(VideoCodec, &'static str, &str)) -> Finding {
    let encoders = known.video_encoders.iter().find(|(of, _)| of == codec).map(|(_, encoders)| encoders.join(", "));
    match encoders.filter(|encoders| !encoders.is_empty()) {
        Some(encoders) => Finding::works(*what, format!("{encoders} (test encode passed)")),
        // H.264 is what files and players can count on; the others are choices.
        None if *codec == VideoCodec::H264 => Finding::not(*what, Standing::Missing, "no encoder works", *package),
        None => Finding::not(*what, Standing::Absent, "no encoder works", *package),
    }
}

fn audio(known: &EngineCapabilities, (what, codec, library, package): &(&'static str, &str, &str, &str)) -> Finding {
    match known.audio_encoders.iter().find(|name| name == codec || name == library) {
        Some(name) => Finding::works(*what, format!("{name} (test encode passed)")),
        None => Finding::not(*what, Standing::Absent, "no encoder works", *package),
    }
}

/// Encoders on a graphics processor; a device whose encoders fail is named with what it lacks.
fn hardware(known: &EngineCapabilities) -> Finding {
    const WHAT: &str = "hardware encoders";
    let suffixes = ["_nvenc", "_qsv", "_vaapi", "_amf"];
    let names = known.video_encoders.iter().flat_map(|(_, encoders)| encoders);
    let hardware: Vec<_> =
        names.filter(|name| suffixes.iter().any(|suffix| name.ends_with(suffix))).map(String::as_str).collect();
    if !hardware.is_empty() {
        return Finding::works(WHAT, format!("{} (test encode passed)", hardware.join(", ")));
    }
    let exists = |path: &str| std::path::Path::new(path).exists();
    let (detail, cure) = match (exists("/dev/nvidia0"), exists("/dev/dri/renderD128")) {
        (true, _) => ("an NVIDIA device, but no encoder of it passed", "apt install libnvidia-encode1"),
        (_, true) => {
            ("a render device, but no encoder of it passed", "apt install va-driver-all intel-media-va-driver libvpl2")
        }
        _ => ("no /dev/nvidia0 and no /dev/dri/renderD128", "not needed: software encoders do the work"),
    };
    Finding::not(WHAT, Standing::Absent, detail, cure)
}

/// The live engine, which has a runner of its own, and each element that it misses.
fn live() -> Vec<Finding> {
    const WHAT: &str = "engine gstreamer";
    const CURE: &str = "apt install libgstreamer1.0-0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
                        gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav";
    let absent = |detail: String, cure: &str| vec![Finding::not(WHAT, Standing::Absent, detail, cure)];
    let Some(runner) = isolated::live_runner_beside_current_exe() else {
        let detail = "ffrtmp-runner-gstreamer is not beside ffrtmp-runner; live jobs go to other nodes";
        return absent(detail.to_owned(), "install it there; `cargo build` makes both");
    };
    let engine = IsolatedEngine::named(runner, Vec::new(), EngineName::Gstreamer);
    match engine.try_capabilities() {
        Err(error) => absent(error.to_string(), CURE),
        Ok(known) => {
            let encoders = known.video_encoders.iter().flat_map(|(_, encoders)| encoders).chain(&known.audio_encoders);
            let encoders: Vec<_> = encoders.map(String::as_str).collect();
            let detail = format!("{}: {} (test encodes passed)", known.versions.join(", "), encoders.join(", "));
            let mut findings = vec![match encoders.is_empty() {
                true => Finding::not(WHAT, Standing::Absent, "no encoder works", CURE),
                false => Finding::works(WHAT, detail),
            }];
            let missing = known.missing.iter().map(|(element, package)| {
                let what = format!("element {element}");
                Finding::not(what, Standing::Absent, "not installed", format!("apt install {package}"))
            });
            findings.extend(missing);
            findings
        }
    }
}
