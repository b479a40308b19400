//! IP: neighbours, addresses, routes, path MTUs, fragments and ICMP, each a state machine in plain data.
//! Headers as bytes live in `wire`; frames, interfaces and the clock live in `engine`.

pub mod fragment;
pub mod icmp;
pub mod icmpv6;
pub mod neighbour;
pub mod path_mtu;
pub mod route;
pub mod slaac;

use core::hash::BuildHasher;
use siphasher::sip::SipHasher13;

/// Hashes with a key of the runtime's: the same key, the same table, on every run.
///
/// Peers choose what is hashed here, so the key must be secret outside simulations.
#[derive(Copy, Clone, Debug)]
pub struct KeyedHash {
    key: [u64; 2],
}

impl KeyedHash {
    /// A hash with this key.
    #[must_use]
    pub const fn new(key: [u64; 2]) -> Self {
        Self { key }
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        let [a, b] = self.key;
        SipHasher13::new_with_keys(a, b)
    }
}
