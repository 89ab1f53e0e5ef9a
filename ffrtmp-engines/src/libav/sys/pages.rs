//! A foreign file read by hand, a page at a time.

use std::io;

/// Bytes that are read at a time.
const PAGE: usize = 1 << 16;
/// Pages that are read of one file at most: who goes to and fro ends.
const MOST_PAGES: u64 = 2048;

/// Reads what there is at a position.
type Read<'a> = dyn FnMut(u64, &mut [u8]) -> io::Result<usize> + 'a;

/// A file that is read by the page.
pub(super) struct Pages<'a> {
    read: Box<Read<'a>>,
    page: Vec<u8>,
    start: u64,
    /// Pages that may still be read.
    left: u64,
}

impl<'a> Pages<'a> {
    pub(super) fn new(read: impl FnMut(u64, &mut [u8]) -> io::Result<usize> + 'a) -> Self {
        Self { read: Box::new(read), page: Vec::new(), start: 0, left: MOST_PAGES }
    }

    /// Bytes at a position; `None` behind the end.
    pub(super) fn at<const COUNT: usize>(&mut self, position: u64) -> Option<[u8; COUNT]> {
        if let Some(bytes) = self.held(position) {
            return Some(bytes);
        }
        self.left = self.left.checked_sub(1)?;
        self.page.resize(PAGE, 0);
        let mut filled = 0;
        while filled < self.page.len() {
            match (self.read)(position + filled as u64, &mut self.page[filled..]) {
                Ok(0) | Err(_) => break,
                Ok(count) => filled += count,
            }
        }
        self.page.truncate(filled);
        self.start = position;
        self.held(position)
    }

    fn held<const COUNT: usize>(&self, position: u64) -> Option<[u8; COUNT]> {
        let offset = usize::try_from(position.checked_sub(self.start)?).ok()?;
        self.page.get(offset..)?.first_chunk().copied()
    }
}
