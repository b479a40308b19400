//! What completions do to a connection: opened, heard from, ended, failed. Which request goes where is `client.rs`'s.

use corelane::{Completion, Event, Lane, Op, OpError, Reason, SocketOption, Stream};

use super::answer::Answer;
use super::client::{CLOSE_WITHIN, Client, FINISH, Phase, QUIET, REST};
use super::results::record;
use super::slot::{Reader, State, untag};
use super::{ErrorKind, Exchange};
use crate::tls::{TlsError, TlsStream};

impl Client {
    /// Work off one completion.
    pub(super) fn handle(&mut self, lane: &mut Lane, done: Completion) {
        if done.tag == QUIET {
            return;
        }
        let (index, generation) = untag(done.tag);
        let Some(slot) = self.slots.get(index) else { return };
        let current = slot.generation == generation;
        match done.event {
            Event::Connected { stream, .. } => self.connected(lane, index, stream),
            Event::Failed { error, .. } if current && slot.state == State::Connecting => {
                self.connecting -= 1;
                self.not_connected(index, error);
            }
            // Of an upload alone: nobody else asks to be told.
            Event::Sent { .. } if current => {
                self.answered(lane, index, Answer::DONE);
                self.list(index);
            }
            Event::Received { data, .. } if current => self.received(lane, index, &data),
            Event::End { .. } if current => self.ended(lane, index),
            Event::Closed { reason, .. } if current => self.lost(index, reason),
            // One whose end we asked for, or that ended before it could be asked.
            Event::Closed { .. } => self.closing = self.closing.saturating_sub(1),
            _ => {}
        }
    }

    fn connected(&mut self, lane: &mut Lane, index: usize, stream: Stream) {
        self.connecting -= 1;
        let slot = &mut self.slots[index];
        slot.stream = Some(stream);
        slot.reader = Reader::new(&self.plan.exchange);
        if matches!(self.phase, Phase::Closing(..) | Phase::Leaving(_) | Phase::Done) {
            return self.hang_up(lane, index);
        }
        self.results.opened += 1;
        record(&mut self.results.connect, self.now.saturating_since(slot.began));
        let receive = Op::receive(stream).tag(slot.tag(index));
        self.submit(lane, Op::set(stream, SocketOption::NoDelay(true)).tag(QUIET));
        self.submit(lane, receive);
        if let Phase::Waiting(_) = self.phase {
            self.open_or_begin();
        }
        let Some(tls) = &self.plan.tls else { return self.opened(lane, index) };
        let slot = &mut self.slots[index];
        slot.state = State::Shaking;
        slot.began = self.now;
        slot.deadline = self.now.saturating_add(self.plan.timeout);
        match TlsStream::client(&tls.config, tls.name.clone()) {
            Ok(tls) => {
                slot.tls = Some(Box::new(tls));
                self.send_output(lane, index);
            }
            Err(error) => self.fail_tls(lane, index, &error),
        }
    }

    /// A connection takes requests; those it was opened for go out.
    fn opened(&mut self, lane: &mut Lane, index: usize) {
        self.slots[index].state = State::Open;
        let waiting = self.slots[index].waiting.len();
        if waiting > 0 {
            self.send(lane, index, waiting);
        } else {
            self.list(index);
        }
    }

    fn not_connected(&mut self, index: usize, error: OpError) {
        if let Phase::Waiting(until) = self.phase {
            if self.now < until {
                return self.rest(index);
            }
            self.open_or_begin();
        }
        // Cancelled by the end of the lane, that is.
        if error != OpError::Cancelled {
            self.fail_waiting(index, error.into());
        }
        self.rest(index);
    }

    fn received(&mut self, lane: &mut Lane, index: usize, data: &[u8]) {
        if self.is_counting() {
            self.results.received_bytes += data.len() as u64;
        }
        let slot = &mut self.slots[index];
        let Some(tls) = &mut slot.tls else { return self.read(lane, index, data) };
        let mut plain = core::mem::take(&mut self.plain);
        plain.clear();
        let heard = tls.receive(data, &mut plain);
        let shaken = slot.state == State::Shaking && !tls.is_handshaking();
        self.send_output(lane, index);
        if shaken && heard.is_ok() {
            record(&mut self.results.handshake, self.now.saturating_since(self.slots[index].began));
            self.opened(lane, index);
        }
        if !plain.is_empty() {
            self.read(lane, index, &plain);
        }
        self.plain = plain;
        if let Err(error) = heard
            && self.slots[index].tls.is_some()
        {
            self.fail_tls(lane, index, &error);
        }
    }

