//! Commands against a running master and agent, over HTTPS with a key.

use std::path::PathBuf;
use std::sync::Arc;

use crate::desk::{Desk, Said, clip, runner};
use ffrtmp::engines::IsolatedEngine;
use ffrtmp::governor::NiceGovernor;
use ffrtmp::store::MemoryStore;
use ffrtmp::transport::http::certificate;
use ffrtmp::transport::http::server::TlsConfig;
use ffrtmp::{Agent, AgentOptions, Master, MasterOptions};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

const KEY: &str = "key-of-the-test-master";

/// A master and an agent in this process, and a desk to work at.
struct Fleet {
    desk: Desk,
    url: String,
    ca: PathBuf,
    stop: CancellationToken,
    _runtime: tokio::runtime::Runtime,
}

impl Fleet {
    fn start() -> Self {
        let desk = Desk::new();
        let (ca, key) = (desk.home.path().join("m.crt"), desk.home.path().join("m.key"));
        certificate::ensure(&ca, &key, &[], &[]).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let stop = CancellationToken::new();
        let url = runtime.block_on(async {
            let options = MasterOptions {
                tls: Some(TlsConfig { cert: ca.clone(), key, client_ca: None }),
                api_key: Some(KEY.to_owned()),
                ..MasterOptions::default()
            };
            let master = Master::new(Arc::new(MemoryStore::default()), options).await.unwrap();
            let url = master.url().unwrap();
            let options = AgentOptions {
                name: Some("worker".to_owned()),
                max_concurrent_jobs: Some(1),
                work_dir: Some(desk.home.path().join("agent")),
                allow_paths: vec![desk.dir.path().to_owned()],
                min_free_disk_percent: 0,
                ..AgentOptions::default()
            };
            let engine = Arc::new(IsolatedEngine::new(runner().to_owned(), Vec::new()));
            let transport = Arc::new(master.transport());
            let agent = Agent::new(transport, vec![engine], Arc::new(NiceGovernor::new()), options).await.unwrap();
            tokio::spawn(master.run(stop.clone()));
            tokio::spawn(agent.run(stop.clone()));
            url
        });
        Self { desk, url, ca, stop, _runtime: runtime }
    }

    fn run(&self, args: &[&str]) -> Said {
        let mut command = self.desk.command(args);
        command.env("MASTER_URL", &self.url).env("MASTER_API_KEY", KEY).arg("--ca").arg(&self.ca);
        crate::desk::said(command.output().unwrap())
    }

