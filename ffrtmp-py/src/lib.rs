//! Python bindings: the functions behind the package `ffrtmp`. The Python side adds names, types and
//! displays; everything that works is in the Rust crates.

mod client;
mod cluster;
mod error;
mod probe;
mod request;
mod runtime;
mod transcode;
mod value;
mod wishes;
mod words;

use pyo3::prelude::*;

#[pymodule]
fn _ffrtmp(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("CODES", error::codes(module.py())?)?;
    module.add("VIDEO_ENCODERS", wishes::video_encoders(module.py())?)?;
    module.add_class::<cluster::Cluster>()?;
    module.add_class::<transcode::Cancel>()?;
    macro_rules! add {
        ($($file:ident: $($function:ident)*;)*) => {
            $($(module.add_function(wrap_pyfunction!($file::$function, module)?)?;)*)*
        };
    }
    add! {
        cluster: start_cluster stop_cluster stop_cluster_async;
        probe: probe probe_async;
        request: read_path;
        runtime: error_of leave;
        transcode: transcode transcode_async plan plan_async;
        wishes: check read_scenario read_ladder;
    }
    client::add(module)?;
    module.py().import("atexit")?.call_method1("register", (module.getattr("leave")?,)).map(drop)
}
