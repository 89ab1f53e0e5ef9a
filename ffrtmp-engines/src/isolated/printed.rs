//! What a child's libraries print on standard error, as lines for the log.

use std::io::{self, Read};

/// Bytes of a line.
const MAX_LINE: usize = 4096;

/// Lines that arrive in pieces.
#[derive(Debug, Default)]
pub(super) struct Printed {
    rest: Vec<u8>,
    last: String,
}

impl Printed {
    /// Whole lines that arrived, and whether more may come.
    pub(super) fn read(&mut self, from: &mut impl Read) -> (Vec<String>, bool) {
        let mut lines = Vec::new();
        let mut chunk = [0; 4096];
        // A child that prints without end must not keep the parent here.
        for _ in 0..16 {
            match from.read(&mut chunk) {
                Ok(0) => return (self.take(lines, usize::MAX), false),
                Ok(count) => self.rest.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
            lines = self.take(lines, MAX_LINE);
        }
        (lines, true)
    }

    /// Moves whole lines, and an unfinished one that is longer than `patience`, out of the rest.
    fn take(&mut self, mut lines: Vec<String>, patience: usize) -> Vec<String> {
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let end = if self.rest.len() - whole > patience || patience == usize::MAX { self.rest.len() } else { whole };
        let text = String::from_utf8_lossy(&self.rest[..end]).into_owned();
        self.rest.drain(..end);
        lines.extend(text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned));
        if let Some(line) = lines.last() {
            self.last.clone_from(line);
        }
        lines
    }

    /// The last line, to be put behind an error.
    pub(super) fn last_words(&self) -> String {
        if self.last.is_empty() { String::new() } else { format!(": {}", cut(&self.last)) }
    }
}

/// What fits a log.
pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_LINE)]
}
