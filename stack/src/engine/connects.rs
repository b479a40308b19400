//! Connections that we open: both their ends and the path, and those that wait for an address.

use core::net::SocketAddr;
use core::time::Duration;

use super::Engine;
use super::flows::{Birth, Kind};
use crate::ip::route::{Class, class_of};
use crate::socket::{Event, OpError, Stream, StreamOptions, Tag};
use crate::tcp::isn::Tuple;
use crate::tcp::options::mss_bound;
use crate::tcp::send::NONE;
use crate::tcp::state::State;
use crate::time::nanoseconds;

/// A connect over IPv6 that waits for an address.
#[derive(Clone, Copy, Debug)]
pub struct Deferred {
    to: SocketAddr,
    from: Option<SocketAddr>,
    timeout: Duration,
    options: Option<StreamOptions>,
    queue: u8,
    tag: Tag,
}

impl Engine {
    /// Begin a connection, or wait for an address to begin it with.
    pub(super) fn connect(
        &mut self,
        to: SocketAddr,
        from: Option<SocketAddr>,
        timeout: Duration,
        own_options: Option<StreamOptions>,
        queue: u8,
        tag: Tag,
    ) {
        let options = own_options.unwrap_or_default();
        let plain = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        let (to, from) = (plain(to), from.map(plain));
        let (tuple, path) = match self.choose_tuple(to, from) {
            Ok(chosen) => chosen,
            Err(_) if to.is_ipv6() && self.awaits_address() => {
                return self.deferred.push(Deferred { to, from, timeout, options: own_options, queue, tag });
            }
            Err(error) => return self.fail(None, error, queue, tag),
        };
        let Some(slot) = self.flows.take(Kind::Stream) else {
            self.paths.release(path);
            return self.fail(None, OpError::NoRoom, queue, tag);
        };
        let now = self.flows.shared.now;
        let (iss, ts_offset) = self.secret.beginnings(&tuple, now.instant);
        let birth = Birth {
            tuple,
            iss,
            ts_offset,
            mss: self.mss_of(&tuple).min(mss_bound(&options)),
            path,
            queue,
            tag: tag.0,
            listener: NONE,
            options: Some(options).filter(|options| *options != StreamOptions::default()),
            state: State::SynSent,
        };
        let us = nanoseconds(timeout) / 1_000;
        let queued = self.flows.begin(slot, &birth).is_some_and(|mut connection| {
            connection.set_life(connection.shared.now.after(us));
            connection.queue(|cells, queue, _| cells.push_control(queue, iss))
        });
        if !queued || !self.table.insert(self.secret.flow_key(&tuple).hash, slot) {
            self.paths.release(path);
            self.flows.release(slot);
            return self.fail(None, OpError::NoRoom, queue, tag);
        }
        self.claim(&tuple, true);
        self.mark_dirty(slot);
        if own_options.is_some() {
            let stream = Stream(self.flows.id(slot));
            self.complete(queue, tag, true, Event::Connecting { stream, local: tuple.local });
        }
    }

    /// Both ends of a connection we open, and its path.
    fn choose_tuple(&mut self, to: SocketAddr, from: Option<SocketAddr>) -> Result<(Tuple, u16), OpError> {
        let good =
            class_of(to.ip()) == Class::Unicast && from.is_none_or(|from| from.is_ipv4() == to.is_ipv4());
        if !good || to.port() == 0 {
            return Err(OpError::AddressNotAvailable);
        }
        //= https://www.rfc-editor.org/rfc/rfc9293#section-3.9.1.1
        //# A TCP implementation MUST reject as an error a local OPEN call for an
        //# invalid remote IP address (e.g., a broadcast or multicast address)
        //# (MUST-46).
        if self.routes.classify(to.ip()) == Class::Broadcast {
            return Err(OpError::Unreachable);
        }
        let hop = self.routes.next_hop(to.ip()).ok_or(OpError::Unreachable)?;
        let ip = from.map(|from| from.ip()).filter(|ip| !ip.is_unspecified()).unwrap_or(hop.source);
        if !self.routes.is_local(ip) || self.routes.is_local(to.ip()) {
            return Err(OpError::AddressNotAvailable);
        }
        let wanted = from.map_or(0, |from| from.port());
        let tuple = |port| Tuple { local: SocketAddr::new(ip, port), remote: to };
        let chosen = if wanted == 0 {
            let mut ports = core::mem::take(&mut self.source_ports);
            let free = |port| self.is_home(&tuple(port)) && self.is_tuple_free(&tuple(port));
            let chosen = ports.choose(&self.secret, &tuple(0), free);
            self.source_ports = ports;
            chosen.map(tuple).ok_or(OpError::NoPorts)?
        } else {
            Some(tuple(wanted)).filter(|tuple| self.is_tuple_free(tuple)).ok_or(OpError::AddressInUse)?
        };
        let path = self.paths.take(&self.routes, &chosen).ok_or(OpError::Unreachable)?;
        Ok((chosen, path))
    }

    /// Some address of IPv6 is to be ours soon, and there is room for a connect that waits for it.
    fn awaits_address(&self) -> bool {
        self.deferred.len() < self.config.sockets
            && self.stopping.is_none()
            && self.ports.iter().any(|port| port.addresses.is_waiting())
    }

    /// Addresses have changed: connects that waited for one begin, or fail.
    pub(super) fn connect_deferred(&mut self) {
        for Deferred { to, from, timeout, options, queue, tag } in core::mem::take(&mut self.deferred) {
            self.connect(to, from, timeout, options, queue, tag);
        }
    }

    /// Give up connects that have not begun: all, or those under a tag.
    pub(super) fn cancel_deferred(&mut self, of: Option<(u8, Tag)>) {
        for deferred in core::mem::take(&mut self.deferred) {
            let Deferred { queue, tag, .. } = deferred;
            if of.is_none_or(|of| of == (queue, tag)) {
                self.fail(None, OpError::Cancelled, queue, tag);
            } else {
                self.deferred.push(deferred);
            }
        }
    }
}
