//! What a connection is: two hot cache lines, a cold part, and an active part while something is amiss.
//! What is done to it lives in `input`, `output`, `timers` and `loss`, what it shares with others in `shared`.

pub use super::active::{Active, Actives};
use super::congestion::{Algorithm, Window};
use super::ecn;
use super::history::MinRtt;
use super::loss::{LossState, Phase};
pub use super::parts::{Cold, Hot, bits, deadline, decline, flag, hint, owed};
pub use super::rare::{Rare, Rares};
use super::rtt::Rtt;
use super::send::{Cells, Finished, NONE, SendQueue};
pub use super::shared::{Shared, Signals};
use super::skip::Skips;
use super::ticks::Ticks;
use super::timers;
use crate::config::Congestion;
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

static NO_LOSS: LossState = LossState::NONE;
static NO_RARE: Rare = Rare::NONE;

/// A connection taken apart, for the length of one event.
#[derive(Debug)]
pub struct Connection<'a> {
    /// Its hot part.
    pub hot: &'a mut Hot,
    /// Its cold part.
    pub cold: &'a mut Cold,
    /// What it shares with the lane's others.
    pub shared: &'a mut Shared,
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

    /// Write what the fast path has left to be written: before anybody else looks there, and before what it follows from
    /// changes.
    #[inline]
    pub fn pay(&mut self) {
        if self.hot.owed != 0 {
            self.pay_all();
        }
    }

    #[inline(never)]
    fn pay_all(&mut self) {
        self.hot.pay_cold(self.cold);
        self.pay_timer();
    }

    /// The same but for the timer: what is acknowledged with the next segment needs none.
    #[inline]
    pub fn pay_cold(&mut self) {
        if self.hot.owed & !owed::TIMER != 0 {
            self.hot.pay_cold(self.cold);
        }
    }

    /// The same of the timer alone, for which the cold part is not looked at.
    pub fn pay_timer(&mut self) {
        if self.hot.owed & owed::TIMER != 0 {
            self.hot.owed &= !owed::TIMER;
            timers::arm_for_sent(self);
        }
    }

    /// Enter a state.
    pub fn enter(&mut self, state: State) {
        self.hot.state = state;
        if state == State::Established {
            self.refresh_decline();
        } else {
            self.decline_by_state();
        }
    }

    /// Of what [`Self::refresh_decline`] says anew, only this has changed: the state, or what the application will do, is
    /// reason enough.
    #[inline]
    pub fn decline_by_state(&mut self) {
        self.hot.decline |= decline::STATE;
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
        if self.cold.dup_acks > 0 {
            reasons |= decline::LOSS;
        }
        if !self.shared.config.fast_path {
            reasons |= decline::OFF;
        }
        if let Some(rare) = self.shared.rares.get(self.cold.rare)
            && (super::options::are_said(&rare.options)
                || rare.urgent.sending.is_some()
                || rare.urgent.pushed.is_some())
        {
            reasons |= decline::OPTIONS;
        }
        self.hot.decline = reasons | self.hot.decline & (decline::FIN | decline::WINDOW | decline::SHUT);
        self.hot.hints &= !hint::AMISS;
        if self.is_amiss() {
            self.hot.hints |= hint::AMISS;
        }
    }

    /// Whether [`hint::AMISS`] is due.
    fn is_amiss(&self) -> bool {
        let cold = &*self.cold;
        let rarely = self.shared.rares.get(cold.rare).is_some_and(|rare| {
            let repaired = rare.history.retransmits > 0 || !rare.history.measured;
            rare.troubles != 0 || rare.unanswered_since.is_on() || repaired
        });
        cold.active != NONE || cold.backoff > 0 || cold.timeouts > 0 || rarely
    }

    /// Something is amiss that the fast path has to look for: until [`Self::refresh_decline`] finds otherwise.
    #[inline]
    pub fn note_amiss(&mut self) {
        self.hot.hints |= hint::AMISS;
    }

    /// Its SYN was sent again so often.
    pub fn note_retransmits(&mut self, count: u8) {
        if count > 0 {
            self.rare_mut().history.retransmits = u32::from(count);
            self.note_amiss();
        }
    }

    /// Something is amiss, or was: only then is there anything to find in the cold part, or in an active one.
    #[inline]
    pub fn is_marked_amiss(&self) -> bool {
        self.hot.hints & hint::AMISS != 0
    }

    /// There is an active part.
    #[inline]
    pub fn has_active(&self) -> bool {
        self.is_marked_amiss() && self.cold.active != NONE
    }

    /// The rare part, or what is in it where there is none.
    #[inline]
    pub fn rare(&self) -> &Rare {
        self.shared.rares.get(self.cold.rare).unwrap_or(&NO_RARE)
    }

    /// The rare part, made if there is none.
    pub fn rare_mut(&mut self) -> &mut Rare {
        let idle = self.shared.config.keepalive_idle.as_secs();
        let una = self.hot.snd_una;
        self.shared.rares.obtain(&mut self.cold.rare, || Rare {
            keepalive_idle_s: u16::try_from(idle).unwrap_or(u16::MAX),
            // Nothing was ever found lost: whatever is acknowledged next lies behind.
            recover: una - 1,
            ..Rare::NONE
        })
    }

    /// The rare part, if there is one.
    #[inline]
    pub fn rare_if(&mut self) -> Option<&mut Rare> {
        self.shared.rares.get_mut(self.cold.rare)
    }

    /// Highest sequence sent when loss was last found (RFC 6582).
    #[inline]
    pub fn recover(&self) -> SeqNum {
        self.shared.rares.get(self.cold.rare).map_or(self.hot.snd_una - 1, |rare| rare.recover)
    }

    /// The active part, if there is one.
    pub fn active(&self) -> Option<&Active> {
        self.shared.actives.get(self.cold.active)
    }

    /// The active part, made if there is none.
    pub fn active_mut(&mut self) -> &mut Active {
        if self.cold.active == NONE {
            self.cold.active = self.shared.actives.insert();
            self.note_amiss();
        }
        self.shared.actives.get_mut(self.cold.active)
    }

    /// The ways past ranges that need no look, for a walk; to be given back behind it.
    pub fn take_skips(&mut self) -> Skips {
        let una = self.hot.snd_una;
        if !self.has_active() {
            return Skips::default();
        }
        let mut skips = core::mem::take(&mut self.active_mut().skips);
        skips.trim(una);
        skips
    }

    /// Give them back. Where nothing is amiss there is no use for them.
    pub fn keep_skips(&mut self, skips: Skips) {
        if self.has_active() {
            self.active_mut().skips = skips;
        }
    }

    /// Give the active part back once nothing is amiss.
    pub fn settle(&mut self) {
        if self.active().is_some_and(Active::is_idle) {
            self.shared.actives.remove(self.cold.active);
            self.cold.active = NONE;
        }
        self.refresh_decline();
    }

    /// So many acknowledgements are to be sent at once.
    pub fn set_quick_acks(&mut self, count: u8) {
        self.cold.quick_acks = count;
        self.hot.hints &= !hint::QUICK;
        if count > 0 {
            self.hot.hints |= hint::QUICK;
        }
    }

    /// One of them less.
    #[inline]
    pub fn take_quick_ack(&mut self) {
        if self.hot.hints & hint::QUICK != 0 {
            self.set_quick_acks(self.cold.quick_acks - 1);
        }
    }

    /// Have a delayed acknowledgement sent at a time, or not.
    #[inline]
    pub fn set_delack(&mut self, at: Ticks) {
        if at.is_on() {
            self.hot.hints |= hint::DELAYED;
            self.cold.delack_at = at;
        } else if self.hot.hints & hint::DELAYED != 0 {
            self.hot.hints &= !hint::DELAYED;
            self.cold.delack_at = Ticks::OFF;
        }
    }

    /// Give the connection up at a time, or not.
    pub fn set_life(&mut self, at: Ticks) {
        if at.is_on() {
            self.hot.hints |= hint::LATER;
        }
        self.cold.life_at = at;
    }

    /// What is known of losses.
    #[inline]
    pub fn loss(&self) -> &LossState {
        self.active().map_or(&NO_LOSS, |active| &active.loss)
    }

    /// A fast recovery is under way.
    #[inline]
    pub fn recovers(&self) -> bool {
        self.has_active() && self.loss().phase == Phase::Recovery
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
        self.shared.cells.get(self.hot.tail).map_or(self.hot.snd_nxt, |cell| cell.end)
    }

    /// Work on the send queue, whose ends live in the hot part.
    #[inline]
    pub fn queue<R>(&mut self, work: impl FnOnce(&mut Cells, &mut SendQueue, &mut Vec<Finished>) -> R) -> R {
        let mut queue = self.send_queue();
        let result = work(&mut self.shared.cells, &mut queue, &mut self.shared.finished);
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
        let control = self.shared.controls.obtain(&mut self.cold.control);
        let mut window = Window {
            cwnd: self.hot.cwnd,
            ssthresh: self.cold.ssthresh,
            mss,
            control,
            snd_una: self.hot.snd_una,
            snd_nxt: self.hot.snd_nxt,
            now_us: self.shared.now.micros,
            rtt_us: self.shared.signals.rtt_us,
            srtt_us: self.hot.srtt_us,
            echoed: self.shared.signals.echoed,
            in_cwr: self.hot.ecn & ecn::bit::REDUCED != 0,
            recovering,
            hystart: self.shared.config.hystart,
            abe: self.shared.config.abe,
            reduced: false,
        };
        work(Algorithm(self.cold.congestion), &mut window);
        let Window { cwnd, ssthresh, reduced, .. } = window;
        (self.hot.cwnd, self.cold.ssthresh) = (cwnd, ssthresh);
        //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.2
        //# When an ECN-Capable TCP sender reduces its congestion window for any
        //# reason (because of a retransmit timeout, a Fast Retransmit, or in
        //# response to an ECN Notification), the TCP sender sets the CWR flag
        if reduced && self.hot.ecn & ecn::bit::OK != 0 {
            self.hot.ecn |= ecn::bit::CWR;
        }
        // Until the initial slow start ends, what is remembered is of bytes in flight alone.
        let plain = self.cold.congestion != Congestion::Dctcp && ssthresh == u32::MAX;
        if plain && self.flight() == 0 {
            self.shared.controls.remove(&mut self.cold.control);
        }
    }

    /// Change the congestion control: the window stays, what the last one remembers of the flow goes.
    pub fn choose_congestion(&mut self, congestion: Option<Congestion>) {
        let congestion = congestion.unwrap_or(self.shared.config.congestion);
        if self.cold.congestion != congestion {
            self.cold.congestion = congestion;
            self.shared.controls.remove(&mut self.cold.control);
        }
    }

    /// The round-trip estimate.
    #[inline]
    pub fn rtt(&self) -> Rtt {
        Rtt { srtt_us: self.hot.srtt_us, rttvar_us: self.hot.rttvar_us }
    }

    /// Take a round-trip measurement in.
    #[inline(always)]
    pub fn measure(&mut self, sample_us: u32) {
        self.shared.signals.rtt_us = sample_us.max(1);
        if self.is_marked_amiss()
            && let Some(rare) = self.rare_if()
        {
            rare.history.measured = true;
        }
        let mut rtt = self.rtt();
        rtt.measure(sample_us);
        (self.hot.srtt_us, self.hot.rttvar_us) = (rtt.srtt_us, rtt.rttvar_us);
    }

    /// The same of a measurement that is exact: it may be the least round trip too.
    #[inline(always)]
    pub fn measure_exactly(&mut self, sample_us: u32) {
        if MinRtt::is_over(self.hot.heard_ms, self.shared.now.millis) {
            self.pay();
            self.hot.hear(self.cold, &self.shared.now);
        }
        self.measure_heard(sample_us);
    }

    /// The same where that the peer was heard of is noted already.
    #[inline(always)]
    pub fn measure_heard(&mut self, sample_us: u32) {
        self.measure(sample_us);
        self.hot.min_rtt_us = self.hot.min_rtt_us.min(sample_us.max(1));
    }

    /// Retransmission timeout, not backed off. Units: microseconds.
    #[inline]
    pub fn rto_us(&self) -> u32 {
        self.rtt().rto_us(&self.shared.config)
    }
}

/// Length of the timestamps option with its padding.
pub const TIMESTAMPS_LEN: u32 = 12;
