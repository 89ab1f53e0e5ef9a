//! One runtime for the whole package, and the two ways to wait for what runs on it: [`now`] for
//! calls and [`later`] for awaitables. Both release the interpreter while work goes on.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ffrtmp::core::engine::Control;
use ffrtmp::{Code, Error, Result};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::Value;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinError, JoinHandle};

use crate::error::{crashed, exception, raised};
use crate::value::to_python;

/// Between looks at Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// The runtime of this process. A fork takes no threads along, so a forked child gets its own.
pub(crate) fn handle() -> Result<Handle> {
    static RUNTIME: Mutex<Option<(u32, Runtime)>> = Mutex::new(None);
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if let Some((_, runtime)) = runtime.as_ref().filter(|(owner, _)| *owner == process) {
        return Ok(runtime.handle().clone());
    }
    let made = Builder::new_multi_thread()
        .thread_name("ffrtmp")
        .enable_all()
        .build()
        .map_err(|error| Error::new(Code::Internal, "cannot start the runtime").source(error))?;
    let handle = made.handle().clone();
    // The threads of the parent's runtime are not here to be joined.
    std::mem::forget(runtime.replace((process, made)));
    Ok(handle)
}

/// The last thing that was said about work under way, for a callback.
#[derive(Clone, Default)]
pub(crate) struct Teller(Arc<Told>);

#[derive(Default)]
struct Told {
    last: Mutex<Option<Value>>,
    changed: Notify,
}

impl Teller {
    /// Says it; what was said before and not heard yet is forgotten.
    pub(crate) fn tell(&self, what: Value) {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
        self.0.changed.notify_one();
    }

    fn take(&self) -> Option<Value> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Who listens to work, and how it is stopped.
#[derive(Default)]
pub(crate) struct Attendance {
    /// Called with what is told.
    pub(crate) callback: Option<Py<PyAny>>,
    /// Tells it.
    pub(crate) teller: Teller,
    /// Stops work that must end by itself and be waited for; other work is just dropped.
    pub(crate) control: Option<Control>,
}

/// Waits for work. Ctrl-C, and an exception of the callback, stop it first and are raised then.
pub(crate) fn now<T: Send + 'static>(
    py: Python<'_>,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> PyResult<T> {
    now_attended(py, work, &Attendance::default())
}

/// The same with a listener.
pub(crate) fn now_attended<T: Send + 'static>(
    py: Python<'_>,
    work: impl Future<Output = Result<T>> + Send + 'static,
    attendance: &Attendance,
) -> PyResult<T> {
    let handle = handle().map_err(|error| raised(py, error))?;
    let mut task = handle.spawn(work);
    loop {
        match py.detach(|| handle.block_on(next(&mut task, &attendance.teller))) {
            Next::Ended(ended) => {
                let last = tell(py, attendance);
                return ended
                    .unwrap_or_else(|error| Err(crashed(error)))
                    .map_err(|error| raised(py, error))
                    .and_then(|value| last.map(|()| value));
            }
            Next::Told | Next::Time => {}
        }
        if let Err(interrupt) = py.check_signals().and_then(|()| tell(py, attendance)) {
            stop(py, &handle, task, attendance);
            return Err(interrupt);
        }
    }
}

enum Next<T> {
    Ended(std::result::Result<Result<T>, JoinError>),
    Told,
    Time,
}

async fn next<T>(task: &mut JoinHandle<Result<T>>, teller: &Teller) -> Next<T> {
    tokio::select! {
        biased;
        ended = task => Next::Ended(ended),
        () = teller.0.changed.notified() => Next::Told,
        () = tokio::time::sleep(SIGNAL_INTERVAL) => Next::Time,
    }
}

fn tell(py: Python<'_>, attendance: &Attendance) -> PyResult<()> {
    let Some(callback) = &attendance.callback else { return Ok(()) };
    let Some(what) = attendance.teller.take() else { return Ok(()) };
    callback.call1(py, (to_python(py, &what)?,)).map(drop)
}

/// Ends work. What it would have said no longer matters.
fn stop<T: Send + 'static>(py: Python<'_>, handle: &Handle, task: JoinHandle<Result<T>>, attendance: &Attendance) {
    match &attendance.control {
        Some(control) => control.cancel(),
        None => task.abort(),
    }
    drop(py.detach(|| handle.block_on(task)));
}

/// Starts work and returns an asyncio future of the running loop. Canceling the future drops the work.
pub(crate) fn later<'py, T: Give>(
    py: Python<'py>,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> PyResult<Bound<'py, PyAny>> {
    later_attended(py, work, Attendance::default())
}

