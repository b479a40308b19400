//! Limits, capabilities, interfaces and `/dev/net/tun`: what this process may do.

use super::super::Wanted;
use super::super::read::{Access, Capability, Machine};
use super::super::report::Finding;
use super::Subject;

pub(super) fn check(machine: &Machine, subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = limits(machine, subject);
    findings.push(capabilities(machine, subject));
    match subject.wanted {
        Wanted::AfPacket(name) | Wanted::AfXdp(name) => findings.push(interface(machine, name)),
        Wanted::Tap | Wanted::Anything => findings.push(tun(machine, subject)),
        Wanted::Nic(_) | Wanted::Nothing => {}
    }
    findings
}

fn limits(machine: &Machine, subject: &Subject<'_>) -> Vec<Finding> {
    const AREA: &str = "limits";
    let process = &machine.process;
    let mut findings = Vec::new();
    let huge = machine
        .pages
        .iter()
        .map(|pages| pages.total * pages.kib)
        .fold(0, u64::saturating_add)
        .saturating_mul(1024);
    let locks = process.has(Capability::IpcLock);
    match process.locked_max {
        // VFIO counts all that a device may read or write as locked.
        Some(most) if subject.concerns_nics && !locks && most < huge.max(64 << 20) => {
            let text = format!(
                "{} KiB may be locked, and a NIC's memory must be (CAP_IPC_LOCK does as well)",
                most >> 10
            );
            let mend =
                "sudo prlimit --pid $$ --memlock=unlimited:unlimited   # in a unit: LimitMEMLOCK=infinity";
            findings.push(Finding::lacking(subject.needs_nics, AREA, text, mend));
        }
        Some(_) if locks => findings.push(Finding::ok(AREA, "any memory may be locked (CAP_IPC_LOCK)")),
        Some(most) => findings.push(Finding::ok(AREA, format!("{} KiB may be locked", most >> 10))),
        None => findings.push(Finding::ok(AREA, "any memory may be locked")),
    }
    // DPDK holds a file for each page it has.
    let free = machine.pages.iter().filter(|pages| pages.kib == 2048).map(|pages| pages.free).sum();
    match process.files_max {
        Some(most) if most < free => {
            let text = format!(
                "{most} files may be open, and DPDK opens one for each huge page it takes ({free} are free)"
            );
            findings.push(Finding::warning(AREA, text, "ulimit -n 65536"));
        }
        Some(most) => findings.push(Finding::ok(AREA, format!("{most} files may be open"))),
        None => findings.push(Finding::ok(AREA, "any number of files may be open")),
    }
    findings
}

fn capabilities(machine: &Machine, subject: &Subject<'_>) -> Finding {
    const AREA: &str = "rights";
    use Capability::{Bpf, IpcLock, NetAdmin, NetRaw, SysAdmin};
    let process = &machine.process;
    let asked: &[Capability] = match subject.wanted {
        Wanted::Tap => &[NetAdmin],
        Wanted::AfPacket(_) => &[NetRaw],
        Wanted::AfXdp(_) => &[NetAdmin, NetRaw, Bpf],
        // Without an IOMMU a NIC is told physical addresses.
        Wanted::Nic(_) if machine.vfio.units == 0 && machine.vfio.unsafe_mode => &[SysAdmin],
        Wanted::Nic(_) | Wanted::Nothing => &[],
        Wanted::Anything => &[NetAdmin, NetRaw, IpcLock],
    };
    // What CAP_BPF and CAP_NET_ADMIN allow of BPF, CAP_SYS_ADMIN allowed before there was the former.
    let has = |it: &Capability| process.has(*it) || (*it == Bpf && process.has(SysAdmin));
    let lacking: Vec<Capability> = asked.iter().copied().filter(|it| !has(it)).collect();
    if lacking.is_empty() {
        let all = [NetAdmin, NetRaw, IpcLock, SysAdmin, Bpf];
        let names: Vec<&str> = all.iter().filter(|it| process.has(**it)).map(|it| it.name()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Finding::ok(AREA, format!("capabilities: {names}"));
    }
    let names: Vec<&str> = lacking.iter().map(|it| it.name()).collect();
    let uses =
        if *subject.wanted == Wanted::Anything { "; which are needed depends on the device" } else { "" };
    let text = format!("this process has not {}{uses}", names.join(", "));
    let set = format!("sudo setcap {}+ep PROGRAM   # or run it as root", names.join(",").to_lowercase());
    Finding::lacking(*subject.wanted != Wanted::Anything, AREA, text, set)
}

fn interface(machine: &Machine, name: &str) -> Finding {
    const AREA: &str = "interface";
    if !machine.interfaces.iter().any(|there| there == name) {
        return Finding::wrong(AREA, format!("there is no {name}"), "ip -br link");
    }
    if machine.ssh.iter().any(|carrier| carrier == name) {
        let text =
            format!("a session goes over {name}: the lane would answer for the kernel, and cut it off");
        return Finding::wrong(AREA, text, "ip -br link   # choose another");
    }
    if machine.default_route.iter().any(|carrier| carrier == name) {
        let text = format!("the default route goes over {name}: the lane would answer for the kernel");
        return Finding::warning(AREA, text, "ip -br link   # choose another");
    }
    Finding::ok(AREA, format!("{name} is there"))
}

fn tun(machine: &Machine, subject: &Subject<'_>) -> Finding {
    const AREA: &str = "TAP";
    let needed = *subject.wanted == Wanted::Tap;
    match machine.tun {
        Access::Granted => Finding::ok(AREA, "/dev/net/tun can be opened"),
        Access::Missing => {
            let text = "there is no /dev/net/tun (a container must be given it: --device /dev/net/tun)";
            Finding::lacking(needed, AREA, text, "modprobe tun")
        }
        Access::Denied => {
            let text = "this user may not open /dev/net/tun";
            Finding::lacking(needed, AREA, text, "sudo chmod 0666 /dev/net/tun")
        }
    }
}
