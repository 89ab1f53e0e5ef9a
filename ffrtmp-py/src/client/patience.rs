//! How long a master may be away before following jobs gives up.

use std::time::{Duration, Instant};

use ffrtmp::{Code, Disposition, Error, Result};

/// Waits longer before every try; full again once the master answers.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    lost: Option<Instant>,
    wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { lost: None, wait: Self::FIRST }
    }
}

impl Patience {
    const FIRST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(5);
    const TOTAL: Duration = Duration::from_secs(300);

    /// The master answered.
    pub(super) fn renew(&mut self) {
        *self = Self::default();
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// The error itself if another try cannot mend it, or after five minutes.
    pub(super) async fn wait(&mut self, error: Error) -> Result<()> {
        let mends = error.disposition() == Disposition::Transient || error.code() == Code::RateLimited;
        let lost = *self.lost.get_or_insert_with(Instant::now);
        if !mends || lost.elapsed() > Self::TOTAL {
            return Err(error);
        }
        tokio::time::sleep(self.wait).await;
        self.wait = (self.wait * 2).min(Self::LONGEST);
        Ok(())
    }
}
