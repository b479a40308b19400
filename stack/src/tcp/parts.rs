//! The parts of a connection: two hot cache lines, which are nearly all that its common segments touch of it, a cold part for
//! the rest of what every connection has, and a rare one. What is done to them is the other files' business.

use super::challenge::Challenges;
use super::history::{MinRtt, Timer};
use super::rare::Rares;
use super::send::NONE;
use super::state::State;
use super::ticks::{Now, Ticks};
use crate::config::Congestion;
use crate::wire::tcp::SeqNum;

/// Bits of [`Hot::flags`].
pub mod flag {
    /// An acknowledgement is due at once.
    pub const ACK_NOW: u16 = 1 << 0;
    /// The application will send no more: FIN follows what is queued.
    pub const FIN_QUEUED: u16 = 1 << 1;
    /// The peer's FIN has been taken in.
    pub const FIN_RECEIVED: u16 = 1 << 2;
    /// Both ends send timestamps.
    pub const TIMESTAMPS: u16 = 1 << 3;
    /// Both ends understand SACK.
    pub const SACK: u16 = 1 << 4;
    /// Nagle's algorithm is off.
    pub const NO_DELAY: u16 = 1 << 5;
    /// Idle peers are probed.
    pub const KEEPALIVE: u16 = 1 << 6;
    /// The application takes what arrives.
    pub const RECEIVING: u16 = 1 << 7;
    /// The application has closed: nothing more is delivered.
    pub const DEAF: u16 = 1 << 8;
    /// Bytes in flight were sent while they filled the congestion window: those before `limited_end`.
    pub const CWND_LIMITED: u16 = 1 << 9;
    /// A window probe is due.
    pub const PROBE: u16 = 1 << 10;
    /// A keepalive probe is due.
    pub const KEEPALIVE_PROBE: u16 = 1 << 11;
    /// End was told to the application.
    pub const END_TOLD: u16 = 1 << 12;
    /// The flow waits in its queue's list for room.
    pub const WAITING: u16 = 1 << 13;
    /// On the list of flows with something to say.
    pub const DIRTY: u16 = 1 << 14;
    /// The connection has ended and only its last completions are left.
    pub const DEAD: u16 = 1 << 15;
}

/// Bits of [`Hot::decline`]: why the fast path must not take a segment of this flow.
pub mod decline {
    /// Not in ESTABLISHED, or the application has closed.
    pub const STATE: u8 = 1 << 0;
    /// Something waits in reassembly.
    pub const REASSEMBLY: u8 = 1 << 1;
    /// Loss recovery, or duplicates were counted.
    pub const LOSS: u8 = 1 << 2;
    /// The slow path alone was asked for.
    pub const OFF: u8 = 1 << 3;
    /// Options of its own decide what each segment says.
    pub const OPTIONS: u8 = 1 << 4;
    /// A FIN waits for what is missing before it.
    pub const FIN: u8 = 1 << 5;
    /// SND.WL1 lies beyond RCV.NXT: what the next segment in order says of the window is old.
    pub const WINDOW: u8 = 1 << 6;
    /// The application has shut both directions down: new text is answered with a reset.
    pub const SHUT: u8 = 1 << 7;
}

/// Bits of [`Hot::hints`]: whether the cold part has something to say, so that it need not be asked.
pub mod hint {
    /// Something is amiss, or was: there is an active part, a timer ran out, or something was sent again.
    pub const AMISS: u8 = 1 << 0;
    /// [`Cold::delack_at`](super::Cold::delack_at) is on.
    pub const DELAYED: u8 = 1 << 1;
    /// One of the deadlines that few connections have may be on.
    pub const LATER: u8 = 1 << 2;
    /// Frames wait for the application.
    pub const WAITS: u8 = 1 << 3;
    /// Acknowledgements are to be sent at once: so many are left.
    pub const QUICK: u8 = 1 << 4;
    /// There is a user timeout.
    pub const USER_TIMEOUT: u8 = 1 << 5;
    /// The retransmission timer is armed for a tail loss probe.
    pub const PROBE: u8 = 1 << 6;
    /// It is armed for the end of the time that reordering is given.
    pub const REORDER: u8 = 1 << 7;
}

