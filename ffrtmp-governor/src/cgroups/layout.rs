//! Where groups can be made on this machine: which controller is in which tree, which folder of the
//! tree is ours to make groups in, and why a controller cannot be had.
//!
//! Everything here is read; [`super::delegation`] makes a folder of version 2 ready.

use std::path::PathBuf;

use rustix::fs::{Access, access};

use super::mounts::{self, Mount, Version};
use crate::probe::Root;
use crate::probe::cgroup::{Membership, parse_membership};

/// The group of version 2 into which the processes of the agent itself go: a group that passes
/// controllers on to others may hold no process.
pub(crate) const LEAF: &str = "ffrtmp-self";

/// A part of the kernel that limits or counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Controller {
    Cpu,
    CpuAcct,
    Memory,
    Pids,
    Io,
    Freezer,
}

impl Controller {
    pub(crate) const ALL: [Self; 6] = [Self::Cpu, Self::CpuAcct, Self::Memory, Self::Pids, Self::Io, Self::Freezer];
    /// Those that are controllers in version 2 also; there the rest belongs to every group.
    pub(crate) const LIMITING: [Self; 4] = [Self::Cpu, Self::Memory, Self::Pids, Self::Io];

    pub(crate) fn name(self, version: Version) -> &'static str {
        match (self, version) {
            (Self::Cpu, _) => "cpu",
            (Self::CpuAcct, _) => "cpuacct",
            (Self::Memory, _) => "memory",
            (Self::Pids, _) => "pids",
            (Self::Io, Version::V1) => "blkio",
            (Self::Io, Version::V2) => "io",
            (Self::Freezer, _) => "freezer",
        }
    }
}

/// A tree and the folder in it below which our groups are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) mount: Mount,
    pub(crate) folder: PathBuf,
    pub(crate) controllers: Vec<Controller>,
}

/// All trees in which groups can be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) trees: Vec<Tree>,
    /// Controllers that cannot be had, and why.
    pub(crate) missing: Vec<(Controller, String)>,
}

impl Layout {
    /// Looks at a machine. Of version 2 it finds what the folder offers, not what is delegated.
    pub(crate) fn read(root: &Root) -> Self {
        let mut mounts = mounts::parse(&root.text("proc/self/mountinfo").unwrap_or_default());
        for mount in &mut mounts {
            let inside = mount.point.strip_prefix("/").unwrap_or(&mount.point).to_owned();
            mount.point = root.path(&inside.to_string_lossy());
        }
        let membership = parse_membership(&root.text("proc/self/cgroup").unwrap_or_default());
        let mut layout = Self::default();
        layout.add_unified(&mounts, &membership);
        layout.add_named(&mounts, &membership);
        layout
    }

    /// The tree that has a controller.
    pub(crate) fn tree(&self, controller: Controller) -> Option<&Tree> {
        self.trees.iter().find(|tree| tree.controllers.contains(&controller))
    }

    /// Why a controller cannot be had.
    pub(crate) fn why_not(&self, controller: Controller) -> &str {
        let told = self.missing.iter().find(|(missing, _)| *missing == controller);
        told.map_or("the kernel has no such controller", |(_, why)| why)
    }

    /// Takes controllers away from a tree, for a reason.
    pub(crate) fn lose(&mut self, lost: impl IntoIterator<Item = (Controller, String)>) {
        for (controller, why) in lost {
            for tree in &mut self.trees {
                tree.controllers.retain(|has| *has != controller);
            }
            self.missing.retain(|(missing, _)| *missing != controller);
            self.missing.push((controller, why));
        }
        self.trees.retain(|tree| tree.mount.version == Version::V2 || !tree.controllers.is_empty());
    }

    fn add_unified(&mut self, mounts: &[Mount], membership: &Membership) {
        let own = membership.unified.as_deref();
        let Some(mount) = best(mounts.iter().filter(|mount| mount.version == Version::V2), own) else { return };
        let missing = |why: &str| Controller::LIMITING.map(|controller| (controller, why.to_owned()));
        let mut folder = match usable(mount, own) {
            Ok(folder) => folder,
            Err(why) => return self.missing.extend(missing(&why)),
        };
        if folder.file_name().is_some_and(|name| name == LEAF) {
            folder.pop();
        }
        let offered = std::fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
        let offers =
            |controller: &Controller| offered.split_whitespace().any(|name| name == controller.name(Version::V2));
        let (controllers, others): (Vec<_>, Vec<_>) = Controller::LIMITING.into_iter().partition(offers);
        let why = |controller: Controller| {
            let name = controller.name(Version::V2);
            (
                controller,
                format!("controller {name} is not delegated: it is not in {}/cgroup.controllers", folder.display()),
            )
        };
        self.missing.extend(others.into_iter().map(why));
        self.trees.push(Tree { mount: mount.clone(), folder, controllers });
    }

    fn add_named(&mut self, mounts: &[Mount], membership: &Membership) {
        // Where version 2 is complete, it counts CPU time and freezes by itself.
        let unified = self.trees.first().is_some_and(|tree| !tree.controllers.is_empty());
        for controller in Controller::ALL {
            let counted = matches!(controller, Controller::CpuAcct | Controller::Freezer) && unified;
            if counted || self.tree(controller).is_some() {
                continue;
            }
            let name = controller.name(Version::V1);
            let has = |mount: &&Mount| mount.version == Version::V1 && mount.controllers.iter().any(|has| has == name);
            let own = membership.named.iter().find(|(named, _)| named == name).map(|(_, path)| path.as_str());
            let Some(mount) = best(mounts.iter().filter(has), own) else {
                if mounts.iter().all(|mount| mount.version == Version::V1) {
                    self.missing.push((controller, format!("no cgroup tree with controller {name} is mounted")));
                }
                continue;
            };
            match usable(mount, own) {
                Ok(folder) => self.add_controller(mount, folder, controller),
                // Says more than that version 2, which has none beside version 1, lacks it.
                Err(why) => self.lose([(controller, why)]),
            }
        }
    }

    /// Some controllers of version 1 share a tree.
    fn add_controller(&mut self, mount: &Mount, folder: PathBuf, controller: Controller) {
        self.missing.retain(|(missing, _)| *missing != controller);
        match self.trees.iter_mut().find(|tree| tree.mount == *mount) {
            Some(tree) => tree.controllers.push(controller),
            None => self.trees.push(Tree { mount: mount.clone(), folder, controllers: vec![controller] }),
        }
    }
}

/// Of several mounts of a tree one in which groups can be made, else any.
fn best<'a>(mounts: impl Iterator<Item = &'a Mount> + Clone, group: Option<&str>) -> Option<&'a Mount> {
    mounts.clone().find(|mount| usable(mount, group).is_ok()).or_else(|| mounts.clone().next())
}

/// The folder of this process's group, if groups can be made in it.
fn usable(mount: &Mount, group: Option<&str>) -> Result<PathBuf, String> {
    let point = mount.point.display();
    let group = group.ok_or_else(|| format!("this process is in no group of the tree at {point}"))?;
    let folder = mount.folder(group).filter(|folder| folder.is_dir());
    let folder = folder.ok_or_else(|| format!("{point} does not show the group {group} of this process"))?;
    if mount.read_only {
        return Err(format!("{point} is mounted read-only"));
    }
    // Asked of the kernel and not of the mode, for capabilities and user namespaces count.
    access(&folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|_| {
        let user = rustix::process::geteuid().as_raw();
        format!("not root and not delegated: user {user} may not make groups in {}", folder.display())
    })?;
    Ok(folder)
}
