//! What can happen to bytes.

/// Numbers that lengths and counts are replaced by.
const EXTREMES: [u32; 9] = [0, 1, 7, 8, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
/// Where the headers and the indices of small files are.
const EDGE: usize = 1_500;

/// Some damage to one file.
#[derive(Debug)]
pub(super) struct Mutation(Vec<Damage>);

#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip {
        at: usize,
        bit: u8,
    },
    Write {
        at: usize,
        byte: u8,
    },
    Cut {
        length: usize,
    },
    Behead {
        length: usize,
    },
    Swap {
        a: usize,
        b: usize,
        length: usize,
    },
    /// A length beside a name, as boxes and chunks have it, or anywhere where there are no names.
    Length {
        at: usize,
        value: u32,
        little: bool,
    },
    /// One number more or less.
    Nudge {
        at: usize,
        by: u8,
    },
    Insert {
        at: usize,
        length: usize,
        seed: u64,
    },
    Repeat {
        at: usize,
        length: usize,
    },
    Zero {
        at: usize,
        length: usize,
    },
    Remove {
        at: usize,
        length: usize,
    },
}

impl Mutation {
    pub(super) fn of(number: u64, bytes: &[u8]) -> Self {
        let mut dice = Dice(number.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x9e37_79b9_7f4a_7c15);
        let count = [1, 1, 1, 2, 3, 8][dice.below(6)];
        Self((0..count).map(|_| Damage::draw(&mut dice, bytes)).collect())
    }

    pub(super) fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.iter().fold(bytes.to_vec(), |bytes, damage| damage.apply(bytes))
    }
}

impl Damage {
    fn draw(dice: &mut Dice, bytes: &[u8]) -> Self {
        let at = dice.place(bytes.len());
        let reach = [4, 64, 1_000, bytes.len()][dice.below(4)];
        let length = 1 + dice.below(reach);
        match dice.below(14) {
            0 | 1 => Self::Flip { at, bit: dice.below(8) as u8 },
            2 => Self::Write { at, byte: dice.next() as u8 },
            3 => Self::Cut { length: dice.below(bytes.len()) },
            4 => Self::Behead { length: 1 + dice.below(EDGE) },
            5 => Self::Swap { a: at, b: dice.below(bytes.len()), length },
            6..=8 => {
                let value = EXTREMES[dice.below(EXTREMES.len())].wrapping_sub(dice.below(2) as u32);
                Self::Length { at: dice.length(bytes).unwrap_or(at), value, little: dice.below(3) == 0 }
            }
            9 => Self::Nudge { at, by: [1, 2, 0xff, 0xfe][dice.below(4)] },
            10 => Self::Insert { at, length, seed: dice.next() },
            11 => Self::Repeat { at, length },
            12 => Self::Zero { at, length },
            _ => Self::Remove { at, length: length.min(1_000) },
        }
    }

    /// What lies outside of the bytes is left alone: earlier damage may have shortened them.
    fn apply(self, mut bytes: Vec<u8>) -> Vec<u8> {
        let size = bytes.len();
        let range = |at: usize, length: usize| at.min(size)..at.saturating_add(length).min(size);
        match self {
            Self::Flip { at, bit } => bytes[range(at, 1)].iter_mut().for_each(|byte| *byte ^= 1 << bit),
            Self::Write { at, byte } => bytes[range(at, 1)].fill(byte),
            Self::Cut { length } => bytes.truncate(length),
            Self::Behead { length } => drop(bytes.drain(range(0, length))),
            Self::Swap { a, b, length } => {
                for step in 0..length {
                    if a + step < size && b + step < size {
                        bytes.swap(a + step, b + step);
                    }
                }
            }
            Self::Length { at, value, little } => {
                let value = if little { value.to_le_bytes() } else { value.to_be_bytes() };
                bytes[range(at, 4)].iter_mut().zip(value).for_each(|(byte, value)| *byte = value);
            }
            Self::Nudge { at, by } => bytes[range(at, 1)].iter_mut().for_each(|byte| *byte = byte.wrapping_add(by)),
            Self::Insert { at, length, seed } => {
                let mut dice = Dice(seed);
                drop(bytes.splice(range(at, 0), (0..length).map(|_| dice.next() as u8)));
            }
            Self::Repeat { at, length } => {
                let again = bytes[range(at, length)].to_vec();
                drop(bytes.splice(range(at, 0), again));
            }
            Self::Zero { at, length } => bytes[range(at, length)].fill(0),
            Self::Remove { at, length } => drop(bytes.drain(range(at, length))),
        }
        bytes
    }
}

/// Chance that is the same every time: SplitMix64 (Steele, Lea and Flood, 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// Mostly in headers and indices, which is where the interesting mistakes are.
    fn place(&mut self, size: usize) -> usize {
        let edge = EDGE.min(size);
        match self.below(4) {
            0 | 1 => self.below(edge),
            2 => size - 1 - self.below(edge),
            _ => self.below(size),
        }
    }

    /// The place of a length before or behind a name of four characters.
    fn length(&mut self, bytes: &[u8]) -> Option<usize> {
        let is_name = |window: &[u8]| window.iter().all(u8::is_ascii_alphanumeric);
        let names: Vec<usize> =
            bytes.windows(4).enumerate().filter(|(_, name)| is_name(name)).map(|(at, _)| at).collect();
        let name = *names.get(self.below(names.len()))?;
        if self.below(3) == 0 { Some(name + 4) } else { name.checked_sub(4) }
    }
}
