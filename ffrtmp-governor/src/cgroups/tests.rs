//! Machines made of files: which controllers each has, where, and why it lacks the others. And the
//! freezer of version 1, which the governor uses where version 2 is not mounted beside it.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};

use ffrtmp_core::node::Safeguard;

use super::group::Group;
use super::layout::{Controller, LEAF, Layout};
use super::limits::{Swap, safeguards};
use super::mounts::Version;
use super::owner::{Owner, Ownership};
use super::{WhyNot, delegation};
use crate::probe::Root;

/// A directory tree that stands for a machine. A path that ends in a slash is a directory.
fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
    let folder = tempfile::tempdir().expect("a directory");
    for (path, text) in files {
        let whole = folder.path().join(path);
        if path.ends_with('/') {
            fs::create_dir_all(whole).expect("a directory");
            continue;
        }
        fs::create_dir_all(whole.parent().expect("a parent")).expect("a directory");
        fs::write(whole, text).expect("a file");
    }
    let root = Root::at(folder.path());
    (folder, root)
}

const CGROUP2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
const V1: &str = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
    35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
    37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
    38 31 0:35 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n\
    39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
    40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";
const UNIFIED: &str = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
const IN_V1: &str = "9:name=systemd:/x\n8:pids:/x\n7:blkio:/x\n6:freezer:/x\n4:memory:/x/y\n1:cpu,cpuacct:/x\n";

fn told(layout: &Layout) -> Vec<String> {
    let show = |guard: Safeguard| format!("{} {}: {}", guard.name, if guard.on { "on" } else { "off" }, guard.detail);
    safeguards(layout, Swap::Off, Ownership::Attempts, 10).into_iter().map(show).collect()
}

fn folder(layout: &Layout, root: &Root, controller: Controller) -> String {
    let folder = &layout.tree(controller).unwrap_or_else(|| panic!("{controller:?}: {layout:?}")).folder;
    folder.strip_prefix(root.path("")).expect("below the root").to_string_lossy().into_owned()
}

#[test]
fn a_machine_with_version_1() {
    let (_files, root) = machine(&[
        ("proc/self/mountinfo", V1),
        ("proc/self/cgroup", IN_V1),
        ("sys/fs/cgroup/cpu,cpuacct/x/", ""),
        ("sys/fs/cgroup/memory/x/y/", ""),
        ("sys/fs/cgroup/freezer/x/", ""),
        ("sys/fs/cgroup/blkio/x/", ""),
        ("sys/fs/cgroup/pids/x/", ""),
    ]);
    let mut layout = Layout::read(&root);
    let before = layout.clone();
    delegation::prepare(&root, &mut layout);
    assert_eq!(layout, before, "nothing is delegated in version 1");
    assert_eq!(layout.trees.len(), 5, "controllers that share a tree share a group: {layout:?}");
    assert_eq!(folder(&layout, &root, Controller::Memory), "sys/fs/cgroup/memory/x/y");
    assert_eq!(folder(&layout, &root, Controller::CpuAcct), "sys/fs/cgroup/cpu,cpuacct/x");
    let told = told(&layout);
    for expected in [
        "cpu on: cgroup v1 cpu.cfs_quota_us",
        "memory on: cgroup v1 memory.limit_in_bytes, no swap",
        "pids on: cgroup v1 pids.max",
        "io on: cgroup v1 blkio.throttle.read_bps_device; writes through the cache are not limited",
        "nice on: priority 10",
    ] {
        assert!(told.iter().any(|told| told == expected), "{expected}: {told:?}");
    }
}

