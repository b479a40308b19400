//! What travels beside a frame's bytes: what a port said of it as it came, what a port is to do as it goes.
//! The bytes and who owns them are `frame.rs`'s.

use super::Frame;
use crate::mbuf::{rx, tx};

/// What a port said of one checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checksum {
    /// Verified by the port.
    Good,
    /// Refuted by the port.
    Bad,
    /// Not looked at: the stack verifies it.
    Unknown,
    /// Not filled in by the sender, whose memory never left the machine: nothing to verify.
    Partial,
}

/// A port's verdicts on a received frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdicts {
    /// The IPv4 header checksum.
    pub ip: Checksum,
    /// The TCP or UDP checksum.
    pub transport: Checksum,
}

/// The transport whose checksum a port is to fill in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Which checksums a port is to fill in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checksums {
    /// The IPv4 header's.
    pub ipv4: bool,
    /// The transport's; the field then holds the pseudo-header's sum, not inverted.
    pub transport: Option<Transport>,
}

/// What a port is to do to a frame as it sends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offload {
    /// IPv6 rather than IPv4.
    pub ipv6: bool,
    /// Checksums to fill in.
    pub checksums: Checksums,
    /// Bytes of the Ethernet header, VLAN tag included. At most 127.
    pub link_bytes: u8,
    /// Bytes of the IP header. At most 511.
    pub network_bytes: u16,
    /// Bytes of the transport header.
    pub transport_bytes: u8,
    /// Cut the payload into TCP segments of this many bytes; zero: do not cut.
    pub segment_bytes: u16,
}

impl Offload {
    /// The same as DPDK has it: `ol_flags` and `tx_offload`.
    #[inline]
    pub(super) fn words(self) -> (u64, u64) {
        let Offload { ipv6, checksums, link_bytes, network_bytes, transport_bytes, segment_bytes } = self;
        let mut flags = if ipv6 { tx::IPV6 } else { tx::IPV4 };
        if checksums.ipv4 {
            flags |= tx::IP_CHECKSUM;
        }
        match checksums.transport {
            Some(Transport::Tcp) => flags |= tx::TCP_CHECKSUM,
            Some(Transport::Udp) => flags |= tx::UDP_CHECKSUM,
            None => {}
        }
        if segment_bytes > 0 {
            flags |= tx::TCP_SEGMENTATION;
        }
        let word = u64::from(link_bytes & 0x7f)
            | u64::from(network_bytes & 0x1ff) << 7
            | u64::from(transport_bytes) << 16
            | u64::from(segment_bytes) << 24;
        (flags, word)
    }
}

impl Frame {
    /// The port's hash of the flow, if it gave one.
    #[inline]
    pub fn hash(&self) -> Option<u32> {
        #[expect(clippy::cast_possible_truncation, reason = "the hash is the low half of the packed word")]
        let hash = self.packed as u32;
        (self.header().ol_flags & rx::RSS_HASH != 0).then_some(hash)
    }

    /// The port's verdicts on the checksums.
    #[inline]
    pub fn verdicts(&self) -> Verdicts {
        let flags = self.header().ol_flags;
        let verdict = |good: u64, bad: u64| match (flags & good != 0, flags & bad != 0) {
            (true, true) => Checksum::Partial,
            (true, false) => Checksum::Good,
            (false, true) => Checksum::Bad,
            (false, false) => Checksum::Unknown,
        };
        Verdicts { ip: verdict(rx::IP_GOOD, rx::IP_BAD), transport: verdict(rx::L4_GOOD, rx::L4_BAD) }
    }

    /// The port has verified both checksums and taken no VLAN tag off.
    #[inline]
    pub fn is_verified(&self) -> bool {
        let said = rx::IP_GOOD | rx::IP_BAD | rx::L4_GOOD | rx::L4_BAD | rx::VLAN_STRIPPED;
        self.header().ol_flags & said == rx::IP_GOOD | rx::L4_GOOD
    }

    /// The VLAN tag that the port took off, if it did.
    #[inline]
    pub fn stripped_vlan(&self) -> Option<u16> {
        let header = self.header();
        (header.ol_flags & rx::VLAN_STRIPPED != 0).then_some(header.vlan_tci)
    }

