//! Stamps where a build comes from into the library: commit, compiler, target features, DPDK's version.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for head in ["HEAD", "index"] {
        if let Some(path) = output("git", &["rev-parse", "--git-path", head]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let unknown = || "unknown".to_owned();
    let dirty = output("git", &["status", "--porcelain", "--untracked-files=no"])
        .is_some_and(|text| !text.is_empty());
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(unknown);
    let compiler = output(&env::var("RUSTC").unwrap_or_else(|_| "rustc".into()), &["--version"]);
    let dpdk = match env::var_os("CARGO_FEATURE_DPDK") {
        Some(_) => output("pkg-config", &["--modversion", "libdpdk"]).unwrap_or_else(unknown),
        None => "none".to_owned(),
    };
    stamp("COMMIT", &format!("{commit}{}", if dirty { "+changes" } else { "" }));
    stamp("RUSTC", &compiler.unwrap_or_else(unknown));
    stamp("TARGET_FEATURES", &env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default());
    stamp("DPDK", &dpdk);
}

fn stamp(name: &str, value: &str) {
    println!("cargo::rustc-env=CORELANE_{name}={value}");
}

/// What a command printed, if it is there and succeeded.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
