//! Flags and the configuration file of `ffrtmp watch`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::governor::ProcessLimits;
use ffrtmp_governor::supervise::watch::{Filters, Parent, Retries, Rule, Rules, WatchOptions};

use super::duration;
use super::section::Section;
use crate::supervise::WatchPlan;

/// Options of a watch. What is not given comes from the file, then from the defaults.
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    /// Configuration file; /etc/ffrtmp/watch-config.yaml where it exists
    #[arg(long, value_name = "FILE")]
    pub watch_config: Option<PathBuf>,
    /// Time between two scans [default: 10s]
    #[arg(long, value_parser = duration)]
    pub scan_interval: Option<Duration>,
    /// Programs that are watched for, with commas between [default: ffmpeg,gst-launch-1.0]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub target: Vec<String>,
    /// Processor for each, in percent of a core: 200 is two cores
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..))]
    pub cpu_quota: Option<u32>,
    /// Share of the processor for each, 1 to 10000; 100 is everybody's
    #[arg(long, value_name = "WEIGHT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub cpu_weight: Option<u32>,
    /// Memory for each, in MB
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u64).range(1..))]
    pub memory_limit: Option<u64>,
    /// Remember over restarts who is governed and how it was before
    #[arg(long)]
    pub enable_state: bool,
    /// File that remembers it [default: /var/lib/ffrtmp/watch-state.json for root, for others
    /// ffrtmp/watch-state.json in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "FILE")]
    pub state_path: Option<PathBuf>,
    /// Longest time between two writings of it; a change is written at once
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub state_flush_interval: Duration,
    /// Try again when a process cannot be governed
    #[arg(long)]
    pub enable_retry: bool,
    /// Tries after the first, each after twice the time of the one before
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub max_retry_attempts: u32,
}

/// Where the file is if no flag says.
const USUAL: &str = "/etc/ffrtmp/watch-config.yaml";
/// Where the state is if no flag says: of root, and of others below their own directory.
const STATE: &str = "/var/lib/ffrtmp/watch-state.json";
const OWN_STATE: &str = "ffrtmp/watch-state.json";
const TARGETS: [&str; 2] = ["ffmpeg", "gst-launch-1.0"];

impl WatchArgs {
    /// What flags and file come to. Called again, it reads the file again.
    ///
    /// # Errors
    /// `invalid_config` naming the flag, or the file and the key.
    pub fn plan(&self) -> Result<WatchPlan> {
        let file = self.file()?;
        let retries = Retries { most: if self.enable_retry { self.max_retry_attempts } else { 0 } };
        Ok(WatchPlan {
            scan_interval: self.scan_interval.or(file.scan_interval).unwrap_or(Duration::from_secs(10)),
            flush_interval: self.state_flush_interval,
            options: WatchOptions { rules: self.rules(&file)?, state: self.state()?, retries },
        })
    }

    fn state(&self) -> Result<Option<PathBuf>> {
        match (&self.state_path, self.enable_state) {
            (_, false) => Ok(None),
            (Some(path), true) => Ok(Some(path.clone())),
            (None, true) => {
                let named = |name| std::env::var_os(name).map(PathBuf::from);
                usual_state(rustix::process::geteuid().is_root(), named("XDG_STATE_HOME"), named("HOME")).map(Some)
            }
        }
    }

    fn file(&self) -> Result<WatchFile> {
        match &self.watch_config {
            Some(path) => WatchFile::read(path),
            None if Path::new(USUAL).exists() => WatchFile::read(Path::new(USUAL)),
            None => Ok(WatchFile::default()),
        }
    }