    fn json(&self, args: &[&str]) -> Value {
        let said = self.run(&[args, &["--output", "json"]].concat());
        assert_eq!(said.code, 0, "{args:?}: {}", said.err);
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{args:?}: {error}: {}", said.out))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[test]
fn jobs_and_nodes_from_the_command_line() {
    let fleet = Fleet::start();
    clip(&fleet.desk.path("in.mp4"), "240p30-h264", 1.0);

    let waited = fleet.run(&[
        "jobs",
        "submit",
        "--scenario",
        "144p-h264",
        "--input",
        "in.mp4",
        "--out",
        "out.mp4",
        "--label",
        "team=a",
        "--label",
        "note=a\u{202e}b",
        "--wait",
    ]);
    assert_eq!(waited.code, 0, "{}", waited.err);
    assert!(waited.out.contains("completed") && waited.err.contains("completed"), "{waited:?}");
    assert_eq!(fleet.desk.json(&["probe", "out.mp4"])["streams"][0]["video"]["height"], 144);

    let job = fleet.json(&["jobs", "status", "1"]);
    let id = job["id"].as_str().unwrap();
    assert_eq!(fleet.json(&["jobs", "status", &id[..8]])["result"]["frames"], 30);
    assert_eq!(fleet.json(&["jobs", "list", "--label", "team=a", "--state", "completed"])["count"], 1);
    assert_eq!(fleet.json(&["jobs", "status", "--label", "team=b"])["count"], 0);
    assert!(fleet.run(&["jobs", "list"]).out.contains("144p-h264"));
    let shown = fleet.run(&["jobs", "status", id]).out;
    assert!(shown.contains("note=a b") && !shown.contains('\u{202e}'), "{shown:?}");
    assert_eq!(job["labels"]["note"], "a\u{202e}b", "programs get what is there");
    let events = fleet.json(&["jobs", "events", id]);
    assert_eq!(events.as_array().unwrap().last().unwrap()["to"], "completed");
    assert_eq!(fleet.run(&["jobs", "logs", id, "--follow"]).code, 0);
    assert!(shown.contains("OUTCOME") && shown.contains("worker"), "{shown}");
    let logs = |attempt| fleet.json(&["jobs", "logs", id, "--attempt", attempt]).as_array().unwrap().len();
    assert_eq!((logs("1") > 0, logs("2")), (true, 0));
    let again = fleet.run(&["jobs", "retry", id]);
    assert!(again.code == 5 && again.err.contains("completed"), "{again:?}");

    let node = fleet.json(&["nodes", "list"])["nodes"][0]["id"].as_str().unwrap().to_owned();
    let described = fleet.run(&["nodes", "describe", "worker"]).out;
    assert!(described.contains(&node) && described.contains("free disk"), "{described}");
    assert_eq!(fleet.json(&["nodes", "drain", &node[..6]])["draining"], true);
    fleet.desk.write("jobs.json", br#"[{"scenario":"144p"},{"scenario":"144p","labels":{"own":"1"}}]"#);
    let many = fleet.json(&[
        "jobs",
        "submit",
        "--file",
        "jobs.json",
        "--priority",
        "low",
        "--label",
        "team=c",
        "--deadline",
        "2031-01-31T12:00:00Z",
    ]);
    assert_eq!(many["jobs"][0]["deadline"], "2031-01-31T12:00:00Z");
    assert_eq!((&many["count"], &many["jobs"][1]["priority"]), (&2.into(), &"low".into()));
    assert_eq!(fleet.json(&["jobs", "list", "--label", "team=c", "--limit", "1", "--all"])["count"], 2);
    assert!(fleet.run(&["jobs", "pause", "2"]).out.contains("paused"));
    assert!(fleet.run(&["jobs", "resume", "2"]).out.contains("queued"));
    assert!(fleet.run(&["jobs", "cancel", "2"]).out.contains("canceled"));
    let canceled = fleet.run(&["jobs", "status", "2", "--follow"]);
    assert_eq!(canceled.code, 130, "{}", canceled.err);
    assert_eq!(fleet.json(&["nodes", "activate", "worker"])["draining"], false);
    let last = fleet.run(&["jobs", "status", "3", "--follow", "--output", "json"]);
    assert_eq!(last.code, 0, "{}", last.err);
    let ended: Value = serde_json::from_str(last.out.lines().last().unwrap()).unwrap();
    assert_eq!(ended["state"], "completed");

    let failed = fleet.run(&["jobs", "submit", "--scenario", "144p", "--input", "absent.mp4", "--wait"]);
    assert_eq!(failed.code, 3, "{}", failed.err);
    assert!(failed.err.contains("hint: ") && failed.err.contains("absent.mp4"), "{}", failed.err);
}

#[test]
fn refusals_of_the_master_keep_field_hint_and_exit_code() {
    let fleet = Fleet::start();
    for (args, code, text) in [
        (&["jobs", "status", "999"][..], 3, "999"),
        (&["nodes", "describe", "nobody"], 3, "no node is named \"nobody\""),
        (&["jobs", "list", "--created-after", "yesterday"], 2, "created_after"),
        (&["jobs", "list", "--api-key", "wrong-key"], 4, "key"),
        (&["jobs", "list", "--master", "https://127.0.0.1:9"], 9, "refuses connections"),
        (&["jobs", "submit", "--scenario", "720p-h264", "--out", "x.webm", "--input", "in.mp4"], 2, "webm"),
    ] {
        let said = fleet.run(args);
        assert_eq!(said.code, code, "{args:?}: {}", said.err);
        assert_eq!(said.err.lines().count(), 2, "{args:?}: {}", said.err);
        assert!(said.err.contains(text), "{args:?}: {}", said.err);
    }
}
