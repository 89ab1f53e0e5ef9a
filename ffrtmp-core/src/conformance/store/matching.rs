//! What a node must have: the parts of an offer that are not codecs and labels.

use crate::encoding::VideoEncoder;
use crate::node::{Capabilities, Offer, Requirements};
use crate::store::{ClaimOrder, Store};

use super::Harness;
use super::fixture::*;

const MEGABYTE: u64 = 1 << 20;

async fn offered(store: &dyn Store, offer: Offer) -> Vec<crate::id::JobId> {
    ids(&store.claim(&ClaimOrder { offer, ..order(1, 64) }, at(0)).await.expect("answered"))
}

/// What a node did not say counts as enough.
pub async fn memory_and_disk_must_suffice(harness: &dyn Harness) {
    let sized = |memory_mb, disk_mb| Requirements { memory_mb, disk_mb, ..needs() };
    let said = |memory: Option<u64>, disk: Option<u64>| Offer {
        memory_bytes: memory.map(|mb| mb * MEGABYTE),
        disk_bytes: disk.map(|mb| mb * MEGABYTE),
        ..Offer::default()
    };
    let rows: [(Offer, &[usize]); 7] = [
        (said(Some(0), Some(0)), &[0]),
        (said(Some(3000), Some(100_000)), &[0, 2]),
        (said(Some(4096), Some(100)), &[0, 1]),
        (said(Some(4096), Some(10_239)), &[0, 1]),
        (said(Some(4096), Some(10_240)), &[0, 1, 2, 3]),
        (said(None, Some(10_240)), &[0, 1, 2, 3]),
        (said(None, None), &[0, 1, 2, 3]),
    ];
    for (offer, expected) in rows {
        let store = harness.fresh().await;
        let drafts = [sized(0, 0), sized(4096, 0), sized(0, 10_240), sized(4096, 10_240)];
        let stored = submit(&*store, drafts.map(|needs| job().needs(needs)).into()).await;
        let expected: Vec<_> = expected.iter().map(|index| stored[*index].id).collect();
        assert_eq!(offered(&*store, offer.clone()).await, expected, "{offer:?}");
    }
}

/// A job that names its encoder goes where that encoder works.
pub async fn an_encoder_must_be_listed(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let encoder: VideoEncoder = "libx264".parse().expect("it is known");
    let named = submit_one(&*store, job().needs(Requirements { encoder: Some(encoder), ..needs() })).await;
    let plain = submit_one(&*store, job()).await;
    let lists = |names: &[&str]| Offer {
        capabilities: Capabilities {
            encoders: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Capabilities::default()
        },
        ..Offer::default()
    };
    assert_eq!(offered(&*store, lists(&["h264_nvenc"])).await, [plain.id]);
    assert_eq!(offered(&*store, lists(&["libx265", "libx264"])).await, [named.id]);
}

/// A node that lists no encoders may have any of those in software, and none on a device.
pub async fn an_encoder_on_a_device_must_be_listed(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let named = |name: &str| Requirements {
        encoder: Some(name.parse().expect("it is known")),
        gpu: name.ends_with("nvenc"),
        ..needs()
    };
    let stored = submit(&*store, ["hevc_nvenc", "libx265"].map(|name| job().needs(named(name))).into()).await;
    assert_eq!(offered(&*store, Offer::default()).await, [stored[1].id]);
    assert!(offered(&*store, Offer { gpu_sessions: Some(2), ..Offer::default() }).await.is_empty());
    let encoders = vec!["hevc_nvenc".to_owned()];
    let device = Offer { capabilities: Capabilities { encoders, ..Capabilities::default() }, ..Offer::default() };
    assert_eq!(offered(&*store, device).await, [stored[0].id]);
}

/// A job that takes an encode session goes where there are some.
pub async fn a_device_must_be_there(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let stored = submit(&*store, vec![job().needs(needs_gpu()), job(), job()]).await;
    assert_eq!(offered(&*store, with_gpu(0)).await, [stored[1].id, stored[2].id]);
    assert!(offered(&*store, Offer::default()).await.is_empty(), "no device is known there");
    assert_eq!(offered(&*store, with_gpu(1)).await, [stored[0].id]);
}

/// Disks fill and labels change: nothing is remembered of an earlier claim.
pub async fn an_offer_counts_as_it_is_now(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let drafts = (0..3).map(|_| job().needs(Requirements { disk_mb: 10_240, ..needs() })).collect();
    let stored = submit(&*store, drafts).await;
    let disk =
        |mb: u64| ClaimOrder { offer: Offer { disk_bytes: Some(mb * MEGABYTE), ..Offer::default() }, ..order(1, 1) };
    for (mb, given) in [(20_000, 1), (9_000, 0), (10_240, 1), (0, 0), (1 << 30, 1)] {
        assert_eq!(store.claim(&disk(mb), at(0)).await.expect("answered").len(), given, "{mb} MB");
    }
    assert!(offered(&*store, Offer::default()).await.is_empty(), "{stored:?} are all given");
}
