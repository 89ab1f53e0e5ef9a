//! Byte streams under libav's formats: plain files that we opened ourselves.
//!
//! libav never sees a path or a protocol. A file inside a file (playlists, external tracks) asks
//! for `io_open`, which is refused.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::ptr::{self, NonNull};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ffmpeg_sys_next as ffi;
use ffrtmp_core::engine::Control;
use libc::{c_int, c_void};

use super::AvError;
use super::parts::Parts;

const BUFFER: usize = 1 << 16;

/// Tells blocking calls of libav to give up: on cancel, or at a deadline.
pub(crate) struct Guard {
    control: Control,
    deadline: Mutex<Option<Instant>>,
}

impl Guard {
    pub(crate) fn new(control: Control) -> Self {
        Self { control, deadline: Mutex::new(None) }
    }

    /// Calls from now on have this long; `None` as long as they need.
    pub(crate) fn allow(&self, time: Option<Duration>) {
        *self.deadline.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            time.and_then(|time| Instant::now().checked_add(time));
    }

    pub(crate) fn is_late(&self) -> bool {
        let deadline = *self.deadline.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn stops(&self) -> bool {
        self.control.is_canceled() || self.is_late()
    }
}

/// What `AVFormatContext.interrupt_callback` calls; `opaque` is the [`Guard`].
pub(super) unsafe extern "C" fn interrupted(opaque: *mut c_void) -> c_int {
    // SAFETY: whoever set the callback keeps the guard alive longer than the context.
    let guard = unsafe { &*opaque.cast_const().cast::<Guard>() };
    c_int::from(guard.stops())
}

/// Refuses every file that a format wants to open besides its own.
pub(super) unsafe extern "C" fn refuse_open(
    _: *mut ffi::AVFormatContext,
    stream: *mut *mut ffi::AVIOContext,
    _: *const libc::c_char,
    _: c_int,
    _: *mut *mut ffi::AVDictionary,
) -> c_int {
    // SAFETY: libav passes a valid place for the result.
    unsafe { *stream = ptr::null_mut() };
    ffi::AVERROR(libc::EPERM)
}

/// What libav reads.
pub(super) struct Source {
    parts: Parts,
    position: u64,
    guard: NonNull<Guard>,
    /// Bytes that may still be read, where that is bounded.
    budget: Option<u64>,
    pub(super) bytes_read: u64,
    pub(super) fault: Option<io::Error>,
}

/// Where bytes go that libav writes.
pub(super) struct Sink {
    target: Target,
    position: u64,
    pub(super) end: u64,
    limit: Option<u64>,
    pub(super) over_limit: bool,
    pub(super) fault: Option<io::Error>,
}

enum Target {
    File(File),
    /// Collected until they are taken.
    Memory(Vec<u8>),
}

/// An `AVIOContext` with the file it reads or writes.
pub(super) struct Io<F> {
    context: *mut ffi::AVIOContext,
    state: *mut F,
}

// SAFETY: both pointers are owned; the files behind them may move between threads.
unsafe impl<F: Send> Send for Io<F> {}
// SAFETY: a guard is Sync, and the pointer to it is only read.
unsafe impl Send for Source {}

impl Source {
    pub(super) fn len(&self) -> u64 {
        self.parts.len()
    }
}

impl Io<Source> {
    /// `guard` must outlive the result.
    pub(super) fn reading(parts: Parts, guard: &Guard) -> Result<Self, AvError> {
        let guard = NonNull::from(guard);
        let state = Source { parts, position: 0, guard, budget: None, bytes_read: 0, fault: None };
        Self::build(state, |buffer, state| {
            // SAFETY: buffer and state outlive the context; the callbacks match the state's type.
            unsafe { ffi::avio_alloc_context(buffer, BUFFER as c_int, 0, state, Some(read), None, Some(seek_source)) }
        })
    }

    /// Lets no more than this be read from now on; `None` as much as there is.
    pub(super) fn allow(&mut self, bytes: Option<u64>) {
        self.state_mut().budget = bytes;
    }

    /// What a file has at a position; nobody is told that it was read.
    pub(super) fn peek(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let source = self.state_mut();
        // SAFETY: the guard outlives the context.
        if unsafe { source.guard.as_ref() }.stops() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        source.parts.read_at(position, buffer)
    }