/// Bits of [`Hot::owed`]: what the fast path has left for [`Connection::pay`](super::state::Connection::pay) to write.
pub mod owed {
    /// SND.WL1 and SND.WL2 are of the last segment: `last_len` before RCV.NXT, and SND.UNA.
    pub const WINDOW: u8 = 1 << 0;
    /// Data came when the last segment did.
    pub const DATA: u8 = 1 << 1;
    /// The last segment that was sent is a short one.
    pub const SHORT: u8 = 1 << 2;
    /// What is in flight, up to SND.NXT, is the most of late.
    pub const OUT: u8 = 1 << 3;
    /// The timer is to be armed for what went when `sent_us` says. The wheel visits the flow before that timer is due.
    pub const TIMER: u8 = 1 << 4;
}

/// Where these bits are in [`Hot::bits`].
pub const fn bits(mtu: u8, hints: u8, flags: u16) -> u32 {
    let [low, high] = flags.to_le_bytes();
    u32::from_le_bytes([mtu, hints, low, high])
}

/// What every segment of an established flow touches: two cache lines.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Hot {
    /// Remote and local address in one word: see `Secret::addresses`.
    pub key: u64,
    /// The peer's port and ours in one word, as the flow table has them.
    pub ports: u32,
    /// How often the slot was used.
    pub generation: u32,
    /// RCV.NXT.
    pub rcv_nxt: SeqNum,
    /// RCV.NXT + RCV.WND as last advertised: never taken back.
    pub rcv_adv: SeqNum,
    /// SND.UNA.
    pub snd_una: SeqNum,
    /// SND.NXT.
    pub snd_nxt: SeqNum,
    /// SND.WND, scaled. Units: bytes.
    pub snd_wnd: u32,
    /// Congestion window. Units: bytes.
    pub cwnd: u32,
    /// TS.Recent.
    pub ts_recent: u32,
    /// The send queue's oldest and newest range.
    pub head: u32,
    /// See `head`.
    pub tail: u32,
    /// The state.
    pub state: State,
    /// See [`owed`].
    pub owed: u8,
    /// The peer's window shift and ours.
    pub snd_scale: u8,
    /// See `snd_scale`.
    pub rcv_scale: u8,
    /// When to retransmit or probe the window.
    pub retransmit_at: Ticks,
    /// When a segment last came. Units: milliseconds.
    pub heard_ms: u32,

    /// The application's word for received data.
    pub tag: u64,
    /// Where the wheel has the flow.
    pub armed_at: Ticks,
    /// Smoothed round-trip time; zero before the first measurement. Units: microseconds.
    pub srtt_us: u32,
    /// Its deviation; before the first measurement the least timeout. Units: microseconds.
    pub rttvar_us: u32,
    /// The least round trip of the present epoch: see [`MinRtt`]. Units: microseconds.
    pub min_rtt_us: u32,
    /// Last.ACK.sent.
    pub last_ack_sent: SeqNum,
    /// The send queue's oldest range never transmitted.
    pub unsent: u32,
    /// When data was last sent. Units: microseconds.
    pub sent_us: u32,
    /// What is added to milliseconds to make our timestamps.
    pub ts_offset: u32,
    /// Frames held: waiting, with the application, or out of order.
    pub held: u16,
    /// Frames the flow may hold.
    pub frames_max: u16,
    /// The largest segment the peer has sent: what a held frame stands for.
    pub rcv_mss: u16,
    /// Payload of the last segment, if [`owed::WINDOW`] says so.
    pub last_len: u16,
    /// Largest payload of a segment without options. Units: bytes.
    pub mss: u16,
    /// Index of the path.
    pub path: u16,
    /// Why the fast path declines.
    pub decline: u8,
    /// See [`ecn::bit`](super::ecn::bit).
    pub ecn: u8,
    /// See [`mtu::bit`](super::mtu::bit).
    pub mtu: u8,
    /// See [`hint`].
    pub hints: u8,
    /// See [`flag`].
    pub flags: u16,
    /// Segments that wait for a delayed acknowledgement.
    pub unacked: u8,
    /// Queue that received data go to.
    pub queue: u8,
    /// Segments received and sent, and of them those with data; what these do not hold is in the cold part.
    pub segments_in: u8,
    /// See `segments_in`.
    pub segments_out: u8,
    /// See `segments_in`.
    pub data_in: u8,
    /// See `segments_in`.
    pub data_out: u8,
}

const _: () = assert!(size_of::<Hot>() == 128);

