//! Huge pages: enough of them, on the device's own node.

use super::super::Wanted;
use super::super::read::{Ethernet, Machine, Pages};
use super::super::report::Finding;
use super::Subject;

const AREA: &str = "huge pages";

/// Free memory in huge pages below which a program may not start: pools for a few lanes, and the chunk cache.
const FREE_MIB_MIN: u64 = 256;

pub(super) fn check(machine: &Machine, subject: &Subject<'_>) -> Vec<Finding> {
    let needed = subject.needs_nics || *subject.wanted == Wanted::Anything;
    let set = "echo 512 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
    if machine.pages.is_empty() {
        return vec![Finding::lacking(
            needed,
            AREA,
            "this kernel tells of none (virtual devices do without: --no-huge)",
            "mount -t sysfs sysfs /sys",
        )];
    }
    let total: u64 = machine.pages.iter().map(|pages| pages.total).sum();
    if total == 0 {
        let text = "none are set aside (virtual devices do without: --no-huge)";
        return vec![Finding::lacking(needed, AREA, text, set)];
    }
    let mut findings: Vec<Finding> = machine.pages.iter().filter(|pages| pages.total > 0).map(size).collect();
    let free: u64 = machine.pages.iter().map(|pages| pages.free * pages.kib / 1024).sum();
    if free < FREE_MIB_MIN {
        let text = format!("only {free} MiB are free; a server takes up to {FREE_MIB_MIN} MiB");
        let pages = machine.pages.iter().find(|pages| pages.kib == 2048).map_or(0, |pages| pages.total);
        let more = format!("echo {} > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", pages + 256);
        findings.push(Finding::lacking(needed && free == 0, AREA, text, more));
    }
    if machine.pages.iter().all(|pages| pages.mount.is_none()) {
        let text = "no hugetlbfs is mounted, which DPDK's --file-prefix needs";
        let mount = "mkdir -p /dev/hugepages && mount -t hugetlbfs hugetlbfs /dev/hugepages";
        findings.push(Finding::warning(AREA, text, mount));
    }
    findings.extend(subject.nics.iter().filter_map(|nic| elsewhere(&machine.pages, nic)));
    findings
}

fn size(pages: &Pages) -> Finding {
    let Pages { kib, total, free, nodes, mount } = pages;
    let size = if *kib >= 1 << 20 { format!("{} GiB", kib >> 20) } else { format!("{} MiB", kib >> 10) };
    let nodes: String = match nodes.as_slice() {
        [] | [_] => String::new(),
        many => {
            let each = many.iter().map(|it| format!("node {}: {} of {} free", it.node, it.free, it.total));
            format!(" ({})", each.collect::<Vec<String>>().join(", "))
        }
    };
    let mount = mount.as_ref().map_or(String::new(), |place| format!(", mounted at {place}"));
    Finding::ok(AREA, format!("{total} of {size}, {free} free{nodes}{mount}"))
}

/// All pages are on other nodes than the NIC. Its pools are made on its own.
fn elsewhere(sizes: &[Pages], nic: &Ethernet) -> Option<Finding> {
    let node = nic.node?;
    let here = sizes.iter().flat_map(|pages| &pages.nodes).filter(|it| it.node == node);
    let counts: Vec<u64> = here.map(|it| it.free).collect();
    (!counts.is_empty() && counts.iter().all(|free| *free == 0)).then(|| {
        let text = format!("node {node}, which {} sits on, has no free ones", nic.address);
        let file = format!("/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages");
        Finding::wrong(AREA, text, format!("echo 512 > {file}"))
    })
}
