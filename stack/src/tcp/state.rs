//! What a connection is: two hot cache lines, a cold part, and an active part while something is amiss.
//! What is done to it lives in `input`, `output`, `timers` and `loss`.

pub use super::active::{Active, Actives};
use super::challenge::Challenges;
use super::congestion::{Algorithm, Controls, Window};
use super::ecn;
use super::history::History;
use super::loss::{LossState, Phase};
use super::mtu::Search;
use super::rtt::Rtt;
use super::send::{Cells, Finished, NONE, SendQueue};
use super::skip::Skips;
use super::tally::Tally;
use super::ticks::{Now, Ticks};
use super::urgent::Urgent;
use crate::config::{Congestion, TcpConfig};
use crate::socket::StreamOptions;
use crate::wire::tcp::SeqNum;

/// The states of RFC 9293 section 3.3.2, in its order.
///
/// LISTEN, and SYN_RECEIVED by way of a listener, are compact types in `listen`; TIME_WAIT is one in `time_wait`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum State {
    /// Waiting for any connection.
    Listen,
    /// We sent a SYN.
    SynSent,
    /// Both sent a SYN, ours is not acknowledged.
    SynReceived,
    /// Open.
    Established,
    /// We sent a FIN.
    FinWait1,
    /// Our FIN is acknowledged.
    FinWait2,
    /// The peer sent a FIN.
    CloseWait,
    /// Both sent a FIN, ours is not acknowledged.
    Closing,
    /// Both sent a FIN, the peer's first; ours is not acknowledged.
    LastAck,
    /// Both are done.
    TimeWait,
    /// No connection.
    #[default]
    Closed,
}

impl State {
    /// Both ends know each other's sequence numbers.
    pub fn is_synchronized(self) -> bool {
        self >= State::SynReceived && self < State::Closed
    }

    /// The peer may still send data.
    pub fn receives(self) -> bool {
        matches!(self, State::Established | State::FinWait1 | State::FinWait2)
    }

    /// We may still send data.
    #[inline]
    pub fn sends(self) -> bool {
        matches!(self, State::Established | State::CloseWait)
    }
}

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
}

/// What every segment of an established flow touches: two cache lines.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Hot {
    /// Remote and local address in one word: see `Secret::addresses`.
    pub key: u64,
    /// The peer's port.
    pub remote_port: u16,
    /// Our port.
    pub local_port: u16,
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
    /// Why the fast path declines.
    pub decline: u8,
    /// The state.
    pub state: State,
    /// See [`flag`].
    pub flags: u16,
    /// When to retransmit or probe the window.
    pub retransmit_at: Ticks,
    /// Retransmission timeout, not backed off. Units: microseconds.
    pub rto_us: u32,

    /// The application's word for received data.
    pub tag: u64,
    /// Where the wheel has the flow.
    pub armed_at: Ticks,
    /// Smoothed round-trip time. Units: microseconds.
    pub srtt_us: u32,
    /// Its deviation. Units: microseconds.
    pub rttvar_us: u32,
    /// Slow-start threshold. Units: bytes.
    pub ssthresh: u32,
    /// Index of what the congestion control remembers, or `NONE`.
    pub control: u32,
    /// Last.ACK.sent.
    pub last_ack_sent: SeqNum,
    /// The send queue's oldest range never transmitted.
    pub unsent: u32,
    /// What is added to milliseconds to make our timestamps.
    pub ts_offset: u32,
    /// Index of the cold part.
    pub cold: u32,
    /// Frames held: waiting, with the application, or out of order.
    pub held: u16,
    /// Largest payload of a segment without options. Units: bytes.
    pub mss: u16,
    /// Index of the path.
    pub path: u16,
    /// The peer's window shift and ours.
    pub snd_scale: u8,
    /// See `snd_scale`.
    pub rcv_scale: u8,
    /// Segments that wait for a delayed acknowledgement.
    pub unacked: u8,
    /// Duplicate acknowledgements in a row.
    pub dup_acks: u8,
    /// The congestion control.
    pub congestion: Congestion,
    /// See [`ecn::bit`].
    pub ecn: u8,
    /// Queue that received data go to.
    pub queue: u8,
    /// See [`mtu::bit`](super::mtu::bit).
    pub mtu: u8,
    /// Segments received and sent, and of them those with data; what these do not hold is in [`Tally`].
    pub segments_in: u16,
    /// See `segments_in`.
    pub segments_out: u16,
    /// See `segments_in`.
    pub data_in: u8,
    /// See `segments_in`.
    pub data_out: u8,
}