impl Hot {
    /// Of a slot that nothing is in.
    pub const BLANK: Hot = Hot {
        key: 0,
        ports: 0,
        generation: 0,
        rcv_nxt: SeqNum(0),
        rcv_adv: SeqNum(0),
        snd_una: SeqNum(0),
        snd_nxt: SeqNum(0),
        snd_wnd: 0,
        cwnd: 0,
        ts_recent: 0,
        head: NONE,
        tail: NONE,
        decline: decline::STATE,
        state: State::Closed,
        flags: 0,
        retransmit_at: Ticks::OFF,
        heard_ms: 0,
        tag: 0,
        armed_at: Ticks::OFF,
        srtt_us: 0,
        rttvar_us: 0,
        min_rtt_us: u32::MAX,
        last_ack_sent: SeqNum(0),
        unsent: NONE,
        sent_us: 0,
        ts_offset: 0,
        held: 0,
        frames_max: 0,
        rcv_mss: 0,
        last_len: 0,
        mss: 0,
        path: 0,
        snd_scale: 0,
        rcv_scale: 0,
        unacked: 0,
        ecn: 0,
        queue: 0,
        mtu: 0,
        owed: 0,
        hints: 0,
        segments_in: 0,
        segments_out: 0,
        data_in: 0,
        data_out: 0,
    };

    /// Neither is there a reason to decline, nor anything to think of for congestion marks. One comparison.
    #[inline(always)]
    pub const fn is_plain(&self) -> bool {
        u16::from_le_bytes([self.decline, self.ecn]) == 0
    }

    /// What else is told by bits, in one word, so that all that concerns a common segment is asked for at once. See [`bits`].
    #[inline(always)]
    pub const fn bits(&self) -> u32 {
        let [low, high] = self.flags.to_le_bytes();
        u32::from_le_bytes([self.mtu, self.hints, low, high])
    }

    /// The peer's port.
    #[inline]
    pub const fn remote_port(&self) -> u16 {
        (self.ports >> 16) as u16
    }

    /// Our port.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "it is the lower half")]
    pub const fn local_port(&self) -> u16 {
        self.ports as u16
    }

    /// The connection is over IPv6.
    #[inline]
    pub fn is_ipv6(&self) -> bool {
        super::isn::is_ipv6(self.key)
    }

    /// What the retransmission timer is armed for.
    #[inline]
    pub fn timer(&self) -> Timer {
        match self.hints & (hint::PROBE | hint::REORDER) {
            0 => Timer::Retransmit,
            hint::PROBE => Timer::Probe,
            _ => Timer::Reorder,
        }
    }

    /// Note what the retransmission timer is armed for.
    #[inline]
    pub fn set_timer(&mut self, timer: Timer) {
        let bit = match timer {
            Timer::Retransmit => 0,
            Timer::Probe => hint::PROBE,
            Timer::Reorder => hint::REORDER,
        };
        self.hints = self.hints & !(hint::PROBE | hint::REORDER) | bit;
    }

    /// Write into the cold part what the fast path has left to be written there.
    pub fn pay_cold(&mut self, cold: &mut Cold) {
        let owed = self.owed;
        self.owed &= owed::TIMER;
        if owed & owed::WINDOW != 0 {
            cold.snd_wl1 = self.rcv_nxt - u32::from(self.last_len);
            cold.snd_wl2 = self.snd_una;
        }
        if owed & owed::DATA != 0 {
            cold.data_ms = self.heard_ms;
        }
        if owed & owed::SHORT != 0 {
            cold.short_end = self.snd_nxt;
        }
        if owed & owed::OUT != 0 {
            cold.limited_end = self.snd_nxt;
            cold.out_max = self.snd_nxt.since(self.snd_una);
        }
    }

    /// A segment has come.
    #[inline]
    pub fn hear(&mut self, cold: &mut Cold, now: &Now) {
        if MinRtt::is_over(self.heard_ms, now.millis) {
            MinRtt::pass(self, cold, now.millis);
        }
        self.heard_ms = now.millis;
    }
}

