//! Many minutes of one live job: whether memory, threads and open files stay as they were, and whether
//! pictures and sound stay together.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use crate::attempt::{self, Order};
use crate::contest::{Bound, Contender, Figures, OURS, Row, quantile};
use crate::servers::{self, Packet, RtmpServer};
use crate::{Result, Scale};

pub(crate) fn row(scale: Scale) -> Result<Row> {
    let bounds = [("memory growth %", 5.0), ("threads more", 0.0), ("files more", 0.0), ("A/V drift ms", 40.0)];
    let bounds = bounds.map(|(figure, at_most)| Bound { figure, peer: None, at_most }).into();
    Ok(Row { contenders: vec![Contender::new(OURS, move || turn(scale.seconds))], bounds })
}

/// What a process holds.
struct Look {
    bytes: f64,
    threads: f64,
    files: f64,
}

fn turn(seconds: u64) -> Result<Figures> {
    let server = RtmpServer::start();
    let scratch = tempfile::tempdir()?;
    let clip = servers::clip(scratch.path(), "640x360", 20);
    let _publisher = servers::publish(&clip, "flv", &server.url("source"));
    let parameters = attempt::rendition("640x360", "800k", "veryfast");
    let order = Order { input: server.url("source"), push: server.url("made"), parameters, seconds };
    let mut child = order.command()?.stdout(Stdio::null()).spawn()?;
    let (mut looks, pause) = (Vec::new(), Duration::from_millis(seconds * 1000 / 200));
    while child.try_wait()?.is_none() {
        // It may end between the question and the look.
        looks.extend(look(child.id()));
        std::thread::sleep(pause);
    }
    let status = child.wait()?;
    let recording = server.published("made").into_iter().next().ok_or("nothing was published")?;
    let packets = servers::packets(recording, None);
    if !status.success() || looks.len() < 20 || packets.is_empty() {
        return Err(format!("{status}, {} looks, {} packets", looks.len(), packets.len()).into());
    }
    let tenth = looks.len() / 10;
    // The first tenth is for caches and pools to fill.
    let (early, late) = (&looks[tenth..3 * tenth], &looks[looks.len() - 2 * tenth..looks.len() - 1]);
    let grown = |of: fn(&Look) -> f64| {
        let middle = |looks: &[Look]| quantile(&looks.iter().map(of).collect::<Vec<_>>(), 0.5);
        (middle(early), middle(late))
    };
    let (before, after) = grown(|look| look.bytes);
    let more = |(before, after): (f64, f64)| after - before;
    Ok([
        ("memory MiB", after / 1_048_576.0),
        ("memory growth %", (after / before - 1.0) * 100.0),
        ("threads more", more(grown(|look| look.threads))),
        ("files more", more(grown(|look| look.files))),
        ("A/V drift ms", drift(&packets)),
    ]
    .into())
}

fn look(process: u32) -> Option<Look> {
    let count = |what: &str| fs::read_dir(format!("/proc/{process}/{what}")).map(|entries| entries.count() as f64).ok();
    let pages: f64 = fs::read_to_string(format!("/proc/{process}/statm")).ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(Look { bytes: pages * rustix::param::page_size() as f64, threads: count("task")?, files: count("fd")? })
}

/// How much further apart the last picture and the last sound are than the first, milliseconds.
fn drift(packets: &[Packet]) -> f64 {
    let apart = |packets: &mut dyn DoubleEndedIterator<Item = &Packet>| {
        let packets: Vec<_> = packets.collect();
        let of = |video| packets.iter().find(|packet| packet.is_video == video).map_or(f64::NAN, |packet| packet.pts);
        of(true) - of(false)
    };
    ((apart(&mut packets.iter().rev()) - apart(&mut packets.iter())) * 1e3).abs()
}