const _: () = assert!(size_of::<Hot>() == 128);

impl Hot {
    /// The connection is over IPv6.
    #[inline]
    pub fn is_ipv6(&self) -> bool {
        super::isn::is_ipv6(self.key)
    }
}

/// What a connection needs now and then.
#[derive(Clone, Debug)]
pub struct Cold {
    /// SND.WL1.
    pub snd_wl1: SeqNum,
    /// SND.WL2.
    pub snd_wl2: SeqNum,
    /// ISS.
    pub iss: SeqNum,
    /// Highest sequence sent when loss was last found (RFC 6582).
    pub recover: SeqNum,
    /// SND.NXT when the congestion window was last full, if [`flag::CWND_LIMITED`] says that it was; else when as much
    /// was in flight as `out_max` says.
    pub limited_end: SeqNum,
    /// The most that was in flight of late while the window was not full. Units: bytes.
    pub out_max: u32,
    /// MAX.SND.WND of RFC 5961.
    pub snd_wnd_max: u32,
    /// When a delayed acknowledgement is due.
    pub delack_at: Ticks,
    /// When a keepalive probe is due.
    pub keepalive_at: Ticks,
    /// When the connection is given up: connect, FIN_WAIT_2, linger.
    pub life_at: Ticks,
    /// Since when the peer owes an acknowledgement.
    pub unanswered_since: Ticks,
    /// When TS.Recent was taken. Units: milliseconds.
    pub ts_recent_at: u32,
    /// When data was last sent. Units: microseconds.
    pub sent_us: u32,
    /// When a segment, and when data, last came. Units: milliseconds.
    pub heard_ms: u32,
    /// See `heard_ms`.
    pub data_ms: u32,
    /// Frames that wait for the application: numbers of the first and the last.
    pub waiting_head: u32,
    /// See `waiting_head`.
    pub waiting_tail: u32,
    /// Index of the active part, or `NONE`.
    pub active: u32,
    /// User timeout (RFC 5482), or zero. Units: milliseconds.
    pub user_timeout_ms: u32,
    /// Keepalive's idle time. Units: seconds; eighteen hours at most.
    pub keepalive_idle_s: u16,
    /// RCV.NXT when the receive buffer was last enlarged.
    pub tuned_at: SeqNum,
    /// The number behind the last short segment that was sent while Nagle's algorithm was on.
    pub short_end: SeqNum,
    /// Frames the flow may hold.
    pub frames_max: u16,
    /// The largest segment the peer has sent: what a held frame stands for.
    pub rcv_mss: u16,
    /// MSS we announce.
    pub adv_mss: u16,
    /// Challenges answered in the current second.
    pub challenges: Challenges,
    /// `fin_seq` is meant.
    pub fin_waits: bool,
    /// Acknowledgements still to send at once.
    pub quick_acks: u8,
    /// Timeouts in a row: how often the RTO is doubled.
    pub backoff: u8,
    /// Timeouts since the peer last answered: what R2 counts.
    pub timeouts: u8,
    /// Keepalive probes in a row.
    pub probes: u8,
    /// Which troubles the application was told of since the peer last acknowledged something new: a bit each.
    pub troubles: u8,
    /// Why it ended.
    pub reason: u8,
    /// What was learnt of the path.
    pub history: History,
}

const _: () = assert!(size_of::<Cold>() <= 128);

/// What is seldom looked at, beside the cold part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beside {
    /// Which sizes of segments pass.
    pub search: Search,
    /// What has passed, all in all.
    pub tally: Tally,
    /// Slot of the listener it came by, or `NONE`.
    pub listener: u32,
    /// The sequence number of a FIN that came out of order.
    pub fin_seq: SeqNum,
    /// Bytes that were never acknowledged, once the connection has ended.
    pub unsent: u32,
}

impl Beside {
    /// Of a connection that begins.
    pub const NEW: Beside =
        Beside { search: Search::NEW, tally: Tally::NEW, listener: NONE, fin_seq: SeqNum(0), unsent: 0 };
}

static NO_LOSS: LossState = LossState::NONE;

