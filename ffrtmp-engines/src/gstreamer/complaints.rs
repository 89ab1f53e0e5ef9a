//! What the libraries complain of by way of GLib. A source that talks nonsense has them do so at almost
//! each of its bytes: few lines of that are kept, and the number tells of the source.

use std::sync::atomic::{AtomicU64, Ordering};

use gstreamer::glib;

/// Lines that are passed on.
const MOST: u64 = 100;

static OF_RTMP: AtomicU64 = AtomicU64::new(0);
static ALL: AtomicU64 = AtomicU64::new(0);

/// Listens to them, in a process that is ours alone.
pub(super) fn listen() {
    glib::log_set_default_handler(|domain, level, text| {
        if text.starts_with("gst_rtmp_") {
            OF_RTMP.fetch_add(1, Ordering::Relaxed);
        }
        if ALL.fetch_add(1, Ordering::Relaxed) < MOST {
            glib::log_default_handler(domain, level, Some(text));
        }
    });
}

/// How often what came by RTMP made no sense, in this process.
pub(super) fn of_rtmp() -> u64 {
    OF_RTMP.load(Ordering::Relaxed)
}
