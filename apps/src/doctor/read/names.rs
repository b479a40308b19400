//! Names of the NICs that Corelane is meant for. Numbers are those that DPDK's drivers list themselves.

/// A NIC that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// As its maker sells it.
    pub name: &'static str,
    /// DPDK's driver for it.
    pub driver: &'static str,
    /// The plug-in that driver is in, without `librte_` and `.so`.
    pub plugin: &'static str,
    /// Debian 12's package of that plug-in.
    pub package: &'static str,
}

const INTEL: u32 = 0x8086;

const fn ixgbe(name: &'static str) -> Known {
    Known { name, driver: "net_ixgbe", plugin: "net_ixgbe", package: "librte-net-ixgbe23" }
}

const fn i40e(name: &'static str) -> Known {
    Known { name, driver: "net_i40e", plugin: "net_i40e", package: "librte-net-i40e23" }
}

const fn igb(name: &'static str) -> Known {
    Known { name, driver: "net_e1000_igb", plugin: "net_e1000", package: "librte-net-e1000-23" }
}

/// Look a NIC up by its vendor and device numbers.
pub fn known(vendor: u32, device: u32) -> Option<Known> {
    if vendor != INTEL {
        return None;
    }
    let known = match device {
        0x10f7 | 0x10f8 | 0x10f9 | 0x10fc | 0x1514 | 0x1517 | 0x151c | 0x152a => ixgbe("Intel 82599"),
        0x10fb | 0x1507 | 0x1529 | 0x154a | 0x154d | 0x1557 | 0x1558 => ixgbe("Intel 82599 (X520)"),
        0x1528 | 0x1560 => ixgbe("Intel X540"),
        0x1563 | 0x15d1 => ixgbe("Intel X550"),
        0x10ed => Known { driver: "net_ixgbe_vf", ..ixgbe("Intel 82599 VF") },
        0x1515 => Known { driver: "net_ixgbe_vf", ..ixgbe("Intel X540 VF") },
        0x1565 => Known { driver: "net_ixgbe_vf", ..ixgbe("Intel X550 VF") },
        0x1572 | 0x1581 | 0x1585 | 0x1586 | 0x1589 => i40e("Intel X710"),
        0x1580 | 0x1583 | 0x1584 | 0x1587 | 0x1588 => i40e("Intel XL710"),
        0x158a | 0x158b => i40e("Intel XXV710"),
        0x154c | 0x1889 => Known {
            name: "Intel X710 VF",
            driver: "net_iavf",
            plugin: "net_iavf",
            package: "librte-net-iavf23",
        },
        0x10c9 | 0x10e6 | 0x10e7 | 0x10e8 | 0x1518 | 0x1526 | 0x150a | 0x150d => igb("Intel 82576"),
        0x1521..=0x1524 => igb("Intel I350"),
        0x10ca => Known { driver: "net_e1000_igb_vf", ..igb("Intel 82576 VF") },
        0x1520 => Known { driver: "net_e1000_igb_vf", ..igb("Intel I350 VF") },
        _ => return None,
    };
    Some(known)
}
