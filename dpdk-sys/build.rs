//! Finds DPDK, checks its version, makes the bindings and compiles the shim.
//!
//! What is bound is listed here; what the shim adds is in `c/shim.h`. A machine without DPDK gets the
//! checked-in bindings, which are enough for `cargo check` and for documentation, but not for linking.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest release whose ABI the shim and the header layout were checked against.
const VERSION_MIN: (u32, u32) = (22, 11);

/// The bindings for machines without DPDK, and what the test compares a fresh copy with.
const CHECKED_IN: &str = "src/bindings_22_11.rs";

/// The release that the checked-in bindings were made from.
const CHECKED_IN_VERSION: (u32, u32) = (22, 11);

/// What the bindings and the shim call. `--as-needed` is no help with drivers: they are plug-ins that
/// the EAL loads itself.
const LIBRARIES: [&str; 5] = ["rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring", "rte_eal"];

/// Archives that register themselves as the program starts, drivers and buses above all, and so are linked whole: nothing
/// refers to them.
const WHOLE: [&str; 22] = [
    "rte_bus_pci",
    "rte_bus_vdev",
    "rte_mempool_ring",
    "rte_net_af_packet",
    "rte_net_af_xdp",
    "rte_net_e1000",
    "rte_net_i40e",
    "rte_net_ixgbe",
    "rte_net_memif",
    "rte_net_null",
    "rte_net_pcap",
    "rte_net_ring",
    "rte_net_tap",
    "rte_net_virtio",
    "rte_eal",
    "rte_ethdev",
    "rte_hash",
    "rte_mbuf",
    "rte_mempool",
    "rte_ring",
    "rte_security",
    "rte_telemetry",
];

/// Archives of which these need parts, each before those that it needs itself.
const PARTS: [&str; 7] =
    ["rte_pci", "rte_gso", "rte_cryptodev", "rte_net", "rte_meter", "rte_rcu", "rte_kvargs"];

/// What archives of DPDK need of the system.
const SYSTEM: [&str; 5] = ["xdp", "bpf", "pcap", "numa", "bsd"];

/// DPDK's real functions; its inline ones are `corelane_*`.
const FUNCTIONS: [&str; 44] = [
    "corelane_.*",
    "rte_dev_dma_map",
    "rte_dev_dma_unmap",
    "rte_dev_probe",
    "rte_dev_remove",
    "rte_eal_alarm_set",
    "rte_eal_has_hugepages",
    "rte_eal_init",
    "rte_eal_iova_mode",
    "rte_eth_allmulticast_enable",
    "rte_eth_dev_close",
    "rte_eth_dev_count_avail",
    "rte_eth_dev_get_name_by_port",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_rss_reta_query",
    "rte_eth_dev_rss_reta_update",
    "rte_eth_dev_rx_intr_(enable|disable|ctl_q_get_fd)",
    "rte_eth_dev_set_mtu",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_dev_get_mtu",
    "rte_eth_xstats_reset",
    "rte_eth_macaddr_get",
    "rte_eth_promiscuous_enable",
    "rte_eth_stats_get",
    "rte_eth_stats_reset",
    "rte_eth_tx_done_cleanup",
    "rte_eth_xstats_get",
    "rte_eth_xstats_get_names",
    "rte_extmem_register",
    "rte_extmem_unregister",
    "rte_free",
    "rte_log_set_global_level",
    "rte_mbuf_dynfield_register_offset",
    "rte_mem_virt2iova",
    "rte_zmalloc_socket",
    "rte_mempool_(avail|in_use)_count",
    "rte_mempool_(free|lookup)",
    "rte_openlog_stream",
    "rte_pktmbuf_pool_create",
    "rte_ring_(create_elem|free)",
    "rte_thread_(un)?register",
    "rte_(strerror|version|socket_id)",
];

const TYPES: [&str; 7] = [
    "rte_eth_stats",
    "rte_eth_xstat",
    "rte_eth_xstat_name",
    "rte_eth_rss_reta_entry64",
    "rte_ether_addr",
    "rte_mbuf_ext_shared_info",
    "corelane_.*",
];

/// Structures that Rust only points to: their fields change between releases.
const POINTED_TO: [&str; 5] = ["_IO_FILE", "rte_device", "rte_mbuf", "rte_mempool", "rte_ring"];

