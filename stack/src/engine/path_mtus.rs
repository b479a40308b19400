//! What lanes know of the sizes that ways take, who tells it and who heeds it: ICMP errors about packets of ours, and
//! connections that have found out by themselves. How they do that is in `tcp::mtu`.

use core::net::IpAddr;

use super::Engine;
use super::flows::Kind;
use super::mesh::Message;
use super::packets::tuple_of;
use super::udp_sockets::Place;
use crate::ip::KeyedHash;
use crate::ip::icmp::{ErrorKind, IcmpError};
use crate::ip::path_mtu::{self, Known, PathMtus};
use crate::socket::{LaneId, OpError, Trouble};
use crate::tcp::isn::Tuple;
use crate::tcp::loss;
use crate::tcp::mtu::{self, bit};
use crate::tcp::state::{State, flag};
use crate::time::Instant;
use crate::wire::icmp::Unreachable;
use crate::wire::tcp::SeqNum;
use crate::wire::{DropReason, Protocol};

/// What is known of the ways to single destinations.
#[derive(Debug)]
pub struct Ways {
    /// What TCP may believe: messages about segments that were in flight, and what its segments have shown.
    believed: PathMtus,
    /// What messages about datagrams have told. Nothing in a datagram's first bytes is hard to guess, so only datagrams
    /// heed them: a forged one makes them come in fragments.
    rumoured: PathMtus,
    /// The slot that hears next of what was learnt last, and how many still have to.
    next: u32,
    left: u32,
    /// The destination of which it was last found that everything passes.
    wide: Option<IpAddr>,
}

impl Ways {
    /// Nothing is known.
    pub fn new(hash: KeyedHash) -> Ways {
        let table = || PathMtus::new(path_mtu::ENTRIES_MAX, hash);
        Ways { believed: table(), rumoured: table(), next: 0, left: 0, wide: None }
    }

    /// What a datagram for a destination is to heed.
    pub fn of_datagrams(&self, destination: IpAddr, now: Instant) -> Known {
        let known = [&self.believed, &self.rumoured].map(|table| table.of(destination, now));
        known.into_iter().flatten().fold(Known { mtu: u16::MAX, fragments: false }, |all, one| Known {
            mtu: all.mtu.min(one.mtu),
            fragments: all.fragments || one.fragments,
        })
    }

    /// Streams have yet to hear of something.
    pub fn is_spreading(&self) -> bool {
        self.left > 0
    }
}

/// Slots that hear of a path MTU in one turn: so a lesson reaches ten thousand streams within a few hundred turns, and
/// none of these takes much longer for it.
const SLOTS_A_TURN: u32 = 64;

impl Engine {
    /// An ICMP error: for the flow it names, if what it quotes is in flight.
    pub(super) fn on_icmp_error(&mut self, error: &IcmpError) -> Result<Option<LaneId>, DropReason> {
        match error.quoted.protocol {
            Protocol::TCP => self.on_segment_error(error),
            Protocol::UDP => self.on_datagram_error(error),
            _ => Err(DropReason::IcmpNoFlow),
        }
    }

