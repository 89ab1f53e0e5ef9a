//! libav's own words: to `tracing`, and to the attempt on whose thread they are said.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Once;

use std::ffi::c_int;
#[cfg(target_arch = "x86_64")]
use std::ffi::{CStr, c_char, c_void};

use ffmpeg_sys_next as ffi;

const KEPT: usize = 40;
/// Bytes of a line; what goes on and on is cut.
const MAX_LINE: usize = 2048;

thread_local! {
    static LINES: RefCell<Option<Lines>> = const { RefCell::new(None) };
    /// A line of which the end was not said yet, and whether the next words begin a line.
    static PARTIAL: RefCell<(String, c_int)> = const { RefCell::new((String::new(), 1)) };
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
    // A panic must not cross into C: try_with and try_borrow_mut answer instead.
    let _ = PARTIAL.try_with(|partial| {
        let Ok(mut partial) = partial.try_borrow_mut() else { return };
        let (line, begins) = &mut *partial;
        let mut buffer = [0 as c_char; 1024];
        // SAFETY: the arguments come from libav unchanged; the buffer is writable for its length and
        // ended with NUL.
        let words = unsafe {
            let size = buffer.len() as c_int;
            ffi::av_log_format_line2(class, level, format, arguments, buffer.as_mut_ptr(), size, &raw mut *begins);
            CStr::from_ptr(buffer.as_ptr()).to_string_lossy()
        };
        line.push_str(&words);
        // Cut words lost their end, and with it the end of the line.
        if words.ends_with(['\n', '\r']) || words.len() + 1 >= buffer.len() || line.len() >= MAX_LINE {
            *begins = 1;
            let text = strip_address(line.trim());
            line.clear();
            say(level, text);
        }
    });
}

#[cfg(target_arch = "x86_64")]
fn say(level: c_int, text: String) {
    if !text.contains(char::is_alphabetic) {
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

/// `[libx264 @ 0x5581f0] text` becomes `libx264: text`; what has no name says `NULL`.
#[cfg(target_arch = "x86_64")]
fn strip_address(text: &str) -> String {
    let Some((name, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once("] ")) else {
        return if text.starts_with('[') && text.ends_with(']') { String::new() } else { text.to_owned() };
    };
    match name.split(" @ ").next().unwrap_or(name) {
        "NULL" => rest.to_owned(),
        name => format!("{name}: {rest}"),
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_and_names_stay() {
        assert_eq!(strip_address("[libx264 @ 0x5581f0] a line"), "libx264: a line");
        assert_eq!(strip_address("[NULL @ 0x5581f0] a line"), "a line");
        assert_eq!(strip_address("[mpegts @ 0x5581f0]"), "");
        assert_eq!(strip_address("a line"), "a line");
    }
}
