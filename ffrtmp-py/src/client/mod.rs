//! The client of a master: one file per verb, each with a call and its asynchronous twin. What they
//! return is plain JSON; the Python classes give it names.

mod cancel;
mod connect;
mod events;
mod get;
mod health;
mod list;
mod logs;
mod nodes;
mod patience;
mod pause;
mod resume;
mod retry;
mod submit;
mod submit_batch;
mod wait;

use pyo3::prelude::*;

pub(crate) use connect::Client;

/// A verb about one job and its twin: `name(client, id)` and `name_async(client, id)`.
macro_rules! about_job {
    ($name:ident, $twin:ident, $method:ident, $doc:literal) => {
        #[doc = $doc]
        #[pyo3::pyfunction]
        pub(super) fn $name(
            py: pyo3::Python<'_>,
            client: &crate::client::Client,
            id: crate::client::connect::Named,
        ) -> pyo3::PyResult<pyo3::Py<pyo3::PyAny>> {
            use crate::runtime::Give as _;
            crate::runtime::now(py, work(client.here(py)?, id.0))?.give(py)
        }

        #[doc = $doc]
        #[pyo3::pyfunction]
        pub(super) fn $twin<'py>(
            py: pyo3::Python<'py>,
            client: &crate::client::Client,
            id: crate::client::connect::Named,
        ) -> pyo3::PyResult<pyo3::Bound<'py, pyo3::PyAny>> {
            crate::runtime::later(py, work(client.here(py)?, id.0))
        }

        async fn work(client: ffrtmp::transport::http::MasterClient, id: String) -> ffrtmp::Result<serde_json::Value> {
            crate::value::json(&client.$method(&id).await?)
        }
    };
}
use about_job;

/// Adds the verbs to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Client>()?;
    module.add_class::<events::Events>()?;
    module.add_class::<logs::Log>()?;
    macro_rules! add {
        ($($file:ident: $($function:ident)*;)*) => {
            $($(module.add_function(wrap_pyfunction!($file::$function, module)?)?;)*)*
        };
    }
    add! {
        cancel: cancel cancel_async;
        events: events next_event next_event_async;
        get: get get_async;
        health: health health_async;
        list: list list_async;
        logs: logs logs_async follow_logs next_lines next_lines_async;
        nodes: nodes nodes_async;
        pause: pause pause_async;
        resume: resume resume_async;
        retry: retry retry_async;
        submit: submit submit_async;
        submit_batch: submit_batch submit_batch_async;
        wait: wait wait_async;
    }
    Ok(())
}
