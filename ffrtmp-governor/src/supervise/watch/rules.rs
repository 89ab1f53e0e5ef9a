//! Which processes are watched for, and what each gets.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ffrtmp_core::governor::ProcessLimits;

/// What is watched for: the first rule whose name fits decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(pub Vec<Rule>);

/// One kind of process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Name of the program, such as `ffmpeg`: of its file, or as the process calls itself.
    pub name: String,
    /// What it and its children get.
    pub limits: ProcessLimits,
    /// Which of them are left alone.
    pub filters: Filters,
}

/// Conditions on a process; all of them must hold. An empty list allows everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// Users, by id, whose processes are meant.
    pub allowed_users: Vec<u32>,
    /// Users, by id, whose processes are not.
    pub blocked_users: Vec<u32>,
    /// Parents whose children are meant.
    pub allowed_parents: Vec<Parent>,
    /// Parents whose children are not.
    pub blocked_parents: Vec<Parent>,
    /// Age below which a process is left alone for now.
    pub min_runtime: Option<Duration>,
    /// Age above which it is left alone.
    pub max_runtime: Option<Duration>,
    /// Working directories that are meant, with everything below them.
    pub allowed_dirs: Vec<PathBuf>,
    /// Working directories that are not.
    pub blocked_dirs: Vec<PathBuf>,
}

/// A parent, as a rule names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parent {
    /// By its id.
    Pid(u32),
    /// By its name.
    Name(String),
}

/// What rules are compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// What the process calls itself: 15 bytes at most.
    pub(super) name: String,
    /// Name of its program file, if it may be asked.
    pub(super) program: Option<String>,
    pub(super) user: Option<u32>,
    pub(super) parent: u32,
    pub(super) parent_name: String,
    pub(super) age: Duration,
    pub(super) directory: Option<PathBuf>,
}

impl Rules {
    /// The rule for a process by its names alone.
    pub(super) fn by_name(&self, name: &str, program: Option<&str>) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.names(name, program))
    }
}

impl Rule {
    fn names(&self, name: &str, program: Option<&str>) -> bool {
        // A longer name is cut by the kernel; the file tells it whole.
        const CUT: usize = 15;
        let cut = self.name.len() > CUT && self.name.as_bytes().starts_with(name.as_bytes()) && name.len() == CUT;
        name == self.name || program == Some(&*self.name) || (cut && program.is_none())
    }
}

impl Filters {
    /// Whether a process is meant. What cannot be asked fits no list that allows.
    pub(super) fn allow(&self, facts: &Facts) -> bool {
        let users = listed(&self.allowed_users, &self.blocked_users, |user| facts.user == Some(*user));
        let parents = listed(&self.allowed_parents, &self.blocked_parents, |parent| match parent {
            Parent::Pid(pid) => facts.parent == *pid,
            Parent::Name(name) => facts.parent_name == *name,
        });
        let inside = |folder: &PathBuf| facts.directory.as_deref().is_some_and(|own: &Path| own.starts_with(folder));
        let old_enough = self.min_runtime.is_none_or(|least| facts.age >= least);
        let young_enough = self.max_runtime.is_none_or(|most| facts.age <= most);
        users && parents && old_enough && young_enough && listed(&self.allowed_dirs, &self.blocked_dirs, inside)
    }
}

fn listed<T>(allowed: &[T], blocked: &[T], fits: impl Fn(&T) -> bool) -> bool {
    (allowed.is_empty() || allowed.iter().any(&fits)) && !blocked.iter().any(&fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            name: "ffmpeg".into(),
            program: Some("ffmpeg".into()),
            user: Some(1000),
            parent: 7,
            parent_name: "bash".into(),
            age: Duration::from_secs(60),
            directory: Some("/srv/media/in".into()),
        }
    }

    #[test]
    fn names_of_programs() {
        let rule = |name: &str| Rule { name: name.into(), ..Rule::default() };
        for (wanted, name, program, fits) in [
            ("ffmpeg", "ffmpeg", None, true),
            ("ffmpeg", "ffmpeg2", None, false),
            ("ffmpeg", "worker", Some("ffmpeg"), true),
            ("gst-launch-1.0", "gst-launch-1.0", None, true),
            ("a-very-long-program", "a-very-long-pro", None, true),
            ("a-very-long-program", "a-very-long-pro", Some("a-very-long-process"), false),
            ("a-very-long-program", "a-very-long-pro", Some("a-very-long-program"), true),
        ] {
            assert_eq!(rule(wanted).names(name, program), fits, "{wanted} {name} {program:?}");
        }
    }

    #[test]
    fn every_filter_must_hold() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let all = Filters::default();
        for (filters, meant) in [
            (all.clone(), true),
            (Filters { allowed_users: vec![1000], ..all.clone() }, true),
            (Filters { allowed_users: vec![0], ..all.clone() }, false),
            (Filters { blocked_users: vec![1000], ..all.clone() }, false),
            (Filters { allowed_parents: vec![Parent::Pid(7)], ..all.clone() }, true),
            (Filters { allowed_parents: vec![Parent::Name("systemd".into())], ..all.clone() }, false),
            (Filters { blocked_parents: vec![Parent::Name("bash".into())], ..all.clone() }, false),
            (Filters { min_runtime: seconds(60), ..all.clone() }, true),
            (Filters { min_runtime: seconds(61), ..all.clone() }, false),
            (Filters { max_runtime: seconds(59), ..all.clone() }, false),
            (Filters { allowed_dirs: vec!["/srv/media".into()], ..all.clone() }, true),
            // A name that begins alike is another directory.
            (Filters { allowed_dirs: vec!["/srv/med".into()], ..all.clone() }, false),
            (Filters { blocked_dirs: vec!["/srv".into()], ..all.clone() }, false),
            (Filters { allowed_users: vec![1000], blocked_dirs: vec!["/srv".into()], ..all }, false),
        ] {
            assert_eq!(filters.allow(&facts()), meant, "{filters:?}");
        }
        let unknown = Facts { user: None, directory: None, ..facts() };
        assert!(!Filters { allowed_users: vec![0], ..Filters::default() }.allow(&unknown));
        assert!(!Filters { allowed_dirs: vec!["/".into()], ..Filters::default() }.allow(&unknown));
    }
}
