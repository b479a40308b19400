//! What an interface puts behind a prefix to have an address: made of its station address, or opaque (RFC 7217).

use super::Addresses;
use crate::config::Identifiers;
use crate::ip::KeyedHash;
use crate::wire::MacAddress;
use core::hash::BuildHasher;
use core::net::Ipv6Addr;

impl Addresses {
    /// The address of this interface in a prefix of 64 bits, the `tried`-th.
    pub(super) fn made(&self, prefix: Ipv6Addr, tried: u8) -> Ipv6Addr {
        let identifier = match self.config.identifiers {
            Identifiers::Station => {
                let MacAddress([a, b, c, d, e, f]) = self.mac;
                u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f])
            }
            Identifiers::Opaque(secret) => opaque(secret, prefix, self.mac, tried),
        };
        Ipv6Addr::from(u128::from(prefix) >> 64 << 64 | u128::from(identifier))
    }
}

/// An identifier that tells nothing (RFC 7217 section 5), and is none that is kept for others (RFC 5453).
//= https://www.rfc-editor.org/rfc/rfc7217#section-5
//# RID = F(Prefix, Net_Iface, Network_ID, DAD_Counter, secret_key)
fn opaque(secret: [u64; 2], prefix: Ipv6Addr, mac: MacAddress, tried: u8) -> u64 {
    let network = u128::from(prefix) >> 64;
    let hash = KeyedHash::new(secret);
    (0..u16::MAX)
        .map(|step| hash.hash_one((network, mac, tried, step)))
        .find(|identifier| !is_reserved(*identifier))
        .unwrap_or(1)
}

/// An identifier that is no host's: the subnet's routers', IANA's own, and the subnet's anycast addresses (RFC 5453).
pub(super) fn is_reserved(identifier: u64) -> bool {
    identifier == 0
        || (0x0200_5eff_fe00_0000..=0x0200_5eff_feff_ffff).contains(&identifier)
        || (0xfdff_ffff_ffff_ff80..=0xfdff_ffff_ffff_ffff).contains(&identifier)
}
