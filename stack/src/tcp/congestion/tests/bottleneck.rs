//! Our CUBIC beside a model of Linux's, in one queue that drops what does not fit. The model has what is published of
//! that implementation's arithmetic: whole segments, a clock of milliseconds, and acknowledgements counted up to a number.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a model in floating point"
)]

use core::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

const MSS: u32 = 1448;

/// A sender as the queue sees it. Units: segments, microseconds.
trait Model {
    fn window(&self) -> u32;
    fn on_ack(&mut self, now_us: u64, rtt_us: u64);
    fn on_loss(&mut self);
}

impl Model for Flow {
    fn window(&self) -> u32 {
        (self.cwnd / MSS).max(1)
    }

    fn on_ack(&mut self, now_us: u64, rtt_us: u64) {
        self.now_us = now_us as u32;
        self.rtt_us = rtt_us as u32;
        self.srtt_us = if self.srtt_us == 0 { self.rtt_us } else { (7 * self.srtt_us + self.rtt_us) / 8 };
        self.ack(Cubic, MSS);
    }

    fn on_loss(&mut self) {
        let flight = self.cwnd;
        self.with(|window| Algorithm(Congestion::Cubic).on_loss(window, flight));
    }
}

/// Linux's CUBIC, as far as congestion avoidance goes, with slow start up to the first loss.
#[derive(Default)]
struct Linux {
    cwnd: u32,
    ssthresh: u32,
    last_max: u32,
    /// Milliseconds; `None`: no epoch.
    epoch: Option<u64>,
    origin: u32,
    k_s: f64,
    /// Acknowledgements in the epoch that the estimate of Reno's window has not used, and that estimate.
    acks: u32,
    reno: u32,
    /// Acknowledgements since the window grew, and how many make it grow.
    count: u32,
    needed: u32,
    updated: Option<(u64, u32)>,
    rtt_min_us: u64,
}

impl Linux {
    fn new() -> Linux {
        Linux { cwnd: 10, ssthresh: u32::MAX, rtt_min_us: u64::MAX, needed: 1, ..Linux::default() }
    }

    fn update(&mut self, now_ms: u64) {
        self.acks += 1;
        // Thirty-two times a second is enough, if the window has not changed.
        if self.updated.is_some_and(|(at, cwnd)| cwnd == self.cwnd && now_ms - at <= 1_000 / 32) {
            return;
        }
        let fresh = self.updated.is_none_or(|(at, _)| at != now_ms) || self.epoch.is_none();
        if fresh {
            self.updated = Some((now_ms, self.cwnd));
            self.aim(now_ms);
        }
        // Reno with the smaller fall grows by 3/5.67 of a segment a round trip; the kernel has 8/15.
        let each = self.cwnd * 15 / 8;
        while self.acks > each {
            self.acks -= each;
            self.reno += 1;
        }
        if self.reno > self.cwnd {
            self.needed = self.needed.min(self.cwnd / (self.reno - self.cwnd));
        }
        self.needed = self.needed.max(2);
    }

    fn aim(&mut self, now_ms: u64) {
        let epoch = *self.epoch.get_or_insert_with(|| {
            (self.acks, self.reno) = (1, self.cwnd);
            self.origin = self.last_max.max(self.cwnd);
            self.k_s = (f64::from(self.origin - self.cwnd) / 0.4).cbrt();
            now_ms
        });
        let t = (now_ms - epoch) as f64 / 1e3 + (self.rtt_min_us / 1_000) as f64 / 1e3;
        let target = f64::from(self.origin) + (0.4 * (t - self.k_s).powi(3)).trunc();
        self.needed = match target - f64::from(self.cwnd) {
            more if more >= 1.0 => (f64::from(self.cwnd) / more) as u32,
            _ => 100 * self.cwnd,
        };
        if self.last_max == 0 {
            self.needed = self.needed.min(20);
        }
    }
}

impl Model for Linux {
    fn window(&self) -> u32 {
        self.cwnd
    }

    fn on_ack(&mut self, now_us: u64, rtt_us: u64) {
        self.rtt_min_us = self.rtt_min_us.min(rtt_us);
        if self.cwnd < self.ssthresh {
            self.cwnd += 1;
            return;
        }
        self.update(now_us / 1_000);
        if self.count >= self.needed {
            self.count = 0;
            self.cwnd += 1;
        }
        self.count += 1;
        if self.count >= self.needed {
            self.cwnd += self.count / self.needed;
            self.count %= self.needed;
        }
    }

