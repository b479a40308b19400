//! Which source ports are tried, and in which order: of a connection RFC 6056's algorithm 4, of UDP sockets by the dice. Which
//! of them are free is the engine's to know.

use super::isn::{Secret, Tuple};
use crate::socket::LaneId;

/// First and last port that `connect` chooses from: RFC 6056 section 3.2's range, as Linux narrows it.
pub const PORTS: core::ops::RangeInclusive<u16> = 32_768..=60_999;

/// Counters, so that what connects to one destination tells little of those to others. A power of two.
const COUNTERS: usize = 1024;

/// How far each part of all destinations has come.
#[derive(Debug, Default)]
pub struct SourcePorts {
    counters: Vec<u32>,
    lane: u8,
    /// Ports drawn so far.
    draws: u64,
}

impl SourcePorts {
    /// Counters that begin at what the secret says, and dice of this lane's own.
    pub fn new(secret: &Secret, lane: LaneId) -> SourcePorts {
        SourcePorts {
            counters: (0..COUNTERS).map(|at| secret.first_port_step(at as u64) % count()).collect(),
            lane: lane.0,
            draws: 0,
        }
    }

    /// A port for a connection between these ends, whose own is not chosen yet: the first that is `free`, of all there are,
    /// from where the last connection to such a destination left off.
    //= https://www.rfc-editor.org/rfc/rfc6056#section-3.3.4
    //# The function G() should be a cryptographic hash function like MD5
    //# [RFC1321].  It should use both IP addresses, the remote port, and a
    //# secret key value to compute a value between 0 and (TABLE_LENGTH-1).
    pub fn choose(&mut self, secret: &Secret, tuple: &Tuple, free: impl Fn(u16) -> bool) -> Option<u16> {
        let count = count();
        let (offset, index) = secret.port_offset(tuple);
        let counter = self.counters.get_mut(index as usize & (COUNTERS - 1))?;
        for _ in 0..count {
            let step = (offset % count + *counter) % count;
            *counter = (*counter + 1) % count;
            let port = PORTS.start() + u16::try_from(step).unwrap_or(0);
            if free(port) {
                return Some(port);
            }
        }
        None
    }

