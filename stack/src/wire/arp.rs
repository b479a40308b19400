//! ARP for IPv4 over Ethernet (RFC 826): requests and replies.
//! Who is asked and what is believed is decided in `ip::neighbour`.

use super::{DropReason, MacAddress, NoRoom};
use core::net::Ipv4Addr;

/// Length of a packet, in bytes.
pub const PACKET_LEN: usize = 28;

/// What a packet is for.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender's address.
    Reply,
}

/// A valid packet. A sender address of 0.0.0.0 is a probe (RFC 5227).
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Packet {
    /// What it is for.
    pub operation: Operation,
    /// Station of the sender, always unicast.
    pub sender_mac: MacAddress,
    /// Address of the sender.
    pub sender: Ipv4Addr,
    /// Station of the target; zero in a request.
    pub target_mac: MacAddress,
    /// Address of the target.
    pub target: Ipv4Addr,
}

/// Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

impl Packet {
    /// Length of the packet, in bytes.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        PACKET_LEN
    }

    /// Writes the packet into the first 28 bytes.
    ///
    /// Errors: `NoRoom` if `out` is shorter; nothing is written then.
    pub fn emit(&self, out: &mut [u8]) -> Result<(), NoRoom> {
        let out = out.first_chunk_mut::<PACKET_LEN>().ok_or(NoRoom)?;
        let operation = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        let parts: [&[u8]; 6] = [
            &ETHERNET_IPV4,
            &[0, operation],
            &self.sender_mac.0,
            &self.sender.octets(),
            &self.target_mac.0,
            &self.target.octets(),
        ];
        for (to, from) in out.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        Ok(())
    }
}

/// Reads a packet; what follows it is padding.
///
/// Errors: `ArpMalformed`.
pub fn parse(bytes: &[u8]) -> Result<Packet, DropReason> {
    let (head, rest) = bytes.split_first_chunk::<8>().ok_or(DropReason::ArpMalformed)?;
    let &[ref types @ .., operation_a, operation_b] = head;
    let operation = match [operation_a, operation_b] {
        [0, 1] => Operation::Request,
        [0, 2] => Operation::Reply,
        _ => return Err(DropReason::ArpMalformed),
    };
    if *types != ETHERNET_IPV4 {
        return Err(DropReason::ArpMalformed);
    }
    let &[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] =
        rest.first_chunk::<20>().ok_or(DropReason::ArpMalformed)?;
    let packet = Packet {
        operation,
        sender_mac: MacAddress([a, b, c, d, e, f]),
        sender: Ipv4Addr::new(g, h, i, j),
        target_mac: MacAddress([k, l, m, n, o, p]),
        target: Ipv4Addr::new(q, r, s, t),
    };
    //= https://www.rfc-editor.org/rfc/rfc1812#section-3.3.2
    //# A router MUST not believe any ARP reply that claims that the Link
    //# Layer address of another host or router is a broadcast or multicast
    //# address.
    if packet.sender_mac.is_unicast() { Ok(packet) } else { Err(DropReason::ArpMalformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request() -> Packet {
        Packet {
            operation: Operation::Request,
            sender_mac: MacAddress([2, 0, 0, 0, 0, 1]),
            sender: Ipv4Addr::new(10, 0, 0, 1),
            target_mac: MacAddress::ZERO,
            target: Ipv4Addr::new(10, 0, 0, 2),
        }
    }

    #[test]
    fn a_request_to_the_byte() {
        // Shows the packet's format, its truncation at every byte, and padding behind it.
        let mut out = [0; 46];
        request().emit(&mut out).unwrap();
        let expected =
            [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2, 0, 0];
        assert_eq!(out[..30], expected);
        assert_eq!(parse(&out), Ok(request()));
        for short in 0..PACKET_LEN {
            assert_eq!(parse(&out[..short]), Err(DropReason::ArpMalformed));
        }
        for (at, value) in [(1, 6), (2, 9), (4, 8), (5, 16), (6, 1), (7, 0), (7, 3), (8, 3)] {
            let mut bytes = out;
            bytes[at] = value;
            assert_eq!(parse(&bytes), Err(DropReason::ArpMalformed), "{at}");
        }
    }

    proptest! {
        #[test]
        fn parse_of_emit_is_identity(reply: bool, sender: ([u8; 6], u32), target: ([u8; 6], u32)) {
            // Shows that every field survives emit and parse.
            let mut mac = sender.0;
            mac[0] = mac[0] & 0xfe | 2;
            let packet = Packet {
                operation: if reply { Operation::Reply } else { Operation::Request },
                sender_mac: MacAddress(mac),
                sender: Ipv4Addr::from(sender.1),
                target_mac: MacAddress(target.0),
                target: Ipv4Addr::from(target.1),
            };
            let mut out = [0; PACKET_LEN];
            packet.emit(&mut out).unwrap();
            prop_assert_eq!(parse(&out), Ok(packet));
            prop_assert_eq!(packet.emit(&mut out[..27]), Err(NoRoom));
        }

        #[test]
        fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            // Shows that whatever parses has a unicast sender.
            if let Ok(packet) = parse(&bytes) { prop_assert!(packet.sender_mac.is_unicast()); }
        }
    }
}
