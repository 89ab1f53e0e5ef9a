//! What is written last: playlists and manifests, once all segments are there.

use std::ffi::OsStr;

use ffrtmp_core::error::Result;

use super::rendition::{self, Content, Rendition, Span};
use super::stream::{Body, text_spans, write_text};
use super::{Manifest, Packager, mpd, playlist};

/// Name of the second manifest, in the package's directory.
const SECOND: &str = "manifest.mpd";

impl Packager {
    pub(super) fn write_manifests(&mut self) -> Result<()> {
        let renditions = self.renditions()?;
        let target = playlist::common_target(&renditions);
        let (manifest, format) = (self.settings.manifest, self.settings.segments);
        if manifest != Manifest::Dash {
            for rendition in &renditions {
                self.write_playlists(rendition, target)?;
            }
        }
        let directory = self.place.reference();
        let text = match manifest {
            Manifest::Dash => mpd::manifest(&renditions, self.title.as_deref(), &format!("{directory}/"), target),
            Manifest::Hls | Manifest::Both => playlist::multivariant(&renditions, format, &directory, target),
        };
        if manifest == Manifest::Both {
            let second = mpd::manifest(&renditions, self.title.as_deref(), "", target);
            self.root.replace(OsStr::new(SECOND), &second, &mut self.ledger)?;
        }
        self.place.publish(&text, &mut self.ledger)
    }

    fn write_playlists(&mut self, rendition: &Rendition, target: u64) -> Result<()> {
        let format = self.settings.segments;
        let streams = &self.streams;
        let stream = streams.iter().find(|stream| stream.name == rendition.name);
        let Some(folder) = stream.and_then(|stream| stream.folder.as_ref()) else { return Ok(()) };
        if !rendition.keys().is_empty() {
            let keys = playlist::keys(rendition, format);
            folder.write(playlist::KEYS, keys.as_bytes(), &mut self.ledger)?;
        }
        let own = if matches!(rendition.content, Content::Text) {
            rendition::target_duration(&rendition.segments)
        } else {
            target
        };
        folder.write(playlist::PLAYLIST, playlist::media(rendition, format, own).as_bytes(), &mut self.ledger)
    }

    /// What manifests say about each stream that has something; writes the files of subtitles.
    fn renditions(&mut self) -> Result<Vec<Rendition>> {
        let mut renditions = Vec::new();
        for (stream, lane) in self.streams.iter().zip(&self.lanes).filter(|(_, lane)| lane.packets > 0) {
            if let Some(track) = stream.track() {
                renditions.push(stream.rendition(track, lane));
            }
        }
        let spans = text_spans(&renditions);
        for (stream, _) in self.streams.iter_mut().zip(&self.lanes).filter(|(_, lane)| lane.packets > 0) {
            let Body::Text { cues } = &stream.body else { continue };
            let folder = stream.folder.insert(self.root.make(&stream.name)?);
            let spans =
                if spans.is_empty() { vec![Span { start: 0.0, end: cues.end(), bytes: 0 }] } else { spans.clone() };
            renditions.push(write_text(
                stream.label.clone(),
                &stream.name,
                cues,
                spans,
                folder,
                &self.settings,
                &mut self.ledger,
            )?);
        }
        Ok(renditions)
    }
}