    /// A port for a UDP socket: the first that is `free` of all there are, in an order that no other draw tells of. So a port
    /// beside one that is taken is as likely as any.
    ///
    /// Unlike a connection's, it need not differ long from those before it, and who forges an answer to a question must
    /// guess it though he may have seen the one before.
    //= https://www.rfc-editor.org/rfc/rfc6056#section-3.3.2
    //# in the event a local instance-id
    //# collision is detected, another port number is selected randomly:
    pub fn draw(&mut self, secret: &Secret, free: impl Fn(u16) -> bool) -> Option<u16> {
        let (count, word) = (count(), secret.port_draw(self.lane, self.draws));
        self.draws += 1;
        let below =
            |word: u64, count: u32| u32::try_from((word & 0xffff_ffff) % u64::from(count)).unwrap_or(0);
        let mut step = below(word >> 32, count - 1) + 1;
        // Only steps that have no divisor in common with their number lead to all ports.
        while gcd(step, count) != 1 {
            step = step % (count - 1) + 1;
        }
        let mut at = below(word, count);
        for _ in 0..count {
            let port = PORTS.start() + u16::try_from(at).unwrap_or(0);
            if free(port) {
                return Some(port);
            }
            at = (at + step) % count;
        }
        None
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn count() -> u32 {
    u32::from(PORTS.end() - PORTS.start()) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u64; 4] = [1, 2, 3, 4];

    fn to(host: u8, port: u16) -> Tuple {
        Tuple {
            local: "10.0.0.1:0".parse().unwrap(),
            remote: core::net::SocketAddr::from(([10, 0, 1, host], port)),
        }
    }

    #[test]
    fn every_port_is_tried_once() {
        // Shows that all ports of the range are found before any comes again, and that none is found when none is free.
        let secret = Secret::new(SECRET);
        let mut ports = SourcePorts::new(&secret, LaneId(0));
        let mut seen = std::collections::BTreeSet::new();
        for _ in PORTS {
            let port = ports.choose(&secret, &to(1, 80), |port| !seen.contains(&port)).unwrap();
            assert!(PORTS.contains(&port) && seen.insert(port));
        }
        assert_eq!(ports.choose(&secret, &to(1, 80), |port| !seen.contains(&port)), None);
        let last = *seen.iter().nth(7_000).unwrap();
        assert_eq!(ports.choose(&secret, &to(1, 80), |port| port == last), Some(last));
    }

    #[test]
    //= https://www.rfc-editor.org/rfc/rfc6056#section-3.3.4
    //= type=test
    //# The array "table[]" assures that successive transport-protocol
    //# instances with the same remote endpoint will use increasing ephemeral
    //# port numbers.
    fn what_one_destination_sees_tells_nothing_of_another() {
        // Shows ports in sequence for one destination; that connections to it do not move those of others, but for one in a
        // thousand; and that the difference to another's port is another for each: known ports predict none.
        let secret = Secret::new(SECRET);
        let mut ports = SourcePorts::new(&secret, LaneId(0));
        let mut choose = |host: u8, port: u16| ports.choose(&secret, &to(host, port), |_| true).unwrap();
        let first = choose(1, 80);
        let count = PORTS.end() - PORTS.start() + 1;
        let after = |port: u16, steps: u16| PORTS.start() + (port - PORTS.start() + steps) % count;
        assert_eq!([choose(1, 80), choose(1, 80)], [after(first, 1), after(first, 2)]);
        let (mut before, mut moved) = (Vec::new(), 0);
        for host in 2..=250 {
            let port = choose(host, 80);
            for _ in 0..10 {
                choose(1, 80);
            }
            moved += u32::from(choose(host, 80) != after(port, 1));
            before.push(port);
        }
        assert!(moved <= 5, "{moved} of 249 moved");
        // Differences between neighbours: if they told of one another, they would be alike.
        let mut differences: Vec<u16> =
            before.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]) / 512).collect();
        differences.sort_unstable();
        differences.dedup();
        assert!(differences.len() > 60, "{} different of 248", differences.len());
        let other = Secret::new([9, 2, 3, 4]);
        let mut ports = SourcePorts::new(&other, LaneId(0));
        assert_ne!(ports.choose(&other, &to(1, 80), |_| true), Some(first));
    }

    #[test]
    fn drawn_ports_tell_nothing_of_the_next() {
        // Shows, over 20,000 draws with all ports free, that each part of the range gets its share whatever part was drawn
        // before, that neighbours are no more frequent than chance has them, and that another lane, and another secret,
        // draws others.
        //= https://www.rfc-editor.org/rfc/rfc6056#section-3.3.1
        //= type=test
        //# This algorithm selects ephemeral port numbers randomly and thus
        //# reduces the chances that an attacker will guess the ephemeral port
        //# selected for a target transport-protocol instance.
        let draws = |secret: [u64; 4], lane: u8| {
            let secret = Secret::new(secret);
            let mut ports = SourcePorts::new(&secret, LaneId(lane));
            (0..20_000).map(|_| ports.draw(&secret, |_| true).unwrap()).collect::<Vec<u16>>()
        };
        let ports = draws(SECRET, 0);
        assert!(ports.iter().all(|port| PORTS.contains(port)));
        // Eight parts of the range, and which of them follows which.
        let part = |port: u16| usize::from((port - PORTS.start()) / 3_529);
        let mut follows = [[0_u32; 8]; 8];
        for pair in ports.windows(2) {
            follows[part(pair[0])][part(pair[1])] += 1;
        }
        // Each is binomial with a mean of 312 and a deviation of 18.
        assert!(follows.iter().flatten().all(|count| (220..405).contains(count)), "{follows:?}");
        let near = ports.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) <= 14).count();
        assert!((5..45).contains(&near), "{near} of 20 were close to the one before");
        let alike = |other: &[u16]| ports.iter().zip(other).filter(|(a, b)| a == b).count();
        assert!(alike(&draws(SECRET, 1)) < 8 && alike(&draws([1, 3, 3, 4], 0)) < 8);
    }

    #[test]
    fn every_port_can_be_drawn() {
        // Shows that all ports of the range are drawn before any comes again, the last one though all others are taken, that
        // none is drawn when none is free, and that what comes after a port that is taken is not the next number.
        let secret = Secret::new(SECRET);
        let mut ports = SourcePorts::new(&secret, LaneId(3));
        let mut seen = std::collections::BTreeSet::new();
        for _ in PORTS {
            let port = ports.draw(&secret, |port| !seen.contains(&port)).unwrap();
            assert!(PORTS.contains(&port) && seen.insert(port));
        }
        assert_eq!(ports.draw(&secret, |port| !seen.contains(&port)), None);
        let last = *seen.iter().nth(7_000).unwrap();
        assert_eq!(ports.draw(&secret, |port| port == last), Some(last));
        let mut next = 0;
        for _ in 0..1_000 {
            let first = core::cell::Cell::new(None);
            let second = ports.draw(&secret, |port| first.replace(Some(port)).is_some()).unwrap();
            // `free` has overwritten the first with the second, so that one is asked for again.
            ports.draws -= 1;
            let first = ports.draw(&secret, |_| true).unwrap();
            next += u32::from(second.abs_diff(first) == 1);
        }
        assert!(next < 5, "{next} of 1,000");
    }
}
