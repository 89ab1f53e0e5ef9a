//! What a master says of a database that it cannot use, and that it leaves it as it is; moving and
//! copying one.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ffrtmp::Code;
use ffrtmp::core::job::JobRequest;
use ffrtmp::store::private_server::PrivateServer;
use ffrtmp::transport::http::wire::JobQuery;
use ffrtmp::transport::http::{ClientConfig, MasterClient};
use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::json;

use crate::cluster::{PATIENCE, Program, binary, command, free_port, until};
use crate::refusals::assert_refused;

const SECRET: &str = "s3cret-pw";

#[test]
fn a_database_that_cannot_be_used_is_named_and_left_alone() {
    let mut lone = Lone::start(&[]);
    lone.submit();
    lone.master.kill();
    let home = lone.home.path();
    let file = home.join("master.db");
    let checkpoint = |db: Connection| db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    Connection::open(&file).and_then(checkpoint).expect("all of it in one file");
    let truth = std::fs::read(&file).expect("a database");

    let newer = home.join("newer.db");
    std::fs::write(&newer, &truth).expect("a copy");
    Connection::open(&newer).and_then(|db| db.pragma_update(None, "user_version", 999)).expect("a newer one");
    let foreign = home.join("foreign.db");
    Connection::open(&foreign).and_then(|db| db.execute_batch("CREATE TABLE t (x)")).expect("a foreign one");
    let torn = home.join("torn.db");
    std::fs::write(&torn, &truth[..truth.len() / 2]).expect("half of one");
    for (database, cure) in [(&newer, "upgrade"), (&foreign, "--db"), (&torn, "backup")] {
        let before = std::fs::read(database).expect("a file");
        assert_refused(master_in(home, &["--db", &database.display().to_string()]), 8, "", cure);
        assert!(before == std::fs::read(database).expect("a file"), "{} was changed", database.display());
    }
}

#[test]
fn a_wrong_connection_string_is_refused_and_not_shown() {
    let home = tempfile::tempdir().expect("a directory");
    let nobody = format!("postgres://u:{SECRET}@127.0.0.1:1/x");
    for (flags, code, field, cure) in [
        (vec!["--db-type", "postgres"], 2, "db-dsn", "DATABASE_DSN"),
        (vec!["--db-dsn", &nobody], 2, "db-dsn", "--db-type postgres"),
        (vec!["--db-type", "postgres", "--db-dsn", "mysql://u:s3cret-pw@h/x"], 2, "db-dsn", "postgres://"),
        (vec!["--db-type", "postgres", "--db-dsn", &nobody], 9, "db-dsn", ""),
    ] {
        let output = master_in(home.path(), &flags).output().expect("it runs");
        assert!(!shown(&output).contains(SECRET), "{}", shown(&output));
        assert_refused(master_in(home.path(), &flags), code, field, cure);
    }
    let mut typed = master_in(home.path(), &[]);
    typed.env("DATABASE_TYPE", "mysql");
    assert_refused(typed, 2, "DATABASE_TYPE", "sqlite");
}

#[test]
fn a_file_that_cannot_be_written_is_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let place = home.path().join("locked");
    std::fs::create_dir(&place).expect("a directory");
    let file = place.join("master.db");
    std::fs::File::create(&file).expect("a file");
    let allow = |path: &Path, mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its mode");
    };
    allow(&file, 0o444);
    allow(&place, 0o555);
    let mut refused = master_in(home.path(), &["--db", &file.display().to_string()]);
    if rustix::process::geteuid().is_root() {
        // Modes do not bind root, and nobody else may reach what root has built.
        use std::os::unix::process::CommandExt;
        let program = home.path().join("ffrtmp-master");
        std::fs::copy(refused.get_program(), &program).expect("a copy");
        allow(home.path(), 0o755);
        let flags: Vec<_> = refused.get_args().map(ToOwned::to_owned).collect();
        refused = command(&program, home.path());
        refused.current_dir(home.path()).args(flags).uid(65_534).gid(65_534);
    }
    assert_refused(refused, 8, "locked", "");
    assert_eq!(std::fs::metadata(&file).expect("still there").len(), 0);
}

