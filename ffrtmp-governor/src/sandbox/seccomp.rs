//! The layer `seccomp`: system calls that transcoding makes are allowed, all others are not.
//!
//! The list is what demuxers, decoders, filters, encoders and muxers of every codec that we have were
//! seen to do, with their memory, threads and NUMA queries, and what the allocator and the loader do
//! in rarer moments. Three answers:
//!
//! - `EPERM` for what is not on the list: libraries try this and that, and go on without.
//! - `ENOSYS` for `clone3`, whose flags a filter cannot see: the C library then takes `clone`, whose
//!   flags it can, and which is allowed for threads only.
//! - The end of the process for what only an attack does ([`ATTACKS`]): the attempt fails with the
//!   signal SIGSYS in its error, instead of giving the attacker another try.

mod calls;
mod program;

use std::collections::BTreeMap;

use ffrtmp_core::sandbox::Reach;

use super::{Outcome, refused, sys};
use calls::{ALLOWED, ATTACKS, GPU, LEGACY, NETWORK};
use program::{Condition, Verdict};

/// Puts the filter in force.
pub(super) fn install(reach: &Reach) -> Outcome {
    let verdicts = verdicts(reach, rustix::process::getpid().as_raw_nonzero().get().unsigned_abs());
    let program = program::compile(&verdicts).ok_or("there is no list for this architecture")?;
    sys::install_filter(&program).map_err(refused)?;
    let is_allowed = |verdict: &&Verdict| matches!(verdict, Verdict::Allow | Verdict::AllowIf(_));
    Ok(format!("{} system calls allowed", verdicts.values().filter(is_allowed).count()))
}

/// What happens to which system call; `own` is this process.
fn verdicts(reach: &Reach, own: u32) -> BTreeMap<i64, Verdict> {
    let all = |calls: &'static [i64], verdict: Verdict| calls.iter().map(move |call| (*call, verdict.clone()));
    let mut verdicts: BTreeMap<_, _> = all(ALLOWED, Verdict::Allow).chain(all(LEGACY, Verdict::Allow)).collect();
    verdicts.extend(bounded(own));
    if reach.network {
        verdicts.extend(all(NETWORK, Verdict::Allow));
        verdicts.insert(libc::SYS_socket, sockets());
    }
    if reach.gpu {
        verdicts.extend(all(GPU, Verdict::Allow));
    }
    verdicts.insert(libc::SYS_clone3, Verdict::Fail(libc::ENOSYS));
    verdicts.extend(all(ATTACKS, Verdict::Kill));
    verdicts
}

/// Calls that are allowed for some arguments.
fn bounded(own: u32) -> BTreeMap<i64, Verdict> {
    let threads_only = libc::CLONE_THREAD | NEW_NAMESPACES;
    let of_this = || Verdict::AllowIf(vec![vec![is(0, own)]]);
    BTreeMap::from([
        // Flags are those of a thread and make no namespace.
        (libc::SYS_clone, Verdict::AllowIf(vec![vec![masked(0, threads_only, libc::CLONE_THREAD)]])),
        (libc::SYS_tgkill, of_this()),
        (libc::SYS_kill, of_this()),
        (libc::SYS_rt_tgsigqueueinfo, of_this()),
        // Limits are read, of this process only.
        (libc::SYS_prlimit64, Verdict::AllowIf(vec![vec![is(0, 0), is_null(2)], vec![is(0, own), is_null(2)]])),
        (libc::SYS_prctl, any_of(0, &PRCTL)),
        (libc::SYS_ioctl, any_of(1, &IOCTL)),
        (libc::SYS_fcntl, any_of(1, &FCNTL)),
        // To the agent, over the socket that is there: without an address.
        (libc::SYS_sendto, Verdict::AllowIf(vec![vec![is_null(4)]])),
        (libc::SYS_sched_setaffinity, Verdict::AllowIf(vec![vec![is(0, 0)]])),
        // Threads of the live engine wake each other over such pairs, which reach nobody else.
        (libc::SYS_socketpair, Verdict::AllowIf(vec![vec![is(0, libc::AF_UNIX.unsigned_abs())]])),
    ])
}

