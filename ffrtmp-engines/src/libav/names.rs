//! Names of the files that lie beside the primary output.

use std::path::{Path, PathBuf};

use ffrtmp_core::plan::VideoEncode;

/// The file of each rendition: the output itself for the largest, and `STEM_NAME.EXTENSION` beside
/// it for the others. One file where nothing is encoded.
pub(super) fn renditions(output: &Path, renditions: &[VideoEncode]) -> Vec<PathBuf> {
    let others = renditions.iter().skip(1).map(|rendition| beside(output, &rendition.name));
    std::iter::once(output.to_path_buf()).chain(others).collect()
}

/// A file of the same kind beside the output.
fn beside(output: &Path, name: &str) -> PathBuf {
    let mut file = output.file_stem().unwrap_or_default().to_os_string();
    file.push("_");
    file.push(name);
    if let Some(extension) = output.extension() {
        file.push(".");
        file.push(extension);
    }
    output.with_file_name(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lie_beside_the_output() {
        assert_eq!(beside(Path::new("/a/movie.mp4"), "720p"), Path::new("/a/movie_720p.mp4"));
        assert_eq!(beside(Path::new("movie"), "720p"), Path::new("movie_720p"));
        assert_eq!(renditions(Path::new("a.mkv"), &[]), [PathBuf::from("a.mkv")]);
    }
}