#[test]
fn a_read_only_file_that_was_used_before_is_refused() {
    let mut lone = Lone::start(&[]);
    lone.submit();
    lone.master.kill();
    let file = lone.home.path().join("master.db");
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("its mode");
    };
    mode(0o444);
    let before = std::fs::read(&file).expect("a database");
    assert_refused(master_in(lone.home.path(), &["--db", &file.display().to_string()]), 8, "master.db", "permission");
    assert!(std::fs::read(&file).expect("a database") == before);
}

/// What a submission names is one question to the store, and what waits for a job moves on together.
#[test]
fn many_dependencies_cost_a_few_calls_of_the_store() {
    let port = free_port();
    let metrics = port.to_string();
    let lone = Lone::start(&["--metrics-port", &metrics]);
    let submit = |requests: &[JobRequest]| {
        let jobs = lone.runtime.block_on(lone.client.submit_batch(requests)).expect("submitted");
        jobs.into_iter().map(|job| job.job.id).collect::<Vec<_>>()
    };
    let roots = submit(&vec![least_job(); 20]);
    let calls = || {
        let text = scrape(port);
        let counts = text.lines().filter(|line| line.starts_with("ffrtmp_store_seconds_count"));
        let ours = counts.filter(|line| {
            !["lead", "due", "check", "counts", "lanes"].iter().any(|name| line.contains(&format!("\"{name}\"")))
        });
        ours.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let before = calls();
    submit(&vec![JobRequest { depends_on: roots.clone(), ..least_job() }; 700]);
    let submitted = calls() - before;
    lone.runtime.block_on(lone.client.cancel(&roots[7].to_string())).expect("canceled");
    let settled = calls() - before - submitted;
    assert!(submitted < 40.0 && settled < 40.0, "{submitted} calls to submit, {settled} to settle");
    let query = JobQuery { state: Some("failed".into()), limit: Some(500), ..JobQuery::default() };
    assert_eq!(lone.runtime.block_on(lone.client.jobs(&query)).expect("listed").count, 500);
}

fn scrape(port: u16) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("metrics");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("asked");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answered");
    text
}

#[test]
fn a_master_that_waits_for_its_database_ends_when_told() {
    let home = tempfile::tempdir().expect("a directory");
    let dsn = "postgres://u:x@127.0.0.1:1/x";
    let command = master_in(home.path(), &["--db-type", "postgres", "--db-dsn", dsn]);
    let mut master = Program::start(command, &home.path().join("master.log"));
    until("it waits", PATIENCE, || master.log_text().contains("waiting for the database").then_some(()));
    master.signal(Signal::TERM);
    // It would wait for 15 s.
    assert_eq!(master.exit_code(std::time::Duration::from_secs(5)), 0, "{}", master.log_text());
}

