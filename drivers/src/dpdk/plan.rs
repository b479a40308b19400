//! What to ask a port for, given what it offers: a pure function of both. Asking is `port.rs`'s, RSS `rss.rs`'s.
//!
//! Beyond what DPDK's answers say, this keeps to what the guides of Intel's drivers (`ixgbe`, `i40e`, `intel_vf`)
//! ask of an application. Rings are powers of two, multiples of the driver's step and at least twice its thresholds,
//! which stay its own: its bulk and vector receive paths want that. Frames are scattered only where one of them does
//! not fit a buffer, for the vector paths are left then. Neither header split, LRO nor flow director are asked for.
//! These two drivers are unproven on hardware.

use dpdk_sys as ffi;

use super::probe::Traits;
use super::rss::RssPlan;
use crate::device::Device;
use crate::open::{OpenOptions, SPARE_FRAMES};
use crate::port::{Capabilities, LINK_BYTES, MTU_MAX, SEGMENTS_MAX};
use crate::setup::SetupError;

/// Bytes in front of the data in each buffer (`RTE_PKTMBUF_HEADROOM`).
const HEADROOM: u16 = 128;

/// A driver that cuts TCP payload takes what one IP packet holds, less the largest headers.
const SEGMENTATION_MAX: u32 = 65_535 - 120;

const RECEIVE_CHECKSUMS: u64 = ffi::RTE_ETH_RX_OFFLOAD_IPV4_CKSUM
    | ffi::RTE_ETH_RX_OFFLOAD_UDP_CKSUM
    | ffi::RTE_ETH_RX_OFFLOAD_TCP_CKSUM;

const TRANSMIT_CHECKSUMS: u64 = ffi::RTE_ETH_TX_OFFLOAD_IPV4_CKSUM
    | ffi::RTE_ETH_TX_OFFLOAD_UDP_CKSUM
    | ffi::RTE_ETH_TX_OFFLOAD_TCP_CKSUM;

/// What to ask the port for, after asking what it offers.
#[derive(Debug)]
pub(super) struct Plan {
    pub queues: u16,
    pub receive_offloads: u64,
    pub transmit_offloads: u64,
    /// `None`: all packets arrive on the first queue, or where the device likes.
    pub rss: Option<RssPlan>,
    pub receive_descriptors: u16,
    pub transmit_descriptors: u16,
    pub mtu: u16,
    pub capabilities: Capabilities,
}