    fn rules(&self, file: &WatchFile) -> Result<Rules> {
        let flags = Limits {
            cpu_quota: self.cpu_quota,
            cpu_weight: self.cpu_weight,
            memory_limit: self.memory_limit,
            nice: None,
        };
        let mut names: Vec<String> = if self.target.is_empty() { file.targets.clone() } else { self.target.clone() };
        if names.is_empty() {
            names = TARGETS.map(str::to_owned).to_vec();
        }
        let place = if self.target.is_empty() { "target_commands" } else { "--target" };
        let rule = |name: String| {
            check_name(&name, place)?;
            let own = file.commands.iter().find(|command| command.name == name);
            let limits = own.map(|own| own.limits.clone()).unwrap_or_default().or(&flags).or(&file.limits);
            let filters = own.map_or_else(|| file.filters.clone(), |own| own.filters.clone());
            Ok(Rule { limits: limits.checked(&name)?, name, filters })
        };
        Ok(Rules(names.into_iter().map(rule).collect::<Result<_>>()?))
    }
}

/// The state of root, or of a user with these directories.
fn usual_state(root: bool, state: Option<PathBuf>, home: Option<PathBuf>) -> Result<PathBuf> {
    if root {
        return Ok(STATE.into());
    }
    let absolute = |path: Option<PathBuf>| path.filter(|path| path.is_absolute());
    let folder = absolute(state).or_else(|| Some(absolute(home)?.join(".local/state")));
    folder.map(|folder| folder.join(OWN_STATE)).ok_or_else(|| {
        Error::new(Code::InvalidConfig, "neither XDG_STATE_HOME nor HOME says where this user's files are")
            .field("--state-path")
            .hint("give a file in a directory that this user may write")
    })
}

/// Processes are known by the name of their program, which has no directory.
fn check_name(name: &str, place: &str) -> Result<()> {
    let why = match name {
        "" => "a name is empty".to_owned(),
        path if path.contains('/') => format!("{path:?} is a path, and programs are known by their names"),
        _ => return Ok(()),
    };
    let name = name.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("ffmpeg");
    Err(Error::new(Code::InvalidConfig, why).field(place).hint(format!("give the name alone, such as {name}")))
}

/// Limits as the file has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Limits {
    cpu_quota: Option<u32>,
    cpu_weight: Option<u32>,
    memory_limit: Option<u64>,
    nice: Option<i32>,
}

impl Limits {
    fn or(self, other: &Self) -> Self {
        Self {
            cpu_quota: self.cpu_quota.or(other.cpu_quota),
            cpu_weight: self.cpu_weight.or(other.cpu_weight),
            memory_limit: self.memory_limit.or(other.memory_limit),
            nice: self.nice.or(other.nice),
        }
    }

    fn checked(&self, name: &str) -> Result<ProcessLimits> {
        let memory_bytes = self.memory_limit.map(|mb| {
            mb.checked_mul(1 << 20).ok_or_else(|| {
                Error::new(Code::InvalidConfig, format!("{mb} MB are more than a machine can have"))
                    .field(format!("{name}: memory_limit"))
                    .hint("give megabytes, such as 4096")
            })
        });
        Ok(ProcessLimits {
            cpu_percent: self.cpu_quota,
            cpu_weight: self.cpu_weight,
            memory_bytes: memory_bytes.transpose()?,
            nice: self.nice,
            ..ProcessLimits::default()
        })
    }

    fn read(mut section: Section) -> Result<Self> {
        let limits = Self {
            cpu_quota: section.number("cpu_quota")?,
            cpu_weight: section.number("cpu_weight")?,
            memory_limit: section.number("memory_limit")?,
            nice: section.number("nice")?,
        };
        let wrong = [
            ("cpu_quota", limits.cpu_quota == Some(0), "give 1 or more; 100 is one core"),
            ("cpu_weight", limits.cpu_weight.is_some_and(|weight| !(1..=10_000).contains(&weight)), "give 1 to 10000"),
            ("memory_limit", limits.memory_limit == Some(0), "give megabytes, such as 4096"),
            ("nice", limits.nice.is_some_and(|nice| !(-20..=19).contains(&nice)), "give -20 (first) to 19 (last)"),
        ];
        if let Some((key, _, cure)) = wrong.iter().find(|(_, wrong, _)| *wrong) {
            return Err(section.wrong(key, cure));
        }
        section.finish()?;
        Ok(limits)
    }
}

