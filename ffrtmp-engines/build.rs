//! Passes the version of the FFmpeg libraries on as `cfg(feature = "ffmpeg_6_1")` and so on, since
//! a few fields and signatures that `libav/sys` touches differ between versions.

use std::env;

fn main() {
    for (name, value) in env::vars() {
        if let Some(version) = name.strip_prefix("DEP_FFMPEG_FFMPEG_") {
            let feature = format!("ffmpeg_{}", version.to_lowercase());
            if value == "true" {
                println!("cargo:rustc-cfg=feature=\"{feature}\"");
            }
            println!("cargo:rustc-check-cfg=cfg(feature, values(\"{feature}\"))");
        }
    }
    println!("cargo:rerun-if-changed=build.rs");
}
