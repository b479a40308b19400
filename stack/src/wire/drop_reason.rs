//! Why a frame was dropped: one variant, and so one counter, for each reason.
//! The counters themselves live with the engine.

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a frame ended without being delivered or answered.
        ///
        /// Every dropped frame counts under exactly one of these. The network is at fault (or a bound
        /// of ours was reached), so the application never sees them as errors.
        #[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order of their indices.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many reasons there are: the length of a table of counters.
            pub const COUNT: usize = Self::ALL.len();

            /// The counter's name, in lower case with underscores.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

drop_reasons! {
    /// Shorter than an Ethernet header, or than the VLAN tag it announces.
    EthernetTruncated = "ethernet_truncated",
    /// A unicast frame for another station.
    EthernetNotForUs = "ethernet_not_for_us",
    /// The source address is a group address, which no station can have.
    EthernetSource = "ethernet_source",
    /// No protocol of ours.
    EtherTypeUnknown = "ether_type_unknown",
    /// A VLAN that no interface of ours is in.
    VlanUnknown = "vlan_unknown",
    /// Not an Ethernet/IPv4 request or reply, or cut short.
    ArpMalformed = "arp_malformed",
    /// About an address that is not ours, or a reply nobody asked for.
    ArpNotForUs = "arp_not_for_us",
    /// Another station claims one of our addresses.
    ArpConflict = "arp_conflict",
    /// Shorter than an IPv4 header.
    Ipv4Truncated = "ipv4_truncated",
    /// The version field is not 4.
    Ipv4Version = "ipv4_version",
    /// The header length is below 20 bytes or beyond the frame.
    Ipv4HeaderLength = "ipv4_header_length",
    /// The header checksum is wrong.
    Ipv4Checksum = "ipv4_checksum",
    /// The total length is below the header's or beyond the frame.
    Ipv4TotalLength = "ipv4_total_length",
    /// An option is malformed.
    Ipv4Options = "ipv4_options",
    /// A source route: refused, for it lets a peer borrow our trust.
    Ipv4SourceRoute = "ipv4_source_route",
    /// The source is no address that a packet may come from.
    Ipv4Source = "ipv4_source",
    /// The destination is no address that may appear on a wire.
    Ipv4Destination = "ipv4_destination",
    /// For another host.
    Ipv4NotForUs = "ipv4_not_for_us",
    /// No transport of ours.
    Ipv4Protocol = "ipv4_protocol",
    /// The whole datagram would be longer than 65,535 bytes.
    FragmentTooLong = "fragment_too_long",
    /// An empty fragment, or one not last and not a multiple of eight bytes long.
    FragmentMalformed = "fragment_malformed",
    /// Overlaps another fragment of its datagram: the datagram goes.
    FragmentOverlap = "fragment_overlap",
    /// The same fragment came before.
    FragmentDuplicate = "fragment_duplicate",
    /// More fragments than a datagram may have.
    FragmentTooMany = "fragment_too_many",
    /// No room left in the reassembly table.
    FragmentTableFull = "fragment_table_full",
    /// The rest of the datagram did not come in time.
    FragmentTimeout = "fragment_timeout",
    /// Shorter than an ICMP header.
    IcmpTruncated = "icmp_truncated",
    /// The ICMP checksum is wrong.
    IcmpChecksum = "icmp_checksum",
    /// A type or code that we do nothing with.
    IcmpType = "icmp_type",
    /// An error whose quoted packet is cut short or malformed.
    IcmpQuote = "icmp_quote",
    /// An error about a flow that we do not have.
    IcmpNoFlow = "icmp_no_flow",
    /// An error whose sequence number is not in flight.
    IcmpSequence = "icmp_sequence",
    /// An echo request to a group or broadcast address.
    IcmpEchoRefused = "icmp_echo_refused",
    /// An answer that the rate limit holds back.
    IcmpRateLimited = "icmp_rate_limited",
    /// Shorter than a UDP header.
    UdpTruncated = "udp_truncated",
    /// The UDP length is below eight or beyond the packet.
    UdpLength = "udp_length",
    /// The UDP checksum is wrong.
    UdpChecksum = "udp_checksum",
    /// To port zero.
    UdpPortZero = "udp_port_zero",
    /// No socket is bound to the port.
    UdpNoListener = "udp_no_listener",
    /// The socket's queue is full.
    UdpQueueFull = "udp_queue_full",
    /// Shorter than a TCP header.
    TcpTruncated = "tcp_truncated",
    /// The data offset is below 20 bytes or beyond the segment.
    TcpDataOffset = "tcp_data_offset",
    /// The TCP checksum is wrong.
    TcpChecksum = "tcp_checksum",
    /// From or to port zero.
    TcpPortZero = "tcp_port_zero",
    /// To or from a group or broadcast address.
    TcpNotUnicast = "tcp_not_unicast",
    /// No listener and no connection: a reset to answer with was not due.
    TcpNoListener = "tcp_no_listener",
    /// The listener's backlog is full.
    TcpBacklogFull = "tcp_backlog_full",
    /// A reset that the rate limit holds back.
    ResetRateLimited = "reset_rate_limited",
    /// The segment is not acceptable in the connection's state.
    TcpNotAcceptable = "tcp_not_acceptable",
    /// A reset whose sequence number was not exactly the next one.
    TcpResetNotExact = "tcp_reset_not_exact",
    /// A timestamp older than the last one accepted.
    TcpOldTimestamp = "tcp_old_timestamp",
    /// Beyond the receive window, or the socket holds as much as it may.
    TcpBeyondWindow = "tcp_beyond_window",
    /// Shorter than an IPv6 header.
    Ipv6Truncated = "ipv6_truncated",
    /// The version field is not 6.
    Ipv6Version = "ipv6_version",
    /// The payload length is beyond the frame.
    Ipv6PayloadLength = "ipv6_payload_length",
    /// The source is no address that a packet may come from.
    Ipv6Source = "ipv6_source",
    /// The destination is no address that may appear on a wire.
    Ipv6Destination = "ipv6_destination",
    /// For another host, or a group that we are not in.
    Ipv6NotForUs = "ipv6_not_for_us",
    /// No transport of ours.
    Ipv6NextHeader = "ipv6_next_header",
    /// Nothing follows the header.
    Ipv6NoNextHeader = "ipv6_no_next_header",
    /// An extension header that is cut short, or more of them than we walk.
    Ipv6Extension = "ipv6_extension",
    /// An option that is malformed or says that it may not be ignored, or more of them than we walk.
    Ipv6Option = "ipv6_option",
    /// A Routing header with a way to go.
    Ipv6Routing = "ipv6_routing",
    /// A message of neighbour discovery that breaks a rule of RFC 4861.
    DiscoveryMalformed = "discovery_malformed",
    /// Neighbour discovery about what does not concern us.
    DiscoveryNotForUs = "discovery_not_for_us",
    /// Another station has, or wants, one of our IPv6 addresses.
    DiscoveryConflict = "discovery_conflict",
    /// IPv6 is not spoken on this interface.
    Ipv6Unsupported = "ipv6_unsupported",
    /// No route to the destination.
    NoRoute = "no_route",
    /// The next hop did not answer.
    NeighbourFailed = "neighbour_failed",
    /// Replaced by a later packet while its next hop was being resolved.
    NeighbourQueueFull = "neighbour_queue_full",
    /// Larger than the path takes, and it may not be fragmented.
    PacketTooBig = "packet_too_big",
    /// The frame has no room for the headers, or there was no frame for them.
    NoRoom = "no_room",
    /// It was another lane's, and the ring to that lane was full.
    LaneRingFull = "lane_ring_full",
}

/// The buffer is too small for what should be emitted into it, or the packet too long for its length field.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct NoRoom;

impl From<NoRoom> for DropReason {
    fn from(_: NoRoom) -> Self {
        Self::NoRoom
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_and_names_are_unique() {
        // Shows that a table of COUNT counters can be indexed by the discriminant, and named.
        assert_eq!(DropReason::ALL.len(), DropReason::COUNT);
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
        let mut names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::COUNT);
    }
}