    /// Find answers in what came.
    fn read(&mut self, lane: &mut Lane, index: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let slot = &mut self.slots[index];
            if slot.state != State::Open {
                return;
            }
            // What comes of a download is asked for at the end of the turn.
            if slot.waiting.is_empty() && self.plan.exchange != Exchange::Download {
                // Nobody asked.
                return self.fail(lane, index, ErrorKind::Malformed);
            }
            match slot.reader.read(&mut bytes, &self.plan.exchange) {
                Ok(Some(answer)) => self.answered(lane, index, answer),
                Ok(None) => break,
                Err(kind) => return self.fail(lane, index, kind),
            }
        }
        self.list(index);
    }

    /// The oldest request of a connection is answered.
    fn answered(&mut self, lane: &mut Lane, index: usize, answer: Answer) {
        let slot = &mut self.slots[index];
        let Some(due) = slot.waiting.pop_front() else { return };
        slot.deadline = self.now.saturating_add(self.plan.timeout);
        self.under_way -= 1;
        self.count(due);
        if let Some(kind) = ErrorKind::of_status(answer.status) {
            self.results.fail(kind, 1);
        }
        if answer.keep_alive && !self.plan.close {
            return;
        }
        // What the server has not taken is asked again on another connection.
        let slot = &mut self.slots[index];
        self.under_way -= slot.waiting.len() as u64;
        self.retries.extend(slot.waiting.drain(..));
        if matches!(self.plan.exchange, Exchange::Ping(_)) {
            return self.hang_up(lane, index);
        }
        // The server closes first: it announced that, and its side then has the wait that follows.
        slot.state = State::Finishing;
        slot.deadline = self.now.saturating_add(FINISH);
    }

    /// The server has sent its FIN.
    fn ended(&mut self, lane: &mut Lane, index: usize) {
        let slot = &mut self.slots[index];
        let cut = slot.tls.as_ref().map_or(Ok(()), |tls| tls.end());
        if slot.state == State::Shaking {
            return self.fail(lane, index, ErrorKind::Ended);
        }
        if slot.state == State::Open && !slot.waiting.is_empty() {
            match (slot.reader.end(), cut) {
                (Err(kind), _) => return self.fail(lane, index, kind),
                (Ok(Some(_)), Err(error)) => return self.fail_tls(lane, index, &error),
                (Ok(Some(answer)), Ok(())) => self.answered(lane, index, answer),
                (Ok(None), _) => {}
            }
            if !self.slots[index].waiting.is_empty() {
                return self.fail(lane, index, ErrorKind::Ended);
            }
        }
        if self.slots[index].stream.is_some() {
            self.hang_up(lane, index);
        }
    }

    /// A connection has ended that we did not end.
    fn lost(&mut self, index: usize, reason: Reason) {
        let state = self.slots[index].state;
        self.forget(index);
        let kind = match reason {
            Reason::TimedOut => ErrorKind::TimedOut,
            Reason::Reset => ErrorKind::Reset,
            Reason::Done | Reason::Stopping => ErrorKind::Ended,
            _ => ErrorKind::Other,
        };
        if reason == Reason::Stopping || (state == State::Finishing && reason != Reason::TimedOut) {
            self.list(index);
            return;
        }
        self.fail_waiting(index, kind);
        self.rest(index);
    }

    // ---- the ways a connection ends --------------------------------------------------------------

    /// End a connection in order.
    pub(super) fn hang_up(&mut self, lane: &mut Lane, index: usize) {
        if let Some(tls) = &mut self.slots[index].tls {
            tls.close();
            self.send_output(lane, index);
        }
        if let Some(stream) = self.slots[index].stream {
            self.closing += 1;
            self.submit(lane, Op::close_within(stream, CLOSE_WITHIN).tag(QUIET));
        }
        self.forget(index);
        self.list(index);
    }

    /// A connection is of no use any more: what it owes are errors.
    pub(super) fn fail(&mut self, lane: &mut Lane, index: usize, kind: ErrorKind) {
        self.fail_waiting(index, kind);
        self.send_output(lane, index);
        if let Some(stream) = self.slots[index].stream {
            self.closing += 1;
            self.submit(lane, Op::abort(stream).tag(QUIET));
        }
        self.forget(index);
        self.rest(index);
    }

    fn fail_tls(&mut self, lane: &mut Lane, index: usize, error: &TlsError) {
        self.results.tls_error.get_or_insert_with(|| error.to_string());
        self.fail(lane, index, ErrorKind::Tls);
    }

    /// Count an error for each unanswered request, or one for the connection if it has none.
    fn fail_waiting(&mut self, index: usize, kind: ErrorKind) {
        let count = self.slots[index].waiting.len() as u64;
        self.slots[index].waiting.clear();
        self.under_way -= count;
        self.results.fail(kind, count.max(1));
    }

    /// There is no connection any more; what it still says is of no interest, and what it owes is given up.
    fn forget(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        self.under_way -= slot.waiting.len() as u64;
        slot.waiting.clear();
        slot.generation = slot.generation.wrapping_add(1);
        slot.state = State::Idle;
        slot.stream = None;
        slot.tls = None;
    }

    /// Try again a little later.
    fn rest(&mut self, index: usize) {
        self.slots[index].state = State::Resting;
        self.resting.push_back((self.now.saturating_add(REST), index));
    }

    // ---- TLS -------------------------------------------------------------------------------------

    /// Encrypt and send.
    pub(super) fn send_sealed(&mut self, lane: &mut Lane, index: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some(tls) = &mut self.slots[index].tls else { return };
            let taken = tls.send(bytes);
            bytes = &bytes[taken..];
            self.send_output(lane, index);
            if taken == 0 {
                return;
            }
        }
    }

    /// Send what TLS has to say.
    fn send_output(&mut self, lane: &mut Lane, index: usize) {
        let slot = &mut self.slots[index];
        let (Some(tls), Some(stream)) = (&mut slot.tls, slot.stream) else { return };
        if !tls.has_output() {
            return;
        }
        let mut out = Vec::new();
        tls.output(&mut out);
        self.submit(lane, Op::send(stream, out).tag(QUIET));
    }
}