/// A connection taken apart, for the length of one event.
#[derive(Debug)]
pub struct Connection<'a> {
    /// Its hot part.
    pub hot: &'a mut Hot,
    /// Its cold part.
    pub cold: &'a mut Cold,
    /// What it does otherwise than the configuration says.
    pub options: &'a mut StreamOptions,
    /// What it knows of urgent data.
    pub urgent: &'a mut Urgent,
    /// What it seldom looks at.
    pub beside: &'a mut Beside,
    /// The lane's active parts.
    pub actives: &'a mut Actives,
    /// What the lane's congestion controls remember.
    pub controls: &'a mut Controls,
    /// The lane's send ranges.
    pub cells: &'a mut Cells,
    /// Payloads that are done.
    pub finished: &'a mut Vec<Finished>,
    /// TCP's settings.
    pub config: &'a TcpConfig,
    /// Received frames that all streams of the lane together may still hold.
    pub frames_left: u32,
    /// How many of them are kept for what arrives in order, so that holes can be filled.
    pub frames_in_order: u32,
    /// The time.
    pub now: Now,
    /// What the segment at hand tells beside its header.
    pub signals: Signals,
}

/// What an arriving segment tells the congestion control.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Signals {
    /// The round trip it has measured, or zero. Units: microseconds.
    pub rtt_us: u32,
    /// The ECN field of its IP header.
    pub field: u8,
    /// It echoes a congestion mark.
    pub echoed: bool,
}

