//! Judging what was read: values to findings, no I/O. What counts as wrong depends on the device asked about.

mod device;
mod iommu;
mod isolation;
mod memory;
mod plugins;
mod rights;

use super::Wanted;
use super::read::{Ethernet, Machine};
use super::report::Finding;

/// All checks, in the order a host is set up.
pub fn all(machine: &Machine, wanted: &Wanted, dpdk: &str) -> Vec<Finding> {
    let subject = Subject::new(machine, wanted);
    let mut findings = plugins::check(machine, &subject, dpdk);
    findings.extend(memory::check(machine, &subject));
    if subject.concerns_nics {
        findings.extend(iommu::check(machine, &subject));
        findings.extend(device::check(machine, &subject));
        findings.extend(isolation::nodes(machine, &subject));
        findings.extend(isolation::check(machine, &subject));
    }
    findings.extend(rights::check(machine, &subject));
    findings
}

/// What the question is about, on this host.
struct Subject<'a> {
    wanted: &'a Wanted,
    /// A NIC was named, or nothing was.
    concerns_nics: bool,
    /// What NICs need is needed: one was named, or there is one that could be meant.
    needs_nics: bool,
    /// The NIC that was named, or those that could be meant.
    nics: Vec<&'a Ethernet>,
}

impl Subject<'_> {
    fn new<'a>(machine: &'a Machine, wanted: &'a Wanted) -> Subject<'a> {
        let nics: Vec<&Ethernet> = match wanted {
            Wanted::Nic(address) => machine.devices.iter().filter(|nic| nic.address == *address).collect(),
            Wanted::Anything => {
                let meant = |nic: &&Ethernet| nic.is_bound() || (nic.known.is_some() && !nic.ssh);
                machine.devices.iter().filter(meant).collect()
            }
            _ => Vec::new(),
        };
        let is_nic = matches!(wanted, Wanted::Nic(_));
        Subject {
            wanted,
            concerns_nics: is_nic || *wanted == Wanted::Anything,
            needs_nics: is_nic || !nics.is_empty(),
            nics,
        }
    }
}

/// The command that adds words to the kernel's command line.
fn kernel_words(words: &str) -> String {
    format!("sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{words} /' /etc/default/grub && update-grub && reboot")
}

/// Cores as the kernel writes them: `0-3,8`.
fn written(cores: &[u32]) -> String {
    let mut sorted = cores.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for core in sorted {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => ranges.push((core, core)),
        }
    }
    let range = |(first, last): &(u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.iter().map(range).collect::<Vec<String>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::written;

    #[test]
    fn cores_are_written_as_the_kernel_writes_them() {
        // Shows single cores, ranges, and that order and repetition do not matter.
        assert_eq!(written(&[3, 1, 2, 8, 8]), "1-3,8");
        assert_eq!(written(&[5]), "5");
        assert_eq!(written(&[]), "");
    }
}