/// Those and what only they hold.
const BLOCKED: [&str; 6] = [
    "_IO_.*",
    "rte_device",
    "rte_mbuf(_sched|__bindgen_ty_.*)?",
    "rte_memzone.*",
    "rte_mempool.*",
    "(__)?rte_ring.*",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rustc-check-cfg=cfg(dpdk_missing)");
    for input in ["build.rs", "c", CHECKED_IN] {
        println!("cargo::rerun-if-changed={input}");
    }
    for variable in ["CORELANE_BLESS_BINDINGS", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let bindings = PathBuf::from(env::var("OUT_DIR")?).join("bindings.rs");
    match find()? {
        Found::Missing => {
            println!("cargo::rustc-cfg=dpdk_missing");
            println!(
                "cargo::warning=DPDK was not found by pkg-config: this build can be checked but not linked. \
                 Install libdpdk-dev, or build without the feature `dpdk`."
            );
            println!("cargo::metadata=VERSION=none");
            fs::copy(CHECKED_IN, &bindings)?;
        }
        Found::Unfit(reason) => {
            // One compile error with the remedy reads better than a build script's back-trace; the
            // checked-in bindings keep further errors away from it.
            println!("cargo::metadata=VERSION=none");
            let rest = fs::read_to_string(CHECKED_IN)?;
            fs::write(&bindings, format!("compile_error!({reason:?});\n{rest}"))?;
        }
        Found::Fit(dpdk) => build(&dpdk, &bindings)?,
    }
    Ok(())
}

/// A DPDK that this crate can be built against.
struct Dpdk {
    version: String,
    numbers: (u32, u32),
    /// As pkg-config prints them: its Rust crate drops `-include rte_config.h` and `-march`.
    cflags: Vec<String>,
    library_folders: Vec<String>,
}

enum Found {
    Missing,
    Unfit(String),
    Fit(Dpdk),
}

fn find() -> Result<Found, Box<dyn Error>> {
    let Some(version) = pkg_config(&["--modversion"]) else {
        return Ok(Found::Missing);
    };
    let version = version.trim().to_owned();
    let numbers = numbers(&version);
    if numbers.is_none_or(|found| found < VERSION_MIN) {
        let (year, month) = VERSION_MIN;
        return Ok(Found::Unfit(format!(
            "DPDK {year:02}.{month:02} or later is needed, and pkg-config found {version}: install the \
             package libdpdk-dev of Debian 12 or later, or point PKG_CONFIG_PATH at a newer build"
        )));
    }
    let words = |text: Option<String>| -> Vec<String> {
        text.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    Ok(Found::Fit(Dpdk {
        version,
        numbers: numbers.unwrap_or(VERSION_MIN),
        cflags: words(pkg_config(&["--cflags"])),
        library_folders: words(pkg_config(&["--keep-system-libs", "--libs-only-L"])),
    }))
}

/// What `pkg-config` prints, or `None` if it, or DPDK, is not there.
fn pkg_config(arguments: &[&str]) -> Option<String> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".to_owned());
    let output = Command::new(program).args(arguments).arg("libdpdk").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Year and month of a version such as `22.11.11` or `24.03.0-rc1`.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn build(dpdk: &Dpdk, bindings: &Path) -> Result<(), Box<dyn Error>> {
    generate(dpdk, bindings)?;
    let mut shim = cc::Build::new();
    shim.file("c/shim.c").include("c").warnings(true).opt_level(3);
    for flag in &dpdk.cflags {
        shim.flag(flag);
    }
    shim.compile("corelane_dpdk_shim");
    for folder in &dpdk.library_folders {
        println!("cargo::rustc-link-search=native={}", folder.trim_start_matches("-L"));
    }
    if env::var_os("CARGO_FEATURE_STATIC").is_some() {
        // Not bundled into this crate's own library: so they reach the program's linker as archives, in this order.
        for library in WHOLE {
            println!("cargo::rustc-link-lib=static:+whole-archive,-bundle={library}");
        }
        for library in PARTS {
            println!("cargo::rustc-link-lib=static:-bundle={library}");
        }
        for library in SYSTEM {
            println!("cargo::rustc-link-lib=dylib={library}");
        }
    } else {
        for library in LIBRARIES {
            println!("cargo::rustc-link-lib=dylib={library}");
        }
    }
    println!("cargo::metadata=VERSION={}", dpdk.version);
    println!("cargo::rustc-env=DPDK_VERSION={}", dpdk.version);
    Ok(())
}

fn generate(dpdk: &Dpdk, path: &Path) -> Result<(), Box<dyn Error>> {
    let mut builder = bindgen::Builder::default()
        .header("c/wrapper.h")
        .clang_args(&dpdk.cflags)
        .clang_arg("-Ic")
        .use_core()
        .layout_tests(true)
        .derive_debug(false)
        .derive_default(true)
        .generate_comments(false)
        .merge_extern_blocks(true)
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        // Thread-locals come out as plain statics, which is wrong; packed fields do not translate.
        .blocklist_item("per_lcore_.*")
        .opaque_type("rte_arp_.*")
        .allowlist_var("corelane_const_.*")
        .allowlist_recursively(true)
        .disable_header_comment()
        .raw_line(
            "// Made by bindgen from c/wrapper.h; CORELANE_BLESS_BINDINGS=1 renews the checked-in copy.",
        )
        .parse_callbacks(Box::new(PlainNames));
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in POINTED_TO {
        builder = builder.raw_line(format!("#[repr(C)]\npub struct {name} {{\n    _private: [u8; 0],\n}}"));
    }
    for name in BLOCKED {
        builder = builder.blocklist_type(name);
    }
    let text = builder.generate()?.to_string();
    fs::write(path, &text)?;
    let bless = env::var_os("CORELANE_BLESS_BINDINGS").is_some();
    if bless
        && dpdk.numbers == CHECKED_IN_VERSION
        && fs::read_to_string(CHECKED_IN).ok().as_ref() != Some(&text)
    {
        fs::write(CHECKED_IN, &text)?;
    }
    Ok(())
}

/// Takes the prefix off again that `wrapper.h` had to give DPDK's constants.
#[derive(Debug)]
struct PlainNames;

impl bindgen::callbacks::ParseCallbacks for PlainNames {
    fn item_name(&self, item: bindgen::callbacks::ItemInfo<'_>) -> Option<String> {
        item.name.strip_prefix("corelane_const_").map(str::to_owned)
    }
}
