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

use std::collections::BTreeMap;

use ffrtmp_core::sandbox::Reach;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::{Outcome, refused, sys};
use calls::{ALLOWED, ATTACKS, GPU, LEGACY, NETWORK};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Built<T> = Result<T, seccompiler::BackendError>;

/// Puts the filters in force, the one that could refuse the next last.
pub(super) fn install(reach: &Reach) -> Outcome {
    let own = u64::from(rustix::process::getpid().as_raw_nonzero().get().unsigned_abs());
    let programs = programs(reach, own).map_err(|error| format!("no filter: {error}"))?;
    for program in &programs {
        sys::install_filter(program).map_err(refused)?;
    }
    Ok(format!("{} system calls allowed", allowed(reach, own).map_or(0, |rules| rules.len())))
}

fn programs(reach: &Reach, own: u64) -> Built<[BpfProgram; 3]> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = |rules, otherwise, then| SeccompFilter::new(rules, otherwise, then, arch)?.try_into();
    let all = |calls: &[i64]| calls.iter().map(|call| (*call, Vec::new())).collect::<Rules>();
    let answer = |number: i32| SeccompAction::Errno(number.unsigned_abs());
    Ok([
        filter(all(&[libc::SYS_clone3]), SeccompAction::Allow, answer(libc::ENOSYS))?,
        filter(all(ATTACKS), SeccompAction::Allow, SeccompAction::KillProcess)?,
        filter(allowed(reach, own)?, answer(libc::EPERM), SeccompAction::Allow)?,
    ])
}

/// What is allowed, and for which arguments; no rules mean any.
fn allowed(reach: &Reach, own: u64) -> Built<Rules> {
    let plain = ALLOWED.iter().chain(LEGACY);
    let mut rules: Rules = plain.map(|call| (*call, Vec::new())).collect();
    rules.extend(bounded(own)?);
    if reach.network {
        rules.extend(NETWORK.iter().map(|call| (*call, Vec::new())));
        rules.insert(libc::SYS_socket, sockets()?);
    }
    if reach.gpu {
        rules.extend(GPU.iter().map(|call| (*call, Vec::new())));
    }
    Ok(rules)
}

/// Calls that are allowed for some arguments; `own` is this process.
fn bounded(own: u64) -> Built<Rules> {
    let threads_only = (libc::CLONE_THREAD | NEW_NAMESPACES) as u32;
    Ok(Rules::from([
        // Flags are those of a thread and make no namespace.
        (libc::SYS_clone, vec![rule(vec![masked(0, threads_only.into(), libc::CLONE_THREAD as u64)?])?]),
        // Let through here, so that the answer is that of the filter before.
        (libc::SYS_clone3, Vec::new()),
        (libc::SYS_tgkill, vec![rule(vec![is(0, own)?])?]),
        (libc::SYS_kill, vec![rule(vec![is(0, own)?])?]),
        (libc::SYS_rt_tgsigqueueinfo, vec![rule(vec![is(0, own)?])?]),
        // Limits are read, of this process only.
        (libc::SYS_prlimit64, vec![rule(vec![is(0, 0)?, is_null(2)?])?, rule(vec![is(0, own)?, is_null(2)?])?]),
        (libc::SYS_prctl, any_of(0, &PRCTL)?),
        (libc::SYS_ioctl, any_of(1, &IOCTL)?),
        (libc::SYS_fcntl, any_of(1, &FCNTL)?),
        // To the parent, over the socket that is there: without an address.
        (libc::SYS_sendto, vec![rule(vec![is_null(4)?])?]),
        (libc::SYS_sched_setaffinity, vec![rule(vec![is(0, 0)?])?]),
    ]))
}

const NEW_NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// Names of threads and of memory.
const PRCTL: [u64; 4] = [libc::PR_SET_NAME as u64, libc::PR_GET_NAME as u64, libc::PR_GET_DUMPABLE as u64, 0x5356_4d41];

/// Whether it is a terminal, how much there is to read, whether to wait, closing on exec.
const IOCTL: [u64; 5] = [libc::TCGETS, libc::FIONREAD, libc::FIONBIO, libc::FIOCLEX, libc::FIONCLEX];

/// All but who gets signals of a descriptor.
const FCNTL: [u64; 14] = [
    libc::F_DUPFD as u64,
    libc::F_GETFD as u64,
    libc::F_SETFD as u64,
    libc::F_GETFL as u64,
    libc::F_SETFL as u64,
    libc::F_GETLK as u64,
    libc::F_SETLK as u64,
    libc::F_SETLKW as u64,
    libc::F_OFD_GETLK as u64,
    libc::F_OFD_SETLK as u64,
    libc::F_OFD_SETLKW as u64,
    libc::F_DUPFD_CLOEXEC as u64,
    libc::F_ADD_SEALS as u64,
    libc::F_GET_SEALS as u64,
];

/// Streams and datagrams of the internet, names by local services, questions about addresses.
fn sockets() -> Built<Vec<SeccompRule>> {
    let kinds = |family: i32, kind: i32| rule(vec![is(0, family as u64)?, masked(1, 0xf, kind as u64)?]);
    Ok(vec![
        kinds(libc::AF_INET, libc::SOCK_STREAM)?,
        kinds(libc::AF_INET, libc::SOCK_DGRAM)?,
        kinds(libc::AF_INET6, libc::SOCK_STREAM)?,
        kinds(libc::AF_INET6, libc::SOCK_DGRAM)?,
        kinds(libc::AF_NETLINK, libc::SOCK_RAW)?,
    ])
}

fn rule(conditions: Vec<SeccompCondition>) -> Built<SeccompRule> {
    SeccompRule::new(conditions)
}

fn any_of(argument: u8, values: &[u64]) -> Built<Vec<SeccompRule>> {
    values.iter().map(|value| rule(vec![is(argument, *value)?])).collect()
}

/// Numbers that the kernel takes as 32 bits; what is above them it does not see.
fn is(argument: u8, value: u64) -> Built<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

fn is_null(argument: u8) -> Built<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)
}

fn masked(argument: u8, mask: u64, value: u64) -> Built<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_an_attack_does_is_never_allowed() {
        let everything = Reach { network: true, gpu: true, ..Reach::default() };
        let rules = allowed(&everything, 1).unwrap();
        assert_eq!(ATTACKS.iter().find(|call| rules.contains_key(call)), None);
        for call in [libc::SYS_setuid, libc::SYS_io_uring_setup, libc::SYS_pidfd_send_signal, libc::SYS_symlinkat] {
            assert!(!rules.contains_key(&call), "{call}");
        }
    }

    #[test]
    fn sockets_are_for_live_work() {
        let closed = allowed(&Reach::default(), 1).unwrap();
        for call in [libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_sendmsg] {
            assert!(!closed.contains_key(&call), "{call}");
        }
        let open = allowed(&Reach { network: true, ..Reach::default() }, 1).unwrap();
        assert!(open.contains_key(&libc::SYS_connect));
    }

    #[test]
    fn the_programs_fit_into_the_kernel() {
        let everything = Reach { network: true, gpu: true, ..Reach::default() };
        for program in programs(&everything, 1).unwrap() {
            assert!((4..4096).contains(&program.len()), "{}", program.len());
        }
    }
}
