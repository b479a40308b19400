//! Which source ports a connect tries, and in which order: RFC 6056's algorithm 4. Which of them are free is the engine's to
//! know.

use super::isn::{Secret, Tuple};

/// First and last port that `connect` chooses from: RFC 6056 section 3.2's range, as Linux narrows it.
pub const PORTS: core::ops::RangeInclusive<u16> = 32_768..=60_999;

/// Counters, so that what connects to one destination tells little of those to others. A power of two.
const COUNTERS: usize = 1024;

/// How far each part of all destinations has come.
#[derive(Debug, Default)]
pub struct SourcePorts {
    counters: Vec<u32>,
}

impl SourcePorts {
    /// Counters that begin at what the secret says.
    pub fn new(secret: &Secret) -> SourcePorts {
        SourcePorts {
            counters: (0..COUNTERS).map(|at| secret.first_port_step(at as u64) % count()).collect(),
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
        let mut ports = SourcePorts::new(&secret);
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
        let mut ports = SourcePorts::new(&secret);
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
        let mut ports = SourcePorts::new(&other);
        assert_ne!(ports.choose(&other, &to(1, 80), |_| true), Some(first));
    }
}
