//! Handshakes that nothing is remembered of: SYNs answered by a cookie, and acknowledgements that bring one back. What is
//! in a cookie is `tcp::cookie`'s to know, when one is sent `listeners`'.

use drivers::Frame;

use super::Engine;
use super::mesh::Message;
use super::segments::Arrived;
use crate::ip::route::NextHop;
use crate::tcp::cookie;
use crate::tcp::isn::FlowKey;
use crate::tcp::listen::HalfOpen;
use crate::wire::DropReason;

impl Engine {
    /// Answer a SYN, and forget it. `half` is what would be remembered of it.
    pub(super) fn answer_by_cookie(&mut self, half: &HalfOpen, way: Option<NextHop>) {
        // A peer whose answer is dropped asks again; what waits for the port must not wait longer for a flood's sake.
        if self.backlog() >= self.config.transmit_backlog_max {
            return self.counters.drop(DropReason::TcpBacklogFull);
        }
        let (now, tuple) = (self.flows.shared.now, half.tuple);
        let mss = half.offer.mss.unwrap_or(crate::tcp::input::mss_default(tuple.remote.is_ipv6()));
        let ends = self.secret.flow_key(&tuple).hash;
        let numbers = cookie::numbers(&self.secret, &tuple, half.irs, mss, now.instant);
        let Some(iss) = numbers.into_iter().find(|iss| !self.cookies.is_spent(ends, *iss)) else {
            // A peer that begins all its connections at one number waits until the cookie is another.
            return self.counters.drop(DropReason::TcpBacklogFull);
        };
        let half = HalfOpen { iss, ..*half };
        self.counters.consumed_frames += 1;
        self.counters.cookies_sent += 1;
        if self.cookies.note(now.instant) {
            // The acknowledgement may come to another lane, if this one is no longer its home by then.
            self.mesh.tell_all(|| Message::Cookies);
        }
        let segment = cookie::syn_ack(&half, &self.flows.shared.config, &now);
        self.send_syn_ack(&half, &segment, way);
    }

    /// Another lane sends cookies.
    pub(super) fn hear_of_cookies(&mut self) {
        self.cookies.note(self.flows.shared.now.instant);
    }

    /// A segment for a listener, without a connection: if it brings a cookie back, there is one now. The frame comes back if
    /// it brings none.
    pub(super) fn accept_cookie(
        &mut self,
        listener: u32,
        arrived: &Arrived,
        key: &FlowKey,
        frame: Frame,
    ) -> Option<Frame> {
        let now = self.flows.shared.now;
        if !self.cookies.are_about(now.instant) {
            return Some(frame);
        }
        let config = self.flows.shared.config;
        let Some(mut half) = cookie::half_open(&self.secret, &arrived.tuple, &arrived.segment, &config, &now)
        else {
            self.counters.cookies_refused += 1;
            return Some(frame);
        };
        let ends = key.hash;
        if self.cookies.is_spent(ends, half.iss) {
            self.counters.cookies_refused += 1;
            return Some(frame);
        }
        if self.is_accept_queue_full(listener) {
            // It counts as lost: the peer's data, sent again, brings it once more.
            self.counters.drop(DropReason::TcpBacklogFull);
            return None;
        }
        self.as_listener(listener, &mut half, self.mtu_of(&arrived.tuple));
        if self.open(&half, None, arrived, key, frame) {
            self.counters.cookies_accepted += 1;
            self.cookies.spend(ends, half.iss, now.instant);
        }
        None
    }
}
