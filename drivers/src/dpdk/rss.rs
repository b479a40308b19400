//! RSS: what to ask of a port, and reading back what it then does. Hashing and the table itself are `steering.rs`'s.
//!
//! The key is the symmetric one, so both directions of a flow hash alike under the plain Toeplitz function; it also
//! makes the hash the same whichever order a NIC takes the fields in. i40e's symmetric hash function, which sorts
//! them first, would change nothing under this key and is left off.

use dpdk_sys as ffi;

use super::probe::Traits;
use crate::steering::{RSS_KEY_BYTES_MIN, RssTable, RssTypes, symmetric_key};

const TYPES: u64 = ffi::RTE_ETH_RSS_NONFRAG_IPV4_TCP
    | ffi::RTE_ETH_RSS_NONFRAG_IPV4_UDP
    | ffi::RTE_ETH_RSS_NONFRAG_IPV6_TCP
    | ffi::RTE_ETH_RSS_NONFRAG_IPV6_UDP;

/// Entries of the largest table there is (`RTE_ETH_RSS_RETA_SIZE_512`).
const RETA_ENTRIES_MAX: u16 = 512;

/// Entries that DPDK hands over together.
const GROUP: usize = ffi::RTE_ETH_RETA_GROUP_SIZE as usize;

/// What to ask of a port.
#[derive(Debug)]
pub(super) struct RssPlan {
    /// What it offers of TCP and UDP.
    pub types: u64,
    /// As long as the port's; empty where it does not say how long, and so keeps its own.
    pub key: Vec<u8>,
    /// The queue of each entry.
    pub reta: Vec<u16>,
}

impl RssPlan {
    /// `None` for a port that does not spread packets, or has nothing to spread them over.
    pub fn new(info: &ffi::corelane_port_info, traits: Traits, queues: u16) -> Option<RssPlan> {
        let types = info.rss_types & TYPES;
        if queues < 2 || !traits.steers || types == 0 {
            return None;
        }
        let known = usize::from(info.rss_key_bytes) >= RSS_KEY_BYTES_MIN;
        let key = if known { symmetric_key(usize::from(info.rss_key_bytes)) } else { Vec::new() };
        let reta = (0..info.reta_entries.min(RETA_ENTRIES_MAX)).map(|entry| entry % queues).collect();
        Some(RssPlan { types, key, reta })
    }

    /// Fills the table of a started port and reads back what the port does. `None` if it does not tell.
    pub fn apply(&self, port: u16) -> Option<RssTable> {
        let entries = u16::try_from(self.reta.len()).ok()?;
        let mut groups = groups(&self.reta);
        // A port that refuses keeps the table it has, which is read below.
        // SAFETY: the port is started; there is a group for each 64 of `entries`.
        unsafe { ffi::rte_eth_dev_rss_reta_update(port, groups.as_mut_ptr(), entries) };
        for group in &mut groups {
            group.reta = [0; GROUP];
        }
        // SAFETY: as above; the groups are written.
        let status = unsafe { ffi::rte_eth_dev_rss_reta_query(port, groups.as_mut_ptr(), entries) };
        if status != 0 {
            return None;
        }
        let mut key = vec![0; self.key.len().max(RSS_KEY_BYTES_MIN)];
        let (bytes, mut types) = (u8::try_from(key.len()).ok()?, 0);
        // SAFETY: the port is started; the key has room for `bytes`.
        let status = unsafe { ffi::corelane_rss_read(port, key.as_mut_ptr(), bytes, &raw mut types) };
        // A port that says nothing leaves zeros, by which everything would hash alike.
        if status != 0 || key.iter().all(|byte| *byte == 0) {
            return None;
        }
        RssTable::new(key, entries_of(&groups, self.reta.len()), kinds(types))
    }
}

/// DPDK's form of a table.
fn groups(reta: &[u16]) -> Vec<ffi::rte_eth_rss_reta_entry64> {
    let group = |queues: &[u16]| {
        let mut entries = [0; GROUP];
        entries[..queues.len()].copy_from_slice(queues);
        let mask = if queues.len() == GROUP { u64::MAX } else { (1 << queues.len()) - 1 };
        ffi::rte_eth_rss_reta_entry64 { mask, reta: entries }
    };
    reta.chunks(GROUP).map(group).collect()
}

fn entries_of(groups: &[ffi::rte_eth_rss_reta_entry64], count: usize) -> Vec<u16> {
    groups.iter().flat_map(|group| group.reta).take(count).collect()
}

fn kinds(types: u64) -> RssTypes {
    let has = |kind: u64| types & kind != 0;
    RssTypes {
        tcp_ipv4: has(ffi::RTE_ETH_RSS_NONFRAG_IPV4_TCP),
        udp_ipv4: has(ffi::RTE_ETH_RSS_NONFRAG_IPV4_UDP),
        tcp_ipv6: has(ffi::RTE_ETH_RSS_NONFRAG_IPV6_TCP),
        udp_ipv6: has(ffi::RTE_ETH_RSS_NONFRAG_IPV6_UDP),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;

    fn plan(entries: u16, key: u8, types: u64, queues: u16) -> Option<RssPlan> {
        let info = ffi::corelane_port_info {
            reta_entries: entries,
            rss_key_bytes: key,
            rss_types: types,
            ..Default::default()
        };
        let nic: Device = "03:00.0".parse().expect("an address");
        RssPlan::new(&info, Traits::of(&nic), queues)
    }

    #[test]
    fn tables_are_filled_evenly() {
        // Shows each queue's share of 82599's, X710's and a small port's table, for every count of queues.
        for (entries, key) in [(128, 40), (512, 52), (64, 40)] {
            for queues in 2..=16 {
                let plan = plan(entries, key, TYPES, queues).expect("a plan");
                let share = |queue| plan.reta.iter().filter(|entry| **entry == queue).count();
                let (least, most) = (entries / queues, entries.div_ceil(queues));
                assert!(
                    (0..queues).all(|queue| (least..=most).contains(&u16::try_from(share(queue)).unwrap()))
                );
                assert_eq!((plan.reta.len(), plan.key.len()), (usize::from(entries), usize::from(key)));
                assert_eq!(entries_of(&groups(&plan.reta), plan.reta.len()), plan.reta);
            }
        }
    }

    #[test]
    fn only_what_is_offered_is_asked_for() {
        // Shows one queue, no types, a key of unknown length, and the kinds that are read back.
        assert!(plan(128, 40, TYPES, 1).is_none());
        assert!(plan(128, 40, ffi::RTE_ETH_RSS_IPV4, 4).is_none());
        let tcp = ffi::RTE_ETH_RSS_NONFRAG_IPV4_TCP;
        let some = plan(128, 0, tcp | ffi::RTE_ETH_RSS_IPV4, 4).expect("a plan");
        assert_eq!((some.types, some.key.len()), (tcp, 0));
        assert_eq!(kinds(some.types), RssTypes { tcp_ipv4: true, ..RssTypes::default() });
        assert_eq!(groups(&[1; 65]).iter().map(|group| group.mask).collect::<Vec<_>>(), [u64::MAX, 1]);
    }
}
