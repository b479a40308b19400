//! What the kernel tells of a host, read once into plain values. What is good or bad about them is `checks`'.

mod dpdk;
mod files;
mod memory;
mod names;
mod pci;
mod process;
mod processor;
mod session;
mod vfio;

pub use dpdk::Plugins;
pub use files::{Access, Root, cpu_list};
pub use memory::{NodePages, Pages};
pub use names::{Known, known};
pub use pci::Ethernet;
pub use process::{Capability, Process};
pub use processor::Processor;
pub use vfio::Vfio;

/// All that was read.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Huge pages, by size.
    pub pages: Vec<Pages>,
    /// IOMMU and VFIO.
    pub vfio: Vfio,
    /// Ethernet devices on PCI, by address.
    pub devices: Vec<Ethernet>,
    /// The kernel's interfaces, by name.
    pub interfaces: Vec<String>,
    /// Those that an ssh session goes over.
    pub ssh: Vec<String>,
    /// Those that the default route goes over.
    pub default_route: Vec<String>,
    /// Cores and nodes.
    pub processor: Processor,
    /// What this process may do.
    pub process: Process,
    /// Whether `/dev/net/tun` can be opened.
    pub tun: Access,
    /// DPDK's drivers.
    pub plugins: Plugins,
}

/// Read the host under `root`. `ssh` is the session's `SSH_CONNECTION`.
pub fn machine(root: &Root, ssh: Option<&str>) -> Machine {
    let process = Process::read(root);
    let carriers = session::interfaces(root, ssh);
    Machine {
        pages: memory::read(root),
        vfio: Vfio::read(root, &process),
        devices: pci::read(root, &process, &carriers),
        interfaces: root.names("/sys/class/net"),
        processor: Processor::read(root),
        tun: root.access("/dev/net/tun", &process),
        plugins: Plugins::read(root),
        ssh: carriers.ssh,
        default_route: carriers.default_route,
        process,
    }
}
