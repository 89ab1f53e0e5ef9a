//! Filters as programs of the kernel's packet filter: a search tree over the numbers of system calls.
//!
//! The kernel tries every number once when a filter is put in force, so a list would cost each attempt
//! half a millisecond; the tree costs a tenth of it.

use std::collections::BTreeMap;

use libc::sock_filter;

/// Loads a word of `seccomp_data` (`BPF_LD | BPF_W | BPF_ABS`).
const LOAD: u16 = 0x20;
/// Jumps always, if equal, if greater or equal (`BPF_JMP`, with `BPF_JA`, `BPF_JEQ`, `BPF_JGE`).
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
/// Masks what was loaded (`BPF_ALU | BPF_AND`).
const MASK: u16 = 0x54;
/// Answers (`BPF_RET`).
const ANSWER: u16 = 0x06;

const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The value of `AUDIT_ARCH_*` for this program; `None` for an architecture without a list.
const fn architecture() -> Option<u32> {
    if cfg!(target_arch = "x86_64") {
        Some(0xc000_003e)
    } else if cfg!(target_arch = "aarch64") {
        Some(0xc000_00b7)
    } else {
        None
    }
}

/// What happens to a system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    /// It fails with this number.
    Fail(i32),
    /// The process ends with SIGSYS.
    Kill,
    /// It is allowed if all of one of these hold, and fails with `EPERM` otherwise.
    AllowIf(Vec<Vec<Condition>>),
}

/// The low word of an argument, masked, has a value; the kernel reads no more of what are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) argument: u32,
    pub(super) mask: u32,
    pub(super) value: u32,
    /// Whether the high word must be zero, as for pointers.
    pub(super) whole: bool,
}

/// The program; what is not named fails with `EPERM`. `None` on an architecture without a list.
pub(super) fn compile(verdicts: &BTreeMap<i64, Verdict>) -> Option<Vec<sock_filter>> {
    let mut program =
        vec![load(ARCHITECTURE), branch(IF_EQUAL, architecture()?, 1, 0), answer(&Verdict::Kill), load(NUMBER)];
    program.extend(search(&ranges(verdicts)));
    Some(program)
}

/// Where each verdict begins; it reaches to the next.
fn ranges(verdicts: &BTreeMap<i64, Verdict>) -> Vec<(u32, Verdict)> {
    let denied = Verdict::Fail(libc::EPERM);
    let mut ranges = vec![(0, denied.clone())];
    let mut begin = |start: u32, verdict: Verdict| match ranges.last_mut() {
        Some(last) if last.0 == start => last.1 = verdict,
        Some(last) if last.1 == verdict => {}
        _ => ranges.push((start, verdict)),
    };
    for (number, verdict) in verdicts {
        let Ok(number) = u32::try_from(*number) else { continue };
        begin(number, verdict.clone());
        begin(number + 1, denied.clone());
    }
    ranges.dedup_by(|next, last| next.1 == last.1);
    ranges
}

fn search(ranges: &[(u32, Verdict)]) -> Vec<sock_filter> {
    if let [(_, verdict)] = ranges {
        return leaf(verdict);
    }
    let (below, from) = ranges.split_at(ranges.len() / 2);
    let (below, middle) = (search(below), from[0].0);
    // The jump over what is below may be too long for a branch.
    let mut program = vec![branch(IF_AT_LEAST, middle, 0, 1), jump(below.len())];
    program.extend(below);
    program.extend(search(from));
    program
}

fn leaf(verdict: &Verdict) -> Vec<sock_filter> {
    let Verdict::AllowIf(rules) = verdict else { return vec![answer(verdict)] };
    let mut program = Vec::new();
    for rule in rules {
        program.extend(checked(rule));
    }
    program.push(answer(&Verdict::Fail(libc::EPERM)));
    program
}

