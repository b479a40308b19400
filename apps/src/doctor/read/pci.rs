//! Ethernet devices on the PCI bus: what they are, who drives them, where they sit.

use super::names::{Known, known};
use super::session::Carriers;
use super::{Access, Process, Root};

/// An Ethernet device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// Its PCI address, such as `0000:01:00.0`.
    pub address: String,
    /// Its maker's number.
    pub vendor: u32,
    /// Its number among its maker's.
    pub device: u32,
    /// What it is, if it is known.
    pub known: Option<Known>,
    /// The driver it is bound to.
    pub driver: Option<String>,
    /// The NUMA node it sits on; `None` where the firmware does not tell.
    pub node: Option<u32>,
    /// Its IOMMU group; `None` without an IOMMU.
    pub group: Option<String>,
    /// Whether the file of its group can be opened. It is there only when the device is bound to `vfio-pci`.
    pub group_access: Access,
    /// Devices of its group that a driver of the kernel's holds: address and driver.
    pub companions: Vec<(String, String)>,
    /// Its interfaces in the kernel.
    pub interfaces: Vec<String>,
    /// Virtual functions it can have; 0 if it is one itself, or can have none.
    pub functions_max: u64,
    /// An ssh session goes over it.
    pub ssh: bool,
    /// The default route goes over it.
    pub default_route: bool,
}

impl Ethernet {
    /// Whether programs can open it.
    pub fn is_bound(&self) -> bool {
        self.driver.as_deref() == Some("vfio-pci")
    }

    /// Name and numbers, for a person.
    pub fn title(&self) -> String {
        let name = self.known.map_or("unknown", |known| known.name);
        format!("{} {name} [{:04x}:{:04x}]", self.address, self.vendor, self.device)
    }
}

const FOLDER: &str = "/sys/bus/pci/devices";

/// PCI's class for Ethernet, without the programming interface.
const CLASS_ETHERNET: u32 = 0x0200;

/// Drivers that do not touch a device, so that its group can be VFIO's all the same.
const HARMLESS: [&str; 3] = ["vfio-pci", "pci-stub", "pcieport"];

pub(super) fn read(root: &Root, process: &Process, carriers: &Carriers) -> Vec<Ethernet> {
    let is_ethernet = |address: &String| {
        let class = root.hex(&format!("{FOLDER}/{address}/class"));
        class.is_some_and(|class| class >> 8 == CLASS_ETHERNET)
    };
    let addresses = root.names(FOLDER).into_iter().filter(is_ethernet);
    addresses.map(|address| one(root, process, carriers, address)).collect()
}

fn one(root: &Root, process: &Process, carriers: &Carriers, address: String) -> Ethernet {
    let file = |name: &str| format!("{FOLDER}/{address}/{name}");
    let vendor = root.hex(&file("vendor")).unwrap_or(0);
    let device = root.hex(&file("device")).unwrap_or(0);
    let group = root.link(&file("iommu_group"));
    let group_access = match &group {
        Some(group) => root.access(&format!("/dev/vfio/{group}"), process),
        None => Access::Missing,
    };
    let interfaces = interfaces(root, &address);
    let goes_over = |names: &[String]| interfaces.iter().any(|name| names.contains(name));
    Ethernet {
        vendor,
        device,
        known: known(vendor, device),
        driver: root.link(&file("driver")),
        // -1 when the firmware does not tell.
        node: root.number(&file("numa_node")).and_then(|node| u32::try_from(node).ok()),
        companions: companions(root, &address),
        functions_max: root.number(&file("sriov_totalvfs")).unwrap_or(0),
        ssh: goes_over(&carriers.ssh),
        default_route: goes_over(&carriers.default_route),
        group,
        group_access,
        interfaces,
        address,
    }
}

/// Interfaces are below the device itself, but virtio's are one step further down.
fn interfaces(root: &Root, address: &str) -> Vec<String> {
    let below = root.names(&format!("{FOLDER}/{address}"));
    let virtio = below.iter().filter(|name| name.starts_with("virtio"));
    let mut names = root.names(&format!("{FOLDER}/{address}/net"));
    names.extend(virtio.flat_map(|part| root.names(&format!("{FOLDER}/{address}/{part}/net"))));
    names
}

fn companions(root: &Root, address: &str) -> Vec<(String, String)> {
    let members = root.names(&format!("{FOLDER}/{address}/iommu_group/devices"));
    let others = members.into_iter().filter(|member| member != address);
    others
        .filter_map(|other| {
            let driver = root.link(&format!("{FOLDER}/{other}/driver"))?;
            (!HARMLESS.contains(&driver.as_str())).then_some((other, driver))
        })
        .collect()
}
