//! Tells the code which CPython it is built for, and itself what it was built with.

use std::process::Command;

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = Command::new(rustc).arg("--version").output();
    let version = version.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    println!("cargo:rustc-env=AIOXIDE_RUSTC={}", version.unwrap_or_else(|_| "unknown".into()));
    println!("cargo:rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    println!("cargo:rustc-check-cfg=cfg(profile_guided)");
    if flags.contains("profile-use") {
        println!("cargo:rustc-cfg=profile_guided");
    }
    println!("cargo:rustc-env=AIOXIDE_TARGET={}", std::env::var("TARGET").unwrap_or_default());
}
