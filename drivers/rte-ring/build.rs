//! Makes `cfg(loom)` known to the compiler. Which tests it selects is `src/tests.rs`'s.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(loom)");
}
