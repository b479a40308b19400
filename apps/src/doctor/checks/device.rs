//! Each Ethernet device: what it is, who drives it, and whether it may be taken from the kernel.

use super::super::Wanted;
use super::super::read::{Ethernet, Machine};
use super::super::report::{Finding, Verdict};
use super::Subject;

const AREA: &str = "devices";

pub(super) fn check(machine: &Machine, subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = session(machine, subject);
    if let Wanted::Nic(address) = subject.wanted
        && subject.nics.is_empty()
    {
        let text = format!("{address} is no Ethernet device of this host");
        findings.push(Finding::wrong(AREA, text, "dpdk-devbind.py --status-dev net"));
    }
    for device in &machine.devices {
        let named = matches!(subject.wanted, Wanted::Nic(address) if *address == device.address);
        // What a NIC is bound to matters only if it is the one.
        if named || *subject.wanted == Wanted::Anything {
            findings.push(binding(device, named));
            findings.extend(group(device));
        }
    }
    if *subject.wanted == Wanted::Anything && !machine.devices.iter().any(Ethernet::is_bound) {
        findings.push(none_bound(subject));
    }
    findings
}

/// The way to this host, which must stay the kernel's.
fn session(machine: &Machine, subject: &Subject<'_>) -> Vec<Finding> {
    const AREA: &str = "ssh";
    if machine.ssh.is_empty() {
        return vec![Finding::ok(
            AREA,
            "no session goes over an interface of this host, as far as can be seen",
        )];
    }
    let names = machine.ssh.join(", ");
    let carriers: Vec<&Ethernet> = machine.devices.iter().filter(|device| device.ssh).collect();
    let titles: Vec<String> = carriers.iter().map(|device| device.address.clone()).collect();
    let place = if titles.is_empty() { String::new() } else { format!(" ({})", titles.join(", ")) };
    let text =
        format!("a session goes over {names}{place}: never bind that to another driver, or you are cut off");
    let named = subject.nics.iter().find(|nic| nic.ssh);
    let only = carriers.iter().find(|nic| nic.known.is_some()).filter(|_| subject.nics.is_empty());
    match named.or(only) {
        Some(nic) => vec![Finding::lacking(named.is_some(), AREA, text, instead(nic))],
        None => vec![Finding::ok(AREA, text)],
    }
}

/// What to do about a port that the kernel must keep.
fn instead(nic: &Ethernet) -> String {
    match nic.interfaces.first() {
        Some(name) if nic.functions_max > 0 => {
            format!(
                "echo 1 > /sys/class/net/{name}/device/sriov_numvfs   # and bind the new virtual function"
            )
        }
        _ => "ip -br link   # choose another port, or come by a serial console".to_owned(),
    }
}

fn binding(device: &Ethernet, named: bool) -> Finding {
    let node = device.node.map_or(String::new(), |node| format!(", node {node}"));
    let group = device.group.as_ref().map_or(String::new(), |group| format!(", IOMMU group {group}"));
    let title = format!("{}{node}{group}", device.title());
    let bind = format!("dpdk-devbind.py --bind=vfio-pci {}", device.address);
    match device.driver.as_deref() {
        Some("vfio-pci") => Finding::ok(AREA, format!("{title}: on vfio-pci")),
        Some(driver @ ("igb_uio" | "uio_pci_generic")) => {
            let text = format!("{title}: on {driver}, which no IOMMU guards");
            Finding::warning(AREA, text, bind)
        }
        Some(driver) => {
            let names = device.interfaces.join(", ");
            let held = format!("{title}: the kernel's, {names} on {driver}");
            let route = if device.default_route { ", and the default route goes over it" } else { "" };
            match (named, device.ssh) {
                (true, true) => {
                    Finding::wrong(AREA, format!("{held}, and an ssh session goes over it"), instead(device))
                }
                (true, false) => {
                    let down: String =
                        device.interfaces.iter().map(|it| format!("ip link set {it} down && ")).collect();
                    Finding::wrong(AREA, format!("{held}{route}"), format!("{down}{bind}"))
                }
                (false, _) => Finding::ok(AREA, format!("{held}{route}")),
            }
        }
        None => Finding::lacking(named, AREA, format!("{title}: on no driver"), bind),
    }
}

/// VFIO gives a group away whole or not at all.
fn group(device: &Ethernet) -> Option<Finding> {
    let (address, driver) = device.companions.first().filter(|_| device.is_bound())?;
    let text = format!(
        "{} shares its IOMMU group with {address}, which {driver} holds: VFIO refuses such a group",
        device.address
    );
    Some(Finding::wrong(AREA, text, format!("dpdk-devbind.py --bind=vfio-pci {address}")))
}

fn none_bound(subject: &Subject<'_>) -> Finding {
    match subject.nics.first() {
        Some(nic) => {
            let Finding { mend, .. } = binding(nic, true);
            let text = format!("none is on vfio-pci; {} could be", nic.title());
            Finding { area: AREA, verdict: Verdict::Warning, text, mend }
        }
        None => {
            let text = "none that is known is free for a program; virtual devices do without";
            Finding::warning(AREA, text, "dpdk-devbind.py --status-dev net")
        }
    }
}
