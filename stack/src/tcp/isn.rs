//! Numbers that strangers must not guess: initial sequence numbers, timestamp offsets, source ports, table hashes.

use core::hash::{Hash, Hasher};
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use siphasher::sip::SipHasher24;

use crate::time::Instant;
use crate::wire::tcp::SeqNum;

/// The two ends of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Tuple {
    /// Our end.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
}

/// In as few words as there are: each costs a keyed hash a round.
impl Hash for Tuple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let ports = u64::from(self.remote.port()) << 16 | u64::from(self.local.port());
        match (self.remote.ip(), self.local.ip()) {
            (IpAddr::V4(remote), IpAddr::V4(local)) => {
                state.write_u64(u64::from(remote.to_bits()) << 32 | u64::from(local.to_bits()));
            }
            (remote, local) => {
                for ip in [remote, local] {
                    match ip {
                        IpAddr::V4(ip) => state.write_u32(ip.to_bits()),
                        IpAddr::V6(ip) => state.write_u128(ip.to_bits()),
                    }
                }
            }
        }
        state.write_u64(ports);
    }
}

impl Tuple {
    /// The two ends, without what is no part of them (scopes and labels of IPv6, and IPv4 in IPv6's clothes).
    #[must_use]
    pub fn new(local: SocketAddr, remote: SocketAddr) -> Tuple {
        let plain = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        Tuple { local: plain(local), remote: plain(remote) }
    }

    fn without_ports(&self) -> Tuple {
        Tuple { local: SocketAddr::new(self.local.ip(), 0), remote: SocketAddr::new(self.remote.ip(), 0) }
    }
}

/// One runtime's secret, the same on all its lanes.
#[derive(Clone, Copy, Debug)]
pub struct Secret([u64; 4]);

/// What a hash is for, so that one use tells nothing of another.
#[derive(Clone, Copy)]
enum Purpose {
    Beginnings = 1,
    Port = 3,
    Addresses = 5,
    Label = 6,
    Cookie = 7,
    PortStep = 8,
    Dice = 9,
    PortDraw = 10,
}

/// A purpose and a tuple in bytes: the addresses, the ports, the purpose.
enum Message {
    V4([u8; 2 * 4 + 2 * 2 + 1]),
    V6([u8; 2 * 16 + 2 * 2 + 1]),
}

#[inline]
fn message(purpose: Purpose, local: Option<u16>, tuple: &Tuple) -> Message {
    let ([a, b], [c, d]) = (local.unwrap_or(0).to_be_bytes(), tuple.remote.port().to_be_bytes());
    let behind = [a, b, c, d, purpose as u8];
    match (tuple.local.ip(), tuple.remote.ip()) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            let mut bytes = [0; 13];
            bytes[..4].copy_from_slice(&local.octets());
            bytes[4..8].copy_from_slice(&remote.octets());
            bytes[8..].copy_from_slice(&behind);
            Message::V4(bytes)
        }
        (local, remote) => {
            let mut bytes = [0; 37];
            bytes[..16].copy_from_slice(&six(local).octets());
            bytes[16..32].copy_from_slice(&six(remote).octets());
            bytes[32..].copy_from_slice(&behind);
            Message::V6(bytes)
        }
    }
}

fn six(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// What the flow table is searched by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowKey {
    /// The addresses in one word: see [`Secret::addresses`].
    pub addresses: u64,
    /// The peer's port and ours.
    pub ports: u32,
    /// The table's hash of both.
    pub hash: u32,
    /// What a connection is as good as known by: see [`Secret::flow_word`].
    pub word: u64,
}

/// The first bits of a word of addresses that are of IPv6: no peer's IPv4 address begins so.
const IPV6_MARK: u64 = 0xf << 60;

/// The addresses in this word are of IPv6.
#[inline]
#[must_use]
pub const fn is_ipv6(addresses: u64) -> bool {
    addresses >= IPV6_MARK
}

impl Secret {
    /// A secret from random words.
    pub fn new(words: [u64; 4]) -> Secret {
        Secret(words)
    }

    fn sip(&self, purpose: Purpose, local: Option<u16>, tuple: &Tuple) -> u64 {
        let [a, b, ..] = self.0;
        let hasher = SipHasher24::new_with_keys(a, b);
        // At once, and of a length that is known: each write costs a hasher its bookkeeping.
        match message(purpose, local, tuple) {
            Message::V4(bytes) => hasher.hash(&bytes),
            Message::V6(bytes) => hasher.hash(&bytes),
        }
    }

