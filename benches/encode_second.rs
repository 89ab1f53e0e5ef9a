//! One second of a generated 360p picture with a tone, encoded, muxed and verified, per codec.
//!
//! `cargo bench --bench encode_second`; `-- --quick` only proves that it works.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ffrtmp_core::engine::{Control, MediaBounds, Source, Unobserved};
use ffrtmp_core::job::Parameters;
use ffrtmp_core::media::{AudioCodec, Container, Target, VideoCodec};
use ffrtmp_core::plan::{OutputRequest, Plan};
use ffrtmp_core::units::{Bitrate, FrameRate, Seconds};
use ffrtmp_engines::libav::{self, LibavEngine};

const FPS: u32 = 30;

fn plan(codec: VideoCodec) -> Plan {
    let parameters = Parameters {
        codec: Some(Target::Encode(codec)),
        resolution: Some("640x360".parse().expect("a size")),
        fps: Some(FrameRate::whole(FPS)),
        bitrate: Some(Bitrate::from_kbps(800)),
        audio_codec: Some(Target::Encode(AudioCodec::Opus)),
        container: Some(Container::Mkv),
        ..Parameters::default()
    };
    Plan::resolve(&OutputRequest { parameters, ..OutputRequest::default() }, None).expect("a plan")
}

fn encode_second(criterion: &mut Criterion) {
    libav::init();
    let engine = LibavEngine::new().expect("the FFmpeg libraries are those this was built for");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let source = Source::Generated(Seconds::try_from(1.0).expect("one second is a valid span"));
    let mut group = criterion.benchmark_group("encode_second");
    group.sample_size(10).measurement_time(Duration::from_secs(8)).throughput(Throughput::Elements(FPS.into()));
    for codec in VideoCodec::ALL.iter().copied() {
        let plan = plan(codec);
        let output = directory.path().join(codec.as_str());
        group.bench_function(codec.as_str(), |bencher| {
            bencher.iter(|| {
                let report = engine
                    .execute(&plan, &source, &output, &MediaBounds::default(), &Control::default(), &Unobserved)
                    .expect("the encode succeeds");
                assert_eq!(report.frames, u64::from(FPS));
                black_box(report)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, encode_second);
criterion_main!(benches);
