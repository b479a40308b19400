//! The network between the hosts, and the hosts themselves, as a seed says.

use core::num::NonZeroU64;

use drivers::soft::{FaultSpec, Faults, Shortage, Spread};
use drivers::{Frame, Queue};
use stack::config::{Congestion, Ecn};
use stack::sim::Host;

use super::dice::Dice;

const MS: u64 = 1_000_000;

/// Faults of one direction.
fn faults(dice: &mut Dice) -> Faults {
    let mut faults = Faults {
        loss: dice.of(&[0.0, 0.0, 1.0, 3.0, 10.0]),
        delay: dice.of(&[0, 10_000, MS, 20 * MS, 100 * MS]),
        jitter: dice.of(&[0, 100_000, 5 * MS]),
        reorder: dice.of(&[0.0, 0.0, 5.0, 20.0]),
        gap: dice.of(&[100_000, 3 * MS, 50 * MS]),
        duplicate: dice.of(&[0.0, 0.0, 5.0]),
        corrupt: dice.of(&[0.0, 0.0, 3.0]),
        ..Faults::default()
    };
    if dice.is(30) {
        faults.rate = NonZeroU64::new(dice.of(&[500_000, 5_000_000, 100_000_000]));
        faults.queue = dice.of(&[8 << 10, 64 << 10]);
        faults.mark = dice.is(50).then_some(4 << 10);
    }
    faults
}

/// The bad network of a seed.
pub fn network(dice: &mut Dice, seed: u64) -> FaultSpec {
    FaultSpec { receive: faults(dice), transmit: faults(dice), seed, ..FaultSpec::default() }
}

/// A host of a seed. Both speak the same version of IP.
pub fn host(dice: &mut Dice, number: u8, ipv6: bool) -> Host {
    let mut host = Host::new(number);
    host.receive_frames = dice.of(&[1024_usize, 1024, 256, 80]);
    host.nic = dice.is(30).then_some(16);
    host.config.cells_max = dice.of(&[65_536_usize, 65_536, 256]);
    host.config.transmit_backlog_max = dice.of(&[4096_usize, 4096, 16]);
    host.config.half_open_max = dice.of(&[4096_usize, 4096, 2]);
    host.config.time_wait_max = dice.of(&[4096_usize, 1]);
    let tcp = &mut host.config.tcp;
    tcp.receive_frames = dice.of(&[128_u16, 128, 16, 4]);
    tcp.receive_frames_max = tcp.receive_frames.max(dice.of(&[4_u16, 4096]));
    tcp.sack = dice.is(80);
    tcp.timestamps = dice.is(80);
    tcp.window_scaling = dice.is(80);
    tcp.tlp = dice.is(80);
    tcp.fast_path = dice.is(80);
    tcp.hystart = dice.is(80);
    tcp.abe = dice.is(20);
    tcp.slow_start_after_idle = dice.is(50);
    tcp.congestion = dice.of(&[Congestion::Cubic, Congestion::Cubic, Congestion::NewReno, Congestion::Dctcp]);
    tcp.ecn = dice.of(&[Ecn::Accept, Ecn::Accept, Ecn::Request, Ecn::Off]);
    tcp.initial_window = dice.of(&[10_u8, 10, 1, 3]);
    if ipv6 {
        host = host.over_ipv6();
        host.config.interfaces[0].ipv6.duplicate_transmits = dice.below(2) as u8;
    }
    if dice.is(20) {
        host.shortage = Some(Shortage::new(1 + dice.below(400), dice.of(&[1, 3, 30])));
    }
    if dice.is(40) {
        // Each frame comes to either lane, whosever it is; with one queue the other lane has none of its own.
        let queues = 1 + dice.below(2) as u16;
        host = host.with_lanes(2, queues, Spread::Random(dice.next()));
    }
    host
}

/// When the link is down.
pub fn outages(dice: &mut Dice) -> Vec<(u64, u64)> {
    let mut from = 0;
    (0..dice.of(&[0, 0, 1, 2]))
        .map(|_| {
            from += 1 + dice.below(3_000 * MS);
            let until = from + dice.below(8_000 * MS);
            (core::mem::replace(&mut from, until), until)
        })
        .collect()
}

/// An end of a wire that is down at times, and on which frames arrive cut short.
pub struct Rough {
    pub queue: Box<dyn Queue>,
    pub outages: Vec<(u64, u64)>,
    /// In a hundred.
    pub cut: u64,
    pub dice: Dice,
}

impl Rough {
    fn is_down(&self, now: u64) -> bool {
        self.outages.iter().any(|(from, until)| (*from..*until).contains(&now))
    }
}

impl Queue for Rough {
    fn receive(&mut self, now: u64, frames: &mut Vec<Frame>, max: usize) -> usize {
        let before = frames.len();
        self.queue.receive(now, frames, max);
        if self.is_down(now) {
            frames.truncate(before);
        }
        for frame in &mut frames[before..] {
            if self.dice.is(self.cut) {
                frame.truncate(self.dice.below(frame.len() as u64) as usize);
            }
        }
        frames.len() - before
    }

    fn transmit(&mut self, now: u64, frames: &mut Vec<Frame>) -> usize {
        if self.is_down(now) {
            return frames.drain(..).count();
        }
        self.queue.transmit(now, frames)
    }

    fn next_event(&self) -> Option<u64> {
        self.queue.next_event()
    }

    fn transmit_pool(&self) -> Option<(usize, usize)> {
        self.queue.transmit_pool()
    }

    fn reclaim(&mut self) {
        self.queue.reclaim();
    }
}
