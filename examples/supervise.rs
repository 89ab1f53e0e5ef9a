//! A program of somebody else under limits: how it is started, watched and reported on.
//!
//! Run it: `cargo run --example supervise -- COMMAND [ARGUMENT…]`

#![expect(clippy::print_stdout, reason = "it is what the example shows")]

use std::time::Duration;

use ffrtmp::core::governor::ProcessLimits;
use ffrtmp::governor::supervise::{self, Order, Workload};

fn main() -> ffrtmp::Result<()> {
    let mut words = std::env::args_os().skip(1);
    let workload = match words.next() {
        Some(program) => Workload::new(program).arguments(words),
        None => Workload::new("sh").arguments(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]),
    };
    let order = Order {
        job_id: Some("example".into()),
        limits: ProcessLimits { cpu_percent: Some(50), memory_bytes: Some(256 << 20), ..ProcessLimits::default() },
        timeout: Some(Duration::from_secs(60)),
        ..Order::default()
    };
    // Control groups where this user may make them; else limits are watched, and the report says so.
    let governor = supervise::governor();
    // The limits are in force before the program begins. It outlives this process if that is killed.
    let supervised = workload.start(&order, governor.as_ref(), None)?;
    println!("process {} is supervised", supervised.pid());
    println!("{}", supervised.wait()?);
    Ok(())
}