    /// Tell the port what to do to this frame as it sends it.
    ///
    /// Panics: if the first segment is shared.
    #[inline]
    pub fn set_offload(&mut self, offload: Offload) {
        let (flags, word) = offload.words();
        let header = self.header_mut();
        header.ol_flags = header.ol_flags & (tx::EXTERNAL | tx::INDIRECT) | flags;
        header.tx_offload = word;
    }

    /// What the port is to do to this frame, if anything was asked.
    pub fn offload(&self) -> Option<Offload> {
        let header = self.header();
        let (flags, word) = (header.ol_flags, header.tx_offload);
        if flags & (tx::IPV4 | tx::IPV6) == 0 {
            return None;
        }
        let transport = match flags & tx::UDP_CHECKSUM {
            tx::TCP_CHECKSUM => Some(Transport::Tcp),
            tx::UDP_CHECKSUM => Some(Transport::Udp),
            _ => None,
        };
        let field = |shift: u32, mask: u64| u16::try_from(word >> shift & mask).unwrap_or(0);
        Some(Offload {
            ipv6: flags & tx::IPV6 != 0,
            checksums: Checksums { ipv4: flags & tx::IP_CHECKSUM != 0, transport },
            link_bytes: u8::try_from(field(0, 0x7f)).unwrap_or(0),
            network_bytes: field(7, 0x1ff),
            transport_bytes: u8::try_from(field(16, 0xff)).unwrap_or(0),
            segment_bytes: if flags & tx::TCP_SEGMENTATION != 0 { field(24, 0xffff) } else { 0 },
        })
    }

    /// Have the port put a VLAN tag into this frame as it sends it. Behind [`set_offload`](Frame::set_offload).
    ///
    /// Panics: if the first segment is shared.
    pub fn set_vlan(&mut self, tci: u16) {
        let header = self.header_mut();
        header.ol_flags |= tx::VLAN;
        header.vlan_tci = tci;
    }

    /// The VLAN tag that the port is to put into this frame.
    pub fn vlan(&self) -> Option<u16> {
        let header = self.header();
        (header.ol_flags & tx::VLAN != 0).then_some(header.vlan_tci)
    }

    /// Forget what the sender's end said of this frame, as a wire does: flags, hash and offloads.
    ///
    /// Panics: if the first segment is shared.
    pub fn clear_metadata(&mut self) {
        let header = self.header_mut();
        header.ol_flags &= tx::EXTERNAL | tx::INDIRECT;
        header.tx_offload = 0;
        self.packed &= !u64::from(u32::MAX);
    }

    /// Take over what a port said of `from`, of which this frame is a copy: verdicts, hash and stripped VLAN tag.
    ///
    /// Panics: if the first segment is shared.
    pub fn copy_metadata(&mut self, from: &Frame) {
        let said = rx::RSS_HASH | rx::VLAN_STRIPPED | rx::IP_GOOD | rx::IP_BAD | rx::L4_GOOD | rx::L4_BAD;
        let (flags, vlan) = (from.header().ol_flags & said, from.header().vlan_tci);
        self.packed = self.packed & !u64::from(u32::MAX) | from.packed & u64::from(u32::MAX);
        let header = self.header_mut();
        header.ol_flags = header.ol_flags & !said | flags;
        header.vlan_tci = vlan;
    }

    /// Say what a port would have said of this frame's checksums. For soft ports.
    ///
    /// Panics: if the first segment is shared.
    pub fn set_verdicts(&mut self, verdicts: Verdicts) {
        let bits = |verdict, good: u64, bad: u64| match verdict {
            Checksum::Good => good,
            Checksum::Bad => bad,
            Checksum::Unknown => 0,
            Checksum::Partial => good | bad,
        };
        let flags =
            bits(verdicts.ip, rx::IP_GOOD, rx::IP_BAD) | bits(verdicts.transport, rx::L4_GOOD, rx::L4_BAD);
        let header = self.header_mut();
        header.ol_flags = header.ol_flags & !(rx::IP_GOOD | rx::IP_BAD | rx::L4_GOOD | rx::L4_BAD) | flags;
    }

    /// Say what a port would have said of this frame's flow. For soft ports.
    ///
    /// Panics: if the first segment is shared.
    pub fn set_hash(&mut self, hash: u32) {
        self.packed = self.packed & !u64::from(u32::MAX) | u64::from(hash);
        self.header_mut().ol_flags |= rx::RSS_HASH;
    }
}