    /// What was read, given back once nothing reads it any more.
    pub(super) fn take_parts(&mut self) -> Parts {
        std::mem::take(&mut self.state_mut().parts)
    }
}

impl Io<Sink> {
    /// Refuses to grow the file beyond `limit` bytes.
    pub(super) fn writing(file: File, limit: Option<u64>) -> Result<Self, AvError> {
        // Who reads a pipe waits for every packet; a file takes them by the buffer.
        let at_once = file.metadata().map_or(0, |metadata| if metadata.is_file() { BUFFER as c_int } else { 0 });
        Self::build(Sink::new(Target::File(file), limit), |buffer, state| {
            // SAFETY: as for reading; a context that was made is ours to set.
            unsafe {
                let context =
                    ffi::avio_alloc_context(buffer, BUFFER as c_int, 1, state, None, Some(write), Some(seek_sink));
                if let Some(context) = context.as_mut() {
                    context.min_packet_size = at_once;
                }
                context
            }
        })
    }

    /// Collects bytes in memory, for formats that never go back.
    pub(super) fn collecting() -> Result<Self, AvError> {
        Self::build(Sink::new(Target::Memory(Vec::new()), None), |buffer, state| {
            // SAFETY: as for reading.
            unsafe { ffi::avio_alloc_context(buffer, BUFFER as c_int, 1, state, None, Some(write), None) }
        })
    }

    /// What was collected since the last call; nothing from a file.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.flush();
        // SAFETY: the box lives as long as self; callbacks run only inside calls of libav, and the
        // flush is over.
        match unsafe { &mut (*self.state).target } {
            Target::File(_) => Vec::new(),
            Target::Memory(bytes) => std::mem::take(bytes),
        }
    }

    /// Hands what is buffered to the file.
    pub(super) fn flush(&mut self) {
        // SAFETY: the context is valid.
        unsafe { ffi::avio_flush(self.context) };
    }
}