    /// What the sequence number of a SYN cookie begins at, for a SYN with this number in this epoch.
    pub fn cookie(&self, tuple: &Tuple, irs: SeqNum, epoch: u64) -> u32 {
        let [a, b, ..] = self.0;
        let mut hasher = SipHasher24::new_with_keys(a, b);
        match message(Purpose::Cookie, Some(tuple.local.port()), tuple) {
            Message::V4(bytes) => hasher.write(&bytes),
            Message::V6(bytes) => hasher.write(&bytes),
        }
        hasher.write_u32(irs.0);
        hasher.write_u64(epoch);
        (hasher.finish() >> 32) as u32
    }

    /// What a connection opened at `now` begins with: its initial sequence number, and what is added to our clock to make
    /// its timestamps (RFC 7323 section 5.4). Both are of one hash, of which neither tells the other's half.
    //= https://www.rfc-editor.org/rfc/rfc6528#section-3
    //# ISN = M + F(localip, localport, remoteip, remoteport, secretkey)
    //= https://www.rfc-editor.org/rfc/rfc7323#section-5.4
    //# A random offset may be added to the timestamp clock on a per-connection
    //# basis.
    pub fn beginnings(&self, tuple: &Tuple, now: Instant) -> (SeqNum, u32) {
        let hash = self.sip(Purpose::Beginnings, Some(tuple.local.port()), tuple);
        #[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap")]
        let (clock, sequence) = ((now.0 / ISN_TICK_NS) as u32, hash as u32);
        (SeqNum(clock.wrapping_add(sequence)), (hash >> 32) as u32)
    }

    /// Where to start looking for a source port towards a peer, and which counter goes on from there: F() and G() of RFC
    /// 6056's algorithm 4.
    pub fn port_offset(&self, tuple: &Tuple) -> (u32, u32) {
        let hash = self.sip(Purpose::Port, None, tuple);
        ((hash >> 32) as u32, (hash & 0xffff_ffff) as u32)
    }

    /// Where one of these counters begins.
    pub fn first_port_step(&self, counter: u64) -> u32 {
        let [a, b, ..] = self.0;
        let mut hasher = SipHasher24::new_with_keys(a, b);
        hasher.write_u8(Purpose::PortStep as u8);
        hasher.write_u64(counter);
        (hasher.finish() >> 32) as u32
    }

    /// The words that ports are drawn by, one for each draw of each lane.
    pub fn port_draw(&self, lane: u8, draw: u64) -> u64 {
        let [a, b, ..] = self.0;
        let mut hasher = SipHasher24::new_with_keys(a, b);
        hasher.write_u8(Purpose::PortDraw as u8);
        hasher.write_u8(lane);
        hasher.write_u64(draw);
        hasher.finish()
    }

    /// Where the dice begin that make limits hard to reckon with.
    pub fn dice(&self) -> u64 {
        let [a, b, ..] = self.0;
        let mut hasher = SipHasher24::new_with_keys(a, b);
        hasher.write_u8(Purpose::Dice as u8);
        hasher.finish()
    }

    /// Remote and local address in one word: of IPv4 themselves, of IPv6 a keyed hash.
    #[inline]
    pub fn addresses(&self, tuple: &Tuple) -> u64 {
        match (tuple.remote.ip(), tuple.local.ip()) {
            (IpAddr::V4(remote), IpAddr::V4(local)) => {
                u64::from(u32::from(remote)) << 32 | u64::from(u32::from(local))
            }
            _ => self.sip(Purpose::Addresses, None, &tuple.without_ports()) | IPV6_MARK,
        }
    }

    /// What the flow table is searched by.
    #[inline]
    pub fn flow_key(&self, tuple: &Tuple) -> FlowKey {
        let addresses = self.addresses(tuple);
        let ports = u32::from(tuple.remote.port()) << 16 | u32::from(tuple.local.port());
        let word = self.flow_word(addresses, ports);
        FlowKey { addresses, ports, hash: (word >> 32) as u32, word }
    }

    /// The flow label of a connection over IPv6.
    //= https://www.rfc-editor.org/rfc/rfc6437#section-3
    //# It is therefore RECOMMENDED that source hosts support the flow label
    //# by setting the flow label field for all packets of a given flow to
    //# the same value chosen from an approximation to a discrete uniform
    pub fn flow_label(&self, tuple: &Tuple) -> u32 {
        (self.sip(Purpose::Label, Some(tuple.local.port()), tuple) >> 44) as u32
    }

