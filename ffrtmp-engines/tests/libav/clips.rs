//! The real clips, through planning to a verified file.

use ffrtmp_core::engine::{Control, Engine, MediaBounds, Source, Task, Unobserved};
use ffrtmp_core::media::Container;
use ffrtmp_core::plan::OutputRequest;

use crate::workbench::{Bench, ENGINE, frames, media, probe};

/// Name, frames that a player shows, length of the picture in seconds, channels of each track.
const CLIPS: &[(&str, u64, f64, &[u16])] = &[
    ("bbb720.mp4", 132, 5.28, &[6]),
    ("bikes.mp4", 250, 10.0, &[]),
    ("carphone.mp4", 120, 4.004, &[]),
    ("cockatoo.mp4", 280, 14.0, &[1]),
    ("echo.webm", 836, 44.652, &[2]),
    ("scene_cuts.mp4", 250, 10.0, &[]),
];

#[test]
fn real_clips_keep_frames_length_and_tracks() {
    let bench = Bench::new();
    for (name, count, seconds, channels) in CLIPS {
        let Some(input) = media(name) else { return };
        let output = bench.path("out.mp4");
        let mut request = OutputRequest { container: Some(Container::Mp4), ..OutputRequest::default() };
        request.scenario = "720p-h264".parse().unwrap();
        request.parameters.preset = Some("ultrafast".to_owned());
        let task = Task {
            source: Source::File(input.clone()),
            output: output.clone(),
            request,
            bounds: MediaBounds::default(),
            live: None,
        };
        let report = ENGINE.run(&task, &Control::default(), &Unobserved).unwrap();
        assert_eq!(report.frames, *count, "{name}");
        let whole = probe(&input).duration_seconds.unwrap().max(*seconds);
        assert!((report.duration_seconds - whole).abs() < 0.05, "{name}: {} s", report.duration_seconds);
        let info = probe(&output);
        assert_eq!(info.audio().map(|(_, sound)| sound.channels).collect::<Vec<_>>(), *channels, "{name}");
        if let Some(times) = frames(&output, "v") {
            assert_eq!(times.len() as u64, *count, "{name}");
        }
    }
}
