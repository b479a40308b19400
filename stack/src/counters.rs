//! What a lane counts, and the report of it that people and programs read.

use core::fmt;
use core::time::Duration;

use crate::socket::LaneId;
use crate::wire::DropReason;

/// A lane's counters. Plain sums since start; the lane alone writes them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Frames taken from the port.
    pub received_frames: u64,
    /// Frames that did what they came for: delivered, acted on, or answered.
    pub consumed_frames: u64,
    /// Received frames that ended otherwise, by reason. With `consumed_frames` and `steered_out` they make up
    /// `received_frames` and `steered_in`.
    pub drops: [u64; DropReason::COUNT],
    /// Frames handed to the port.
    pub sent_frames: u64,
    /// Our own frames that could not go, by reason.
    pub unsent: [u64; DropReason::COUNT],
    /// Payload bytes delivered to sockets.
    pub delivered_bytes: u64,
    /// Connections opened by peers.
    pub accepted: u64,
    /// SYNs answered by a cookie.
    pub cookies_sent: u64,
    /// Of the connections opened by peers, those by a cookie.
    pub cookies_accepted: u64,
    /// Acknowledgements without a connection that came while cookies were about, and were none.
    pub cookies_refused: u64,
    /// Connections opened by us.
    pub connected: u64,
    /// Connections that ended.
    pub closed: u64,
    /// TCP segments sent.
    pub segments_sent: u64,
    /// TCP segments sent again.
    pub retransmits: u64,
    /// Retransmission timers that ran out.
    pub timeouts: u64,
    /// Resets sent.
    pub resets_sent: u64,
    /// Acknowledgements that carried nothing else.
    pub pure_acks_sent: u64,
    /// Segments that left in one frame with the one before, for the port to cut.
    pub bundled_segments: u64,
    /// Segments that the fast path took.
    pub fast_segments: u64,
    /// Small payloads copied into the frame before, to hold fewer frames.
    pub merged_segments: u64,
    /// Payloads copied into ordinary memory because as many received frames were held as may be.
    pub spilled_segments: u64,
    /// Out-of-order ranges given up because too many frames were held.
    pub given_up_ranges: u64,
    /// Frames that other lanes handed over.
    pub steered_in: u64,
    /// Received frames handed over to other lanes.
    pub steered_out: u64,
    /// Payloads of such frames copied into frames of this lane, to give theirs back at once.
    pub adopted_segments: u64,
    /// Frames whose hash from the port was compared with the one that its key gives.
    pub rss_compared: u64,
    /// Of those, frames for which they differed.
    pub rss_differed: u64,
    /// Turns that came later than [`STALL_US`] after the one before.
    pub stalls: u64,
    /// The longest time between two turns. Units: microseconds.
    pub stall_us_max: u64,
}

/// A turn later than this is a stall of the lane, which may explain a retransmission. Units: microseconds.
pub const STALL_US: u64 = 50_000;

impl Default for Counters {
    fn default() -> Self {
        Counters {
            received_frames: 0,
            consumed_frames: 0,
            drops: [0; DropReason::COUNT],
            sent_frames: 0,
            unsent: [0; DropReason::COUNT],
            delivered_bytes: 0,
            accepted: 0,
            cookies_sent: 0,
            cookies_accepted: 0,
            cookies_refused: 0,
            connected: 0,
            closed: 0,
            segments_sent: 0,
            retransmits: 0,
            timeouts: 0,
            resets_sent: 0,
            pure_acks_sent: 0,
            bundled_segments: 0,
            fast_segments: 0,
            merged_segments: 0,
            given_up_ranges: 0,
            spilled_segments: 0,
            steered_in: 0,
            steered_out: 0,
            adopted_segments: 0,
            rss_compared: 0,
            rss_differed: 0,
            stalls: 0,
            stall_us_max: 0,
        }
    }
}

impl Counters {
    /// Count a received frame that ended for this reason.
    #[inline]
    pub fn drop(&mut self, reason: DropReason) {
        if let Some(count) = self.drops.get_mut(reason as usize) {
            *count += 1;
        }
    }