    fn on_segment_error(&mut self, error: &IcmpError) -> Result<Option<LaneId>, DropReason> {
        let Some(slot) = self.find_quoted(&error.quoted) else {
            return self.elsewhere(&tuple_of(&error.quoted)).map(Some).ok_or(DropReason::IcmpNoFlow);
        };
        let connection = self.flows.connection(slot).ok_or(DropReason::IcmpNoFlow)?;
        //= https://www.rfc-editor.org/rfc/rfc5927#section-4.1
        //# These implementations check that the TCP sequence number contained
        //# in the payload of the ICMP error message is within the range
        //# SND.UNA =< SEG.SEQ < SND.NXT.
        let seq = SeqNum(error.quoted.seq);
        if !(seq.ge(connection.hot.snd_una) && seq.lt(connection.hot.snd_nxt)) {
            return Err(DropReason::IcmpSequence);
        }
        let connecting = connection.hot.state == State::SynSent;
        match error.kind {
            ErrorKind::FragmentationNeeded { mtu } => {
                let destination = error.quoted.remote;
                if self.path_mtus.believed.learn(destination, mtu, self.flows.shared.now.instant) {
                    self.path_mtu_changed(destination, mtu, false, true);
                }
                self.lower_mtu(slot, mtu.max(path_mtu::least(destination)));
                self.heed_path_mtu(slot);
            }
            //= https://www.rfc-editor.org/rfc/rfc5927#section-5.2
            //# most popular TCP implementations treat all ICMP "hard errors" received for
            //# connections in any of the synchronized states (ESTABLISHED, FIN-WAIT-1,
            //# FIN-WAIT-2, CLOSE-WAIT, CLOSING, LAST-ACK, or TIME-WAIT) as "soft errors".
            // RFC 9293 section 3.9.2.2 would have hard errors abort (SHLD-26), but anyone can forge one.
            ErrorKind::Unreachable { code } if connecting => {
                self.fail_connect(slot, error_of(code));
            }
            _ if connecting => {}
            //= https://www.rfc-editor.org/rfc/rfc9293#section-3.9.2.2
            //# a TCP implementation MUST NOT abort the connection
            //# (MUST-56), and it SHOULD make the information available to the
            //# application (SHLD-25).
            ErrorKind::Unreachable { code } => {
                self.tell_of_trouble(slot, Trouble::Undelivered(error_of(code)));
            }
            ErrorKind::TimeExceeded | ErrorKind::ParameterProblem => {
                self.tell_of_trouble(slot, Trouble::Undelivered(OpError::Unreachable));
            }
        }
        Ok(None)
    }

    /// An error about a datagram: for the socket that it left by.
    fn on_datagram_error(&mut self, error: &IcmpError) -> Result<Option<LaneId>, DropReason> {
        let quoted = &error.quoted;
        let tuple = tuple_of(quoted);
        let slot = match self.place_of_datagram(&tuple) {
            Place::Here(slot) => slot,
            Place::There(lane) => return Ok(Some(lane)),
            Place::Nowhere => return Err(DropReason::IcmpNoFlow),
        };
        let told = match error.kind {
            ErrorKind::FragmentationNeeded { mtu } => {
                self.path_mtus.rumoured.learn(quoted.remote, mtu, self.flows.shared.now.instant);
                OpError::TooLong
            }
            ErrorKind::Unreachable { code } => error_of(code),
            ErrorKind::TimeExceeded => OpError::Unreachable,
            ErrorKind::ParameterProblem => return Ok(None),
        };
        self.tell_of_datagram_error(slot, tuple.remote, told);
        Ok(None)
    }

    /// The way to a destination is known to take another size: all lanes are to know it; and if it is `sure`, all streams,
    /// not only those to come.
    fn path_mtu_changed(&mut self, destination: IpAddr, mtu: u16, found: bool, sure: bool) {
        self.mesh.tell_all(|| Message::PathMtu { destination, mtu, found, sure });
        if sure {
            self.begin_spreading(destination, mtu);
        }
    }

    fn begin_spreading(&mut self, destination: IpAddr, mtu: u16) {
        self.path_mtus.left = self.flows.slots();
        if mtu == u16::MAX {
            self.path_mtus.wide = Some(destination);
        }
    }

    /// Another lane has learnt what a way takes.
    pub(super) fn hear_of_path_mtu(&mut self, destination: IpAddr, mtu: u16, found: bool, sure: bool) {
        let now = self.flows.shared.now.instant;
        let table = &mut self.path_mtus.believed;
        let news = if found { table.find(destination, mtu, now) } else { table.learn(destination, mtu, now) };
        if news && sure {
            self.begin_spreading(destination, mtu);
        }
    }

