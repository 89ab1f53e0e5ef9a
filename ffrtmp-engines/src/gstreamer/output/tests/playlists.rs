//! HLS that grows, read back by an independent parser and by players.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ffrtmp_core::encoding::SegmentKind;
use ffrtmp_core::live::LiveRules;
use m3u8_rs::{MasterPlaylist, MediaPlaylist, MediaPlaylistType};

use super::reels::{AAC, Reel, x264};
use super::servers::{self, until};
use super::{Heard, Output, Target, rules};
use crate::gstreamer::media::{Clock, Encoded};
use crate::gstreamer::output::LiveSettings;

const SOON: Duration = Duration::from_secs(20);

/// Two renditions with one sound.
fn ladder(seconds: u64) -> Reel {
    let mut reel = Reel::of(seconds, &x264("bframes=0"), AAC);
    let mut second = reel.tracks[0].clone();
    reel.tracks[0].name = "360p".to_owned();
    "180p".clone_into(&mut second.name);
    reel.tracks.push(second);
    let copies: Vec<Encoded> = reel.pictures().cloned().map(|picture| Encoded { track: 2, ..picture }).collect();
    reel.samples.extend(copies);
    reel.samples.sort_by_key(|sample| sample.buffer.dts_or_pts());
    reel
}

fn package(path: &Path, reel: &Reel, segments: SegmentKind, window: Option<usize>) -> Output {
    let settings = LiveSettings { segments, seconds: 2.0, window, limit: None };
    let target = Target::Hls { path: path.to_owned(), settings };
    let patient = LiveRules { queue: Duration::from_secs(600), ..rules() };
    Output::start(target, reel.numbered(), &patient, Clock::start(), Heard::default().events()).unwrap()
}

fn master(path: &Path) -> MasterPlaylist {
    m3u8_rs::parse_master_playlist_res(&fs::read(path).unwrap()).unwrap()
}

fn media(path: &Path) -> MediaPlaylist {
    m3u8_rs::parse_media_playlist_res(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn an_event_grows_and_ends_with_everything() {
    for segments in [SegmentKind::Fmp4, SegmentKind::Ts] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("show.m3u8");
        let reel = ladder(11);
        let output = package(&path, &reel, segments, None);
        let most = reel.samples.len() * 3 / 4;
        reel.samples[..most].iter().for_each(|sample| output.push(sample));
        until("the playlists appear", SOON, || path.exists());
        let own = directory.path().join("show/360p/index.m3u8");
        until("it has three segments", SOON, || media(&own).segments.len() >= 3);
        let growing = media(&own);
        assert!(!growing.end_list && growing.playlist_type == Some(MediaPlaylistType::Event), "{growing:?}");
        reel.samples[most..].iter().for_each(|sample| output.push(sample));
        output.finish(SOON).unwrap();

        let all = master(&path);
        assert_eq!(all.variants.len(), 2);
        for variant in &all.variants {
            assert!(variant.bandwidth > 1000 && variant.resolution.is_some(), "{variant:?}");
            assert!(
                variant
                    .codecs
                    .as_deref()
                    .is_some_and(|codecs| codecs.starts_with("avc1.") && codecs.ends_with(",mp4a.40.2"))
            );
            let own = media(&directory.path().join(&variant.uri));
            assert!(own.end_list && own.segments.len() == 6, "{own:?}");
            assert!(own.segments.iter().all(|segment| segment.duration.round() as u64 <= own.target_duration));
        }
        assert_eq!(servers::decoded(&path), 275, "{segments:?}");
    }
}

#[test]
fn a_window_slides_and_forgets_what_has_left_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("show.m3u8");
    let reel = ladder(30);
    let output = package(&path, &reel, SegmentKind::Fmp4, Some(4));
    reel.pour(&output);
    let state = output.finish(SOON).unwrap();
    let folder = directory.path().join("show/180p");
    let playlist = media(&folder.join("index.m3u8"));
    assert_eq!((playlist.segments.len(), playlist.media_sequence, playlist.playlist_type), (4, 11, None));
    assert!(playlist.end_list);
    let count = fs::read_dir(&folder)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "m4s"));
    assert_eq!(count.count(), 7, "the window and three more");
    let whole: u64 = walk(directory.path());
    assert_eq!(state.bytes, whole, "it counts what is there");
    let pictures = servers::packets(&path, None);
    assert!(pictures.first().is_some_and(|packet| packet.is_key), "players begin at a key frame");
}

fn walk(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries.map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { entry.metadata().unwrap().len() }).sum()
}

#[test]
fn a_package_that_is_not_finished_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("show.m3u8");
    let reel = ladder(6);
    let output = package(&path, &reel, SegmentKind::Ts, None);
    reel.pour(&output);
    until("the playlists appear", SOON, || path.exists());
    drop(output);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
