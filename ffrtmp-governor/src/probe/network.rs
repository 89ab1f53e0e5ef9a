//! Bytes through network interfaces, from `/proc/net/dev`: those of the network namespace that
//! this process is in.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Root;

/// Bytes received and sent so far, by interface, without the loopback.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network(BTreeMap<String, Bytes>);

/// Bytes of one interface since it appeared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bytes {
    received: u64,
    sent: u64,
}

/// Bytes per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Received.
    pub received: f64,
    /// Sent.
    pub sent: f64,
}

impl Network {
    /// Rates of all interfaces together that were there at both looks; `None` if no time has
    /// passed. One whose counter fell was made anew and counts with the next look.
    #[must_use]
    pub fn since(&self, before: &Self, elapsed: Duration) -> Option<Rates> {
        let seconds = Some(elapsed.as_secs_f64()).filter(|seconds| *seconds > 0.0)?;
        let mut rates = Rates::default();
        for (name, now) in &self.0 {
            let Some(then) = before.0.get(name) else { continue };
            let moved = now.received.checked_sub(then.received).zip(now.sent.checked_sub(then.sent));
            let (received, sent) = moved.unwrap_or_default();
            rates.received += received as f64 / seconds;
            rates.sent += sent as f64 / seconds;
        }
        Some(rates)
    }
}

/// Reads `/proc/net/dev`. Lines that are no interface are left out.
#[must_use]
pub fn parse(dev: &str) -> Network {
    let interface = |line: &str| {
        let (name, counters) = line.rsplit_once(':')?;
        let mut counters = counters.split_whitespace();
        let bytes = Bytes { received: counters.next()?.parse().ok()?, sent: counters.nth(7)?.parse().ok()? };
        Some((name.trim().to_owned(), bytes)).filter(|(name, _)| name != "lo")
    };
    Network(dev.lines().filter_map(interface).collect())
}

/// Counters of now; `None` if the machine does not tell.
#[must_use]
pub fn read(root: &Root) -> Option<Network> {
    Some(parse(&root.text("proc/net/dev")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:  999999      10    0    0    0     0          0         0   999999      10    0    0    0     0       0          0
  eth0: 1000 9 0 0 0 0 0 0 2000 9 0 0 0 0 0 0
veth:1: 50 9 0 0 0 0 0 0 60 9 0 0 0 0 0 0
  gone: 7 9 0 0 0 0 0 0 7 9 0 0 0 0 0 0
";

    #[test]
    fn rates_of_all_but_the_loopback() {
        let after = BEFORE
            .replace("999999", "5000000")
            .replace("1000 9", "5000 9")
            .replace("2000 9", "2500 9")
            .replace("50 9", "1 9")
            .replace("gone", " new");
        let rates = parse(&after).since(&parse(BEFORE), Duration::from_secs(2)).unwrap();
        assert_eq!(rates, Rates { received: 2000.0, sent: 250.0 });
        assert_eq!(parse(&after).since(&parse(BEFORE), Duration::ZERO), None);
        for hostile in ["", "eth0", "eth0: x", "eth0: 1 2 3", "eth0: -1 0 0 0 0 0 0 0 5"] {
            assert_eq!(parse(hostile), Network::default(), "{hostile:?}");
        }
    }
}