/// What every connection has, and its common segments touch but now and then.
#[derive(Clone, Debug)]
pub struct Cold {
    /// SND.WL1.
    pub snd_wl1: SeqNum,
    /// SND.WL2.
    pub snd_wl2: SeqNum,
    /// ISS.
    pub iss: SeqNum,
    /// IRS.
    pub irs: SeqNum,
    /// SND.NXT when the congestion window was last full, if [`flag::CWND_LIMITED`] says that it was; else when as much
    /// was in flight as `out_max` says.
    pub limited_end: SeqNum,
    /// The most that was in flight of late while the window was not full. Units: bytes.
    pub out_max: u32,
    /// Slow-start threshold. Units: bytes.
    pub ssthresh: u32,
    /// Index of what the congestion control remembers, or `NONE`.
    pub control: u32,
    /// MAX.SND.WND of RFC 5961.
    pub snd_wnd_max: u32,
    /// When a delayed acknowledgement is due.
    pub delack_at: Ticks,
    /// When the connection is given up: connect, FIN_WAIT_2, linger.
    pub life_at: Ticks,
    /// The least round trip of the epoch before: see [`MinRtt`]. Units: microseconds.
    pub min_before_us: u32,
    /// When data last came. Units: milliseconds.
    pub data_ms: u32,
    /// Frames that wait for the application: numbers of the first and the last.
    pub waiting_head: u32,
    /// See `waiting_head`.
    pub waiting_tail: u32,
    /// Index of the active part, or `NONE`.
    pub active: u32,
    /// Index of the rare part, or `NONE`.
    pub rare: u32,
    /// Slot of the listener it came by, or `NONE`.
    pub listener: u32,
    /// RCV.NXT when the receive buffer was last enlarged.
    pub tuned_at: SeqNum,
    /// The number behind the last short segment that was sent while Nagle's algorithm was on.
    pub short_end: SeqNum,
    /// The sequence number of a FIN that came, while [`decline::FIN`] says that it waits.
    pub fin_seq: SeqNum,
    /// Largest segment we announce.
    pub adv_mss: u16,
    /// Segments received and sent, and of them those with data, but for those that the hot part counts: in 256s.
    pub segments_in: u16,
    /// See `segments_in`.
    pub segments_out: u16,
    /// See `segments_in`.
    pub data_in: u16,
    /// See `segments_in`.
    pub data_out: u16,
    /// Challenges answered in the current second.
    pub challenges: Challenges,
    /// Acknowledgements still to send at once.
    pub quick_acks: u8,
    /// Duplicate acknowledgements in a row.
    pub dup_acks: u8,
    /// The congestion control.
    pub congestion: Congestion,
    /// Timeouts in a row: how often the RTO is doubled.
    pub backoff: u8,
    /// Timeouts since the peer last answered: what R2 counts.
    pub timeouts: u8,
}

const _: () = assert!(size_of::<Cold>() == 100);

impl Cold {
    /// Of a connection that has not begun.
    pub const BLANK: Cold = Cold {
        snd_wl1: SeqNum(0),
        snd_wl2: SeqNum(0),
        iss: SeqNum(0),
        irs: SeqNum(0),
        limited_end: SeqNum(0),
        out_max: 0,
        ssthresh: u32::MAX,
        control: NONE,
        snd_wnd_max: 0,
        delack_at: Ticks::OFF,
        life_at: Ticks::OFF,
        min_before_us: u32::MAX,
        data_ms: 0,
        waiting_head: NONE,
        waiting_tail: NONE,
        active: NONE,
        rare: NONE,
        listener: NONE,
        tuned_at: SeqNum(0),
        short_end: SeqNum(0),
        fin_seq: SeqNum(0),
        adv_mss: 0,
        segments_in: 0,
        segments_out: 0,
        data_in: 0,
        data_out: 0,
        challenges: Challenges::NONE,
        quick_acks: 0,
        dup_acks: 0,
        congestion: Congestion::Cubic,
        backoff: 0,
        timeouts: 0,
    };
}

/// The earliest of a connection's deadlines.
#[inline]
pub fn deadline(hot: &Hot, cold: &Cold, rares: &Rares, now: Ticks) -> Ticks {
    let mut at = hot.retransmit_at;
    if hot.hints & hint::DELAYED != 0 {
        at = at.earlier(cold.delack_at, now);
    }
    if hot.hints & hint::LATER != 0 {
        let keepalive_at = rares.get(cold.rare).map_or(Ticks::OFF, |rare| rare.keepalive_at);
        at = at.earlier(keepalive_at, now).earlier(cold.life_at, now);
    }
    at
}
