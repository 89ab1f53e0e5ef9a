//! libav's own words: to `tracing`, and to the attempt on whose thread they are said.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use std::ffi::c_int;
#[cfg(target_arch = "x86_64")]
use std::ffi::{CStr, c_char, c_void};

use ffmpeg_sys_next as ffi;

/// Lines that wait to be taken.
const KEPT: usize = 200;
/// Bytes of a line; what goes on and on is cut.
const MAX_LINE: usize = 2048;

thread_local! {
    static LINES: RefCell<Option<Book>> = const { RefCell::new(None) };
    /// A line of which the end was not said yet, and whether the next words begin a line.
    static PARTIAL: RefCell<(String, c_int)> = const { RefCell::new((String::new(), 1)) };
}

/// Those of the attempts of this process. What a thread says that is nobody's, such as a codec's, is said
/// of the only attempt there is; of several, nobody knows whose it is.
static ATTEMPTS: Mutex<Vec<Book>> = Mutex::new(Vec::new());

type Book = Arc<Mutex<Lines>>;

#[derive(Debug, Default)]
struct Lines {
    fresh: VecDeque<Line>,
    last_error: Option<String>,
}

/// One line of a library.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) text: String,
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Something does not work.
    Error,
    /// Something may not be as wanted.
    Warning,
    /// What a library says of its work.
    Detail,
}

impl Level {
    /// As the log of a job has it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warn",
            Self::Detail => "debug",
        }
    }
}

/// Collects what is said on this thread while it lives, and on threads that are nobody's while there
/// is no other.
pub(crate) struct Collector {
    own: Book,
    outer: Option<Book>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        let own = Book::default();
        let outer = LINES.with(|lines| lines.borrow_mut().replace(Arc::clone(&own)));
        if outer.is_none() {
            attempts().push(Arc::clone(&own));
        }
        Self { own, outer }
    }

    /// What was said since the last call.
    pub(crate) fn take() -> Vec<Line> {
        here(|lines| lines.fresh.drain(..).collect()).unwrap_or_default()
    }

    /// Whether a line that was not taken yet holds these words.
    pub(crate) fn said(words: &str) -> bool {
        here(|lines| lines.fresh.iter().any(|line| line.text.contains(words))).unwrap_or(false)
    }

    /// The last error said, taken or not.
    pub(crate) fn last_error() -> Option<String> {
        here(|lines| lines.last_error.clone()).flatten()
    }
}

/// What this thread's collector has.
fn here<T>(read: impl FnOnce(&mut Lines) -> T) -> Option<T> {
    LINES.with(|lines| lines.borrow().as_ref().map(|book| read(&mut open(book))))
}

fn open(book: &Book) -> MutexGuard<'_, Lines> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

fn attempts() -> MutexGuard<'static, Vec<Book>> {
    ATTEMPTS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Collector {
    fn drop(&mut self) {
        attempts().retain(|book| !Arc::ptr_eq(book, &self.own));
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

/// What is said while streams are searched for, and what nobody can act upon.
#[cfg(target_arch = "x86_64")]
const OF_SEARCHING: [&str; 2] =
    ["Consider increasing the value for the 'analyzeduration'", "no TS found at start of file"];

#[cfg(target_arch = "x86_64")]
fn say(level: c_int, text: String) {
    if !text.contains(char::is_alphabetic) {
        return;
    }
    tracing::debug!(target: "libav", level, "{text}");
    let level = if OF_SEARCHING.iter().any(|words| text.contains(words)) {
        Level::Detail
    } else if level <= ffi::AV_LOG_ERROR {
        Level::Error
    } else if level <= ffi::AV_LOG_WARNING {
        Level::Warning
    } else {
        Level::Detail
    };
    remember(Line { level, text });
}

#[cfg(target_arch = "x86_64")]
fn remember(line: Line) {
    // A panic must not cross into C: try_with and try_borrow answer instead.
    let own = LINES.try_with(|lines| lines.try_borrow().ok().and_then(|book| book.clone())).ok().flatten();
    let book = own.or_else(|| match attempts().as_slice() {
        [only] => Some(Arc::clone(only)),
        _ => None,
    });
    if let Some(book) = book {
        open(&book).keep(line);
    }
}

impl Lines {
    fn keep(&mut self, line: Line) {
        if line.level == Level::Error {
            self.last_error = Some(line.text.clone());
        }
        if self.fresh.len() == KEPT {
            // What only tells makes no room for itself.
            if line.level == Level::Detail {
                return;
            }
            self.fresh.pop_front();
        }
        self.fresh.push_back(line);
    }
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
    fn lines_of_codec_threads_are_those_of_the_only_attempt() {
        let line = |text: &str| Line { level: Level::Warning, text: text.to_owned() };
        let texts = || Collector::take().into_iter().map(|line| line.text).collect::<Vec<_>>();
        // Other tests of this process may have attempts under way; this thread's own lines are always its own.
        let outer = Collector::start();
        remember(line("own"));
        {
            let _inner = Collector::start();
            remember(line("inner"));
            assert_eq!(texts(), ["inner"]);
        }
        assert_eq!(texts(), ["own"]);
        let book = Arc::clone(&outer.own);
        assert!(attempts().iter().any(|other| Arc::ptr_eq(other, &book)));
        for number in 0..KEPT + 3 {
            open(&book).keep(Line { level: Level::Detail, text: number.to_string() });
        }
        open(&book).keep(line("last"));
        let kept = texts();
        assert_eq!((kept.len(), kept.last().unwrap().as_str()), (KEPT, "last"));
        drop(outer);
        assert!(!attempts().iter().any(|other| Arc::ptr_eq(other, &book)));
    }

    #[test]
    fn addresses_go_and_names_stay() {
        assert_eq!(strip_address("[libx264 @ 0x5581f0] a line"), "libx264: a line");
        assert_eq!(strip_address("[NULL @ 0x5581f0] a line"), "a line");
        assert_eq!(strip_address("[mpegts @ 0x5581f0]"), "");
        assert_eq!(strip_address("a line"), "a line");
    }
}
