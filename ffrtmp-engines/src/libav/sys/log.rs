//! libav's own words: to `tracing`, and to the attempt on whose thread they are said.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Once;

#[cfg(target_arch = "x86_64")]
use std::ffi::{CStr, c_char, c_int, c_void};

use ffmpeg_sys_next as ffi;

const KEPT: usize = 40;

thread_local! {
    static LINES: RefCell<Option<Lines>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Lines {
    fresh: VecDeque<Line>,
    last_error: Option<String>,
}

/// One line of a library.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) is_error: bool,
    pub(crate) text: String,
}

/// Collects the warnings and errors said on this thread while it lives. Lines of codec threads go
/// to `tracing` only, since they do not say whose they are.
pub(crate) struct Collector {
    outer: Option<Lines>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        Self { outer: LINES.with(|lines| lines.borrow_mut().replace(Lines::default())) }
    }

    /// What was said since the last call.
    pub(crate) fn take() -> Vec<Line> {
        LINES.with(|lines| lines.borrow_mut().as_mut().map(|lines| lines.fresh.drain(..).collect()).unwrap_or_default())
    }

    /// Whether a line that was not taken yet holds these words.
    pub(crate) fn said(words: &str) -> bool {
        LINES.with(|lines| {
            lines.borrow().as_ref().is_some_and(|lines| lines.fresh.iter().any(|line| line.text.contains(words)))
        })
    }

    /// The last error said, taken or not.
    pub(crate) fn last_error() -> Option<String> {
        LINES.with(|lines| lines.borrow().as_ref().and_then(|lines| lines.last_error.clone()))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        LINES.with(|lines| *lines.borrow_mut() = self.outer.take());
    }
}

/// Sends libav's log lines here instead of to stderr. Process-wide; done once.
pub(crate) fn redirect() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: plain setters; the callback is a function and stays valid.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            {
                ffi::av_log_set_level(ffi::AV_LOG_INFO);
                ffi::av_log_set_callback(Some(receive));
            }
            // How a va_list travels differs by platform; elsewhere the lines are dropped.
            #[cfg(not(target_arch = "x86_64"))]
            ffi::av_log_set_level(ffi::AV_LOG_QUIET);
        }
    });
}

#[cfg(target_arch = "x86_64")]
unsafe extern "C" fn receive(
    class: *mut c_void,
    level: c_int,
    format: *const c_char,
    arguments: *mut ffi::__va_list_tag,
) {
    let level = level & 0xff;
    if level > ffi::AV_LOG_INFO {
        return;
    }
    let mut buffer = [0 as c_char; 1024];
    let mut prefix: c_int = 1;
    // SAFETY: the arguments come from libav unchanged; the buffer is writable for its length and
    // ended with NUL.
    let text = unsafe {
        ffi::av_log_format_line2(
            class,
            level,
            format,
            arguments,
            buffer.as_mut_ptr(),
            buffer.len() as c_int,
            &raw mut prefix,
        );
        CStr::from_ptr(buffer.as_ptr()).to_string_lossy()
    };
    let text = strip_address(text.trim());
    if text.is_empty() {
        return;
    }
    tracing::debug!(target: "libav", level, "{text}");
    if level <= ffi::AV_LOG_WARNING {
        remember(Line { is_error: level <= ffi::AV_LOG_ERROR, text });
    }
}

#[cfg(target_arch = "x86_64")]
fn remember(line: Line) {
    // A panic must not cross into C: try_with and try_borrow_mut answer instead.
    let _ = LINES.try_with(|lines| {
        if let Ok(mut lines) = lines.try_borrow_mut()
            && let Some(lines) = lines.as_mut()
        {
            if line.is_error {
                lines.last_error = Some(line.text.clone());
            }
            if lines.fresh.len() == KEPT {
                lines.fresh.pop_front();
            }
            lines.fresh.push_back(line);
        }
    });
}

/// `[libx264 @ 0x5581f0] text` becomes `libx264: text`.
#[cfg(target_arch = "x86_64")]
fn strip_address(text: &str) -> String {
    match text.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((name, rest)) => format!("{}: {rest}", name.split(" @ ").next().unwrap_or(name)),
        None => text.to_owned(),
    }
}
