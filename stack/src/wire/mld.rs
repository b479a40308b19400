//! Multicast listener discovery as bytes (RFC 3810): the reports of a host, without which switches that listen along
//! would keep its neighbours' questions from it, and the queries that ask for them. Which groups there are is
//! `ip::slaac`'s to say.

use super::{Checksum, DropReason, Fill, NoRoom, Protocol, ipv6};
use core::net::Ipv6Addr;
use core::time::Duration;

/// The type of a query.
pub const QUERY: u8 = 130;

/// Whom reports go to: every router that listens to them.
pub const REPORTS_TO: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// Groups of one report: as many as addresses of an interface.
pub const GROUPS_MAX: usize = 32;

/// The hop-by-hop header that has routers look at a report: a router alert (RFC 2711), and padding.
const ROUTER_ALERT: [u8; 8] = [Protocol::ICMPV6.0, 0, 5, 2, 0, 0, 1, 0];

/// Why a host reports.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Why {
    /// It was asked.
    Asked,
    /// It has joined.
    Joined,
}

/// Length of what follows the IPv6 header of a report on so many groups, in bytes.
#[must_use]
pub const fn report_len(groups: usize) -> usize {
    ROUTER_ALERT.len() + 8 + 20 * groups
}

/// The IPv6 header of a report.
//= https://www.rfc-editor.org/rfc/rfc3810#section-5
//# described in this document MUST be sent with a link-local IPv6 Source
//# Address, an IPv6 Hop Limit of 1, and an IPv6 Router Alert option
//# [RFC2711] in a Hop-by-Hop Options header.
#[must_use]
pub const fn header(source: Ipv6Addr) -> ipv6::Header {
    ipv6::Header::new(source, REPORTS_TO, Protocol::IPV6_HOP_BY_HOP, 1)
}

/// Writes what follows the IPv6 header of a report on these groups, none of which excludes any source.
///
/// Errors: `NoRoom` if `out` is shorter than `report_len`, or the groups are too many.
pub fn emit_report(out: &mut [u8], source: Ipv6Addr, groups: &[Ipv6Addr], why: Why) -> Result<(), NoRoom> {
    const REPORT: u8 = 143;
    let out = out.get_mut(..report_len(groups.len())).ok_or(NoRoom)?;
    let count =
        u8::try_from(groups.len()).ok().filter(|count| usize::from(*count) <= GROUPS_MAX).ok_or(NoRoom)?;
    let (options, message) = out.split_at_mut_checked(ROUTER_ALERT.len()).ok_or(NoRoom)?;
    options.copy_from_slice(&ROUTER_ALERT);
    let (head, records) = message.split_first_chunk_mut::<8>().ok_or(NoRoom)?;
    *head = [REPORT, 0, 0, 0, 0, 0, 0, count];
    let mode = match why {
        Why::Asked => 2,
        Why::Joined => 4,
    };
    for (record, group) in records.chunks_exact_mut(20).zip(groups) {
        let (front, address) = record.split_at_mut(4);
        front.copy_from_slice(&[mode, 0, 0, 0]);
        address.copy_from_slice(&group.octets());
    }
    let len = u32::try_from(message.len()).unwrap_or(0);
    let pseudo = Checksum::pseudo_ipv6(source, REPORTS_TO, Protocol::ICMPV6.0, len);
    let sum = Fill::Full(pseudo).value(message).to_be_bytes();
    message.get_mut(2..4).ok_or(NoRoom)?.copy_from_slice(&sum);
    Ok(())
}

/// Reads a query of a packet with this header; `bytes` are its ICMPv6 part, whose checksum is not looked at here. How
/// long the answer may take.
///
/// Errors: `DiscoveryMalformed` if it cannot be a router's of this link.
//= https://www.rfc-editor.org/rfc/rfc3810#section-6.2
//# Upon reception of an MLD message that contains a Query, the node
//# checks if the source address of the message is a valid link-local
//# address, if the Hop Limit is set to 1
pub fn parse_query(header: &ipv6::Header, bytes: &[u8]) -> Result<Duration, DropReason> {
    let valid = header.source.is_unicast_link_local()
        && header.hop_limit == 1
        && header.next_header == Protocol::IPV6_HOP_BY_HOP;
    match bytes.first_chunk::<24>() {
        Some(&[QUERY, 0, _, _, high, low, ..]) if valid => {
            let code = u16::from_be_bytes([high, low]);
            // Above 32,767 it is a floating point number (section 5.1.3).
            let ms = match code {
                0x8000.. => u32::from(code & 0xfff | 0x1000) << ((code >> 12 & 7) + 3),
                code => code.into(),
            };
            Ok(Duration::from_millis(ms.into()))
        }
        _ => Err(DropReason::DiscoveryMalformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::icmpv6;

    const US: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

    #[test]
    fn a_report_to_the_byte() {
        // Shows the router alert, the checksum over the message behind it, and two records.
        let groups = [ipv6::solicited_node(US), ipv6::ALL_NODES];
        let mut out = vec![0; report_len(2)];
        emit_report(&mut out, US, &groups, Why::Joined).unwrap();
        let mut packet = vec![0; 40];
        header(US).emit(&mut packet, out.len()).unwrap();
        packet.extend(&out);
        let (header, payload) = ipv6::parse(&packet).unwrap();
        let upper = ipv6::walk(&packet, header.next_header, payload).unwrap();
        assert_eq!((upper.protocol, header.hop_limit), (Protocol::ICMPV6, 1));
        let message = &packet[upper.range];
        assert!(icmpv6::verify(US, REPORTS_TO, message.len()).accepts(message));
        assert_eq!((message[0], &message[4..12]), (143, &[0, 0, 0, 2, 4, 0, 0, 0][..]));
        assert_eq!(message[12..28], groups[0].octets());
        assert_eq!((message[28], &message[32..48]), (4, &groups[1].octets()[..]));
        out.pop();
        assert_eq!(emit_report(&mut out, US, &groups, Why::Asked), Err(NoRoom));
        assert_eq!(emit_report(&mut [0; 2000], US, &[US; 33], Why::Asked), Err(NoRoom));
    }

    #[test]
    //= https://www.rfc-editor.org/rfc/rfc3810#section-6.2
    //= type=test
    //# Upon reception of an MLD message that contains a Query, the node
    //# checks if the source address of the message is a valid link-local
    //# address, if the Hop Limit is set to 1
    fn queries() {
        // Shows both forms of the delay, and each check.
        let good = ipv6::Header::new(US, ipv6::ALL_NODES, Protocol::IPV6_HOP_BY_HOP, 1);
        let query = |high, low| {
            let mut bytes = [0; 28];
            (bytes[0], bytes[4], bytes[5]) = (QUERY, high, low);
            bytes
        };
        let delay = |high, low| parse_query(&good, &query(high, low)).unwrap().as_millis();
        assert_eq!((delay(0x27, 0x10), delay(0x80, 0x00), delay(0xff, 0xff)), (10_000, 32_768, 8_387_584));
        let bad = Err(DropReason::DiscoveryMalformed);
        assert_eq!(parse_query(&ipv6::Header { hop_limit: 2, ..good }, &query(0, 9)), bad);
        assert_eq!(parse_query(&ipv6::Header { source: Ipv6Addr::UNSPECIFIED, ..good }, &query(0, 9)), bad);
        assert_eq!(parse_query(&ipv6::Header { next_header: Protocol::ICMPV6, ..good }, &query(0, 9)), bad);
        assert_eq!(parse_query(&good, &query(0, 9)[..23]), bad);
    }
}