const NEW_NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// Names of threads and of memory.
const PRCTL: [u32; 4] = [libc::PR_SET_NAME as u32, libc::PR_GET_NAME as u32, libc::PR_GET_DUMPABLE as u32, 0x5356_4d41];

/// Whether it is a terminal, how much there is to read, whether to wait, closing on exec.
const IOCTL: [u32; 5] =
    [libc::TCGETS as u32, libc::FIONREAD as u32, libc::FIONBIO as u32, libc::FIOCLEX as u32, libc::FIONCLEX as u32];

/// All but who gets signals of a descriptor.
const FCNTL: [u32; 14] = [
    libc::F_DUPFD as u32,
    libc::F_GETFD as u32,
    libc::F_SETFD as u32,
    libc::F_GETFL as u32,
    libc::F_SETFL as u32,
    libc::F_GETLK as u32,
    libc::F_SETLK as u32,
    libc::F_SETLKW as u32,
    libc::F_OFD_GETLK as u32,
    libc::F_OFD_SETLK as u32,
    libc::F_OFD_SETLKW as u32,
    libc::F_DUPFD_CLOEXEC as u32,
    libc::F_ADD_SEALS as u32,
    libc::F_GET_SEALS as u32,
];

/// Streams and datagrams of the internet, and questions about addresses.
fn sockets() -> Verdict {
    let kinds = [
        (libc::AF_INET, libc::SOCK_STREAM),
        (libc::AF_INET, libc::SOCK_DGRAM),
        (libc::AF_INET6, libc::SOCK_STREAM),
        (libc::AF_INET6, libc::SOCK_DGRAM),
        (libc::AF_NETLINK, libc::SOCK_RAW),
    ];
    let rule = |(family, kind): (i32, i32)| vec![is(0, family.unsigned_abs()), masked(1, 0xf, kind)];
    Verdict::AllowIf(kinds.into_iter().map(rule).collect())
}

fn any_of(argument: u32, values: &[u32]) -> Verdict {
    Verdict::AllowIf(values.iter().map(|value| vec![is(argument, *value)]).collect())
}

const fn is(argument: u32, value: u32) -> Condition {
    Condition { argument, mask: u32::MAX, value, whole: false }
}

const fn is_null(argument: u32) -> Condition {
    Condition { argument, mask: u32::MAX, value: 0, whole: true }
}

const fn masked(argument: u32, mask: i32, value: i32) -> Condition {
    Condition { argument, mask: mask as u32, value: value as u32, whole: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Reach {
        Reach { network: true, gpu: true, ..Reach::default() }
    }

    #[test]
    fn what_only_an_attack_does_is_never_allowed() {
        let verdicts = verdicts(&everything(), 1);
        assert!(ATTACKS.iter().all(|call| verdicts[call] == Verdict::Kill));
        for call in [libc::SYS_setuid, libc::SYS_io_uring_setup, libc::SYS_pidfd_send_signal, libc::SYS_symlinkat] {
            assert!(!verdicts.contains_key(&call), "{call}");
        }
        let twice = ALLOWED.iter().chain(LEGACY).chain(NETWORK).chain(GPU).find(|call| ATTACKS.contains(call));
        assert_eq!(twice, None, "it is in two lists");
    }

    #[test]
    fn sockets_are_for_live_work() {
        let closed = verdicts(&Reach::default(), 1);
        for call in [libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_sendmsg] {
            assert!(!closed.contains_key(&call), "{call}");
        }
        assert_eq!(verdicts(&everything(), 1)[&libc::SYS_connect], Verdict::Allow);
    }

    #[test]
    fn the_program_fits_into_the_kernel() {
        let program = program::compile(&verdicts(&everything(), 1)).unwrap();
        assert!((64..4096).contains(&program.len()), "{}", program.len());
    }
}
