//! Follows the log of a job. The master keeps lines and does not announce them, so they are asked for
//! again; what is new of an answer is found here, also where the log is full and its oldest lines go.

use ffrtmp_core::Result;
use ffrtmp_core::store::MAX_LOG_LINES;

use super::MasterClient;
use crate::http::wire::LogEntry;

/// Lines by which the place in a full log is found again.
const REMEMBERED: usize = 16;

/// The log of a job as it grows.
#[derive(Debug)]
pub struct LogFollower {
    client: MasterClient,
    id: String,
    count: usize,
    last: Vec<LogEntry>,
}

impl LogFollower {
    pub(super) fn new(client: MasterClient, id: &str) -> Self {
        Self { client, id: id.to_owned(), count: 0, last: Vec::new() }
    }

    /// The lines that came since the last call, and whether the job has ended, so that none will come.
    ///
    /// # Errors
    /// As [`MasterClient::logs`]; what was not answered comes with the next call.
    ///
    /// # Cancel safety
    /// Lines of a dropped call come with the next one.
    pub async fn next(&mut self) -> Result<(Vec<LogEntry>, bool)> {
        // The state is asked for first: lines that arrive in between are then still given.
        let has_ended = self.client.job(&self.id).await?.job.state.is_final();
        let lines = self.client.logs(&self.id).await?;
        Ok((self.new_of(lines), has_ended))
    }

    fn new_of(&mut self, mut lines: Vec<LogEntry>) -> Vec<LogEntry> {
        let known = if lines.len() < MAX_LOG_LINES { self.count } else { self.place_in(&lines) };
        self.count = lines.len();
        let new = lines.split_off(known.min(lines.len()));
        let from = new.len().saturating_sub(REMEMBERED);
        self.last.extend_from_slice(&new[from..]);
        self.last.drain(..self.last.len().saturating_sub(REMEMBERED));
        new
    }

    /// How many lines of a full log are known; none if more came than it holds.
    fn place_in(&self, lines: &[LogEntry]) -> usize {
        if self.last.is_empty() {
            return 0;
        }
        let ends = (self.last.len()..=lines.len()).rev();
        ends.into_iter().find(|end| lines[end - self.last.len()..*end] == self.last[..]).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use ffrtmp_core::clock::Timestamp;

    use super::*;
    use crate::http::client::ClientConfig;

    fn lines(numbers: Range<usize>) -> Vec<LogEntry> {
        let line = |number: usize| LogEntry {
            attempt: 1,
            at: Timestamp::from_micros(number as i64),
            level: "info".into(),
            // Many lines of a log are the same.
            text: format!("line {}", number % 3),
        };
        numbers.map(line).collect()
    }

    #[test]
    fn each_line_comes_once_also_from_a_full_log() {
        let client =
            MasterClient::new(&ClientConfig { master: "http://127.0.0.1:1".into(), ..ClientConfig::default() });
        let mut follower = LogFollower::new(client.unwrap(), "1");
        let full = MAX_LOG_LINES;
        for (kept, new) in [
            (0..0, 0..0),
            (0..5, 0..5),
            (0..5, 5..5),
            (0..full - 1, 5..full - 1),
            (0..full, full - 1..full),
            (0..full, full..full),
            (7..full + 7, full..full + 7),
            (20..full + 20, full + 7..full + 20),
            (3 * full..4 * full, 3 * full..4 * full),
        ] {
            assert_eq!(follower.new_of(lines(kept.clone())), lines(new), "{kept:?}");
        }
    }
}