    /// Count a frame of ours that could not go.
    #[inline]
    pub fn fail(&mut self, reason: DropReason) {
        if let Some(count) = self.unsent.get_mut(reason as usize) {
            *count += 1;
        }
    }

    /// Received frames that were dropped, for any reason.
    pub fn dropped(&self) -> u64 {
        self.drops.iter().sum()
    }
}

/// A pool's fill.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PoolReport {
    /// Frames that can be taken.
    pub available: usize,
    /// Frames there are.
    pub capacity: usize,
}

/// A lane's sleeps while it had nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rests {
    /// How many.
    pub count: u64,
    /// Their length together. Units: microseconds.
    pub us: u64,
    /// The longest: what came from the port meanwhile waited so long. Units: microseconds.
    pub us_max: u64,
    /// How much longer than asked the system let it sleep, at worst. Units: microseconds.
    pub late_us_max: u64,
    /// How many ended well before their time: something had come.
    pub woken: u64,
}

impl Rests {
    /// A sleep that was to be `asked` long at most has lasted `slept`.
    pub fn count(&mut self, asked: Duration, slept: Duration) {
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.count += 1;
        self.us += us(slept);
        self.us_max = self.us_max.max(us(slept));
        self.late_us_max = self.late_us_max.max(us(slept.saturating_sub(asked)));
        // The system's clock and the lane's are not quite the same.
        self.woken += u64::from(slept < asked / 16 * 15);
    }
}

/// A lane's turns, and what of its time they took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Turns {
    /// All of them.
    pub count: u64,
    /// Those in which something moved: a frame, an op, a timer.
    pub busy: u64,
    /// From the beginning of each of those to the beginning of the next turn, the application's share included: the time
    /// that was not spent on looking for work. Units: nanoseconds.
    pub busy_ns: u64,
}

/// Everything a lane knows about itself, at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Which lane.
    pub lane: LaneId,
    /// Connections, half-open and waiting ones excluded.
    pub flows: usize,
    /// Half-open connections.
    pub half_open: usize,
    /// Connections in TIME_WAIT.
    pub time_wait: usize,
    /// Sockets of any kind.
    pub sockets: usize,
    /// Promises in the timer wheel, and the application's timers.
    pub timers: usize,
    /// Frames that sockets hold for their applications or for reassembly.
    pub held_frames: usize,
    /// Ranges in send queues.
    pub cells: usize,
    /// Parts of connections that repair losses, reassemble, or remember what their congestion window met.
    pub active: usize,
    /// Payloads the application has lent.
    pub lent: usize,
    /// Connections at home here that live on other lanes.
    pub claims: usize,
    /// Frames that wait for the port.
    pub backlog: usize,
    /// Frames of IP datagrams in reassembly, and packets that wait for a neighbour.
    pub waiting_packets: usize,
    /// Addresses of IPv6 that are not used, for another station has them.
    pub duplicate_addresses: usize,
    /// The receive pool.
    pub receive: PoolReport,
    /// The control pool.
    pub control: PoolReport,
    /// The pool of headers that carry payload by reference.
    pub attach: PoolReport,
    /// Payload bytes copied because the port could not read them.
    pub copied_bytes: u64,
    /// Payload bytes sent by reference.
    pub attached_bytes: u64,
    /// Its sleeps.
    pub rests: Rests,
    /// Its turns.
    pub turns: Turns,
    /// The sums.
    pub counters: Counters,
}

impl Rests {
    fn add(&mut self, other: &Rests) {
        self.count += other.count;
        self.us += other.us;
        self.us_max = self.us_max.max(other.us_max);
        self.late_us_max = self.late_us_max.max(other.late_us_max);
        self.woken += other.woken;
    }
}

impl Turns {
    fn add(&mut self, other: &Turns) {
        self.count += other.count;
        self.busy += other.busy;
        self.busy_ns += other.busy_ns;
    }
}

