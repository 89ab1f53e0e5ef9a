//! A whole sample of a machine, and rates between two.

use std::time::{Duration, Instant};

use ffrtmp_governor::probe::sampler::Sampler;

use super::Machine;

#[test]
fn a_sample_tells_everything_that_the_machine_does() {
    let machine = Machine::of(&[
        ("proc/stat", "cpu  100 0 0 100 0 0 0 0 0 0\ncpu0 50 0 0 50 0 0 0 0 0 0\ncpu1 50 0 0 50 0 0 0 0 0 0\n"),
        ("proc/net/dev", "head\n lo: 5 0 0 0 0 0 0 0 5\n eth0: 1000 0 0 0 0 0 0 0 1000\n"),
        ("proc/loadavg", "1.50 1 1 1/1 1\n"),
        ("proc/meminfo", "MemTotal: 100 kB\nMemAvailable: 40 kB\nSwapTotal: 50 kB\nSwapFree: 20 kB\n"),
        ("proc/pressure/cpu", "some avg10=1.00 avg60=0 avg300=0 total=1\nfull avg10=0.00 avg60=0 avg300=0 total=0\n"),
        (
            "proc/pressure/memory",
            "some avg10=2.00 avg60=0 avg300=0 total=1\nfull avg10=1.50 avg60=0 avg300=0 total=0\n",
        ),
        ("proc/pressure/io", "some avg10=4.00 avg60=0 avg300=0 total=1\n"),
        ("sys/class/thermal/thermal_zone0/temp", "45000\n"),
    ]);
    let sampler = Sampler::new(machine.root());
    let first = sampler.sample(machine.path());
    assert_eq!((first.cpu_percent, first.core_percents.len(), first.load_avg_1m), (0.0, 0, 1.5));
    assert_eq!(first.network_receive_bytes_per_second, None, "one look has no rates");
    assert_eq!((first.memory_total_bytes, first.memory_used_bytes), (100 << 10, 60 << 10));
    assert_eq!((first.swap_total_bytes, first.swap_used_bytes), (Some(50 << 10), Some(30 << 10)));
    assert_eq!((first.cpu_pressure_avg10, first.cpu_pressure_full_avg10), (Some(1.0), Some(0.0)));
    assert_eq!((first.memory_pressure_avg10, first.memory_pressure_full_avg10), (Some(2.0), Some(1.5)));
    assert_eq!((first.io_pressure_avg10, first.io_pressure_full_avg10), (Some(4.0), None));
    assert_eq!(first.temperature_celsius, Some(45.0));
    assert!(first.disk_total_bytes > 0 && first.power_watts.is_none());

    machine.write(
        "proc/stat",
        "cpu  150 0 0 250 0 0 0 0 0 0\ncpu0 100 0 0 100 0 0 0 0 0 0\ncpu1 50 0 0 150 0 0 0 0 0 0\n",
    );
    machine.write("proc/net/dev", "head\n lo: 9 0 0 0 0 0 0 0 9\n eth0: 2000 0 0 0 0 0 0 0 1000\n");
    let end = Instant::now() + Duration::from_secs(20);
    let second = loop {
        let second = sampler.sample(machine.path());
        if second.network_receive_bytes_per_second.is_some() {
            break second;
        }
        assert!(Instant::now() < end, "two looks have rates");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!((second.cpu_percent, second.core_percents.as_slice()), (25.0, [50.0, 0.0].as_slice()));
    assert!(second.network_receive_bytes_per_second.is_some_and(|rate| rate > 0.0 && rate <= 5000.0), "{second:?}");
    assert_eq!(second.network_send_bytes_per_second, Some(0.0));
    assert_eq!(sampler.sample(machine.path()).cpu_percent, 25.0, "right after a look its rates still hold");
}

#[test]
fn a_machine_that_tells_nothing() {
    let machine = Machine::of(&[]);
    let sample = Sampler::new(machine.root()).sample(machine.path());
    assert_eq!((sample.memory_total_bytes, sample.cpu_pressure_avg10), (0, None));
    assert_eq!((sample.temperature_celsius, sample.swap_total_bytes), (None, None));
}
