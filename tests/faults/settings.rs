//! Settings that cannot be: refused at once, by their name, with what to do.

use std::fs;
use std::process::Command;

use crate::cluster::{binary, command};
use crate::table::{Row, Seen};

pub(crate) const ROWS: &[Row] = &[
    Row { name: "settings: unknown key", harm: unknown_key },
    Row { name: "settings: impossible limit", harm: impossible_limit },
    Row { name: "settings: pid of nobody", harm: wrong_pid },
    Row { name: "settings: as recommended", harm: recommended },
];

fn unknown_key() -> Seen {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("agent.yaml");
    fs::write(&file, "max_concurent_jobs: 4\n").expect("a file");
    let mut agent = command(&binary("ffrtmp-agent"), home.path());
    agent.arg("--config").arg(&file);
    refused(agent, &["unknown key \"max_concurent_jobs\"", "agent.yaml", "did you mean max_concurrent_jobs?"])
}

fn impossible_limit() -> Seen {
    let home = tempfile::tempdir().expect("a directory");
    let mut last = Seen::Skipped("nothing was tried".into());
    for (flag, value, words) in [
        ("--max-concurrent-jobs", "0", "1..=1024"),
        ("--cpu-limit-percent", "0", "--cpu-limit-percent"),
        ("--memory-budget-mb", "much", "--memory-budget-mb"),
        ("--cgroups", "perhaps", "auto, off, require"),
    ] {
        let mut agent = command(&binary("ffrtmp-agent"), home.path());
        agent.args([flag, value]);
        last = refused(agent, &[flag, words]);
    }
    last
}

fn wrong_pid() -> Seen {
    let home = tempfile::tempdir().expect("a directory");
    // Above what any Linux gives: 2^22.
    let mut attach = command(&binary("ffrtmp"), home.path());
    attach.args(["attach", "--pid", "4194999"]);
    refused(attach, &["4194999"])
}

/// What `ffrtmp config recommend` prints is taken as it is: the agent gets as far as the flag that
/// this adds, and refuses that.
fn recommended() -> Seen {
    let home = tempfile::tempdir().expect("a directory");
    let mut taken = 0;
    for shape in ["yaml", "json", "bash"] {
        let mut recommend = command(&binary("ffrtmp"), home.path());
        recommend.args(["config", "recommend", "--environment", "production", "--output", shape]);
        let output = recommend.output().expect("the program starts");
        let said = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut agent = command(&binary("ffrtmp-agent"), home.path());
        agent.args(["--register", "false"]);
        if shape == "bash" {
            let variables = said.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
            taken = variables.clone().count();
            agent.envs(variables);
        } else {
            let file = home.path().join(shape);
            fs::write(&file, &said).expect("a file");
            agent.arg("--config").arg(&file);
        }
        refused(agent, &["does not register"]);
    }
    assert!(taken >= 6, "{taken} settings");
    Seen::Held(format!("{taken} settings in three shapes"))
}

/// Fails to start with the exit code of bad settings, soon, and says these words.
fn refused(mut command: Command, words: &[&str]) -> Seen {
    let output = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{command:?} was taken: {said}");
    for word in words {
        assert!(said.contains(word), "{command:?} does not say {word:?}: {said}");
    }
    assert!(said.contains("hint"), "{command:?} says no cure: {said}");
    Seen::Held(said.lines().next().unwrap_or_default().to_owned())
}
