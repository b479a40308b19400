//! Headers as bytes and as valid values: parse gives what can no longer be malformed, emit writes it back.
//! No state, no frames, no clock; what to do about a packet is decided in `ip`, `udp` and `tcp`.
//!
//! Every parser reads untrusted bytes and cannot panic. Every `emit` writes into the front of the caller's
//! buffer, `header_len()` bytes, and says `NoRoom` where that does not fit.

pub mod arp;
pub mod checksum;
mod drop_reason;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod tcp;
pub mod udp;

pub use checksum::{Checksum, Fill, Tail, Verify};
pub use drop_reason::{DropReason, NoRoom};
pub use ethernet::{EtherType, MacAddress};

/// A protocol number of IPv4, or a next header of IPv6.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
}