impl Sink {
    fn new(target: Target, limit: Option<u64>) -> Self {
        Self { target, position: 0, end: 0, limit, over_limit: false, fault: None }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Memory(memory) => memory.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<F> Io<F> {
    fn build(state: F, make: impl FnOnce(*mut u8, *mut c_void) -> *mut ffi::AVIOContext) -> Result<Self, AvError> {
        let state = Box::into_raw(Box::new(state));
        // SAFETY: plain allocation of the size given.
        let buffer = unsafe { ffi::av_malloc(BUFFER) }.cast::<u8>();
        let context = if buffer.is_null() { ptr::null_mut() } else { make(buffer, state.cast()) };
        if context.is_null() {
            // SAFETY: both were allocated above and nobody else has them.
            unsafe {
                ffi::av_free(buffer.cast());
                drop(Box::from_raw(state));
            }
            return Err(AvError::MEMORY);
        }
        Ok(Self { context, state })
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::AVIOContext {
        self.context
    }

    pub(super) fn state(&self) -> &F {
        // SAFETY: the box lives as long as self; callbacks run only inside calls that borrow the
        // owner of self mutably.
        unsafe { &*self.state }
    }

    fn state_mut(&mut self) -> &mut F {
        // SAFETY: as above, and self is borrowed mutably.
        unsafe { &mut *self.state }
    }
}

impl<F> Drop for Io<F> {
    fn drop(&mut self) {
        // SAFETY: libav may have replaced the buffer, so the current one is freed; then the context
        // and the state, each once.
        unsafe {
            ffi::av_freep((&raw mut (*self.context).buffer).cast());
            ffi::avio_context_free(&raw mut self.context);
            drop(Box::from_raw(self.state));
        }
    }
}

unsafe extern "C" fn read(opaque: *mut c_void, buffer: *mut u8, size: c_int) -> c_int {
    // SAFETY: opaque is the state given at creation; buffer has room for size bytes.
    let (source, buffer) = unsafe {
        (&mut *opaque.cast::<Source>(), std::slice::from_raw_parts_mut(buffer, usize::try_from(size).unwrap_or(0)))
    };
    // SAFETY: the guard outlives the context.
    if unsafe { source.guard.as_ref() }.stops() {
        return ffi::AVERROR_EXIT;
    }
    let room =
        source.budget.map_or(buffer.len(), |budget| buffer.len().min(usize::try_from(budget).unwrap_or(usize::MAX)));
    if room == 0 {
        return ffi::AVERROR(libc::ENOMEM);
    }
    match source.parts.read_at(source.position, &mut buffer[..room]) {
        Ok(0) => ffi::AVERROR_EOF,
        Ok(count) => {
            source.position += count as u64;
            source.bytes_read += count as u64;
            source.budget = source.budget.map(|budget| budget - count as u64);
            c_int::try_from(count).unwrap_or(c_int::MAX)
        }
        Err(error) => {
            source.fault = Some(error);
            ffi::AVERROR(libc::EIO)
        }
    }
}

#[cfg(feature = "ffmpeg_7_0")]
type Written = *const u8;
#[cfg(not(feature = "ffmpeg_7_0"))]
type Written = *mut u8;

unsafe extern "C" fn write(opaque: *mut c_void, buffer: Written, size: c_int) -> c_int {
    // SAFETY: opaque is the state given at creation; buffer holds size bytes.
    let (sink, buffer) = unsafe {
        (&mut *opaque.cast::<Sink>(), std::slice::from_raw_parts(buffer, usize::try_from(size).unwrap_or(0)))
    };
    let end = sink.position + buffer.len() as u64;
    if sink.limit.is_some_and(|limit| end > limit) {
        sink.over_limit = true;
        return ffi::AVERROR(libc::EFBIG);
    }
    match sink.target.write_all(buffer) {
        Ok(()) => {
            sink.position = end;
            sink.end = sink.end.max(end);
            size
        }
        Err(error) => {
            let code = error.raw_os_error().unwrap_or(libc::EIO);
            sink.fault.get_or_insert(error);
            ffi::AVERROR(code)
        }
    }
}

unsafe extern "C" fn seek_source(opaque: *mut c_void, offset: i64, whence: c_int) -> i64 {
    // SAFETY: opaque is the state given at creation.
    let source = unsafe { &mut *opaque.cast::<Source>() };
    let base = match whence & !ffi::AVSEEK_FORCE {
        ffi::AVSEEK_SIZE => return i64::try_from(source.parts.len()).unwrap_or(i64::MAX),
        libc::SEEK_SET => Some(0),
        libc::SEEK_CUR => i64::try_from(source.position).ok(),
        libc::SEEK_END => i64::try_from(source.parts.len()).ok(),
        _ => None,
    };
    let Some(position) = base.and_then(|base| u64::try_from(base.checked_add(offset)?).ok()) else {
        return i64::from(ffi::AVERROR(libc::EINVAL));
    };
    source.position = position;
    i64::try_from(position).unwrap_or(i64::from(ffi::AVERROR(libc::EINVAL)))
}

unsafe extern "C" fn seek_sink(opaque: *mut c_void, offset: i64, whence: c_int) -> i64 {
    // SAFETY: opaque is the state given at creation.
    let sink = unsafe { &mut *opaque.cast::<Sink>() };
    let Target::File(file) = &mut sink.target else { return i64::from(ffi::AVERROR(libc::ENOSYS)) };
    let position = seek(file, offset, whence);
    if whence & ffi::AVSEEK_SIZE == 0
        && let Ok(position) = u64::try_from(position)
    {
        sink.position = position;
    }
    position
}

fn seek(file: &mut File, offset: i64, whence: c_int) -> i64 {
    let result = match whence & !ffi::AVSEEK_FORCE {
        ffi::AVSEEK_SIZE => file.metadata().map(|metadata| metadata.len()),
        libc::SEEK_SET => match u64::try_from(offset) {
            Ok(offset) => file.seek(SeekFrom::Start(offset)),
            Err(_) => return i64::from(ffi::AVERROR(libc::EINVAL)),
        },
        libc::SEEK_CUR => file.seek(SeekFrom::Current(offset)),
        libc::SEEK_END => file.seek(SeekFrom::End(offset)),
        _ => return i64::from(ffi::AVERROR(libc::EINVAL)),
    };
    result.ok().and_then(|position| i64::try_from(position).ok()).unwrap_or(i64::from(ffi::AVERROR(libc::EIO)))
}
