//! What this process may do: its user, capabilities and limits.

use super::Root;

/// Capabilities that devices ask for, with their numbers in `linux/capability.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Open files whatever their mode says.
    DacOverride,
    /// Make and set up interfaces.
    NetAdmin,
    /// Open packet sockets.
    NetRaw,
    /// Lock memory beyond the limit.
    IpcLock,
    /// Read physical addresses, mount, and much else.
    SysAdmin,
    /// Load BPF programs.
    Bpf,
}

impl Capability {
    /// As `capabilities(7)` names it.
    pub fn name(self) -> &'static str {
        match self {
            Capability::DacOverride => "CAP_DAC_OVERRIDE",
            Capability::NetAdmin => "CAP_NET_ADMIN",
            Capability::NetRaw => "CAP_NET_RAW",
            Capability::IpcLock => "CAP_IPC_LOCK",
            Capability::SysAdmin => "CAP_SYS_ADMIN",
            Capability::Bpf => "CAP_BPF",
        }
    }

    fn bit(self) -> u32 {
        match self {
            Capability::DacOverride => 1,
            Capability::NetAdmin => 12,
            Capability::NetRaw => 13,
            Capability::IpcLock => 14,
            Capability::SysAdmin => 21,
            Capability::Bpf => 39,
        }
    }
}

/// What this process may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its effective user.
    pub user: u32,
    /// Its effective group and the others.
    pub groups: Vec<u32>,
    /// Its effective capabilities, a bit each.
    pub capabilities: u64,
    /// Memory it may lock. Units: bytes; `None` is without limit.
    pub locked_max: Option<u64>,
    /// Files it may have open; `None` is without limit.
    pub files_max: Option<u64>,
    /// Cores it may run on.
    pub cores: Vec<u32>,
}

impl Process {
    pub(super) fn read(root: &Root) -> Process {
        let status = root.text("/proc/self/status").unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim();
        let numbers = |text: &str| -> Vec<u32> {
            text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
        };
        // Real, effective, saved and file system's, in this order.
        let effective = |name| numbers(field(name)).get(1).copied();
        let mut groups = numbers(field("Groups:"));
        groups.extend(effective("Gid:"));
        Process {
            // Nobody, where nothing is told.
            user: effective("Uid:").unwrap_or(65_534),
            groups,
            capabilities: u64::from_str_radix(field("CapEff:"), 16).unwrap_or(0),
            locked_max: limit(root, "Max locked memory"),
            files_max: limit(root, "Max open files"),
            cores: super::cpu_list(field("Cpus_allowed_list:")),
        }
    }

    /// Whether it has a capability.
    pub fn has(&self, capability: Capability) -> bool {
        self.capabilities >> capability.bit() & 1 == 1
    }
}

/// The soft limit. One that is not told is taken for none: nothing can be said about it.
fn limit(root: &Root, name: &str) -> Option<u64> {
    let table = root.text("/proc/self/limits")?;
    let line = table.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
