//! The engine under the suite of the trait.

use std::sync::Arc;
use std::time::Duration;

use ffrtmp_core::conformance::engine::{self, Subject};
use ffrtmp_engines::GstreamerEngine;

#[test]
fn it_keeps_the_contract_of_engines() {
    let scratch = tempfile::tempdir().unwrap();
    let fifo = scratch.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let subject = Subject {
        engine: Arc::new(GstreamerEngine::new().unwrap()),
        scratch: scratch.path().into(),
        fifo: Some(fifo),
        quick: "144p10-h264",
        long: ("1080p30-h264", 600.0),
        cancel_within: Duration::from_secs(2),
    };
    eprintln!("gstreamer: {:?}", engine::run(&subject));
}
