//! What a master says of a database that it cannot use, and that it leaves it as it is; moving and
//! copying one.

use std::path::Path;
use std::process::{Command, Output};

use ffrtmp::store::private_server::PrivateServer;
use rusqlite::Connection;
use serde_json::json;

use crate::cluster::{Cluster, Setup, binary, command, free_port};
use crate::refusals::assert_refused;

const SECRET: &str = "s3cret-pw";

#[test]
fn a_database_that_cannot_be_used_is_named_and_left_alone() {
    let mut cluster = Cluster::start(Setup::default());
    cluster.submit(json!({"scenario": "144p-h264"}));
    cluster.master.kill();
    let file = cluster.path("master.db");
    let checkpoint = |db: Connection| db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    Connection::open(&file).and_then(checkpoint).expect("all of it in one file");
    let truth = std::fs::read(&file).expect("a database");

    let newer = cluster.path("newer.db");
    std::fs::write(&newer, &truth).expect("a copy");
    Connection::open(&newer).and_then(|db| db.pragma_update(None, "user_version", 999)).expect("a newer one");
    let foreign = cluster.path("foreign.db");
    Connection::open(&foreign).and_then(|db| db.execute_batch("CREATE TABLE t (x)")).expect("a foreign one");
    let torn = cluster.path("torn.db");
    std::fs::write(&torn, &truth[..truth.len() / 2]).expect("half of one");
    for (database, cure) in [(&newer, "newer"), (&foreign, "--db"), (&torn, "backup")] {
        let before = std::fs::read(database).expect("a file");
        assert_refused(master_with(&cluster, &["--db", &database.display().to_string()]), 8, "", cure);
        assert!(before == std::fs::read(database).expect("a file"), "{} was changed", database.display());
    }
}

#[test]
fn a_wrong_connection_string_is_refused_and_not_shown() {
    let cluster = Cluster::start(Setup::default());
    let nobody = format!("postgres://u:{SECRET}@127.0.0.1:1/x");
    for (flags, code, field, cure) in [
        (vec!["--db-type", "postgres"], 2, "db-dsn", "DATABASE_DSN"),
        (vec!["--db-dsn", &nobody], 2, "db-dsn", "--db-type postgres"),
        (vec!["--db-type", "postgres", "--db-dsn", "mysql://u:s3cret-pw@h/x"], 2, "db-dsn", "postgres://"),
        (vec!["--db-type", "postgres", "--db-dsn", &nobody], 9, "db-dsn", ""),
    ] {
        let output = master_with(&cluster, &flags).output().expect("it runs");
        assert!(!shown(&output).contains(SECRET), "{}", shown(&output));
        assert_refused(master_with(&cluster, &flags), code, field, cure);
    }
    let mut typed = master_with(&cluster, &[]);
    typed.env("DATABASE_TYPE", "mysql");
    assert_refused(typed, 2, "DATABASE_TYPE", "sqlite or postgres");
}

#[test]
fn a_file_that_cannot_be_written_is_refused() {
    let cluster = Cluster::start(Setup::default());
    let place = cluster.path("locked");
    std::fs::create_dir(&place).expect("a directory");
    let file = place.join("master.db");
    std::fs::copy("/dev/null", &file).expect("a file");
    let unwritable = |path: &Path, mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its mode");
    };
    unwritable(&file, 0o444);
    unwritable(&place, 0o555);
    let mut refused = master_with(&cluster, &["--db", &file.display().to_string()]);
    if rustix::process::geteuid().is_root() {
        // Modes do not bind root.
        use std::os::unix::process::CommandExt;
        for directory in place.ancestors().skip(1).take_while(|above| above.starts_with(std::env::temp_dir())) {
            unwritable(directory, 0o755);
        }
        refused.uid(65_534).gid(65_534);
    }
    assert_refused(refused, 8, "locked", "");
    assert_eq!(std::fs::metadata(&file).expect("still there").len(), 0);
}

#[test]
fn a_database_moves_to_postgres_and_is_copied_while_it_is_used() {
    let mut cluster = Cluster::start(Setup::default());
    let ids: Vec<_> = (0..5).map(|_| cluster.submit(json!({"scenario": "144p-h264"}))).collect();
    let (file, copy) = (cluster.path("master.db").display().to_string(), cluster.path("copy.db").display().to_string());
    let copied = transfer(&cluster, &["backup", "--from", &file, "--to", &copy]);
    assert_eq!(copied.status.code(), Some(0), "{}", shown(&copied));
    let again = transfer(&cluster, &["backup", "--from", &file, "--to", &copy]);
    assert_eq!(again.status.code(), Some(2), "a copy is not replaced: {}", shown(&again));
    let count = Connection::open(&copy).and_then(|db| db.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0)));
    assert_eq!(count, Ok(ids.len()));

    let server = PrivateServer::start().expect("a server");
    let dsn = server.new_database().expect("a database");
    let source = format!("sqlite:{file}");
    let in_use = transfer(&cluster, &["migrate", "--from", &source, "--to", &dsn]);
    assert_eq!(in_use.status.code(), Some(8), "its master is alive: {}", shown(&in_use));
    cluster.master.kill();
    for _ in 0..2 {
        let moved = transfer(&cluster, &["migrate", "--from", &source, "--to", &dsn]);
        let text = shown(&moved);
        if moved.status.code() == Some(0) {
            assert!(text.contains("the same on both sides") && !text.contains(&dsn), "{text}");
        } else {
            assert!(moved.status.code() == Some(2) && text.contains("to"), "a second time it is in use: {text}");
        }
    }
    let jobs = server.sql(&dsn, "SELECT count(*) FROM ffrtmp.jobs").expect("jobs");
    assert_eq!(jobs.trim(), ids.len().to_string());
}

fn master_with(cluster: &Cluster, flags: &[&str]) -> Command {
    let elsewhere = cluster.path("outside");
    let ports = [free_port().to_string(), free_port().to_string()];
    let mut master = command(&binary("ffrtmp-master"), &elsewhere.join("home"));
    master.current_dir(&elsewhere).args(["--bind", "127.0.0.1", "--port", &ports[0], "--metrics-port", &ports[1]]);
    master.args(["--tls", "false", "--insecure-no-auth"]).args(flags);
    master
}

fn transfer(cluster: &Cluster, words: &[&str]) -> Output {
    let home = cluster.path("outside").join("home");
    command(&binary("ffrtmp-master"), &home).args(words).output().expect("it runs")
}

fn shown(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