    /// Let some of the streams hear of what was learnt. True if there were any to tell.
    pub(super) fn spread_path_mtus(&mut self) -> bool {
        let count = self.path_mtus.left.min(SLOTS_A_TURN);
        self.path_mtus.left -= count;
        for _ in 0..count {
            let slot = self.path_mtus.next;
            self.path_mtus.next = if slot + 1 < self.flows.slots() { slot + 1 } else { 0 };
            let open = self.flows.hot(slot).is_some_and(|hot| hot.state.is_synchronized());
            if open && self.flows.kind(slot) == Kind::Stream && !self.heed_path_mtu(slot) {
                self.hear_of_wide_path(slot);
            }
        }
        count > 0
    }

    /// Nothing is known of a connection's path, because everything passes now.
    fn hear_of_wide_path(&mut self, slot: u32) {
        let remote = self.flows.tuple(slot).map(|tuple| tuple.remote.ip());
        if remote.is_some()
            && remote == self.path_mtus.wide
            && let Some(mut connection) = self.flows.connection(slot)
        {
            mtu::may_be_wider(&mut connection);
        }
    }

    /// A connection keeps to what is known of its path, from its next segment on. False if nothing is.
    pub(super) fn heed_path_mtu(&mut self, slot: u32) -> bool {
        let Some(tuple) = self.flows.tuple(slot) else { return false };
        let known = self.path_mtus.believed.of(tuple.remote.ip(), self.flows.shared.now.instant);
        let Some(Known { mtu, fragments }) = known else { return false };
        let Some(mut connection) = self.flows.connection(slot) else { return false };
        let headers = if connection.hot.is_ipv6() { 60 } else { 40 };
        mtu::told(&mut connection, mtu.saturating_sub(headers));
        if fragments {
            connection.hot.mtu |= bit::FRAGMENT;
        }
        true
    }

    /// The largest packet that the way of a connection takes, as far as its first link and messages tell. Units: bytes.
    pub(super) fn path_mtu_of(&self, tuple: &Tuple) -> u16 {
        let link = self.mtu_of(tuple);
        let known = self.path_mtus.believed.of(tuple.remote.ip(), self.flows.shared.now.instant);
        known.map_or(link, |known| known.mtu.min(link))
    }

    /// The path takes less than we thought: send smaller segments, and what was too big again.
    pub(super) fn lower_mtu(&mut self, slot: u32, mtu: u16) {
        let Some(mut connection) = self.flows.connection(slot) else { return };
        let headers = if connection.hot.is_ipv6() { 60 } else { 40 };
        if mtu::asked(&mut connection, mtu.saturating_sub(headers)) && loss::on_too_big(&mut connection) {
            connection.set(flag::PROBE);
            self.mark_dirty(slot);
        }
    }

    /// A connection has found out which size passes: others are to know it.
    pub(super) fn tell_found_mtu(&mut self, slot: u32) {
        let Some(tuple) = self.flows.tuple(slot) else { return };
        let Some(connection) = self.flows.connection(slot) else { return };
        connection.hot.mtu &= !bit::TELL;
        let headers = if connection.hot.is_ipv6() { 60 } else { 40 };
        let all = connection.hot.mtu & bit::SEARCHING == 0;
        // What passes as the interface has it need not be remembered.
        let mtu = if all { u16::MAX } else { connection.hot.mss.saturating_add(headers) };
        let sure = all || connection.rare().search.is_proven();
        if self.path_mtus.believed.find(tuple.remote.ip(), mtu, self.flows.shared.now.instant) {
            self.path_mtu_changed(tuple.remote.ip(), mtu, true, sure);
        }
    }
}

/// What an application is told of a destination that is said not to be reached.
fn error_of(code: Unreachable) -> OpError {
    match code {
        Unreachable::PORT => OpError::Refused,
        Unreachable::NET
        | Unreachable::NET_UNKNOWN
        | Unreachable::NET_PROHIBITED
        | Unreachable::NET_FOR_SERVICE => OpError::NetworkUnreachable,
        _ => OpError::Unreachable,
    }
}
