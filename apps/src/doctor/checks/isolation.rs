//! Nodes and cores: lanes near their NIC, on cores that no one else runs on. All of it is speed, none of it necessity.

use super::super::read::{Machine, Processor};
use super::super::report::Finding;
use super::{Subject, kernel_words, written};

/// Cores that are proposed for lanes.
const PROPOSED: usize = 2;

/// Whether the NIC's node has cores that this process may use.
pub(super) fn nodes(machine: &Machine, subject: &Subject<'_>) -> Vec<Finding> {
    const AREA: &str = "NUMA";
    let Processor { nodes, isolated, .. } = &machine.processor;
    if nodes.len() < 2 {
        return vec![Finding::ok(AREA, "one node: nothing is far away")];
    }
    let mut findings = Vec::new();
    for nic in &subject.nics {
        let address = &nic.address;
        let cores = nic.node.and_then(|node| nodes.iter().find(|(number, _)| *number == node));
        let Some((node, cores)) = cores else {
            let text = format!("the firmware does not tell which node {address} sits on");
            let look = format!("cat /sys/bus/pci/devices/{address}/local_cpulist");
            findings.push(Finding::warning(AREA, text, look));
            continue;
        };
        let near = |list: &[u32]| list.iter().any(|core| cores.contains(core));
        if !near(&machine.process.cores) {
            let text = format!("this process may run on no core of node {node}, which {address} sits on");
            findings.push(Finding::warning(AREA, text, format!("taskset -cp {} $$", written(cores))));
        } else if !isolated.is_empty() && !near(isolated) {
            let text = format!("the isolated cores {} are on other nodes than {address}", written(isolated));
            findings.push(Finding::warning(AREA, text, isolate(&proposed(machine, subject))));
        } else {
            findings.push(Finding::ok(AREA, format!("{address} is near the cores {}", written(cores))));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(AREA, format!("{} nodes", nodes.len())));
    }
    findings
}

/// Whether lanes have cores to themselves.
pub(super) fn check(machine: &Machine, subject: &Subject<'_>) -> Vec<Finding> {
    const AREA: &str = "cores";
    let Processor { online, isolated, tickless, callback_free, slow, siblings, .. } = &machine.processor;
    let mut findings = Vec::new();
    if online.len() < 2 {
        let text = "there is one core: a lane shares it with everything else";
        return vec![Finding::warning(AREA, text, "httpd --threads 1 --lanes 1   # and without --poll")];
    }
    if isolated.is_empty() {
        let text = format!("the system runs on all of {}: lanes are interrupted", written(online));
        findings.push(Finding::warning(AREA, text, isolate(&proposed(machine, subject))));
    } else {
        findings.push(Finding::ok(
            AREA,
            format!("{} are isolated: --core {}", written(isolated), listed(isolated)),
        ));
        let without = |list: &[u32]| isolated.iter().any(|core| !list.contains(core));
        for (list, word) in [(tickless, "nohz_full"), (callback_free, "rcu_nocbs")] {
            if without(list) {
                let text = format!("isolated cores are still interrupted: not all are in {word}");
                let words = kernel_words(&format!("{word}={}", written(isolated)));
                findings.push(Finding::warning(AREA, text, words));
            }
        }
        let halved = |together: &&Vec<u32>| {
            together.iter().any(|core| isolated.contains(core))
                && !together.iter().all(|core| isolated.contains(core))
        };
        for together in siblings.iter().filter(halved) {
            let other = together.iter().find(|core| !isolated.contains(core)).copied().unwrap_or_default();
            let text = format!(
                "the cores {} are one with two threads, and the system runs on {other}",
                written(together)
            );
            let off = format!("echo 0 > /sys/devices/system/cpu/cpu{other}/online");
            findings.push(Finding::warning(AREA, text, off));
        }
    }
    let slow: Vec<&(u32, String)> =
        slow.iter().filter(|(core, _)| isolated.is_empty() || isolated.contains(core)).collect();
    if let Some((core, governor)) = slow.first() {
        let text = format!("the clock of {} cores (such as {core}) is set by `{governor}`", slow.len());
        let set = "echo performance | tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor";
        findings.push(Finding::warning(AREA, text, set));
    }
    findings
}

/// Cores as our programs take them: `2,3`.
fn listed(cores: &[u32]) -> String {
    cores.iter().map(u32::to_string).collect::<Vec<String>>().join(",")
}

fn isolate(cores: &[u32]) -> String {
    let list = written(cores);
    kernel_words(&format!("isolcpus={list} nohz_full={list} rcu_nocbs={list}"))
}

/// Cores for lanes: on the NIC's node, not the first core nor its sibling, one thread of each.
fn proposed(machine: &Machine, subject: &Subject<'_>) -> Vec<u32> {
    let Processor { online, siblings, nodes, .. } = &machine.processor;
    let node = subject.nics.iter().find_map(|nic| nic.node);
    let near = nodes.iter().find(|(number, _)| Some(*number) == node).map_or(online, |(_, cores)| cores);
    let is_second_thread = |core: u32| {
        let together = siblings.iter().find(|together| together.contains(&core));
        together.is_some_and(|together| together.iter().any(|it| *it < core && near.contains(it)))
    };
    let mut cores: Vec<u32> =
        near.iter().copied().filter(|core| *core != 0 && !is_second_thread(*core)).collect();
    if cores.is_empty() {
        cores = online.iter().copied().filter(|core| *core != 0).collect();
    }
    cores.truncate(PROPOSED);
    cores
}