impl Connection<'_> {
    /// A flag is set.
    #[inline]
    pub fn is(&self, flag: u16) -> bool {
        self.hot.flags & flag != 0
    }

    /// Set a flag.
    #[inline]
    pub fn set(&mut self, flag: u16) {
        self.hot.flags |= flag;
    }

    /// Clear a flag.
    #[inline]
    pub fn clear(&mut self, flag: u16) {
        self.hot.flags &= !flag;
    }

    /// Enter a state.
    pub fn enter(&mut self, state: State) {
        self.hot.state = state;
        self.refresh_decline();
    }

    /// Say anew why the fast path must decline.
    pub fn refresh_decline(&mut self) {
        let mut reasons = 0;
        if self.hot.state != State::Established || self.is(flag::DEAF | flag::FIN_QUEUED) {
            reasons |= decline::STATE;
        }
        if let Some(active) = self.active() {
            if !active.reassembly.is_empty() {
                reasons |= decline::REASSEMBLY;
            }
            if !active.loss.is_idle() {
                reasons |= decline::LOSS;
            }
        }
        if self.hot.dup_acks > 0 {
            reasons |= decline::LOSS;
        }
        if !self.config.fast_path {
            reasons |= decline::OFF;
        }
        if super::options::are_said(self.options)
            || self.urgent.sending.is_some()
            || self.urgent.pushed.is_some()
        {
            reasons |= decline::OPTIONS;
        }
        self.hot.decline = reasons;
    }

    /// The active part, if there is one.
    pub fn active(&self) -> Option<&Active> {
        self.actives.get(self.cold.active)
    }

    /// The active part, made if there is none.
    pub fn active_mut(&mut self) -> &mut Active {
        if self.cold.active == NONE {
            self.cold.active = self.actives.insert();
        }
        self.actives.get_mut(self.cold.active)
    }

    /// The ways past ranges that need no look, for a walk; to be given back behind it.
    pub fn take_skips(&mut self) -> Skips {
        let una = self.hot.snd_una;
        if self.cold.active == NONE {
            return Skips::default();
        }
        let mut skips = core::mem::take(&mut self.active_mut().skips);
        skips.trim(una);
        skips
    }

    /// Give them back. Where nothing is amiss there is no use for them.
    pub fn keep_skips(&mut self, skips: Skips) {
        if self.cold.active != NONE {
            self.active_mut().skips = skips;
        }
    }

    /// Give the active part back once nothing is amiss.
    pub fn settle(&mut self) {
        if self.active().is_some_and(Active::is_idle) {
            self.actives.remove(self.cold.active);
            self.cold.active = NONE;
        }
        self.refresh_decline();
    }

    /// What is known of losses.
    #[inline]
    pub fn loss(&self) -> &LossState {
        self.active().map_or(&NO_LOSS, |active| &active.loss)
    }

    /// A fast recovery is under way.
    #[inline]
    pub fn recovers(&self) -> bool {
        self.cold.active != NONE && self.loss().phase == Phase::Recovery
    }

    /// Bytes between SND.UNA and SND.NXT.
    #[inline]
    pub fn flight(&self) -> u32 {
        self.hot.snd_nxt.since(self.hot.snd_una)
    }

    /// Bytes that are probably in the network (RFC 6675's pipe).
    pub fn pipe(&self) -> u32 {
        let LossState { sacked, lost, again, .. } = *self.loss();
        (self.flight() + again).saturating_sub(sacked + lost)
    }

    /// RCV.WND.
    #[inline]
    pub fn rcv_wnd(&self) -> u32 {
        self.hot.rcv_adv.since(self.hot.rcv_nxt)
    }

    /// The first sequence number behind everything queued, SYN and FIN included.
    #[inline]
    pub fn queued_end(&self) -> SeqNum {
        self.cells.get(self.hot.tail).map_or(self.hot.snd_nxt, |cell| cell.end)
    }

    /// Work on the send queue, whose ends live in the hot part.
    #[inline]
    pub fn queue<R>(&mut self, work: impl FnOnce(&mut Cells, &mut SendQueue, &mut Vec<Finished>) -> R) -> R {
        let mut queue = self.send_queue();
        let result = work(self.cells, &mut queue, self.finished);
        self.hot.head = queue.head;
        self.hot.tail = queue.tail;
        self.hot.unsent = queue.unsent;
        result
    }

    /// The ends of the send queue.
    #[inline]
    pub fn send_queue(&self) -> SendQueue {
        SendQueue { head: self.hot.head, tail: self.hot.tail, unsent: self.hot.unsent }
    }

    /// Largest payload of a segment with the options that every segment has.
    #[inline]
    pub fn send_mss(&self) -> u32 {
        let options = if self.is(flag::TIMESTAMPS) { TIMESTAMPS_LEN } else { 0 };
        u32::from(self.hot.mss).saturating_sub(options).max(1)
    }

    /// Let the congestion control change the window.
    pub fn congestion(&mut self, work: impl FnOnce(Algorithm, &mut Window<'_>)) {
        let (mss, recovering) = (self.send_mss(), self.loss().is_repairing());
        let control = self.controls.obtain(&mut self.hot.control);
        let mut window = Window {
            cwnd: self.hot.cwnd,
            ssthresh: self.hot.ssthresh,
            mss,
            control,
            snd_una: self.hot.snd_una,
            snd_nxt: self.hot.snd_nxt,
            now_us: self.now.micros,
            rtt_us: self.signals.rtt_us,
            srtt_us: self.hot.srtt_us,
            echoed: self.signals.echoed,
            in_cwr: self.hot.ecn & ecn::bit::REDUCED != 0,
            recovering,
            hystart: self.config.hystart,
            abe: self.config.abe,
            reduced: false,
        };
        work(Algorithm(self.hot.congestion), &mut window);
        let Window { cwnd, ssthresh, reduced, .. } = window;
        (self.hot.cwnd, self.hot.ssthresh) = (cwnd, ssthresh);
        //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.2
        //# When an ECN-Capable TCP sender reduces its congestion window for any
        //# reason (because of a retransmit timeout, a Fast Retransmit, or in
        //# response to an ECN Notification), the TCP sender sets the CWR flag
        if reduced && self.hot.ecn & ecn::bit::OK != 0 {
            self.hot.ecn |= ecn::bit::CWR;
        }
        // Until the initial slow start ends, what is remembered is of bytes in flight alone.
        let plain = self.hot.congestion != Congestion::Dctcp && ssthresh == u32::MAX;
        if plain && self.flight() == 0 {
            self.controls.remove(&mut self.hot.control);
        }
    }

    /// Change the congestion control: the window stays, what the last one remembers of the flow goes.
    pub fn choose_congestion(&mut self, congestion: Option<Congestion>) {
        let congestion = congestion.unwrap_or(self.config.congestion);
        if self.hot.congestion != congestion {
            self.hot.congestion = congestion;
            self.controls.remove(&mut self.hot.control);
        }
    }

    /// The round-trip estimate.
    #[inline]
    pub fn rtt(&self) -> Rtt {
        Rtt { srtt_us: self.hot.srtt_us, rttvar_us: self.hot.rttvar_us, rto_us: self.hot.rto_us }
    }

    /// Take a round-trip measurement in.
    #[inline]
    pub fn measure(&mut self, sample_us: u32) {
        self.signals.rtt_us = sample_us.max(1);
        self.cold.history.measured = true;
        let mut rtt = self.rtt();
        rtt.measure(sample_us, self.config);
        let Rtt { srtt_us, rttvar_us, rto_us } = rtt;
        self.hot.srtt_us = srtt_us;
        self.hot.rttvar_us = rttvar_us;
        self.hot.rto_us = rto_us;
    }
}

/// The earliest of a connection's deadlines.
#[inline]
pub fn deadline(hot: &Hot, cold: &Cold, now: Ticks) -> Ticks {
    let Cold { delack_at, keepalive_at, life_at, .. } = *cold;
    hot.retransmit_at.earlier(delack_at, now).earlier(keepalive_at, now).earlier(life_at, now)
}

/// Length of the timestamps option with its padding.
pub const TIMESTAMPS_LEN: u32 = 12;
