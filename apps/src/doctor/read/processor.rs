//! Cores: which there are, on which node, and which the kernel keeps away from.

use super::{Root, cpu_list};

/// The cores of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processor {
    /// Those that run.
    pub online: Vec<u32>,
    /// Those the scheduler puts nothing on by itself (`isolcpus`).
    pub isolated: Vec<u32>,
    /// Those without a timer tick while one thread runs (`nohz_full`).
    pub tickless: Vec<u32>,
    /// Those that others run RCU's callbacks for (`rcu_nocbs`; `nohz_full` implies it).
    pub callback_free: Vec<u32>,
    /// Cores whose clock is set by another governor than `performance`, with its name.
    pub slow: Vec<(u32, String)>,
    /// Cores that share one another's execution units, each with the others.
    pub siblings: Vec<Vec<u32>>,
    /// NUMA nodes and their cores.
    pub nodes: Vec<(u32, Vec<u32>)>,
}

const FOLDER: &str = "/sys/devices/system/cpu";

impl Processor {
    pub(super) fn read(root: &Root) -> Processor {
        let list = |path: &str| root.text(path).map(|text| cpu_list(&text)).unwrap_or_default();
        let online = list(&format!("{FOLDER}/online"));
        let command_line = root.text("/proc/cmdline").unwrap_or_default();
        let asked =
            command_line.split_whitespace().find_map(|word| word.strip_prefix("rcu_nocbs=")).unwrap_or("");
        let governor = |core: u32| root.text(&format!("{FOLDER}/cpu{core}/cpufreq/scaling_governor"));
        let slow = online.iter().filter_map(|core| Some((*core, governor(*core)?)));
        let mut siblings: Vec<Vec<u32>> = online
            .iter()
            .map(|core| list(&format!("{FOLDER}/cpu{core}/topology/thread_siblings_list")))
            .filter(|together| together.len() > 1)
            .collect();
        siblings.sort();
        siblings.dedup();
        let mut nodes: Vec<(u32, Vec<u32>)> = root
            .names("/sys/devices/system/node")
            .iter()
            .filter_map(|name| {
                let number = name.strip_prefix("node")?.parse().ok()?;
                Some((number, list(&format!("/sys/devices/system/node/{name}/cpulist"))))
            })
            .collect();
        nodes.sort();
        let tickless = list(&format!("{FOLDER}/nohz_full"));
        let callback_free = if asked == "all" { online.clone() } else { cpu_list(asked) };
        Processor {
            isolated: list(&format!("{FOLDER}/isolated")),
            callback_free: [callback_free, tickless.clone()].concat(),
            tickless,
            slow: slow.filter(|(_, name)| name != "performance").collect(),
            siblings,
            nodes,
            online,
        }
    }
}
