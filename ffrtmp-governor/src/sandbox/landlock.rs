//! The layer `landlock`: the process itself gives up files, TCP and what lies outside of it.
//!
//! The kernel's interface has versions; each is used as far as this kernel knows it (`landlock(7)`).

use std::os::fd::OwnedFd;

use ffrtmp_core::sandbox::Reach;
use rustix::fs::{FileType, Mode, OFlags};

use super::places::{Places, Right};
use super::sys::{self, RulesetAttr};
use super::{Outcome, refused};

const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_DIR: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
/// The accesses of files that exist in version 1: bits 0 to 12, execution among them.
const FIRST: u64 = (1 << 13) - 1;
/// Accesses that a rule for something that is no directory may name.
const OF_FILES: u64 = 1 | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

const BIND_TCP: u64 = 1;
const CONNECT_TCP: u64 = 1 << 1;
const ABSTRACT_SOCKETS: u64 = 1;
const SIGNALS: u64 = 1 << 1;

/// Rules that are written and not in force yet.
pub(super) struct Rules {
    ruleset: OwnedFd,
    abi: u32,
    network: bool,
}

impl Rules {
    /// Rules by which a process reaches these places and nothing else.
    pub(super) fn new(reach: &Reach, places: &Places) -> Result<Self, String> {
        let abi = sys::landlock_abi().map_err(|error| format!("the kernel has none: {error}"))?;
        let handled = handled(abi, reach.network);
        let ruleset = sys::landlock_create(&handled, fields(abi)).map_err(refused)?;
        for (path, right) in &places.all {
            // What does not exist needs no right.
            let Ok(place) = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else { continue };
            let kind = rustix::fs::fstat(&place).map(|stat| FileType::from_raw_mode(stat.st_mode));
            let right = allowed(*right, kind.is_ok_and(FileType::is_dir)) & handled.files;
            sys::landlock_allow(&ruleset, &place, right)
                .map_err(|error| format!("no rule for {}: {error}", path.display()))?;
        }
        Ok(Self { ruleset, abi, network: reach.network })
    }

    /// Puts them in force.
    pub(super) fn enforce(self) -> Outcome {
        sys::landlock_restrict(&self.ruleset).map_err(refused)?;
        Ok(means(self.abi, self.network))
    }
}

/// Everything that this version can take away.
const fn handled(abi: u32, network: bool) -> RulesetAttr {
    let mut files = FIRST;
    if abi >= 2 {
        files |= REFER;
    }
    if abi >= 3 {
        files |= TRUNCATE;
    }
    if abi >= 5 {
        files |= IOCTL_DEV;
    }
    RulesetAttr {
        files,
        network: if abi >= 4 && !network { BIND_TCP | CONNECT_TCP } else { 0 },
        scoped: if abi >= 6 { ABSTRACT_SOCKETS | SIGNALS } else { 0 },
    }
}

/// How many fields of the attributes this version knows.
const fn fields(abi: u32) -> usize {
    match abi {
        0..=3 => 1,
        4 | 5 => 2,
        _ => 3,
    }
}

const fn allowed(right: Right, directory: bool) -> u64 {
    let read = READ_FILE | READ_DIR;
    let rights = match right {
        Right::Read => read,
        Right::Device => READ_FILE | WRITE_FILE,
        Right::Write => read | WRITE_FILE | TRUNCATE | MAKE_REG | MAKE_DIR | REMOVE_FILE | REMOVE_DIR | REFER,
        Right::Drive => read | WRITE_FILE | IOCTL_DEV,
    };
    if directory { rights } else { rights & OF_FILES }
}

fn means(abi: u32, network: bool) -> String {
    let mut held = vec!["files"];
    let more = [(3, "truncation"), (4, "tcp"), (5, "devices"), (6, "abstract sockets and signals")];
    held.extend(
        more.iter().filter(|(since, name)| abi >= *since && !(network && *name == "tcp")).map(|(_, name)| *name),
    );
    format!("ABI {abi}: {}", held.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_used_as_far_as_it_goes() {
        for (abi, size, words) in [
            (1, 1, "ABI 1: files"),
            (3, 1, "ABI 3: files, truncation"),
            (4, 2, "ABI 4: files, truncation, tcp"),
            (7, 3, "ABI 7: files, truncation, tcp, devices, abstract sockets and signals"),
        ] {
            assert_eq!(fields(abi), size, "{abi}");
            assert_eq!(means(abi, false), words);
        }
        assert_eq!(handled(1, false).files, 0x1fff);
        assert_eq!(handled(7, false).files, 0xffff);
        assert_eq!((handled(7, false).network, handled(7, true).network, handled(3, false).network), (3, 0, 0));
        assert_eq!((handled(5, false).scoped, handled(6, true).scoped), (0, 3));
    }

    #[test]
    fn nothing_may_be_executed_or_made_special() {
        let special = 1 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;
        for right in [Right::Read, Right::Device, Right::Write, Right::Drive] {
            assert_eq!(allowed(right, true) & special, 0, "{right:?}");
            assert_eq!(allowed(right, false) & !OF_FILES, 0, "{right:?}");
        }
        assert_eq!(allowed(Right::Read, true) & WRITE_FILE, 0);
    }
}