#[test]
fn a_service_with_version_2() {
    let service = "sys/fs/cgroup/system.slice/agent.service";
    let files = |controllers: &str, procs: String| {
        machine(&[
            ("proc/self/mountinfo", CGROUP2),
            ("proc/self/cgroup", "0::/system.slice/agent.service\n"),
            (&format!("{service}/cgroup.controllers"), controllers),
            (&format!("{service}/cgroup.type"), "domain\n"),
            (&format!("{service}/cgroup.subtree_control"), ""),
            (&format!("{service}/cgroup.procs"), &procs),
            (&format!("{service}/{LEAF}/cgroup.procs"), ""),
        ])
    };
    let me = std::process::id();

    let (_files, root) = files("cpuset cpu io memory pids\n", format!("{me}\n"));
    let mut layout = Layout::read(&root);
    delegation::prepare(&root, &mut layout);
    assert_eq!(folder(&layout, &root, Controller::Io), service);
    assert!(told(&layout).contains(&"memory on: cgroup v2 memory.max, no swap".to_owned()), "{:?}", told(&layout));
    let written = |file: &str| root.text(&format!("{service}/{file}")).expect(file);
    assert_eq!(written(&format!("{LEAF}/cgroup.procs")), me.to_string(), "it steps aside");
    assert_ne!(written("cgroup.subtree_control"), "", "and passes controllers on");

    // A controller that was not delegated is off, and the others hold.
    let (_files, root) = files("cpu pids\n", format!("{me}\n"));
    let mut layout = Layout::read(&root);
    delegation::prepare(&root, &mut layout);
    let told_now = told(&layout);
    let off = told_now.iter().find(|told| told.starts_with("memory off")).expect("memory");
    assert!(off.contains("controller memory is not delegated") && off.contains("agent.service"), "{off}");
    assert!(told_now.contains(&"cpu on: cgroup v2 cpu.max".to_owned()), "{told_now:?}");

    // Who shares its group with others may not pass controllers on.
    let (_files, root) = files("cpu memory\n", format!("{me}\n1\n"));
    let mut layout = Layout::read(&root);
    delegation::prepare(&root, &mut layout);
    let why = WhyNot::of_layout(&layout).to_string();
    assert!(why.contains("process 1 shares the group") && why.contains("Delegate=yes"), "{why}");
    assert_eq!(root.text(&format!("{service}/{LEAF}/cgroup.procs")).as_deref(), Some(""), "nobody was moved");
}

#[test]
fn a_second_governor_of_a_service_finds_the_same_place() {
    let (_files, root) = machine(&[
        ("proc/self/mountinfo", CGROUP2),
        ("proc/self/cgroup", &format!("0::/agent.service/{LEAF}\n")),
        ("sys/fs/cgroup/agent.service/cgroup.controllers", "cpu memory pids\n"),
        ("sys/fs/cgroup/agent.service/cgroup.type", "domain\n"),
        ("sys/fs/cgroup/agent.service/cgroup.subtree_control", "cpu memory pids\n"),
        (&format!("sys/fs/cgroup/agent.service/{LEAF}/cgroup.procs"), ""),
    ]);
    let mut layout = Layout::read(&root);
    delegation::prepare(&root, &mut layout);
    assert_eq!(folder(&layout, &root, Controller::Cpu), "sys/fs/cgroup/agent.service");
}

/// Root in the scope of a login session, with its shell: it takes the top, which passes on already.
#[test]
fn root_in_a_session_with_version_2() {
    let (_files, root) = machine(&[
        ("proc/self/mountinfo", CGROUP2),
        ("proc/self/cgroup", "0::/user.slice/session-1.scope\n"),
        ("sys/fs/cgroup/cgroup.subtree_control", "cpu memory\n"),
        ("sys/fs/cgroup/user.slice/session-1.scope/cgroup.controllers", "cpu memory pids\n"),
        ("sys/fs/cgroup/user.slice/session-1.scope/cgroup.type", "domain\n"),
        ("sys/fs/cgroup/user.slice/session-1.scope/cgroup.procs", &format!("1\n{}\n", std::process::id())),
    ]);
    let mut layout = Layout::read(&root);
    delegation::prepare(&root, &mut layout);
    assert_eq!(folder(&layout, &root, Controller::Cpu), "sys/fs/cgroup");
    assert!(layout.why_not(Controller::Pids).contains("shares the group"), "{layout:?}");
}

#[test]
fn both_versions_side_by_side() {
    let (_files, root) = machine(&[
        ("proc/self/mountinfo", &format!("{V1}{UNIFIED}")),
        ("proc/self/cgroup", &format!("{IN_V1}0::/\n")),
        ("sys/fs/cgroup/cpu,cpuacct/x/", ""),
        ("sys/fs/cgroup/memory/x/y/", ""),
        ("sys/fs/cgroup/freezer/x/", ""),
        ("sys/fs/cgroup/pids/x/", ""),
        ("sys/fs/cgroup/blkio/", ""),
        ("sys/fs/cgroup/unified/cgroup.controllers", "\n"),
    ]);
    let mut layout = Layout::read(&root);
    delegation::prepare(&root, &mut layout);
    assert_eq!(folder(&layout, &root, Controller::Memory), "sys/fs/cgroup/memory/x/y");
    let unified = layout.trees.iter().find(|tree| tree.controllers.is_empty()).expect("for killing and freezing");
    assert!(unified.folder.starts_with(root.path("sys/fs/cgroup/unified")));
    let told = told(&layout);
    let io = told.iter().find(|told| told.starts_with("io off: ")).expect("its group is not there");
    assert!(io.ends_with("sys/fs/cgroup/blkio does not show the group /x of this process"), "{io}");
}