impl Plan {
    /// The plan for a device that says `info` of itself and has an MTU of `current_mtu`.
    ///
    /// Errors: it cannot have the queues, the MTU or the rings that `options` ask for.
    pub fn new(
        device: &Device,
        options: &OpenOptions,
        info: &ffi::corelane_port_info,
        traits: Traits,
        current_mtu: u16,
    ) -> Result<Plan, SetupError> {
        let offered = info.rx_queues_max.min(info.tx_queues_max).min(traits.queues_max);
        let queues = queues(device, options, offered)?;
        let mtu = mtu(device, options, info, traits, current_mtu)?;
        let rss = RssPlan::new(info, traits, queues);
        let receive_offloads = receive_offloads(info, traits, mtu, rss.is_some());
        let transmit_offloads = transmit_offloads(info, traits);
        let receives = |flags: u64| receive_offloads & flags == flags;
        let sends = |flags: u64| transmit_offloads & flags == flags;
        let gathers = sends(ffi::RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
        let capabilities = Capabilities {
            mtu_max: mtu,
            multi_segment: gathers,
            segments_max: if gathers { segments(info) } else { 1 },
            reads_heap: traits.reads_heap,
            transmit_ipv4_checksum: sends(ffi::RTE_ETH_TX_OFFLOAD_IPV4_CKSUM),
            transmit_tcp_checksum: sends(ffi::RTE_ETH_TX_OFFLOAD_TCP_CKSUM),
            transmit_udp_checksum: sends(ffi::RTE_ETH_TX_OFFLOAD_UDP_CKSUM),
            vlan_insert: sends(ffi::RTE_ETH_TX_OFFLOAD_VLAN_INSERT),
            receive_checksums: receives(RECEIVE_CHECKSUMS),
            segmentation_max: if sends(ffi::RTE_ETH_TX_OFFLOAD_TCP_TSO) { SEGMENTATION_MAX } else { 0 },
            rss_hash: receives(ffi::RTE_ETH_RX_OFFLOAD_RSS_HASH),
        };
        let (receive_descriptors, transmit_descriptors) = descriptors(device, options, info, traits)?;
        Ok(Plan {
            queues,
            receive_offloads,
            transmit_offloads,
            rss,
            receive_descriptors,
            transmit_descriptors,
            mtu,
            capabilities,
        })
    }

    /// Frames must be looked at by the driver before they are sent: it fills in what the checksum is to begin from.
    pub fn prepares(&self) -> bool {
        self.transmit_offloads & (TRANSMIT_CHECKSUMS | ffi::RTE_ETH_TX_OFFLOAD_TCP_TSO) != 0
    }
}

/// Queue pairs: as many as are asked for, or where fewer will do as many as there are.
pub(super) fn queues(device: &Device, options: &OpenOptions, offered: u16) -> Result<u16, SetupError> {
    let asked = options.queues;
    if (1..=offered).contains(&asked) {
        return Ok(asked);
    }
    if options.fewer_queues && asked > 0 && offered > 0 {
        return Ok(offered);
    }
    Err(SetupError::Queues { device: device.to_string(), asked, offered })
}

fn receive_offloads(info: &ffi::corelane_port_info, traits: Traits, mtu: u16, rss: bool) -> u64 {
    let mut wanted = RECEIVE_CHECKSUMS;
    if needs_scatter(traits, mtu) {
        wanted |= ffi::RTE_ETH_RX_OFFLOAD_SCATTER;
    }
    if rss {
        wanted |= ffi::RTE_ETH_RX_OFFLOAD_RSS_HASH;
    }
    if traits.steers {
        wanted |= ffi::RTE_ETH_RX_OFFLOAD_VLAN_STRIP;
    }
    info.rx_offloads & wanted
}

fn needs_scatter(traits: Traits, mtu: u16) -> bool {
    mtu.saturating_add(LINK_BYTES) > traits.receive_room - HEADROOM
}

fn transmit_offloads(info: &ffi::corelane_port_info, traits: Traits) -> u64 {
    let mut wanted = 0;
    if traits.sums_any_segments {
        wanted |= TRANSMIT_CHECKSUMS;
    }
    if traits.gathers {
        wanted |= ffi::RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    }
    if traits.steers {
        wanted |= ffi::RTE_ETH_TX_OFFLOAD_VLAN_INSERT;
    }
    let offered = info.tx_offloads & wanted;
    // Cutting takes summing and gathering along.
    let cuts = ffi::RTE_ETH_TX_OFFLOAD_TCP_CKSUM | ffi::RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    if traits.segments_tcp && offered & cuts == cuts {
        return offered | info.tx_offloads & ffi::RTE_ETH_TX_OFFLOAD_TCP_TSO;
    }
    offered
}

/// Segments of one frame. i40e reads at most eight for each packet on the wire, so frames that it cuts keep to that
/// too: whatever their segments' lengths, no packet then takes more.
fn segments(info: &ffi::corelane_port_info) -> usize {
    let most = |segments: u16| if segments == 0 { SEGMENTS_MAX } else { usize::from(segments) };
    most(info.tx_segments_max).min(most(info.tx_mtu_segments_max)).min(SEGMENTS_MAX)
}

/// Ring sizes that the pools can feed and the device can have.
pub(super) fn descriptors(
    device: &Device,
    options: &OpenOptions,
    info: &ffi::corelane_port_info,
    traits: Traits,
) -> Result<(u16, u16), SetupError> {
    let fit = |wanted: usize, least: u16, most: u16, step: u16| {
        let most = if most == 0 { u16::MAX } else { most };
        // Below the largest power of two: drivers take no other, or mask with it.
        let wanted = wanted.min(usize::from(options.descriptors)).min(usize::from(most)).max(1);
        let wanted = u16::try_from(1_usize << wanted.ilog2()).unwrap_or(u16::MAX);
        let step = step.max(1);
        (wanted - wanted % step).max(least).max(step)
    };
    // Twice the thresholds, so that a ring is not empty before the driver gets round to it.
    let least = |least: u16, thresholds: u16| {
        let twice = thresholds.saturating_mul(2);
        if twice == 0 { least } else { least.max(twice.next_power_of_two()) }
    };
    let spare = options.receive_frames.saturating_sub(SPARE_FRAMES);
    let floor = least(info.rx_descriptors_min, info.rx_free_threshold);
    let receive = fit(spare, floor, info.rx_descriptors_max, info.rx_descriptors_step);
    let needed = usize::from(receive.max(traits.kept_frames)) + SPARE_FRAMES;
    if options.receive_frames < needed {
        let frames = options.receive_frames;
        return Err(SetupError::TooFewFrames { device: device.to_string(), frames, needed });
    }
    // Frames that were sent stay in the ring until the driver gets round to them: half must be left to send with.
    let spare = options.control_frames / 2;
    let thresholds = info.tx_free_threshold.saturating_add(info.tx_report_threshold);
    let floor = least(info.tx_descriptors_min, thresholds);
    let transmit = fit(spare, floor, info.tx_descriptors_max, info.tx_descriptors_step);
    Ok((receive, transmit))
}

/// The MTU that is asked for, or else the device's own, as far as its driver carries it.
pub(super) fn mtu(
    device: &Device,
    options: &OpenOptions,
    info: &ffi::corelane_port_info,
    traits: Traits,
    current: u16,
) -> Result<u16, SetupError> {
    let mut most = if info.mtu_max == 0 { current } else { info.mtu_max.min(MTU_MAX) };
    if let Some(carried) = traits.mtu_max {
        most = most.min(carried);
    }
    if traits.kernel_interface {
        // The kernel's interface is not ours to change.
        most = current.min(traits.mtu_max.unwrap_or(current));
    }
    if traits.steers && info.rx_offloads & ffi::RTE_ETH_RX_OFFLOAD_SCATTER == 0 {
        most = most.min(traits.receive_room - HEADROOM - LINK_BYTES);
    }
    let asked = options.mtu.unwrap_or(current.min(most));
    // IPv4 asks for 68 (RFC 791); drivers say the same or nothing.
    let least = info.mtu_min.max(68);
    if (least..=most).contains(&asked) {
        return Ok(asked);
    }
    Err(SetupError::Mtu { device: device.to_string(), asked, least, most })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What DPDK 22.11's ixgbe says of an 82599.
    fn ixgbe() -> ffi::corelane_port_info {
        ffi::corelane_port_info {
            rx_offloads: RECEIVE_CHECKSUMS
                | ffi::RTE_ETH_RX_OFFLOAD_VLAN_STRIP
                | ffi::RTE_ETH_RX_OFFLOAD_SCATTER
                | ffi::RTE_ETH_RX_OFFLOAD_TCP_LRO
                | ffi::RTE_ETH_RX_OFFLOAD_RSS_HASH,
            tx_offloads: TRANSMIT_CHECKSUMS
                | ffi::RTE_ETH_TX_OFFLOAD_VLAN_INSERT
                | ffi::RTE_ETH_TX_OFFLOAD_TCP_TSO
                | ffi::RTE_ETH_TX_OFFLOAD_MULTI_SEGS,
            rss_types: ffi::RTE_ETH_RSS_NONFRAG_IPV4_TCP
                | ffi::RTE_ETH_RSS_NONFRAG_IPV4_UDP
                | ffi::RTE_ETH_RSS_NONFRAG_IPV6_TCP
                | ffi::RTE_ETH_RSS_NONFRAG_IPV6_UDP
                | ffi::RTE_ETH_RSS_IPV4
                | ffi::RTE_ETH_RSS_IPV6,
            rx_packet_bytes_max: 15_872,
            rx_buffer_bytes_min: 1024,
            mtu_min: 68,
            mtu_max: 15_854,
            rx_queues_max: 128,
            tx_queues_max: 128,
            rx_descriptors_min: 32,
            rx_descriptors_max: 4096,
            rx_descriptors_step: 8,
            tx_descriptors_min: 32,
            tx_descriptors_max: 4096,
            tx_descriptors_step: 8,
            tx_segments_max: 40,
            tx_mtu_segments_max: 40,
            rx_free_threshold: 32,
            tx_free_threshold: 32,
            tx_report_threshold: 32,
            reta_entries: 128,
            rss_key_bytes: 40,
            ..Default::default()
        }
    }

    /// What DPDK 22.11's i40e says of an X710.
    fn i40e() -> ffi::corelane_port_info {
        ffi::corelane_port_info {
            mtu_max: 9_702,
            rx_queues_max: 192,
            tx_queues_max: 192,
            rx_descriptors_min: 64,
            rx_descriptors_step: 32,
            tx_descriptors_min: 64,
            tx_descriptors_step: 32,
            tx_segments_max: 255,
            tx_mtu_segments_max: 8,
            reta_entries: 512,
            rss_key_bytes: 52,
            ..ixgbe()
        }
    }

    fn nic() -> Device {
        "03:00.0".parse().expect("an address")
    }

    fn plan(options: &OpenOptions, info: &ffi::corelane_port_info) -> Result<Plan, SetupError> {
        Plan::new(&nic(), options, info, Traits::of(&nic()), 1500)
    }

    #[test]
    fn intels_nics_give_all_they_have() {
        // Shows the offloads, segments and RSS of both drivers on four queues, and that nothing is asked that would
        // leave their vector receive paths: no scatter, no LRO.
        for (info, segments, key, reta) in [(ixgbe(), 16, 40, 128), (i40e(), 8, 52, 512)] {
            let plan = plan(&OpenOptions { queues: 4, ..OpenOptions::default() }, &info).expect("a plan");
            let Capabilities { segments_max, segmentation_max, .. } = plan.capabilities;
            assert_eq!((segments_max, segmentation_max), (segments, SEGMENTATION_MAX));
            let Capabilities { transmit_tcp_checksum, transmit_ipv4_checksum, .. } = plan.capabilities;
            let Capabilities { receive_checksums, vlan_insert, rss_hash, reads_heap, .. } = plan.capabilities;
            assert!(transmit_tcp_checksum && transmit_ipv4_checksum && receive_checksums);
            assert!(vlan_insert && rss_hash && !reads_heap && plan.prepares());
            let left = ffi::RTE_ETH_RX_OFFLOAD_SCATTER | ffi::RTE_ETH_RX_OFFLOAD_TCP_LRO;
            assert_eq!(plan.receive_offloads & left, 0);
            assert_eq!(plan.transmit_offloads & ffi::RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE, 0);
            let rss = plan.rss.expect("RSS");
            assert_eq!((rss.key.len(), rss.reta.len()), (key, reta));
        }
    }

    #[test]
    fn rings_keep_to_the_drivers_rules() {
        // Shows, for pools of any size, that rings are powers of two within the bounds, a multiple of the step, and
        // large enough for the thresholds; or else that the error names enough frames.
        for info in [ixgbe(), i40e()] {
            for frames in (64..6000).step_by(37) {
                let options = OpenOptions {
                    receive_frames: frames,
                    control_frames: frames,
                    descriptors: 4096,
                    ..OpenOptions::default()
                };
                let (receive, transmit) = match plan(&options, &info) {
                    Ok(plan) => (plan.receive_descriptors, plan.transmit_descriptors),
                    Err(SetupError::TooFewFrames { needed, .. }) => {
                        assert!(frames < needed && needed <= 128);
                        continue;
                    }
                    Err(other) => panic!("{other}"),
                };
                assert!(receive.is_power_of_two() && (64..=4096).contains(&receive), "{receive}");
                assert!(transmit.is_power_of_two() && (128..=4096).contains(&transmit), "{transmit}");
                assert_eq!((receive % info.rx_descriptors_step, transmit % info.tx_descriptors_step), (0, 0));
                assert!(receive >= 2 * info.rx_free_threshold && usize::from(receive) + 64 <= frames);
                // i40e: both transmit thresholds together leave room in the ring.
                assert!(info.tx_free_threshold + info.tx_report_threshold < transmit - 3);
            }
        }
    }

    #[test]
    fn jumbo_frames_are_scattered_where_that_is_offered() {
        // Shows both sides of a buffer's size, and the bound of a port that cannot scatter.
        let scatter = ffi::RTE_ETH_RX_OFFLOAD_SCATTER;
        let with = |mtu| OpenOptions { mtu: Some(mtu), ..OpenOptions::default() };
        let offloads = |mtu| plan(&with(mtu), &i40e()).expect("a plan").receive_offloads & scatter;
        assert_eq!((offloads(2048 - 18), offloads(2048 - 17), offloads(9000)), (0, scatter, scatter));
        let plain = ffi::corelane_port_info { rx_offloads: 0, ..i40e() };
        assert_eq!(plan(&with(2030), &plain).expect("a plan").mtu, 2030);
        let refused = plan(&with(9000), &plain).expect_err("too long");
        assert!(matches!(refused, SetupError::Mtu { asked: 9000, most: 2030, .. }), "{refused}");
        assert!(matches!(plan(&with(9_300), &ixgbe()), Err(SetupError::Mtu { most: 9_216, .. })));
    }

    #[test]
    fn a_port_without_offloads_is_planned_without() {
        // Shows virtio-net's least: one queue, no checksums, single segments; and what hangs together for cutting.
        let bare = ffi::corelane_port_info { rx_queues_max: 1, tx_queues_max: 1, ..Default::default() };
        let bare = plan(&OpenOptions::default(), &bare).expect("a plan");
        assert_eq!((bare.receive_offloads, bare.transmit_offloads, bare.prepares()), (0, 0, false));
        assert_eq!(bare.capabilities, Capabilities::plain(1500));
        assert!(bare.rss.is_none());
        let unsummed =
            ffi::corelane_port_info { tx_offloads: ixgbe().tx_offloads & !TRANSMIT_CHECKSUMS, ..ixgbe() };
        let unsummed = plan(&OpenOptions::default(), &unsummed).expect("a plan");
        assert_eq!((unsummed.capabilities.segmentation_max, unsummed.capabilities.multi_segment), (0, true));
    }

    #[test]
    fn fewer_queues_do_where_that_is_allowed() {
        // Shows the queues that a plan has for each wish, and the error of a strict one.
        let wish = |queues, fewer_queues| {
            let options = OpenOptions { queues, fewer_queues, ..OpenOptions::default() };
            plan(&options, &ffi::corelane_port_info { rx_queues_max: 8, ..ixgbe() }).map(|plan| plan.queues)
        };
        assert_eq!((wish(3, true), wish(8, false), wish(20, true)), (Ok(3), Ok(8), Ok(8)));
        assert!(matches!(wish(20, false), Err(SetupError::Queues { asked: 20, offered: 8, .. })));
        assert!(matches!(wish(0, true), Err(SetupError::Queues { asked: 0, .. })));
    }
}