#[test]
fn a_database_moves_to_postgres_and_is_copied_while_it_is_used() {
    let mut lone = Lone::start(&[]);
    let ids: Vec<_> = (0..5).map(|_| lone.submit()).collect();
    let [file, copy] = ["master.db", "copy.db"].map(|name| lone.home.path().join(name).display().to_string());
    let copied = transfer(lone.home.path(), &["backup", "--from", &file, "--to", &copy]);
    assert_eq!(copied.status.code(), Some(0), "{}", shown(&copied));
    let again = transfer(lone.home.path(), &["backup", "--from", &file, "--to", &copy]);
    assert_eq!(again.status.code(), Some(2), "a copy is not replaced: {}", shown(&again));
    let count = Connection::open(&copy).and_then(|db| db.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0)));
    assert_eq!(count, Ok(ids.len()));

    let server = PrivateServer::start().expect("a server");
    let dsn = server.new_database().expect("a database");
    let source = format!("sqlite:{file}");
    let in_use = transfer(lone.home.path(), &["migrate", "--from", &source, "--to", &dsn]);
    assert_eq!(in_use.status.code(), Some(8), "its master is alive: {}", shown(&in_use));
    lone.master.kill();
    for _ in 0..2 {
        let moved = transfer(lone.home.path(), &["migrate", "--from", &source, "--to", &dsn]);
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

#[test]
fn a_full_disk_is_seen_by_health_and_loses_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    let Some(disk) = SmallDisk::mount(home.path()) else { return };
    let database = disk.0.join("master.db").display().to_string();
    let lone = Lone::start(&["--db", &database]);
    let kept = lone.submit();
    let (client, runtime) = (&lone.client, &lone.runtime);
    let health = || runtime.block_on(client.health());

    let copy = disk.0.join("other.db");
    std::fs::copy(&database, &copy).expect("a copy");
    disk.fill();
    for name in ["other.db", "new.db"] {
        let path = disk.0.join(name).display().to_string();
        assert_refused(master_in(home.path(), &["--db", &path]), 8, name, "free space");
    }
    let made = ["new.db", "new.db.lock", "other.db.lock"].map(|name| disk.0.join(name).exists());
    assert_eq!(made, [false; 3], "nothing is made in vain");
    assert_eq!(health().expect_err("the disk is full").code(), Code::DiskFull);
    let batch = vec![least_job(); 1000];
    let refused = (0..100).find_map(|_| runtime.block_on(client.submit_batch(&batch)).err());
    assert_eq!(refused.expect("no room for so many").code(), Code::DiskFull, "{}", lone.master.log_text());

    disk.empty();
    until("the master is well again", PATIENCE, || health().ok());
    lone.submit();
    assert!(runtime.block_on(client.job(&kept)).is_ok(), "it was answered");
}

/// A file system of some megabytes, for tests that run as root.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(home: &Path) -> Option<Self> {
        let place = home.join("disk");
        std::fs::create_dir(&place).expect("a directory");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(&place).status();
        let mounted = mounted.is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("not measured: a small disk needs the right to mount");
        }
        mounted.then_some(Self(place))
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).expect("a file");
        let full = std::io::copy(&mut std::io::repeat(1), &mut file).expect_err("it ends");
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("the filler");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the master may still have files open there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A master without agents.
pub(crate) struct Lone {
    pub(crate) master: Program,
    pub(crate) client: MasterClient,
    pub(crate) runtime: tokio::runtime::Runtime,
    home: tempfile::TempDir,
}

impl Lone {
    pub(crate) fn start(flags: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let port = free_port().to_string();
        let own = ["--port", port.as_str(), "--rate-limit", "100000", "--rate-burst", "100000"];
        let command = master_in(home.path(), &[&own[..], flags].concat());
        let master = Program::start(command, &home.path().join("master.log"));
        let config = ClientConfig { master: format!("http://127.0.0.1:{port}"), ..ClientConfig::default() };
        let client = MasterClient::new(&config).expect("a client");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        until("the master answers", PATIENCE, || runtime.block_on(client.health()).ok());
        Self { master, client, runtime, home }
    }

    fn submit(&self) -> String {
        self.runtime.block_on(self.client.submit(&least_job(), None)).expect("submitted").job.id.to_string()
    }
}

fn least_job() -> JobRequest {
    serde_json::from_value(json!({"scenario": "144p-h264"})).expect("a request")
}

fn master_in(home: &Path, flags: &[&str]) -> Command {
    let mut master = command(&binary("ffrtmp-master"), home);
    master.current_dir(home).args(["--bind", "127.0.0.1", "--tls", "false"]);
    if !flags.contains(&"--metrics-port") {
        master.args(["--metrics", "false"]);
    }
    master.arg("--insecure-no-auth").args(flags);
    master
}

fn transfer(home: &Path, words: &[&str]) -> Output {
    command(&binary("ffrtmp-master"), home).args(words).output().expect("it runs")
}

fn shown(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
