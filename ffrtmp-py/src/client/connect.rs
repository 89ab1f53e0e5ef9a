//! A connection to a master, and how jobs are named to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use ffrtmp::core::error::{Code, Error};
use ffrtmp::transport::http::{ClientConfig, MasterClient};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt, PyString};

use crate::error::{OrRaise, invalid};
use crate::request::path;
use crate::runtime::handle;
use crate::value::read_text;

/// How to reach a master, and the connections to it. Connections belong to a process: a forked child
/// opens its own.
#[pyclass(frozen)]
pub(crate) struct Client {
    config: ClientConfig,
    opened: Mutex<Option<(u32, MasterClient)>>,
    closed: AtomicBool,
}

impl Client {
    /// The client of this process.
    pub(super) fn here(&self, py: Python<'_>) -> PyResult<MasterClient> {
        if self.closed.load(Ordering::Acquire) {
            let closed = Error::new(Code::WrongState, "the client is closed").hint("make another one");
            return Err(closed).or_raise(py);
        }
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let process = std::process::id();
        if let Some((_, client)) = opened.as_ref().filter(|(owner, _)| *owner == process) {
            return Ok(client.clone());
        }
        let runtime = handle().or_raise(py)?;
        let _inside = runtime.enter();
        let client = MasterClient::new(&self.config).or_raise(py)?;
        // The parent's connections are its own to close.
        std::mem::forget(opened.replace((process, client.clone())));
        Ok(client)
    }
}

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (url, api_key, ca, cert, key, insecure_skip_verify))]
    fn new(
        py: Python<'_>,
        url: &Bound<'_, PyString>,
        api_key: Option<&Bound<'_, PyString>>,
        ca: Option<&Bound<'_, PyAny>>,
        cert: Option<&Bound<'_, PyAny>>,
        key: Option<&Bound<'_, PyAny>>,
        insecure_skip_verify: bool,
    ) -> PyResult<Self> {
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some((path(cert, "cert")?, path(key, "key")?)),
            (None, None) => None,
            _ => return Err(invalid(py, "cert", "and key go together", "give both, or neither")),
        };
        let master = read_text(url, "url")?;
        let api_key = api_key.map(|key| read_text(key, "api_key")).transpose()?;
        let ca = ca.map(|file| path(file, "ca")).transpose()?;
        let config = ClientConfig { master, api_key, ca, identity, insecure_skip_verify, pins: None };
        let client = Self { config, opened: Mutex::default(), closed: AtomicBool::new(false) };
        // Addresses and certificates that cannot be used are refused now.
        client.here(py)?;
        Ok(client)
    }

    /// Lets go of the connections; calls that are under way end as they would have.
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        if opened.as_ref().is_some_and(|(owner, _)| *owner != std::process::id()) {
            // As in `here`.
            std::mem::forget(opened);
        }
    }

    /// Address of the master; of several, of the one that answered last.
    #[getter]
    fn url(&self, py: Python<'_>) -> PyResult<String> {
        let url = match self.closed.load(Ordering::Acquire) {
            true => self.config.master.clone(),
            false => self.here(py)?.master().to_owned(),
        };
        Ok(url.trim_end_matches('/').to_owned())
    }
}

/// A job by its id, a unique prefix of it, its sequence number, or itself.
pub(crate) struct Named(pub(crate) String);

impl<'py> FromPyObject<'_, 'py> for Named {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let py = given.py();
        let wrong = |what: &str| invalid(py, "job", what, "give a Job, its id, or its sequence number");
        if given.hasattr("__ffrtmp__")? {
            return given.call_method0("__ffrtmp__")?.extract::<String>().map(Self);
        }
        let number = given.is_instance_of::<PyInt>() && !given.is_instance_of::<PyBool>();
        let name = match given.cast::<PyString>() {
            Ok(name) => read_text(&name, "job")?,
            Err(_) if number => given.extract::<u64>().map_err(|_| wrong("is not the number of a job"))?.to_string(),
            Err(_) => return Err(wrong("is not the name of a job")),
        };
        match name {
            name if name.is_empty() || name.contains(['/', '?', '#', '%']) => Err(wrong("is not the name of a job")),
            name => Ok(Self(name)),
        }
    }
}
