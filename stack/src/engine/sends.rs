//! Ops that send on streams: small ones, those whose bytes lie in memory, and what is the matter with one that cannot.

use super::Engine;
use super::flows::Kind;
use crate::mode::{Key, LargeSend, SmallSend, View, ViewData};
use crate::socket::{Event, OpError, SocketId, Stream, Tag};
use crate::tcp::send::mark;
use crate::tcp::state::{State, flag};

impl Engine {
    /// Queue a small payload, and say it at once where it is all that its flow has to say.
    #[inline]
    pub(super) fn apply_small(&mut self, send: &SmallSend, last: bool, returned: &mut &[SocketId]) {
        let mut count = 0;
        while let Some((socket, rest)) = returned.split_first()
            && *socket == send.stream.0
            && count < u16::MAX
        {
            *returned = rest;
            count += 1;
        }
        if last && self.say_small(send, count) {
            return;
        }
        if count > 0 {
            self.give_back(send.stream.0, count);
        }
        if send.len == 0 || !self.queue_small(send) {
            self.send_op(send.stream, send.view(), false, send.more, send.queue, send.tag);
        }
    }

    /// Queue a small payload where nothing is in its way; false, and nothing done, if [`send_op`](Engine::send_op) must say
    /// what is.
    #[inline(never)]
    fn queue_small(&mut self, send: &SmallSend) -> bool {
        let SmallSend { stream, text, len, queue, more, .. } = send;
        let Ok((slot, Kind::Stream)) = self.flows.find(stream.0) else { return false };
        let Some(mut connection) = self.flows.connection_owing(slot) else { return false };
        let open = connection.hot.state.sends() || connection.hot.state == State::SynReceived;
        if !open || connection.is(flag::FIN_QUEUED | flag::DEAD) {
            return false;
        }
        let marks = if *more { mark::MORE } else { 0 };
        let end = connection.queued_end();
        let queued = connection
            .queue(|cells, ends, _| cells.push_small(ends, end, (text, *len), Key::SMALL, marks, *queue));
        if queued && !connection.is(flag::DIRTY) {
            connection.set(flag::DIRTY);
            self.dirty.push(slot);
        }
        queued
    }

    /// Queue a payload that lies in memory.
    #[inline(never)]
    pub(super) fn apply_large(&mut self, send: LargeSend) {
        if let Some(LargeSend { stream, tag, extent, key, queue, notify, more }) = self.queue_large(send) {
            let view = View { data: ViewData::Extent(extent), key };
            self.send_op(stream, view, notify, more, queue, tag);
        }
    }

    /// The same where nothing is in its way; back it comes, and nothing was done, if [`send_op`](Engine::send_op) must say what
    /// is.
    #[inline(always)]
    fn queue_large(&mut self, send: LargeSend) -> Option<LargeSend> {
        let Ok((slot, Kind::Stream)) = self.flows.find(send.stream.0) else { return Some(send) };
        let Some(mut connection) = self.flows.connection_owing(slot) else { return Some(send) };
        let open = connection.hot.state.sends() || connection.hot.state == State::SynReceived;
        if !open || connection.is(flag::FIN_QUEUED | flag::DEAD) || send.extent.is_empty() {
            return Some(send);
        }
        let LargeSend { stream, tag, extent, key, queue, notify, more } = send;
        let marks = if notify { mark::NOTIFY } else { 0 } | if more { mark::MORE } else { 0 };
        let end = connection.queued_end();
        let queued =
            connection.queue(|cells, ends, _| cells.push_extent(ends, end, (extent, key), marks, queue));
        if let Err(extent) = queued {
            return Some(LargeSend { stream, tag, extent, key, queue, notify, more });
        }
        if !connection.is(flag::DIRTY) {
            connection.set(flag::DIRTY);
            self.dirty.push(slot);
        }
        None
    }

    pub(super) fn send_op(
        &mut self,
        stream: Stream,
        view: View,
        notify: bool,
        more: bool,
        queue: u8,
        tag: Tag,
    ) {
        let slot = match self.slot_of(stream.0, Kind::Stream) {
            Ok(slot) => slot,
            Err(error) => return self.fail_send(stream.0, error, &view, queue, tag),
        };
        let Some(mut connection) = self.flows.connection(slot) else { return };
        let open = connection.hot.state.sends() || connection.hot.state == State::SynReceived;
        if !open || connection.is(flag::FIN_QUEUED | flag::DEAD) {
            return self.fail_send(stream.0, OpError::NotOpen, &view, queue, tag);
        }
        if view.data.is_empty() {
            connection.shared.finished.push(crate::tcp::send::Finished { key: view.key, notify, queue });
            return self.report_finished(slot);
        }
        let marks = if notify { mark::NOTIFY } else { 0 } | if more { mark::MORE } else { 0 };
        let end = connection.queued_end();
        match connection.queue(|cells, ends, _| cells.push(ends, end, view, marks, queue)) {
            Ok(()) => self.mark_dirty(slot),
            Err(view) => self.fail_send(stream.0, OpError::NoRoom, &view, queue, tag),
        }
    }

    fn fail_send(&mut self, socket: SocketId, error: OpError, view: &View, queue: u8, tag: Tag) {
        let (payload, left) = (Some(view.back()), u64::from(view.data.len()));
        self.complete(queue, tag, false, Event::Failed { socket: Some(socket), error, acked: left, payload });
    }
}