    /// The hash that the flow table is searched by. Keyed, and cheaper than SipHash: it never leaves the process.
    #[inline]
    pub fn flow_hash(&self, addresses: u64, ports: u32) -> u32 {
        (self.flow_word(addresses, ports) >> 32) as u32
    }

    /// A word that a connection is as good as known by; its first half is the hash.
    #[inline]
    pub fn flow_word(&self, addresses: u64, ports: u32) -> u64 {
        let [.., c, d] = self.0;
        let folded = |a: u64, b: u64| {
            let product = u128::from(a) * u128::from(b);
            #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
            let (low, high) = (product as u64, (product >> 64) as u64);
            low ^ high
        };
        let mixed = folded(addresses ^ c, u64::from(ports) ^ (1 << 63 ^ d));
        folded(mixed ^ d, c | 1)
    }
}

/// One tick of the ISN's clock: 4 µs (RFC 9293 section 3.4.1).
const ISN_TICK_NS: u64 = 4_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(port: u16) -> Tuple {
        Tuple {
            local: "10.0.0.1:80".parse().unwrap(),
            remote: SocketAddr::new("10.0.0.2".parse().unwrap(), port),
        }
    }

    #[test]
    fn sequence_numbers_follow_the_clock_and_differ_by_peer() {
        // Shows M of RFC 6528 (4 µs a step for one tuple) and F (no relation between tuples or secrets), and that the offset of
        // timestamps differs by peer, but not with the clock.
        //= https://www.rfc-editor.org/rfc/rfc6528#section-3
        //= type=test
        //# ISN = M + F(localip, localport, remoteip, remoteport, secretkey)
        let secret = Secret::new([1, 2, 3, 4]);
        let at = |port, us: u64| secret.beginnings(&tuple(port), Instant(us * 1_000)).0;
        assert_eq!(at(5, 400_000).since(at(5, 0)), 100_000);
        assert_ne!(at(5, 0), at(6, 0));
        assert_ne!(at(5, 0), Secret::new([1, 9, 3, 4]).beginnings(&tuple(5), Instant(0)).0);
        assert_eq!(
            secret.beginnings(&tuple(5), Instant(0)).1,
            secret.beginnings(&tuple(5), Instant(1 << 40)).1
        );
        assert_ne!(secret.beginnings(&tuple(5), Instant(0)).1, secret.beginnings(&tuple(6), Instant(0)).1);
    }

    #[test]
    fn flow_hashes_spread() {
        // Shows that neighbouring tuples fill the buckets of a table evenly: no bucket of 256 gets twice its share.
        let secret = Secret::new([
            0x243f_6a88_85a3_08d3,
            0x1319_8a2e_0370_7344,
            0xa409_3822_299f_31d0,
            0x082e_fa98_ec4e_6c89,
        ]);
        let mut buckets = [0u32; 256];
        for host in 0..64u64 {
            for port in 0..1024u32 {
                buckets[(secret
                    .flow_hash((0x0a00_0001 << 32) | (0x0a00_0100 + host), (80 << 16) | (10_000 + port))
                    >> 24) as usize] += 1;
            }
        }
        assert!(buckets.iter().all(|&count| count > 128 && count < 512), "{buckets:?}");
    }

    #[test]
    fn words_of_addresses_tell_the_versions_apart() {
        // Shows IPv4's addresses as they are, IPv6's as a word that begins with four ones and differs with the secret,
        // and that ports take no part in it.
        let end = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (secret, other) = (Secret::new([1, 2, 3, 4]), Secret::new([9, 2, 3, 4]));
        let four = Tuple::new(end("10.0.0.1:80"), end("[::ffff:239.255.255.255]:9"));
        assert_eq!(
            (secret.addresses(&four), is_ipv6(secret.addresses(&four))),
            (0xefff_ffff_0a00_0001, false)
        );
        let six = |port: u16| Tuple::new(end("[fd00::1]:80"), SocketAddr::new(end("[fd00::2]:1").ip(), port));
        let word = secret.addresses(&six(1));
        assert!(is_ipv6(word) && word != other.addresses(&six(1)));
        assert_eq!(word, secret.addresses(&six(2)));
        assert_ne!(secret.flow_key(&six(1)).hash, secret.flow_key(&six(2)).hash);
        assert!(
            secret.flow_label(&six(1)) < 1 << 20 && secret.flow_label(&six(1)) != secret.flow_label(&six(2))
        );
    }
}