    fn on_loss(&mut self) {
        self.epoch = None;
        self.last_max = if self.cwnd < self.last_max { self.cwnd * 1741 / 2048 } else { self.cwnd };
        self.cwnd = (self.cwnd * 717 / 1024).max(2);
        self.ssthresh = self.cwnd;
        self.count = 0;
    }
}

/// What happens to a segment of a flow, sent at a time in a window.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Acknowledged,
    Missed,
}

/// One queue and its flows. Units: microseconds.
struct Bottleneck {
    service_us: f64,
    rtt_us: u64,
    places: u64,
}

/// Per flow: bytes in flight, the number of its next segment, the first one of its current window.
#[derive(Clone, Copy, Default)]
struct Sent {
    flight: u32,
    next: u64,
    window: u64,
    delivered: u64,
}

impl Bottleneck {
    /// Segments that each flow gets through, from `warm_up_s` on, to `end_s`.
    fn run(&self, flows: &mut [Box<dyn Model>], warm_up_s: u64, end_s: u64) -> Vec<u64> {
        let mut events = BinaryHeap::new();
        let mut sent = vec![Sent::default(); flows.len()];
        let (mut free_us, mut order, mut noise) = (0.0f64, 0u64, 1u64);
        for (index, _) in flows.iter().enumerate() {
            events.push(Reverse((index as u64 * 10_000, 0, index, Fate::Acknowledged, 0, u64::MAX)));
        }
        while let Some(Reverse((now, _, index, fate, began, number))) = events.pop() {
            if now >= end_s * 1_000_000 {
                break;
            }
            let state = &mut sent[index];
            // The first event of a flow begins it, and is no acknowledgement.
            if number != u64::MAX {
                state.flight -= 1;
                match fate {
                    Fate::Acknowledged => {
                        state.delivered += u64::from(now >= warm_up_s * 1_000_000);
                        flows[index].on_ack(now, now - began);
                    }
                    // One reduction for each window.
                    Fate::Missed if number >= state.window => {
                        state.window = state.next;
                        flows[index].on_loss();
                    }
                    Fate::Missed => {}
                }
            }
            while state.flight < flows[index].window() {
                state.flight += 1;
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let jitter = noise >> 56;
                let arrival = now as f64 + jitter as f64;
                let waiting = ((free_us - arrival) / self.service_us).max(0.0) as u64;
                let left = free_us.max(arrival) + self.service_us;
                let fate = if waiting >= self.places { Fate::Missed } else { Fate::Acknowledged };
                if fate == Fate::Acknowledged {
                    free_us = left;
                }
                order += 1;
                events.push(Reverse((left as u64 + self.rtt_us, order, index, fate, now, state.next)));
                state.next += 1;
            }
        }
        sent.iter().map(|state| state.delivered).collect()
    }
}

#[test]
fn our_cubic_and_linuxs_share_a_queue() {
    // Shows, over links of 10 to 100 Mbit/s and round trips of 10 to 100 ms with queues of a half and of one
    // bandwidth-delay product, two flows of each kind for ten minutes: neither kind gets more than 1.2 times the other's.
    for (mbits, rtt_ms, queue) in
        [(10, 20, 1.0), (20, 50, 1.0), (100, 10, 1.0), (100, 50, 0.5), (50, 100, 1.0)]
    {
        let product = f64::from(mbits) * 1e6 / 8.0 * f64::from(rtt_ms) / 1e3 / 1500.0;
        let link = Bottleneck {
            service_us: 1500.0 * 8.0 / f64::from(mbits),
            rtt_us: u64::from(rtt_ms as u32) * 1_000,
            places: (product * queue) as u64,
        };
        let ours = || Box::new(Flow::new(10 * MSS, u32::MAX, MSS)) as Box<dyn Model>;
        let linux = || Box::new(Linux::new()) as Box<dyn Model>;
        let mut flows = [ours(), linux(), ours(), linux()];
        let shares = link.run(&mut flows, 100, 700);
        let (mine, theirs) = (shares[0] + shares[2], shares[1] + shares[3]);
        let ratio = mine as f64 / theirs as f64;
        println!("{mbits} Mbit/s, {rtt_ms} ms, {:.0} places: ours/Linux's {ratio:.3}", product * queue);
        assert!((1.0 / 1.2..1.2).contains(&ratio), "{mbits} Mbit/s, {rtt_ms} ms: {shares:?}");
        let all: u64 = shares.iter().sum();
        assert!(all as f64 * link.service_us / 600e6 > 0.85, "{mbits} Mbit/s, {rtt_ms} ms: {shares:?}");
    }
}