/// The file, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct WatchFile {
    scan_interval: Option<Duration>,
    targets: Vec<String>,
    limits: Limits,
    filters: Filters,
    commands: Vec<Command>,
}

/// What the file says of one program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Command {
    name: String,
    limits: Limits,
    filters: Filters,
}

impl WatchFile {
    fn read(path: &Path) -> Result<Self> {
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Self::from(Section::of_file(path)?, &Users(users))
    }

    fn from(mut top: Section, users: &Users) -> Result<Self> {
        let scan_interval = top
            .text("scan_interval")?
            .map(|text| duration(&text).map_err(|why| top.wrong("scan_interval", &why)))
            .transpose()?;
        let names_none = top.has("target_commands");
        let targets = top.texts("target_commands")?;
        if names_none && targets.is_empty() {
            return Err(top.wrong("target_commands", "name a program, such as [ffmpeg], or leave the key out"));
        }
        let limits = top.section("default_limits")?.map_or(Ok(Limits::default()), Limits::read)?;
        let none = Filters::default();
        let filters =
            top.section("filters")?.map_or(Ok(none.clone()), |section| read_filters(section, &none, users))?;
        let mut commands = Vec::new();
        for (name, mut section) in top.sections("commands")? {
            let limits = section.section("limits")?.map_or(Ok(Limits::default()), Limits::read)?;
            let own =
                section.section("filters")?.map_or(Ok(filters.clone()), |own| read_filters(own, &filters, users))?;
            section.finish()?;
            commands.push(Command { name, limits, filters: own });
        }
        top.finish()?;
        let targets =
            if targets.is_empty() { commands.iter().map(|command| command.name.clone()).collect() } else { targets };
        Ok(Self { scan_interval, targets, limits, filters, commands })
    }
}

/// Filters of a section; what it leaves open is as in `outer`.
fn read_filters(mut section: Section, outer: &Filters, users: &Users) -> Result<Filters> {
    let mut people = |by_name: &str, by_id: &str, outer: &[u32]| -> Result<Vec<u32>> {
        if !section.has(by_name) && !section.has(by_id) {
            return Ok(outer.to_vec());
        }
        let mut ids = Vec::new();
        for key in [by_name, by_id] {
            for name in section.texts(key)? {
                let why = || format!("no user is named {name:?}; give a name of /etc/passwd or a number");
                ids.push(users.id(&name).ok_or_else(|| section.wrong(key, &why()))?);
            }
        }
        Ok(ids)
    };
    let allowed_users = people("allowed_users", "allowed_uids", &outer.allowed_users)?;
    let blocked_users = people("blocked_users", "blocked_uids", &outer.blocked_users)?;
    let parents = |section: &mut Section, key: &str, outer: &[Parent]| -> Result<Vec<Parent>> {
        let named = |text: String| text.parse().map_or(Parent::Name(text), Parent::Pid);
        if section.has(key) { Ok(section.texts(key)?.into_iter().map(named).collect()) } else { Ok(outer.to_vec()) }
    };
    let folders = |section: &mut Section, key: &str, outer: &[PathBuf]| -> Result<Vec<PathBuf>> {
        if !section.has(key) {
            return Ok(outer.to_vec());
        }
        let given: Vec<PathBuf> = section.texts(key)?.into_iter().map(PathBuf::from).collect();
        match given.iter().find(|folder| !folder.is_absolute()) {
            Some(relative) => Err(section.wrong(key, &format!("{} is no absolute path", relative.display()))),
            None => Ok(given),
        }
    };
    let time = |section: &mut Section, key: &str, outer: Option<Duration>| -> Result<Option<Duration>> {
        match section.text(key)? {
            None => Ok(outer),
            Some(text) if text.is_empty() => Ok(None),
            Some(text) => duration(&text).map(Some).map_err(|why| section.wrong(key, &why)),
        }
    };
    let filters = Filters {
        allowed_users,
        blocked_users,
        allowed_parents: parents(&mut section, "allowed_parents", &outer.allowed_parents)?,
        blocked_parents: parents(&mut section, "blocked_parents", &outer.blocked_parents)?,
        min_runtime: time(&mut section, "min_runtime", outer.min_runtime)?,
        max_runtime: time(&mut section, "max_runtime", outer.max_runtime)?,
        allowed_dirs: folders(&mut section, "allowed_dirs", &outer.allowed_dirs)?,
        blocked_dirs: folders(&mut section, "blocked_dirs", &outer.blocked_dirs)?,
    };
    if let (Some(least), Some(most)) = (filters.min_runtime, filters.max_runtime)
        && least > most
    {
        let least = least.as_secs_f64();
        return Err(section.wrong("max_runtime", &format!("give at least min_runtime, {least} s: nothing is both")));
    }
    section.finish()?;
    Ok(filters)
}

