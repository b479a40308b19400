//! Where this build comes from. `build.rs` finds it out.

use std::fmt;

/// Commit, compiler, target features and DPDK's version of a build.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Provenance {
    /// Version of the library.
    pub version: &'static str,
    /// The commit, with `+changes` if the tree had any; `unknown` outside a repository.
    pub commit: &'static str,
    /// The compiler.
    pub rustc: &'static str,
    /// What the code may assume of the processor.
    pub target_features: &'static str,
    /// DPDK's version; `none` if built without it.
    pub dpdk: &'static str,
}

/// Where this build comes from.
pub const PROVENANCE: Provenance = Provenance {
    version: env!("CARGO_PKG_VERSION"),
    commit: env!("CORELANE_COMMIT"),
    rustc: env!("CORELANE_RUSTC"),
    target_features: env!("CORELANE_TARGET_FEATURES"),
    dpdk: env!("CORELANE_DPDK"),
};

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Provenance { version, commit, rustc, target_features: _, dpdk } = self;
        write!(f, "{version} ({commit}; {rustc}; DPDK {dpdk})")
    }
}
