//! What kernels tell, from trees of files that stand for machines.

mod energy;
mod sampling;
mod thermal;

use std::fs;
use std::path::Path;

use ffrtmp_governor::probe::Root;

/// A directory tree that stands for a machine.
struct Machine(tempfile::TempDir);

impl Machine {
    fn of(files: &[(&str, &str)]) -> Self {
        let machine = Self(tempfile::tempdir().expect("a directory"));
        files.iter().for_each(|(path, text)| machine.write(path, text));
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    fn root(&self) -> Root {
        Root::at(self.0.path())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}
