//! Encoding in two passes: the first looks at all pictures and writes nothing, the second spends
//! the bits where the first saw that they are needed.
//!
//! Some encoders keep what they measured in files, for which there is a directory beside the
//! output; the others give a text.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ffrtmp_core::error::Result;
use ffrtmp_core::plan::{Plan, RateControl, VideoEncode};

use super::encoders::Pass;
use super::fault::file_failed;
use super::hdr::HdrMetadata;
use super::rungs::Place;
use super::stage::Delivery;
use super::sys::{Encoder, Packet, TimeBase};

/// What the first pass leaves to the second.
pub(super) struct Passes {
    directory: PathBuf,
    /// Whether the directory is this value's to remove.
    own: bool,
    /// What the encoders said, by rendition; `None` until the first pass is over.
    texts: Option<Vec<String>>,
}

impl Passes {
    /// Whether a plan needs them.
    pub(super) fn are_wanted(plan: &Plan) -> bool {
        plan.renditions().iter().any(is_twice)
    }

    /// A place for measurements beside the output; removed when dropped, unless it was there: then it
    /// is that of whoever confined this process.
    ///
    /// # Errors
    /// Those of making a directory.
    pub(super) fn beside(output: &Path) -> Result<Self> {
        let made = scratch_beside(output);
        if let Some(directory) = made {
            return Ok(Self { directory, own: false, texts: None });
        }
        let directory = scratch_path(output);
        DirBuilder::new().mode(0o700).create(&directory).map_err(file_failed)?;
        Ok(Self { directory, own: true, texts: None })
    }

    /// Takes what the encoders of the first pass measured, by rendition.
    pub(super) fn measured(&mut self, encoders: &[Encoder]) {
        self.texts = Some(encoders.iter().map(|encoder| encoder.stats().unwrap_or_default()).collect());
    }

    /// Which pass of a rendition comes now, given the place of its measurements.
    pub(super) fn of<'a>(&self, rendition: &VideoEncode, file: &'a Path) -> Pass<'a> {
        match (is_twice(rendition), self.texts.is_some()) {
            (false, _) => Pass::Single,
            (true, false) => Pass::First(file),
            (true, true) => Pass::Second(file),
        }
    }

    /// Where an encoder that keeps files keeps them.
    pub(super) fn file(&self, rendition: usize) -> PathBuf {
        self.directory.join(format!("rendition-{rendition}"))
    }

    /// What the first pass of a rendition said.
    pub(super) fn text(&self, rendition: usize) -> Option<&str> {
        self.texts.as_ref()?.get(rendition).map(String::as_str)
    }
}

impl Drop for Passes {
    fn drop(&mut self) {
        if !self.own {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!(path = %self.directory.display(), %error, "the measurements of a first pass could not be removed");
        }
    }
}

/// The directory beside an output for what an attempt puts aside, where whoever confined this process
/// has made it: nothing else beside the output can be written then.
pub(super) fn scratch_beside(output: &Path) -> Option<PathBuf> {
    Some(scratch_path(output)).filter(|path| fs::symlink_metadata(path).is_ok_and(|it| it.is_dir()))
}

fn scratch_path(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_os_string();
    name.push(".passes");
    output.with_file_name(name)
}

const fn is_twice(rendition: &VideoEncode) -> bool {
    matches!(rendition.rate, RateControl::Average { two_pass: true, .. })
}

/// Takes packets that nobody needs.
pub(super) struct Nowhere;

impl Place for Nowhere {
    fn wants_global_header(&self) -> bool {
        false
    }

    fn open(
        &self,
        _: usize,
        _: &Encoder,
        _: &VideoEncode,
        _: TimeBase,
        _: (i32, i32),
        _: &HdrMetadata,
    ) -> Result<Delivery> {
        Ok(Box::new(|packet: &mut Packet, _| {
            packet.clear();
            Ok(())
        }))
    }
}
