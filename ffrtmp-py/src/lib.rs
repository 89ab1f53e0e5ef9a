//! Python bindings: the functions behind the package `ffrtmp`. The Python side adds names and
//! documentation; everything that works is in the Rust crates.

mod error;
mod transcode;

use pyo3::prelude::*;

#[pymodule]
fn _ffrtmp(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("FfrtmpError", module.py().get_type::<error::FfrtmpError>())?;
    module.add_function(wrap_pyfunction!(transcode::transcode, module)?)?;
    Ok(())
}
