//! The command lines that users of earlier systems know must parse as they were written.

use super::{Parsed, parse};

/// The lines about jobs, nodes and configuration, shell continuations joined, quotes and comments
/// as a shell reads them.
const KNOWN: &[&str] = &[
    "ffrtmp jobs submit --master https://MASTER_IP:8080 --scenario 1080p-h264 --bitrate 5M --duration 300",
    "ffrtmp jobs submit --scenario 1080p-h264 --bitrate 5M --duration 60",
    "ffrtmp config recommend",
    "ffrtmp jobs submit --scenario live-4k --queue live --priority high --duration 3600",
    "ffrtmp jobs submit --scenario live-stream --engine auto",
    "ffrtmp jobs submit --scenario transcode --engine ffmpeg",
    "ffrtmp jobs submit --scenario live-rtmp --engine gstreamer",
    "ffrtmp config recommend --environment production --output text",
    "ffrtmp jobs submit --scenario 1080p-h264 --bitrate 5M --duration 300",
    "ffrtmp jobs status 7d44840f-9c30-4a5a-8a4e-1f1d6c2b3a4d",
    "ffrtmp nodes list",
    "ffrtmp jobs submit --scenario 4K-h265 --bitrate 15M --duration 3600",
    "ffrtmp jobs submit --scenario 1080p-h264 --bitrate 5M --duration 1800",
    "ffrtmp jobs submit --scenario 1080p-h264 --duration 600 --cpu-limit 200",
    "ffrtmp jobs submit --scenario 1080p-h264 --duration 600 --cpu-limit 100",
    "ffrtmp jobs submit --scenario 4K60-h264 --bitrate 10M --duration 120",
    "ffrtmp jobs submit --scenario 1080p60-h264 --bitrate 5M --duration 60",
    "ffrtmp jobs submit --scenario 4K60-h265 --bitrate 10M --duration 120",
    "ffrtmp jobs submit --scenario 1080p60-h265 --bitrate 5M --duration 60",
    "ffrtmp jobs submit --scenario 720p30-h264 --duration 120 --bitrate 2M --priority medium --queue default",
    "ffrtmp jobs status",
    "ffrtmp jobs status 7d44840f --follow",
    "ffrtmp jobs submit --scenario 720p30-h264 --engine ffmpeg",
    "ffrtmp jobs submit --scenario test1 --bitrate 2000k --duration 60",
    "ffrtmp jobs submit --scenario 720p30-h264 --bitrate 2M --duration 60",
];

#[test]
fn every_known_command_line_parses() {
    for line in KNOWN {
        let words: Vec<_> = line.split(' ').map(Into::into).collect();
        assert!(matches!(parse(&words), Ok(Parsed::Command(_))), "{line}: {:?}", parse(&words));
    }
}
