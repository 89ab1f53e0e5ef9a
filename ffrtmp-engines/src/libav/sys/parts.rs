//! Files that are read as one, end to end, and what their bytes hash to.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use blake3::Hasher;

/// Bytes at a time where only the hash wants them.
const CHUNK: usize = 1 << 18;

/// One file, or the pieces of one: an initialisation segment and what follows it.
#[derive(Debug, Default)]
pub(crate) struct Parts(Vec<Part>);

#[derive(Debug)]
struct Part {
    file: File,
    start: u64,
    length: u64,
    digest: Option<Digest>,
}

/// A hash that grows as far as bytes were read without a gap.
#[derive(Debug, Default)]
struct Digest {
    hasher: Hasher,
    done: u64,
}

/// Size in bytes and BLAKE3 hash of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) size_bytes: u64,
    /// `blake3:` and 64 hexadecimal digits.
    pub(crate) hash: String,
}

impl Parts {
    /// The files with their lengths as they are now; what is appended later is not seen.
    pub(crate) fn new(files: impl IntoIterator<Item = (File, u64)>) -> Self {
        let mut start = 0;
        let part = |(file, length)| {
            let part = Part { file, start, length, digest: None };
            start += length;
            part
        };
        Self(files.into_iter().map(part).collect())
    }

    /// The same, hashed by the way.
    pub(crate) fn hashed(files: impl IntoIterator<Item = (File, u64)>) -> Self {
        let mut parts = Self::new(files);
        for part in &mut parts.0 {
            part.digest = Some(Digest::default());
        }
        parts
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.last().map_or(0, |part| part.start + part.length)
    }

    /// Reads what one part has at a position; nothing behind the last.
    pub(super) fn read_at(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(part) = self.0.iter_mut().find(|part| position < part.start + part.length) else { return Ok(0) };
        let offset = position - part.start;
        let room = usize::try_from(part.length - offset).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = read(&part.file, &mut buffer[..room], offset)?;
        if let Some(digest) = &mut part.digest {
            digest.saw(offset, &buffer[..count]);
        }
        Ok(count)
    }

    /// Reads on where nobody read, and tells what each hashed part measures.
    pub(crate) fn measure(&mut self) -> io::Result<Vec<Measured>> {
        self.0.iter_mut().filter_map(|part| Some((part.digest.take()?, &part.file))).map(|(d, f)| d.end(f)).collect()
    }
}

impl Digest {
    fn saw(&mut self, offset: u64, bytes: &[u8]) {
        let known = self.done.checked_sub(offset).and_then(|known| usize::try_from(known).ok());
        if let Some(fresh) = known.and_then(|known| bytes.get(known..)) {
            self.hasher.update(fresh);
            self.done += fresh.len() as u64;
        }
    }

    fn end(mut self, file: &File) -> io::Result<Measured> {
        let mut buffer = Vec::new();
        loop {
            buffer.resize(CHUNK, 0);
            match read(file, &mut buffer, self.done)? {
                0 => break,
                count => self.saw(self.done, &buffer[..count]),
            }
        }
        Ok(Measured { size_bytes: self.done, hash: format!("blake3:{}", self.hasher.finalize().to_hex()) })
    }
}

fn read(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_hashed_once_in_whatever_order_they_are_read() {
        let bytes: Vec<u8> = (0..700_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
        let directory = tempfile::tempdir().unwrap();
        let open = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            (File::open(path).unwrap(), bytes.len() as u64)
        };
        let expected = |bytes: &[u8]| Measured {
            size_bytes: bytes.len() as u64,
            hash: format!("blake3:{}", blake3::hash(bytes).to_hex()),
        };
        let (head, tail) = bytes.split_at(300_000);
        for order in [vec![], vec![0, 650_000, 1000, 0, 299_999], (0..700).map(|n| n * 1000).collect()] {
            let mut parts = Parts::hashed([open("head", head), open("tail", tail)]);
            assert_eq!(parts.len(), 700_000);
            for position in order {
                let mut buffer = [0; 5000];
                let count = parts.read_at(position, &mut buffer).unwrap();
                assert!(count > 0);
                assert_eq!(buffer[..count], bytes[position as usize..position as usize + count]);
            }
            assert_eq!(parts.read_at(700_000, &mut [0; 8]).unwrap(), 0);
            assert_eq!(parts.measure().unwrap(), [expected(head), expected(tail)]);
        }
    }
}
