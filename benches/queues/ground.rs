//! What every row stands on: the target directory, a scratch directory on the disk that is
//! measured, the private server, a runtime.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Instant;

use ffrtmp::store::private_server::PrivateServer;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{Result, Scale, contest, peer};

pub(crate) struct Ground {
    pub(crate) scale: Scale,
    pub(crate) runtime: Runtime,
    /// Where the peers are installed.
    pub(crate) peers: PathBuf,
    scratch: TempDir,
    server: OnceLock<PrivateServer>,
}

impl Ground {
    pub(crate) fn prepare(scale: Scale) -> Result<Self> {
        let peers = target_dir().join("queues");
        fs::create_dir_all(&peers)?;
        if !scale.smoke {
            peer::install(&peers)?;
        }
        let scratch = tempfile::Builder::new().prefix("ffrtmp-queues-").tempdir()?;
        Ok(Self { scale, runtime: Runtime::new()?, peers, scratch, server: OnceLock::new() })
    }

    /// On the disk that is measured, `TMPDIR`'s.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Started by the first row that needs it. The settings are those that anybody would make for
    /// a busy queue; the peers have them too.
    pub(crate) fn server(&self) -> Result<&PrivateServer> {
        if self.server.get().is_none() {
            let settings = [
                ("shared_buffers", "512MB"),
                ("max_wal_size", "4GB"),
                ("shared_preload_libraries", "pg_stat_statements"),
            ];
            let server = PrivateServer::start_with(&settings).or_else(|_| PrivateServer::start_with(&settings[..2]))?;
            // Rows run one after the other; nobody else sets it.
            let _ = self.server.set(server);
        }
        self.server.get().ok_or_else(|| "the server is gone".into())
    }

    /// The median of small appends, each brought to the disk.
    pub(crate) fn sync_micros(&self) -> Result<f64> {
        let mut file = File::create(self.scratch().join("sync"))?;
        file.write_all(&[0; 1 << 20])?;
        file.sync_all()?;
        file.seek(SeekFrom::Start(0))?;
        let mut times = Vec::new();
        for _ in 0..if self.scale.smoke { 10 } else { 200 } {
            file.write_all(&[1; 4096])?;
            let begun = Instant::now();
            file.sync_data()?;
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        Ok(contest::median(times))
    }
}

/// Where cargo builds.
fn target_dir() -> PathBuf {
    // …/target/release/deps/queues-HASH
    let exe = std::env::current_exe().unwrap_or_default();
    exe.ancestors().nth(3).map_or_else(|| PathBuf::from("target"), PathBuf::from)
}
