//! Cover art and attached files, from the header of the source into the header of the output.
//!
//! Which of them go along is in the plan. Each is one stream of the output; pictures have one packet,
//! to be written first, files have none. They are no tracks: nothing is timed, and they end nothing.

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::Container;

use super::fault::failed;
use super::sys::{AvError, Input, Output, Packet, StreamView};

/// Most bytes of one of them.
const MAX_BYTES: usize = 32 << 20;
/// Most bytes of a name or a note on one of them; more is no name.
const MAX_TAG: usize = 1024;

/// One picture or file of the source.
pub(super) struct Attached<'a> {
    source: StreamView<'a>,
    contents: &'a [u8],
    form: Form,
}

/// How a container holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As a stream of one packet, marked as a picture.
    Picture,
    /// As a file with a name and a type.
    File,
}

/// Takes the pictures and files of a plan from their stream numbers; with a warning for each that
/// has to stay behind.
pub(super) fn gather<'a>(
    input: &'a Input,
    container: Container,
    pictures: &[usize],
    files: &[usize],
) -> (Vec<Attached<'a>>, Vec<String>) {
    // Matroska knows no picture but a file that is one.
    let form = if container == Container::Mkv { Form::File } else { Form::Picture };
    let pictures = pictures.iter().map(|index| (*index, "cover art", form));
    let files = files.iter().map(|index| (*index, "an attachment", Form::File));
    let (mut found, mut warnings) = (Vec::new(), Vec::new());
    for (index, what, form) in pictures.chain(files) {
        match input.stream(index).map(|source| Attached::of(source, form)) {
            Some(Ok(attached)) => found.push(attached),
            Some(Err(reason)) => warnings.push(format!("stream {index} was left out: {what} {reason}")),
            None => {}
        }
    }
    (found, warnings)
}

impl<'a> Attached<'a> {
    fn of(source: StreamView<'a>, form: Form) -> std::result::Result<Self, &'static str> {
        let contents = if source.is_attachment() { source.attached_file() } else { source.attached_picture() };
        match contents {
            _ if source.is_timed_thumbnails() => Err("of which there is one for each chapter"),
            None => Err("without contents"),
            Some(contents) if contents.len() > MAX_BYTES => Err("of more than 32 MiB"),
            Some(_) if form == Form::Picture && matches!(source.size(), (0, _) | (_, 0)) => Err("that is damaged"),
            Some(contents) => Ok(Self { source, contents, form }),
        }
    }

    /// Stream of the source.
    pub(super) fn source(&self) -> StreamView<'a> {
        self.source
    }

    /// Adds the stream, before the header is written. It has its tags then and needs no others.
    pub(super) fn add_to(&self, output: &mut Output) -> std::result::Result<usize, AvError> {
        match self.form {
            Form::Picture => output.add_picture(self.source, &self.picture_tags()),
            Form::File => output.add_file(self.source, self.contents, &self.file_tags()),
        }
    }

    /// What is to be written into the stream once the header is, with times of zero.
    ///
    /// # Errors
    /// `memory_exceeded`.
    pub(super) fn packet(&self) -> Result<Option<Packet>> {
        match self.form {
            Form::Picture => Packet::only(self.contents).map(Some).map_err(no_memory),
            Form::File => Ok(None),
        }
    }

    /// What the picture shows, as ID3 and FLAC have it: the words of the source, or a front cover.
    fn picture_tags(&self) -> Vec<(String, String)> {
        let shown = self.tag("comment").unwrap_or_else(|| "Cover (front)".to_owned());
        let title = self.tag("title").map(|title| ("title".to_owned(), title));
        title.into_iter().chain([("comment".to_owned(), shown)]).collect()
    }

    /// Name and type of the file, which it must have.
    fn file_tags(&self) -> Vec<(String, String)> {
        let codec = self.source.codec();
        let (kind, extension) = media_type(&codec);
        let stem = if self.source.is_attachment() { "attachment" } else { "cover" };
        let name = self.tag("filename").unwrap_or_else(|| format!("{stem}.{extension}"));
        let kind = self.tag("mimetype").unwrap_or_else(|| kind.to_owned());
        let title = self.tag("title").map(|title| ("title".to_owned(), title));
        title.into_iter().chain([("filename".to_owned(), name), ("mimetype".to_owned(), kind)]).collect()
    }

    fn tag(&self, key: &str) -> Option<String> {
        self.source.tags().remove(key).filter(|value| !value.is_empty() && value.len() <= MAX_TAG)
    }
}

/// Type and extension of what a codec makes.
fn media_type(codec: &str) -> (&'static str, &'static str) {
    match codec {
        "mjpeg" => ("image/jpeg", "jpg"),
        "png" => ("image/png", "png"),
        "bmp" => ("image/bmp", "bmp"),
        "gif" => ("image/gif", "gif"),
        "webp" => ("image/webp", "webp"),
        "tiff" => ("image/tiff", "tif"),
        "ttf" => ("application/x-truetype-font", "ttf"),
        "otf" => ("application/vnd.ms-opentype", "otf"),
        "text" => ("text/plain", "txt"),
        _ => ("application/octet-stream", "bin"),
    }
}

fn no_memory(error: AvError) -> Error {
    failed(Code::MemoryExceeded, "no memory for an attached picture", error)
}

#[cfg(test)]
mod tests;
