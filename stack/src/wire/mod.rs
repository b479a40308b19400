//! Headers as bytes and as valid values: parse gives what can no longer be malformed, emit writes it back.
//! No state, no frames, no clock; what to do about a packet is decided in `ip`, `udp` and `tcp`.
//!
//! Every parser reads untrusted bytes and cannot panic. Every `emit` writes into the front of the caller's
//! buffer, `header_len()` bytes, and says `NoRoom` where that does not fit.

pub mod arp;
pub mod checksum;
pub mod discovery;
mod drop_reason;
pub mod ethernet;
pub mod icmp;
pub mod icmpv6;
mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod mld;
pub mod tcp;
pub mod udp;

pub use checksum::{Checksum, Fill, Tail, Verify};
pub use drop_reason::{DropReason, NoRoom};
pub use ethernet::{EtherType, MacAddress};
pub use ip::{IpHeader, ether_type_of};

/// A protocol number of IPv4, or a next header of IPv6.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// Options of IPv6 that every router looks at.
    pub const IPV6_HOP_BY_HOP: Self = Self(0);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// A way for packets of IPv6.
    pub const IPV6_ROUTING: Self = Self(43);
    /// A piece of a packet of IPv6.
    pub const IPV6_FRAGMENT: Self = Self(44);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// Nothing follows.
    pub const IPV6_NO_NEXT: Self = Self(59);
    /// Options of IPv6 for the destination.
    pub const IPV6_OPTIONS: Self = Self(60);
}