#[test]
fn containers() {
    // The host's names of groups, and a mount that shows the container's group only.
    let inside = "33 31 0:30 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    let (_files, root) = machine(&[
        ("proc/self/mountinfo", inside),
        ("proc/self/cgroup", "4:memory:/docker/abc\n"),
        ("sys/fs/cgroup/memory/", ""),
    ]);
    let layout = Layout::read(&root);
    assert_eq!(folder(&layout, &root, Controller::Memory), "sys/fs/cgroup/memory");
    assert_eq!(layout.why_not(Controller::Cpu), "no cgroup tree with controller cpu is mounted");

    // Started outside of what its namespace shows.
    let (_files, root) = machine(&[
        ("proc/self/mountinfo", inside),
        ("proc/self/cgroup", "4:memory:/../other\n"),
        ("sys/fs/cgroup/memory/", ""),
    ]);
    let layout = Layout::read(&root);
    assert!(layout.tree(Controller::Memory).is_none(), "{layout:?}");
    assert!(layout.why_not(Controller::Memory).contains("is in no group of the tree"), "{layout:?}");

    let read_only = CGROUP2.replace("rw,nosuid", "ro,nosuid");
    let (_files, root) = machine(&[
        ("proc/self/mountinfo", &read_only),
        ("proc/self/cgroup", "0::/\n"),
        ("sys/fs/cgroup/cgroup.controllers", "cpu io memory pids\n"),
    ]);
    let mut layout = Layout::read(&root);
    delegation::prepare(&root, &mut layout);
    assert!(
        WhyNot::of_layout(&layout).to_string().ends_with("/sys/fs/cgroup is mounted read-only"),
        "{}",
        WhyNot::of_layout(&layout)
    );
    assert!(layout.trees.is_empty());
}

#[test]
fn a_machine_without() {
    let (_files, root) = machine(&[("proc/self/mountinfo", "22 1 254:0 / / rw - ext4 /dev/root rw\n")]);
    let layout = Layout::read(&root);
    assert_eq!(
        WhyNot::of_layout(&layout).to_string().matches("is mounted").count(),
        4,
        "{}",
        WhyNot::of_layout(&layout)
    );
    assert_eq!(Layout::read(&Root::at(Path::new("/nonexistent"))), layout);
    assert!(told(&layout).iter().filter(|told| told.contains(" off: ")).count() == 4);
}

/// A child that is ended, and its group with it, whatever the test does.
struct Held(Child, Group);

impl Drop for Held {
    fn drop(&mut self) {
        // It may be stopped or have ended.
        let _ = self.1.freeze(false);
        let _ = self.0.kill();
        let _ = self.0.wait();
        self.1.remove();
    }
}

#[test]
fn version_1_alone_stops_and_kills_by_its_freezer() {
    let root = Root::default();
    let mut layout = Layout::read(&root);
    layout.trees.retain(|tree| tree.mount.version == Version::V1);
    if layout.tree(Controller::Freezer).is_none() {
        return eprintln!("skipped, no freezer: {}", layout.why_not(Controller::Freezer));
    }
    let owner = Owner::this_process(&root, Ownership::Attempts).expect("/proc");
    let group = Group::create(&layout, &owner.group(super::serial())).expect("a group");
    // A shell with a child, which it replaces for ever.
    let child = Command::new("sh").args(["-c", "while :; do sleep 0.01; done"]).spawn().expect("a shell");
    let mut held = Held(child, group);
    let state = |held: &Held| held.1.seat(Controller::Freezer).and_then(|seat| seat.text("freezer.state"));
    assert!(held.1.add(held.0.id()).expect("moved"));
    assert!(held.1.freeze(true).expect("stopped"));
    assert_eq!(state(&held).as_deref(), Some("FROZEN\n"));
    assert!(held.1.freeze(false).expect("goes on"));
    assert_eq!(state(&held).as_deref(), Some("THAWED\n"));
    held.1.kill().expect("killed");
    assert_eq!(held.0.wait().expect("a child").signal(), Some(9));
    assert!(held.1.pids().is_empty() && held.1.remove());
    assert!(held.1.seats.iter().all(|seat| !seat.folder.exists()));
}
