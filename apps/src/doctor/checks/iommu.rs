//! IOMMU and VFIO: whether a program can be given a device.

use super::super::read::{Access, Machine};
use super::super::report::Finding;
use super::{Subject, kernel_words};

pub(super) fn check(machine: &Machine, subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = vec![iommu(machine, subject)];
    findings.extend(vfio(machine, subject));
    findings
}

fn iommu(machine: &Machine, subject: &Subject<'_>) -> Finding {
    const AREA: &str = "IOMMU";
    let vfio = &machine.vfio;
    if vfio.units > 0 {
        let units = format!("on ({} unit{})", vfio.units, if vfio.units == 1 { "" } else { "s" });
        return if vfio.asks("iommu=pt") {
            Finding::ok(AREA, format!("{units}, out of the way of the kernel's own devices (iommu=pt)"))
        } else {
            let text = format!("{units}, also for the kernel's own devices, which slows those down");
            Finding::warning(AREA, text, kernel_words("iommu=pt"))
        };
    }
    if vfio.unsafe_mode {
        let text =
            "off, and VFIO is told to do without: a fault in the NIC or its program can write anywhere";
        return Finding::warning(AREA, text, kernel_words("intel_iommu=on iommu=pt"));
    }
    if vfio.intel && !vfio.asks("intel_iommu=on") {
        let text = "off: the kernel was started without intel_iommu=on";
        return Finding::lacking(subject.needs_nics, AREA, text, kernel_words("intel_iommu=on iommu=pt"));
    }
    let text = "off, though the kernel would use it: turn VT-d (AMD: IOMMU) on in the firmware's setup";
    Finding::lacking(subject.needs_nics, AREA, text, "systemctl reboot --firmware-setup")
}

fn vfio(machine: &Machine, subject: &Subject<'_>) -> Vec<Finding> {
    const AREA: &str = "VFIO";
    const LOAD: &str = "echo vfio-pci > /etc/modules-load.d/vfio-pci.conf && modprobe vfio-pci";
    let needed = subject.needs_nics;
    let vfio = &machine.vfio;
    if !vfio.pci {
        return vec![Finding::lacking(needed, AREA, "the module vfio-pci is not loaded", LOAD)];
    }
    let mut findings = Vec::new();
    if !vfio.mapping && !vfio.unsafe_mode {
        let text = "the module vfio_iommu_type1 is not loaded";
        findings.push(Finding::lacking(needed, AREA, text, "modprobe vfio_iommu_type1"));
    }
    match vfio.container {
        Access::Granted => {}
        Access::Missing => {
            let text = "there is no /dev/vfio/vfio (a container must be given it: --device /dev/vfio)";
            findings.push(Finding::lacking(needed, AREA, text, "modprobe vfio-pci"));
        }
        Access::Denied => {
            let text = "this user may not open /dev/vfio/vfio";
            findings.push(Finding::lacking(needed, AREA, text, "sudo chmod 0666 /dev/vfio/vfio"));
        }
    }
    for nic in subject.nics.iter().filter(|nic| nic.is_bound()) {
        let Some(group) = &nic.group else { continue };
        let title = &nic.address;
        if nic.group_access == Access::Denied {
            let text = format!("this user may not open /dev/vfio/{group}, the group of {title}");
            findings.push(Finding::wrong(AREA, text, format!("sudo chown $(id -u) /dev/vfio/{group}")));
        }
        if nic.group_access == Access::Missing && vfio.container == Access::Granted {
            let text =
                format!("there is no /dev/vfio/{group}, the group of {title} (in a container: --device it)");
            findings.push(Finding::wrong(AREA, text, format!("dpdk-devbind.py --bind=vfio-pci {title}")));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(AREA, "vfio-pci is loaded, and its files can be opened"));
    }
    findings
}
