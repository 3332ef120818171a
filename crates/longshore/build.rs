//! Links the static binary at a fixed address.
//!
//! A position-independent one is relocated by every process as it starts, which makes over a megabyte of it private:
//! per shim, more than a shim itself takes. Where the linker is LLVM's, as on x86-64, it also makes functions of the same
//! code one, which saves a twentieth of the binary; GNU's has no such thing.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = |name: &str| std::env::var(name).unwrap_or_default();
    let is_static = target("CARGO_CFG_TARGET_FEATURE").split(',').any(|feature| feature == "crt-static");
    if is_static && target("CARGO_CFG_TARGET_OS") == "linux" && target("CARGO_CFG_TARGET_ENV") == "gnu" {
        println!("cargo:rustc-link-arg-bins=-static");
        println!("cargo:rustc-link-arg-bins=-no-pie");
        if target("CARGO_CFG_TARGET_ARCH") == "x86_64" {
            println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
        }
    }
}
