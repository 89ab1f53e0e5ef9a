//! Facts about this process and the libraries in it.

use std::mem;

use ffmpeg_sys_next as ffi;

/// CPU time and memory of the whole process so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_memory_bytes: u64,
}

impl Usage {
    pub(crate) fn now() -> Self {
        // SAFETY: a plain C struct of integers, filled by the call.
        let usage = unsafe {
            let mut usage: libc::rusage = mem::zeroed();
            libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
            usage
        };
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        Self {
            cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
            peak_memory_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
        }
    }
}

/// Names and versions of the libraries.
pub(crate) fn libraries() -> Vec<String> {
    // SAFETY: plain getters.
    let versions = unsafe {
        [
            ("libavutil", ffi::avutil_version()),
            ("libavcodec", ffi::avcodec_version()),
            ("libavformat", ffi::avformat_version()),
            ("libavfilter", ffi::avfilter_version()),
            ("libswscale", ffi::swscale_version()),
            ("libswresample", ffi::swresample_version()),
        ]
    };
    let mut names: Vec<String> = versions
        .iter()
        .map(|(name, version)| format!("{name} {}.{}.{}", version >> 16, version >> 8 & 0xff, version & 0xff))
        .collect();
    // SAFETY: a static string.
    if let Some(ffmpeg) = unsafe { super::text(ffi::av_version_info()) } {
        names.insert(0, format!("FFmpeg {ffmpeg}"));
    }
    names
}

/// Keeps SVT-AV1, which knows no log callback, from writing its settings to stderr. Only possible
/// while this process has a single thread, since the environment is shared without a lock.
pub(crate) fn quiet_svt() {
    const NAME: &str = "SVT_LOG";
    let alone = std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    if alone && std::env::var_os(NAME).is_none() {
        // SAFETY: no other thread exists that could read the environment meanwhile.
        unsafe { std::env::set_var(NAME, "0") };
    }
}

/// Keeps the memory of a picture for the next one: every codec that closes would give its pages back
/// otherwise, and the next one that opens would have them cleared again, which is half of what a
/// short job costs. What the environment says to the allocator stays.
#[cfg(target_env = "gnu")]
pub(crate) fn keep_memory() {
    /// The largest piece that is kept, and what may stay unused in each arena.
    const KEPT: [(libc::c_int, libc::c_int); 2] =
        [(libc::M_MMAP_THRESHOLD, 4 << 20), (libc::M_TRIM_THRESHOLD, 8 << 20)];
    static ONCE: std::sync::Once = std::sync::Once::new();
    let is_told = |name| std::env::var_os(name).is_some();
    ONCE.call_once(|| {
        if !["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"].into_iter().any(is_told) {
            for (parameter, bytes) in KEPT {
                // SAFETY: a plain setter, which takes the allocator's lock.
                unsafe { libc::mallopt(parameter, bytes) };
            }
        }
    });
}

#[cfg(not(target_env = "gnu"))]
pub(crate) fn keep_memory() {}

/// Whether the libraries that were loaded have the layout that this program was compiled for.
pub(crate) fn libraries_match() -> bool {
    // SAFETY: plain getters.
    let loaded = unsafe { [ffi::avutil_version(), ffi::avcodec_version(), ffi::avformat_version()] };
    let built = [ffi::LIBAVUTIL_VERSION_MAJOR, ffi::LIBAVCODEC_VERSION_MAJOR, ffi::LIBAVFORMAT_VERSION_MAJOR];
    loaded.iter().zip(built).all(|(loaded, built)| i64::from(loaded >> 16) == i64::from(built))
}