/// The users of this machine, as `/etc/passwd` has them.
struct Users(String);

impl Users {
    /// A user by name or number.
    fn id(&self, name: &str) -> Option<u32> {
        let known = self.0.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == name).then(|| fields.nth(1)?.parse().ok()).flatten()
        });
        known.or_else(|| name.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<WatchFile> {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("watch.yaml");
        std::fs::write(&path, text).expect("a file");
        let users = Users("root:x:0:0::/:/bin/sh\nvideo:x:44:44::/:/bin/sh\n".into());
        WatchFile::from(Section::of_file(&path)?, &users)
    }

    fn args(target: &[&str]) -> WatchArgs {
        use clap::Parser as _;
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            watch: WatchArgs,
        }
        let words = ["watch"].into_iter().chain(target.iter().copied());
        Line::try_parse_from(words).expect("flags").watch
    }

    #[test]
    fn the_documented_file_is_read() {
        let text = include_str!("../../deploy/watch-config.yaml");
        let file = parse(text).expect("the example");
        let rules = args(&[]).rules(&file).expect("rules").0;
        let ffmpeg = &rules[0];
        assert_eq!((ffmpeg.name.as_str(), ffmpeg.limits.cpu_percent), ("ffmpeg", Some(300)));
        assert_eq!(ffmpeg.limits.memory_bytes, Some(8192 << 20));
        assert_eq!(ffmpeg.limits.cpu_weight, Some(100), "what a program leaves open is the default's");
        assert_eq!(ffmpeg.filters.min_runtime, Some(Duration::from_secs(10)));
        assert_eq!(ffmpeg.filters.blocked_dirs, [PathBuf::from("/tmp")], "so is a filter");
        assert_eq!(file.scan_interval, Some(Duration::from_secs(10)));
    }

    #[test]
    fn flags_win_over_the_file_but_not_over_a_program_of_its_own() {
        let file = parse(
            "default_limits: {cpu_quota: 100, memory_limit: 10}\ncommands: {ffmpeg: {limits: {cpu_quota: 300}}}\n",
        )
        .expect("a file");
        let rules = args(&["--target", "ffmpeg,x264", "--cpu-quota", "50"]).rules(&file).expect("rules").0;
        let shown: Vec<_> =
            rules.iter().map(|rule| (rule.name.as_str(), rule.limits.cpu_percent, rule.limits.memory_bytes)).collect();
        assert_eq!(shown, [("ffmpeg", Some(300), Some(10 << 20)), ("x264", Some(50), Some(10 << 20))]);
        assert_eq!(args(&[]).rules(&WatchFile::default()).expect("rules").0.len(), 2, "the usual programs");
    }

    #[test]
    fn refusals_name_the_key_and_the_cure() {
        for (text, field, hint) in [
            ("scan_intervall: 5s", "scan_intervall", "did you mean scan_interval?"),
            ("scan_interval: soon", "scan_interval", "5s"),
            ("default_limits: {cpu_quotas: 5}", "default_limits.cpu_quotas", "did you mean cpu_quota?"),
            ("default_limits: {cpu_quota: lots}", "default_limits.cpu_quota", "whole number"),
            ("default_limits: {cpu_quota: -5}", "default_limits.cpu_quota", "whole number"),
            ("default_limits: 5", "default_limits", "key: value"),
            ("filters: {allowed_users: [nobody-here]}", "filters.allowed_users", "/etc/passwd"),
            ("filters: {blocked_dirs: [tmp]}", "filters.blocked_dirs", "absolute"),
            ("filters: {min_runtime: long}", "filters.min_runtime", "5s"),
            ("commands: {ffmpeg: {limit: {}}}", "commands.ffmpeg.limit", "did you mean limits?"),
            ("target_commands: {a: b}", "target_commands", "list"),
            ("target_commands: []", "target_commands", "[ffmpeg]"),
            ("default_limits: {cpu_quota: 0}", "default_limits.cpu_quota", "100 is one core"),
            ("commands: {ffmpeg: {limits: {cpu_weight: 10001}}}", "commands.ffmpeg.limits.cpu_weight", "1 to 10000"),
            ("filters: {min_runtime: 10s, max_runtime: 5s}", "filters.max_runtime", "min_runtime, 10 s"),
            ("filters: {min_runtime: 1m}\ncommands: {a: {filters: {max_runtime: 5s}}}", "filters.max_runtime", "60 s"),
            ("filters: {allowed_uids: [nobody-here]}", "filters.allowed_uids", "/etc/passwd"),
            ("scan_interval: 5s\nscan_interval: 6s", "watch.yaml", "scan_interval is there twice"),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.code(), Code::InvalidConfig, "{text}");
            assert!(error.field_name().is_some_and(|named| named.ends_with(field)), "{text}: {error}");
            assert!(format!("{error} {}", error.hint_text()).contains(hint), "{text}: {error}: {}", error.hint_text());
        }
        let users = parse("filters: {allowed_users: [video, 1000], blocked_uids: [0]}").expect("users").filters;
        assert_eq!((users.allowed_users, users.blocked_users), (vec![44, 1000], vec![0]));
    }

    #[test]
    fn names_that_no_process_has_are_refused() {
        for (target, field) in
            [(&["--target", "/usr/bin/ffmpeg"][..], "--target"), (&["--target", "ffmpeg,"], "--target")]
        {
            let error = args(target).rules(&WatchFile::default()).expect_err("no name");
            assert_eq!((error.code(), error.field_name()), (Code::InvalidConfig, Some(field)), "{target:?}");
        }
        let file = parse("target_commands: [bin/ffmpeg]").expect("YAML");
        let error = args(&[]).rules(&file).expect_err("no name");
        assert!(error.field_name() == Some("target_commands") && error.hint_text().ends_with("as ffmpeg"), "{error}");
        let folder = tempfile::tempdir().expect("a directory");
        let error = WatchFile::read(folder.path()).expect_err("a directory");
        assert!(error.to_string().contains("it is no file"), "{error}");
    }

    #[test]
    fn the_state_is_where_its_user_may_write() {
        let path = |text: &str| Some(PathBuf::from(text));
        for (root, state, home, expected) in [
            (true, path("/x"), path("/root"), Some(STATE)),
            (false, path("/x"), path("/users/a"), Some("/x/ffrtmp/watch-state.json")),
            (false, path("x"), path("/users/a"), Some("/users/a/.local/state/ffrtmp/watch-state.json")),
            (false, None, None, None),
        ] {
            let found = usual_state(root, state.clone(), home.clone()).ok();
            assert_eq!(found, expected.map(PathBuf::from), "{root} {state:?} {home:?}");
        }
    }
}