/// The same with a listener, which is called in the loop. Work with a control is told to stop and
/// ends by itself; its future must not be canceled.
pub(crate) fn later_attended<'py, T: Give>(
    py: Python<'py>,
    work: impl Future<Output = Result<T>> + Send + 'static,
    attendance: Attendance,
) -> PyResult<Bound<'py, PyAny>> {
    let handle = handle().map_err(|error| raised(py, error))?;
    let event_loop = py.import("asyncio")?.call_method0("get_running_loop")?;
    let future = event_loop.call_method0("create_future")?;
    let awaited = Awaited { event_loop: event_loop.unbind(), future: future.clone().unbind() };
    let task = handle.spawn(async move {
        let mut work = std::pin::pin!(work);
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = &mut work => break outcome,
                () = attendance.teller.0.changed.notified() => awaited.tell(&attendance),
            }
        };
        awaited.tell(&attendance);
        awaited.resolve(outcome);
    });
    future.call_method1("add_done_callback", (Canceler(task.abort_handle()),))?;
    Ok(future)
}

/// Work that is in the interpreter, from threads that are not its own.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// Whether the interpreter is about to end: nobody goes in any more.
static LEAVING: AtomicBool = AtomicBool::new(false);

/// Does something in the interpreter, unless it ends. A thread that waits for the lock of an
/// interpreter that has ended is ended by it, through frames that cannot be unwound.
fn inside<T>(work: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    struct Counted;
    impl Drop for Counted {
        fn drop(&mut self) {
            INSIDE.fetch_sub(1, Ordering::SeqCst);
        }
    }
    INSIDE.fetch_add(1, Ordering::SeqCst);
    let _counted = Counted;
    if LEAVING.load(Ordering::SeqCst) { None } else { Python::try_attach(work) }
}

/// Waits until no thread of ours is in the interpreter. Called when it is about to end.
#[pyfunction]
pub(crate) fn leave(py: Python<'_>) {
    LEAVING.store(true, Ordering::SeqCst);
    py.detach(|| {
        while INSIDE.load(Ordering::SeqCst) > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

/// What Python gets of a value.
pub(crate) trait Give: Send + 'static {
    fn give(self, py: Python<'_>) -> PyResult<Py<PyAny>>;
}

impl Give for Value {
    fn give(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        to_python(py, &self).map(Bound::unbind)
    }
}

struct Awaited {
    event_loop: Py<PyAny>,
    future: Py<PyAny>,
}

impl Awaited {
    /// Hands the outcome to the loop. Nobody hears it if the loop or the interpreter has ended.
    fn resolve<T: Give>(&self, outcome: Result<T>) {
        let _ = inside(|py| {
            let (value, error) = match outcome {
                Ok(value) => match value.give(py) {
                    Ok(value) => (value, py.None()),
                    Err(error) => (py.None(), error.into_value(py).into_any()),
                },
                Err(error) => {
                    let error = raised(py, error).into_value(py);
                    (py.None(), error.into_any())
                }
            };
            let resolve = Resolve.into_pyobject(py)?;
            self.event_loop.call_method1(py, "call_soon_threadsafe", (resolve, &self.future, value, error)).map(drop)
        });
    }

    fn tell(&self, attendance: &Attendance) {
        let (Some(callback), Some(what)) = (&attendance.callback, attendance.teller.take()) else { return };
        let _ = inside(|py| {
            let what = to_python(py, &what)?;
            self.event_loop.call_method1(py, "call_soon_threadsafe", (callback, what)).map(drop)
        });
    }
}

/// Sets the outcome of a future, in its loop.
#[pyclass(frozen)]
struct Resolve;

#[pymethods]
impl Resolve {
    fn __call__(&self, future: &Bound<'_, PyAny>, value: Py<PyAny>, error: Py<PyAny>) -> PyResult<()> {
        if future.call_method0("done")?.extract()? {
            return Ok(());
        }
        let py = future.py();
        match error.is_none(py) {
            true => future.call_method1("set_result", (value,)).map(drop),
            false => future.call_method1("set_exception", (error,)).map(drop),
        }
    }
}

/// Drops work whose future was canceled.
#[pyclass(frozen)]
struct Canceler(AbortHandle);

#[pymethods]
impl Canceler {
    fn __call__(&self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        if future.call_method0("cancelled")?.extract()? {
            self.0.abort();
        }
        Ok(())
    }
}

/// A job's error as an exception, for values that hold one.
#[pyfunction]
pub(crate) fn error_of<'py>(py: Python<'py>, told: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
    let text = |key: &str| -> PyResult<String> {
        told.get_item(key)?.map_or_else(|| Ok(String::new()), |value| value.extract())
    };
    let code = Code::from_name(&text("code")?).unwrap_or(Code::Internal);
    exception(py, Error::new(code, text("message")?).hint(text("hint")?))
}