impl PoolReport {
    pub(crate) fn add(&mut self, other: PoolReport) {
        self.available += other.available;
        self.capacity += other.capacity;
    }
}

impl Counters {
    /// Count what another lane has counted as well.
    fn add(&mut self, other: &Counters) {
        let sums = [
            (&mut self.received_frames, other.received_frames),
            (&mut self.consumed_frames, other.consumed_frames),
            (&mut self.sent_frames, other.sent_frames),
            (&mut self.delivered_bytes, other.delivered_bytes),
            (&mut self.accepted, other.accepted),
            (&mut self.cookies_sent, other.cookies_sent),
            (&mut self.cookies_accepted, other.cookies_accepted),
            (&mut self.cookies_refused, other.cookies_refused),
            (&mut self.connected, other.connected),
            (&mut self.closed, other.closed),
            (&mut self.segments_sent, other.segments_sent),
            (&mut self.retransmits, other.retransmits),
            (&mut self.timeouts, other.timeouts),
            (&mut self.resets_sent, other.resets_sent),
            (&mut self.pure_acks_sent, other.pure_acks_sent),
            (&mut self.bundled_segments, other.bundled_segments),
            (&mut self.fast_segments, other.fast_segments),
            (&mut self.merged_segments, other.merged_segments),
            (&mut self.spilled_segments, other.spilled_segments),
            (&mut self.given_up_ranges, other.given_up_ranges),
            (&mut self.steered_in, other.steered_in),
            (&mut self.steered_out, other.steered_out),
            (&mut self.adopted_segments, other.adopted_segments),
            (&mut self.rss_compared, other.rss_compared),
            (&mut self.rss_differed, other.rss_differed),
            (&mut self.stalls, other.stalls),
        ];
        for (sum, count) in sums {
            *sum += count;
        }
        let tables = [(&mut self.drops, &other.drops), (&mut self.unsent, &other.unsent)];
        for (table, counts) in tables {
            table.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        self.stall_us_max = self.stall_us_max.max(other.stall_us_max);
    }
}

impl Report {
    /// What several lanes know, as one: sums, and the greatest of what is a maximum. The lane is this one's.
    pub fn add(&mut self, other: &Report) {
        let counts = [
            (&mut self.flows, other.flows),
            (&mut self.half_open, other.half_open),
            (&mut self.time_wait, other.time_wait),
            (&mut self.sockets, other.sockets),
            (&mut self.timers, other.timers),
            (&mut self.held_frames, other.held_frames),
            (&mut self.cells, other.cells),
            (&mut self.active, other.active),
            (&mut self.lent, other.lent),
            (&mut self.claims, other.claims),
            (&mut self.backlog, other.backlog),
            (&mut self.waiting_packets, other.waiting_packets),
        ];
        for (sum, count) in counts {
            *sum += count;
        }
        // All lanes have the same addresses.
        self.duplicate_addresses = self.duplicate_addresses.max(other.duplicate_addresses);
        self.receive.add(other.receive);
        self.control.add(other.control);
        self.attach.add(other.attach);
        self.copied_bytes += other.copied_bytes;
        self.attached_bytes += other.attached_bytes;
        self.rests.add(&other.rests);
        self.turns.add(&other.turns);
        self.counters.add(&other.counters);
    }

