//! Groups end with their owner, also with one that was killed.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use ffrtmp_governor::cgroups::Ownership;

use crate::workload::{Stray, Workload, command};
use crate::{eventually, governor, groups_of, made_by};

/// An owner that governs a process, and was killed; its id and the process.
fn killed_owner(part: &str) -> (u32, Stray) {
    let mut owner = Workload::start(part);
    let victim = Stray(owner.line().parse().expect("a process"));
    assert!(!made_by(owner.pid()).is_empty() && groups_of(victim.0).contains(&format!("-{}-", owner.pid())));
    owner.kill();
    (owner.pid(), victim)
}

#[test]
fn attempts_of_a_killed_agent_are_killed_at_the_next_start() {
    if governor(Ownership::Attempts).is_none() {
        return;
    }
    let (owner, victim) = killed_owner("owner");
    // Another test may be the next start.
    drop(governor(Ownership::Attempts));
    eventually("the attempt is killed", || !victim.is_alive());
    eventually("its groups are gone", || made_by(owner).is_empty());
}

#[test]
fn workloads_of_others_outlive_their_killed_wrapper() {
    if governor(Ownership::Foreign).is_none() {
        return;
    }
    let (owner, victim) = killed_owner("foreign owner");
    drop(governor(Ownership::Foreign));
    assert!(victim.is_alive(), "the workload goes on");
    assert!(groups_of(victim.0).contains(&format!("-{owner}-")), "and stays under its limits");
    drop(victim);
    eventually("its groups are gone", || {
        drop(governor(Ownership::Attempts));
        made_by(owner).is_empty()
    });
}

#[test]
fn a_thousand_groups_leave_none() {
    if governor(Ownership::Attempts).is_none() {
        return;
    }
    let mut owner = Workload::start("cycles");
    assert_eq!(owner.line(), "done");
    assert_eq!(made_by(owner.pid()), Vec::<std::path::PathBuf>::new());
    owner.go();
}

#[test]
fn the_cost_is_told() {
    if governor(Ownership::Attempts).is_none() {
        return;
    }
    let mut owner = Workload::start("cost");
    for _ in 0..2 {
        let told = owner.line();
        assert!(told.starts_with("every"), "{told}");
        eprintln!("{told}");
    }
}

#[test]
fn an_ordinary_user_is_told_why_not() {
    if !rustix::process::geteuid().is_root() {
        return match governor(Ownership::Attempts) {
            Some(_) => eprintln!("skipped, this user was given groups"),
            None => assert!(Workload::start("detect").line().starts_with("no ")),
        };
    }
    // The program may lie where only root looks.
    let folder = tempfile::tempdir().expect("a directory");
    let program = folder.path().join("program");
    std::fs::copy(std::env::current_exe().expect("this program"), &program).expect("copied");
    for path in [folder.path(), &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("mode");
    }
    let template = command("detect");
    let mut as_nobody = Command::new(&program);
    as_nobody.args(template.get_args()).envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    as_nobody.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).uid(65534).gid(65534);
    let told = Workload::spawn(&mut as_nobody).line();
    assert!(told.starts_with("no ") && told.contains("not root and not delegated: user 65534"), "{told}");
}
