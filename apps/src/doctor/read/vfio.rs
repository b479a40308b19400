//! IOMMU and VFIO: what keeps a device that a program drives away from everybody else's memory.

use super::{Access, Process, Root};

/// IOMMU and VFIO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vfio {
    /// IOMMUs that are on.
    pub units: usize,
    /// The processor is Intel's, whose IOMMU is off unless the kernel is asked.
    pub intel: bool,
    /// Words of the kernel's command line.
    pub command_line: Vec<String>,
    /// `vfio-pci` is loaded, or part of the kernel.
    pub pci: bool,
    /// The same of the part of VFIO that maps memory.
    pub mapping: bool,
    /// VFIO takes devices that no IOMMU is in front of.
    pub unsafe_mode: bool,
    /// Whether `/dev/vfio/vfio` can be opened.
    pub container: Access,
}

impl Vfio {
    pub(super) fn read(root: &Root, process: &Process) -> Vfio {
        let text = |path: &str| root.text(path).unwrap_or_default();
        Vfio {
            units: root.names("/sys/class/iommu").len(),
            intel: text("/proc/cpuinfo").contains("GenuineIntel"),
            command_line: text("/proc/cmdline").split_whitespace().map(str::to_owned).collect(),
            pci: root.exists("/sys/bus/pci/drivers/vfio-pci"),
            mapping: root.exists("/sys/module/vfio_iommu_type1"),
            unsafe_mode: text("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode") == "Y",
            container: root.access("/dev/vfio/vfio", process),
        }
    }

    /// Whether the kernel was started with this word.
    pub fn asks(&self, word: &str) -> bool {
        self.command_line.iter().any(|asked| asked == word)
    }
}
