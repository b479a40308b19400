//! Huge pages: how many, where, and whether a file system of theirs is mounted.

use super::Root;

/// Huge pages of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages {
    /// Units: KiB a page.
    pub kib: u64,
    /// Pages set aside.
    pub total: u64,
    /// Of them, pages that no one has.
    pub free: u64,
    /// The same for each NUMA node.
    pub nodes: Vec<NodePages>,
    /// Where a `hugetlbfs` of this size is mounted.
    pub mount: Option<String>,
}

/// Huge pages of one size on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodePages {
    /// The node's number.
    pub node: u32,
    /// Pages set aside.
    pub total: u64,
    /// Of them, pages that no one has.
    pub free: u64,
}

/// Smallest pages first.
pub(super) fn read(root: &Root) -> Vec<Pages> {
    let folder = "/sys/kernel/mm/hugepages";
    let mounts = mounts(root);
    let mut sizes: Vec<Pages> = root
        .names(folder)
        .iter()
        .filter_map(|name| {
            let kib: u32 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let kib = u64::from(kib);
            let count = |file: &str| root.number(&format!("{folder}/{name}/{file}"));
            let mount = mounts.iter().find(|(size, _)| *size == kib).map(|(_, place)| place.clone());
            let nodes = nodes(root, name);
            Some(Pages { kib, total: count("nr_hugepages")?, free: count("free_hugepages")?, nodes, mount })
        })
        .collect();
    sizes.sort_by_key(|pages| pages.kib);
    sizes
}

fn nodes(root: &Root, name: &str) -> Vec<NodePages> {
    let folder = "/sys/devices/system/node";
    let mut nodes: Vec<NodePages> = root
        .names(folder)
        .iter()
        .filter_map(|node| {
            let count = |file: &str| root.number(&format!("{folder}/{node}/hugepages/{name}/{file}"));
            let node = node.strip_prefix("node")?.parse().ok()?;
            Some(NodePages { node, total: count("nr_hugepages")?, free: count("free_hugepages")? })
        })
        .collect();
    nodes.sort_by_key(|node| node.node);
    nodes
}

/// Page size in KiB and place of each `hugetlbfs`.
fn mounts(root: &Root) -> Vec<(u64, String)> {
    let default = default_kib(root);
    let table = root.text("/proc/self/mounts").unwrap_or_default();
    table
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (place, kind, options) = (words.nth(1)?, words.next()?, words.next()?);
            let size = options.split(',').find_map(|option| option.strip_prefix("pagesize="));
            (kind == "hugetlbfs").then(|| (size.and_then(kib).unwrap_or(default), place.to_owned()))
        })
        .collect()
}

fn default_kib(root: &Root) -> u64 {
    let table = root.text("/proc/meminfo").unwrap_or_default();
    let line = table.lines().find_map(|line| line.strip_prefix("Hugepagesize:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(2048)
}

/// `2M`, `1024M`, `1G` or `512K` in KiB.
fn kib(size: &str) -> Option<u64> {
    let unit = size.chars().last()?;
    let number: u64 = size.strip_suffix(unit)?.parse().ok()?;
    match unit {
        'K' => Some(number),
        'M' => number.checked_mul(1 << 10),
        'G' => number.checked_mul(1 << 20),
        _ => None,
    }
}