    /// Every figure by name, in a fixed order; counters of drops that are zero are left out.
    pub fn figures(&self) -> Vec<(String, u64)> {
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let c = &self.counters;
        let plain = [
            ("flows", wide(self.flows)),
            ("half_open", wide(self.half_open)),
            ("time_wait", wide(self.time_wait)),
            ("sockets", wide(self.sockets)),
            ("timers", wide(self.timers)),
            ("held_frames", wide(self.held_frames)),
            ("cells", wide(self.cells)),
            ("active", wide(self.active)),
            ("lent", wide(self.lent)),
            ("claims", wide(self.claims)),
            ("backlog", wide(self.backlog)),
            ("waiting_packets", wide(self.waiting_packets)),
            ("duplicate_addresses", wide(self.duplicate_addresses)),
            ("copied_bytes", self.copied_bytes),
            ("attached_bytes", self.attached_bytes),
            ("frames.received", c.received_frames),
            ("frames.consumed", c.consumed_frames),
            ("frames.sent", c.sent_frames),
            ("tcp.accepted", c.accepted),
            ("tcp.cookies_sent", c.cookies_sent),
            ("tcp.cookies_accepted", c.cookies_accepted),
            ("tcp.cookies_refused", c.cookies_refused),
            ("tcp.connected", c.connected),
            ("tcp.closed", c.closed),
            ("tcp.delivered_bytes", c.delivered_bytes),
            ("tcp.segments_sent", c.segments_sent),
            ("tcp.retransmits", c.retransmits),
            ("tcp.timeouts", c.timeouts),
            ("tcp.resets_sent", c.resets_sent),
            ("tcp.pure_acks_sent", c.pure_acks_sent),
            ("tcp.bundled_segments", c.bundled_segments),
            ("tcp.fast_segments", c.fast_segments),
            ("tcp.merged_segments", c.merged_segments),
            ("tcp.given_up_ranges", c.given_up_ranges),
            ("tcp.spilled_segments", c.spilled_segments),
            ("lanes.steered_in", c.steered_in),
            ("lanes.steered_out", c.steered_out),
            ("lanes.adopted_segments", c.adopted_segments),
            ("lanes.rss_compared", c.rss_compared),
            ("lanes.rss_differed", c.rss_differed),
            ("stalls", c.stalls),
            ("max_stall_us", c.stall_us_max),
            ("rests.count", self.rests.count),
            ("rests.us", self.rests.us),
            ("rests.max_us", self.rests.us_max),
            ("rests.max_late_us", self.rests.late_us_max),
            ("rests.woken", self.rests.woken),
            ("turns.count", self.turns.count),
            ("turns.busy", self.turns.busy),
            ("turns.busy_ns", self.turns.busy_ns),
        ];
        let mut figures: Vec<_> = plain.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let pools = [("receive", self.receive), ("control", self.control), ("attach", self.attach)];
        for (name, pool) in pools {
            figures.push((format!("pools.{name}.available"), wide(pool.available)));
            figures.push((format!("pools.{name}.capacity"), wide(pool.capacity)));
        }
        let tables = [("drops", &c.drops), ("unsent", &c.unsent)];
        for (table, counts) in tables {
            for (reason, count) in DropReason::ALL.iter().zip(counts).filter(|(_, count)| **count > 0) {
                figures.push((format!("{table}.{}", reason.name()), *count));
            }
        }
        figures
    }

    /// The report as one JSON object; figures with a dot in their names become nested objects.
    pub fn to_json(&self) -> String {
        let mut json = format!("{{\"lane\":{}", self.lane.0);
        let mut open: Vec<String> = Vec::new();
        for (name, value) in self.figures() {
            let mut parts: Vec<String> = name.split('.').map(str::to_owned).collect();
            let leaf = parts.pop().unwrap_or_default();
            let common = open.iter().zip(&parts).take_while(|(a, b)| a == b).count();
            json.push_str(&"}".repeat(open.len() - common));
            json.push(',');
            for part in parts.get(common..).unwrap_or(&[]) {
                json.push_str(&format!("\"{part}\":{{"));
            }
            json.push_str(&format!("\"{leaf}\":{value}"));
            open = parts;
        }
        json.push_str(&"}".repeat(open.len() + 1));
        ["frames", "tcp", "pools", "drops", "unsent"].iter().fold(json, |json, key| {
            // A table with nothing in it is still a table.
            if json.contains(&format!("\"{key}\":{{")) {
                json
            } else {
                let end = json.len() - 1;
                format!("{},\"{key}\":{{}}}}", &json[..end])
            }
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.lane)?;
        for (name, value) in self.figures() {
            writeln!(f, "  {name:<28} {value}")?;
        }
        Ok(())
    }
}
