//! Whether DPDK's drivers are there, and are this DPDK's.

use super::super::Wanted;
use super::super::read::Machine;
use super::super::report::Finding;
use super::Subject;

const AREA: &str = "DPDK";

pub(super) fn check(machine: &Machine, subject: &Subject<'_>, dpdk: &str) -> Vec<Finding> {
    if dpdk == "none" {
        let text = "the programs were built without it: they have capture files and no device";
        return vec![Finding::lacking(subject.needs_nics, AREA, text, "cargo build --release -p apps")];
    }
    let plugins = &machine.plugins;
    let Some(folder) = &plugins.folder else {
        let text =
            format!("built with {dpdk}, and there are no driver plug-ins below /usr/lib or /usr/local/lib");
        return vec![Finding::wrong(AREA, text, "apt install dpdk libdpdk-dev")];
    };
    let nets = plugins.names.iter().filter(|name| name.starts_with("net_")).count();
    let drivers = if nets == 1 { "driver" } else { "drivers" };
    let there = format!("built with {dpdk}; {nets} network {drivers} in {folder}");
    let mut findings = if abi(dpdk).is_none_or(|abi| folder.contains(&format!("/pmds-{abi}."))) {
        vec![Finding::ok(AREA, there)]
    } else {
        let text = format!("{there}, which are another version's");
        vec![Finding::wrong(
            AREA,
            text,
            "apt install --reinstall dpdk libdpdk-dev && cargo build --release -p apps",
        )]
    };
    let mut needed: Vec<(&str, &str)> = match subject.wanted {
        // It needs none of DPDK's drivers.
        Wanted::Tap => Vec::new(),
        Wanted::AfPacket(_) => vec![("net_af_packet", "librte-net-af-packet23")],
        Wanted::AfXdp(_) => vec![("net_af_xdp", "librte-net-af-xdp23")],
        _ => subject.nics.iter().filter_map(|nic| nic.known.map(|it| (it.plugin, it.package))).collect(),
    };
    needed.dedup();
    for (name, package) in needed {
        if !plugins.has(name) {
            let text = format!("the driver librte_{name}.so is not in {folder}");
            findings.push(Finding::wrong(AREA, text, format!("apt install {package}")));
        }
    }
    findings
}

/// The number that a version's plug-in folder has: each November's release begins a new one.
fn abi(version: &str) -> Option<u32> {
    let mut parts = version.split(['.', '-']);
    let year: u32 = parts.next()?.parse().ok()?;
    let month: u32 = parts.next()?.parse().ok()?;
    Some(if month >= 11 { year + 1 } else { year })
}
