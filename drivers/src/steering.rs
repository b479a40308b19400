//! Which queue a NIC gives a packet to: Toeplitz's hash, its key and the table behind it. Setting and reading them
//! back is `dpdk/port.rs`'s; what lanes make of it is the stack's.

use std::net::{IpAddr, SocketAddr};

use crate::frame::Transport;

/// What a port's RSS does, as read back from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RssTable {
    key: Vec<u8>,
    reta: Vec<u16>,
    types: RssTypes,
}

/// Packets that are hashed over addresses and ports. Others are hashed over less, or not at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RssTypes {
    /// TCP over IPv4.
    pub tcp_ipv4: bool,
    /// UDP over IPv4.
    pub udp_ipv4: bool,
    /// TCP over IPv6.
    pub tcp_ipv6: bool,
    /// UDP over IPv6.
    pub udp_ipv6: bool,
}

/// Bytes of the key that a hash over two IPv6 addresses and two ports uses: its input, and 32 bits more.
pub const RSS_KEY_BYTES_MIN: usize = 40;

/// A key that hashes both directions of a flow alike: it repeats after 16 bits, and each field of the input is a
/// multiple of that (Woo and Park, «Scalable TCP session monitoring with symmetric receive-side scaling», 2012).
pub fn symmetric_key(bytes: usize) -> Vec<u8> {
    [0x6d, 0x5a].into_iter().cycle().take(bytes).collect()
}

impl RssTable {
    /// A port that hashes `types` with `key` and sends hash `h` to queue `reta[h % reta.len()]`.
    ///
    /// `None` if the key is shorter than [`RSS_KEY_BYTES_MIN`] or the table's length is no power of two.
    pub fn new(key: Vec<u8>, reta: Vec<u16>, types: RssTypes) -> Option<RssTable> {
        let good = key.len() >= RSS_KEY_BYTES_MIN && reta.len().is_power_of_two();
        good.then_some(RssTable { key, reta, types })
    }

    /// The hash of a packet between two ends; `None` for kinds of packets that are not hashed over both.
    pub fn hash(&self, transport: Transport, source: SocketAddr, destination: SocketAddr) -> Option<u32> {
        let RssTypes { tcp_ipv4, udp_ipv4, tcp_ipv6, udp_ipv6 } = self.types;
        let mut input = [0; 36];
        let (hashed, addresses) = match (source.ip(), destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                input[..4].copy_from_slice(&source.octets());
                input[4..8].copy_from_slice(&destination.octets());
                (if transport == Transport::Tcp { tcp_ipv4 } else { udp_ipv4 }, 8)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                input[..16].copy_from_slice(&source.octets());
                input[16..32].copy_from_slice(&destination.octets());
                (if transport == Transport::Tcp { tcp_ipv6 } else { udp_ipv6 }, 32)
            }
            _ => return None,
        };
        input[addresses..addresses + 2].copy_from_slice(&source.port().to_be_bytes());
        input[addresses + 2..addresses + 4].copy_from_slice(&destination.port().to_be_bytes());
        hashed.then(|| toeplitz(&self.key, &input[..addresses + 4]))
    }

    /// The queue that packets with this hash go to.
    pub fn queue(&self, hash: u32) -> u16 {
        self.reta[hash as usize & (self.reta.len() - 1)]
    }
}

/// Toeplitz's hash: for each bit set in `input`, the 32 bits of `key` that begin there, added without carry.
///
/// Panics: if `key` is not at least four bytes longer than `input`.
pub fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
    let first = [key[0], key[1], key[2], key[3]];
    let (mut window, mut hash) = (u32::from_be_bytes(first), 0);
    for (byte, next) in input.iter().zip(&key[4..4 + input.len()]) {
        for bit in (0..8).rev() {
            hash ^= if byte >> bit & 1 != 0 { window } else { 0 };
            window = window << 1 | u32::from(next >> bit & 1);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and the vectors that Microsoft publishes for «Verifying the RSS Hash Calculation».
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
        0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
        0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];
    const ALL: RssTypes = RssTypes { tcp_ipv4: true, udp_ipv4: true, tcp_ipv6: true, udp_ipv6: true };

    fn hash(key: &[u8], source: &str, destination: &str) -> Option<u32> {
        let table = RssTable::new(key.to_vec(), vec![0, 1], ALL).expect("a good table");
        let end = |text: &str| text.parse().expect("an address");
        table.hash(Transport::Tcp, end(source), end(destination))
    }

    #[test]
    fn hashes_are_those_that_are_published() {
        // Shows IPv4 and IPv6 against figures from elsewhere.
        assert_eq!(hash(&KEY, "66.9.149.187:2794", "161.142.100.80:1766"), Some(0x51cc_c178));
        assert_eq!(hash(&KEY, "199.92.111.2:14230", "65.69.140.83:4739"), Some(0xc626_b0ea));
        assert_eq!(
            hash(&KEY, "[3ffe:2501:200:1fff::7]:2794", "[3ffe:2501:200:3::1]:1766"),
            Some(0x4020_7d3d)
        );
        assert_eq!(hash(&KEY, "[::1]:1", "1.2.3.4:5"), None);
    }

    #[test]
    fn a_symmetric_key_hashes_both_directions_alike() {
        // Shows it for the keys of 40 bytes and of 52, and that another key does not.
        let ends = ["10.1.2.3:80", "192.168.9.7:40000"];
        for bytes in [40, 52] {
            let key = symmetric_key(bytes);
            assert_eq!((key.len(), hash(&key, ends[0], ends[1])), (bytes, hash(&key, ends[1], ends[0])));
        }
        assert_ne!(hash(&KEY, ends[0], ends[1]), hash(&KEY, ends[1], ends[0]));
    }

    #[test]
    fn tables_that_no_port_could_have_are_refused() {
        // Shows the bounds that `hash` and `queue` rely on, and how a table is read.
        assert_eq!(RssTable::new(vec![0; 39], vec![0], ALL), None);
        assert_eq!(RssTable::new(KEY.to_vec(), vec![0, 1, 2], ALL), None);
        assert_eq!(RssTable::new(KEY.to_vec(), vec![], ALL), None);
        let table = RssTable::new(KEY.to_vec(), vec![0, 1, 2, 3], RssTypes::default()).expect("a good table");
        assert_eq!((table.queue(6), table.queue(u32::MAX)), (2, 3));
        let ends: [SocketAddr; 2] = [([1, 2, 3, 4], 5).into(), ([6, 7, 8, 9], 10).into()];
        assert_eq!(table.hash(Transport::Udp, ends[0], ends[1]), None);
    }
}