/// Allows if all conditions hold, goes on behind it otherwise.
fn checked(rule: &[Condition]) -> Vec<sock_filter> {
    let mut tests = Vec::new();
    for condition in rule {
        let place = ARGUMENTS + 8 * condition.argument;
        tests.push((place, condition.mask, condition.value));
        if condition.whole {
            tests.push((place + 4, u32::MAX, 0));
        }
    }
    let mut program = vec![answer(&Verdict::Allow)];
    // From the end, so that each knows how far it is to there.
    for (place, mask, value) in tests.into_iter().rev() {
        let to_end = u8::try_from(program.len()).unwrap_or(u8::MAX);
        program.insert(0, branch(IF_EQUAL, value, 0, to_end));
        if mask != u32::MAX {
            program.insert(0, statement(MASK, mask));
        }
        program.insert(0, load(place));
    }
    program
}

fn answer(verdict: &Verdict) -> sock_filter {
    statement(
        ANSWER,
        match verdict {
            Verdict::Allow => libc::SECCOMP_RET_ALLOW,
            Verdict::Fail(number) => libc::SECCOMP_RET_ERRNO | (number.unsigned_abs() & libc::SECCOMP_RET_DATA),
            Verdict::Kill | Verdict::AllowIf(_) => libc::SECCOMP_RET_KILL_PROCESS,
        },
    )
}

const fn load(offset: u32) -> sock_filter {
    statement(LOAD, offset)
}

fn jump(over: usize) -> sock_filter {
    statement(JUMP, u32::try_from(over).unwrap_or(u32::MAX))
}

const fn statement(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

const fn branch(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would answer.
    fn run(program: &[sock_filter], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let word = |offset: u32| match offset {
            NUMBER => number,
            ARCHITECTURE => architecture,
            _ => (arguments[(offset as usize - 16) / 8] >> (offset % 8 * 8)) as u32,
        };
        let (mut at, mut loaded) = (0, 0);
        loop {
            let it = program[at];
            at += 1;
            match it.code {
                LOAD => loaded = word(it.k),
                MASK => loaded &= it.k,
                JUMP => at += it.k as usize,
                IF_EQUAL => at += usize::from(if loaded == it.k { it.jt } else { it.jf }),
                IF_AT_LEAST => at += usize::from(if loaded >= it.k { it.jt } else { it.jf }),
                _ => return it.k,
            }
        }
    }

    #[test]
    fn each_number_gets_its_verdict_and_all_others_none() {
        let is = |argument, mask, value, whole| Condition { argument, mask, value, whole };
        let rules = vec![vec![is(0, u32::MAX, 7, false), is(2, u32::MAX, 0, true)], vec![is(1, 0xf0, 0x30, false)]];
        let verdicts = BTreeMap::from([
            (0, Verdict::Allow),
            (1, Verdict::Allow),
            (5, Verdict::Kill),
            (6, Verdict::AllowIf(rules)),
            (9, Verdict::Fail(38)),
            (400, Verdict::Allow),
        ]);
        let Some(program) = compile(&verdicts) else { return };
        let native = architecture().unwrap();
        let (allow, denied, kill) =
            (libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_ERRNO | 1, libc::SECCOMP_RET_KILL_PROCESS);
        let high = 1 << 32;
        for (number, arguments, wanted) in [
            (0, [0; 6], allow),
            (1, [0; 6], allow),
            (2, [0; 6], denied),
            (5, [0; 6], kill),
            (6, [0; 6], denied),
            (6, [7, 0, 0, 0, 0, 0], allow),
            (6, [7 + high, 0, 0, 0, 0, 0], allow),
            (6, [7, 0, high, 0, 0, 0], denied),
            (6, [0, 0x3f, 1, 0, 0, 0], allow),
            (6, [0, 0x4f, 1, 0, 0, 0], denied),
            (7, [0; 6], denied),
            (9, [0; 6], libc::SECCOMP_RET_ERRNO | 38),
            (400, [0; 6], allow),
            (401, [0; 6], denied),
            (0x4000_0000, [0; 6], denied),
        ] {
            assert_eq!(run(&program, native, number, arguments), wanted, "{number} {arguments:?}");
        }
        assert_eq!(run(&program, 0x4000_0003, 0, [0; 6]), kill, "the numbers of another architecture");
    }
}
