//! Explicit congestion notification: RFC 3168's negotiation, echo and reaction, and RFC 8257's echo where DCTCP is the
//! congestion control. How far the window falls is `congestion`'s to say.

use super::output::Emit;
use super::state::{Connection, State, flag};
use super::timers;
use crate::config::{Congestion, Ecn};
use crate::wire::tcp::{Flags, Segment, SeqNum};

/// Bits of `Hot::ecn`.
pub mod bit {
    /// Both ends have agreed: marks are echoed, and echoes answered.
    pub const OK: u8 = 1 << 0;
    /// Our data may carry ECT.
    pub const ECT: u8 = 1 << 1;
    /// Acknowledgements carry ECE; for DCTCP, DCTCP.CE.
    pub const ECHO: u8 = 1 << 2;
    /// The next new data carry CWR.
    pub const CWR: u8 = 1 << 3;
    /// The window was made smaller for a mark, and bytes of that time are in flight: those before `Control::cwr_end`.
    pub const REDUCED: u8 = 1 << 4;
    /// One segment is the window and was marked: nothing new goes until the retransmission timer expires.
    pub const HELD: u8 = 1 << 5;
    /// DCTCP.CE has changed with bytes unacknowledged: those before `Control::early_ack`.
    pub const EARLY: u8 = 1 << 6;
    /// An ECN-setup SYN was sent; with `ECT`, no other.
    pub const ASKED: u8 = 1 << 7;
}

/// ECN field of an IP header.
pub mod codepoint {
    /// Not ECN-capable.
    pub const NOT_ECT: u8 = 0b00;
    /// ECN-capable, as we send it.
    //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.2
    //# When only one ECT codepoint
    //# is needed by a sender for all packets sent on a TCP connection,
    //# ECT(0) SHOULD be used.
    pub const ECT_0: u8 = 0b10;
    /// Marked on the way.
    pub const CE: u8 = 0b11;
    /// The field within the byte that holds it.
    pub const MASK: u8 = 0b11;
}

const SETUP: Flags = Flags(Flags::ECE.0 | Flags::CWR.0);

/// A SYN asks for ECN, and we grant it; `field` is the ECN field of its IP header.
///
/// A SYN that is itself ECN-capable comes from something that is not RFC 3168's TCP, unless it is DCTCP's; Linux refuses
/// the same.
//= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.1
//# If a host has received an ECN-setup SYN packet, then it MAY send
//# an ECN-setup SYN-ACK packet.  Otherwise, it MUST NOT send an
//# ECN-setup SYN-ACK packet.
pub fn grants(ecn: Ecn, congestion: Congestion, syn: &Segment, field: u8) -> bool {
    let dctcp = congestion == Congestion::Dctcp;
    let willing = ecn != Ecn::Off || dctcp;
    willing && syn.flags.contains(SETUP) && (field == codepoint::NOT_ECT || dctcp)
}

/// The ECN field of a SYN-ACK or a reset for a connection with this congestion control.
//= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.1
//# A host MUST NOT set ECT on SYN or SYN-ACK packets.
//= https://www.rfc-editor.org/rfc/rfc8257#section-3.6
//# Hence, for DCTCP connections, the sender SHOULD set
//# ECT for SYN, SYN-ACK, and RST packets.
pub fn control_field(congestion: Congestion) -> u8 {
    if congestion == Congestion::Dctcp { codepoint::ECT_0 } else { codepoint::NOT_ECT }
}

/// Both ends are known to have agreed: a half-open connection becomes a flow.
pub fn agree(connection: &mut Connection) {
    connection.hot.ecn = bit::OK | bit::ECT;
}

/// What the peer's SYN or SYN-ACK says to our SYN.
pub fn negotiate(connection: &mut Connection, segment: &Segment) {
    let (config, field) = (connection.shared.config, connection.shared.signals.field);
    let before = connection.hot.ecn;
    let asked = before & bit::ASKED != 0;
    let granted = if segment.flags.contains(Flags::ACK) {
        //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.1
        //# we call a SYN-ACK packet with only the ECE
        //# flag set but the CWR flag not set an "ECN-setup SYN-ACK packet"
        asked && segment.flags & SETUP == Flags::ECE
    } else {
        asked && grants(config.ecn, connection.cold.congestion, segment, field)
    };
    connection.hot.ecn = if granted { bit::OK | before & bit::ECT } else { 0 };
}

/// Put into a segment what ECN has to say with it. `nxt` is SND.NXT before it.
pub fn stamp(connection: &mut Connection, emit: &mut Emit, nxt: SeqNum) {
    if emit.segment.flags.contains(Flags::SYN) {
        return stamp_syn(connection, emit);
    }
    let state = connection.hot.ecn;
    if state & bit::OK == 0 {
        return;
    }
    if emit.segment.flags.contains(Flags::ACK) && state & bit::ECHO != 0 {
        //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.3
        //# After a TCP receiver sends an ACK packet with the ECN-Echo bit set,
        //# that TCP receiver continues to set the ECN-Echo flag in all the ACK
        //# packets it sends
        emit.segment.flags |= Flags::ECE;
    }
    let end = emit.segment.seq + emit.len;
    // Of what begins with a byte that a window was probed with, that is sent again.
    let again = connection.shared.cells.get(emit.first).is_some_and(|cell| cell.retransmits > 0);
    let fresh = emit.len > 0 && emit.segment.seq.ge(nxt) && !again;
    // Beyond the peer's window: a probe of it.
    let probes = end.gt(connection.hot.snd_una + connection.hot.snd_wnd);
    //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.6
    //# Therefore, the TCP data sender MUST NOT set either an ECT codepoint
    //# or the CWR bit on window probe packets.
    if fresh && !probes {
        //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.2
        //# When the TCP data sender is ready to set the CWR bit after reducing
        //# the congestion window, it SHOULD set the CWR bit only on the first
        //# new data packet that it transmits.
        if state & bit::CWR != 0 {
            emit.segment.flags |= Flags::CWR;
            connection.hot.ecn &= !bit::CWR;
        }
        emit.field = if state & bit::ECT != 0 { codepoint::ECT_0 } else { codepoint::NOT_ECT };
        return;
    }
    //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.5
    //# This document specifies ECN-capable TCP implementations MUST NOT set
    //# either ECT codepoint (ECT(0) or ECT(1)) in the IP header for
    //# retransmitted data packets
    //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.4
    //# pure
    //# acknowledgement packets (e.g., packets that do not contain any
    //# accompanying data) MUST be sent with the not-ECT codepoint.
    //= https://www.rfc-editor.org/rfc/rfc8257#section-4.1
    //# It is
    //# RECOMMENDED that an implementation provide a configuration knob that
    //# will cause ECT to be set on such control packets
    if connection.shared.config.dctcp_ect_always && connection.cold.congestion == Congestion::Dctcp {
        emit.field = codepoint::ECT_0;
    }
}

fn stamp_syn(connection: &mut Connection, emit: &mut Emit) {
    emit.field = control_field(connection.cold.congestion);
    if connection.hot.state == State::SynReceived {
        // A simultaneous open; that both ask is known from the peer's SYN.
        if connection.hot.ecn & bit::OK != 0 {
            emit.segment.flags |= Flags::ECE;
        }
        return;
    }
    let config = &connection.shared.config;
    let dctcp = connection.cold.congestion == Congestion::Dctcp;
    let again = connection.shared.cells.get(connection.hot.head).is_some_and(|cell| cell.retransmits > 0);
    //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.1.1
    //# A host that receives no reply to an ECN-setup SYN within the normal
    //# SYN retransmission timeout interval MAY resend the SYN and any
    //# subsequent SYN retransmissions with CWR and ECE cleared.
    // DCTCP is for networks where nothing on the way takes offence, and is of no use without.
    if dctcp || config.ecn == Ecn::Request && !again {
        emit.segment.flags |= SETUP;
        connection.hot.ecn = bit::ASKED | bit::ECT;
    } else {
        //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.1
        //# and has sent no non-ECN-setup SYN or non-ECN-setup SYN-ACK
        //# packet.
        connection.hot.ecn &= !bit::ECT;
        emit.field = codepoint::NOT_ECT;
    }
}

/// The fast path cannot take a segment with `len` bytes, for its ECN field changes something.
#[inline]
pub fn declines(connection: &Connection, len: u32) -> bool {
    let state = connection.hot.ecn;
    if state & bit::OK == 0 || len == 0 {
        return false;
    }
    let marked = connection.shared.signals.field == codepoint::CE;
    let dctcp = connection.cold.congestion == Congestion::Dctcp;
    marked != (dctcp && state & bit::ECHO != 0)
}

/// Payload that lies in the window has come: note its mark, and the peer's answer to our echo. Call it before RCV.NXT
/// moves.
pub fn on_data(connection: &mut Connection, segment: &Segment) {
    if connection.hot.ecn & bit::OK == 0 {
        return;
    }
    let marked = connection.shared.signals.field == codepoint::CE;
    if connection.cold.congestion == Congestion::Dctcp {
        return on_dctcp_data(connection, marked);
    }
    // CWR first: a segment with both says that the window was made smaller, and that it was too large again.
    if segment.flags.contains(Flags::CWR) && connection.hot.ecn & bit::ECHO != 0 {
        //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.3
        //# After the receipt of the CWR packet, acknowledgments for
        //# subsequent non-CE data packets do not have the ECN-Echo flag set.
        connection.hot.ecn &= !bit::ECHO;
        // The peer's window may be a single segment now: it should not wait.
        connection.hot.flags |= flag::ACK_NOW;
    }
    if marked {
        //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.3
        //# When TCP receives a CE data packet at the destination end-system, the
        //# TCP data receiver sets the ECN-Echo flag in the TCP header of the
        //# subsequent ACK packet.
        if connection.hot.ecn & bit::ECHO == 0 {
            connection.hot.flags |= flag::ACK_NOW;
        }
        connection.hot.ecn |= bit::ECHO;
    }
}

//= https://www.rfc-editor.org/rfc/rfc8257#section-3.2
//# When sending an ACK,
//# the ECE flag MUST be set if and only if DCTCP.CE is true.
fn on_dctcp_data(connection: &mut Connection, marked: bool) {
    if marked == (connection.hot.ecn & bit::ECHO != 0) {
        return;
    }
    //= https://www.rfc-editor.org/rfc/rfc8257#section-3.2
    //# To avoid this, an implementation MAY choose to send two
    //# ACKs: one for previously unacknowledged packets and another
    //# acknowledging the most recently received packet.
    if connection.hot.unacked > 0 {
        let nxt = connection.hot.rcv_nxt;
        connection.shared.controls.obtain(&mut connection.cold.control).early_ack = nxt;
        connection.hot.ecn |= bit::EARLY;
    }
    connection.hot.ecn ^= bit::ECHO;
    connection.hot.flags |= flag::ACK_NOW;
}

/// The acknowledgement of bytes that came before DCTCP.CE changed, if it is due: it goes before all else.
pub fn early_ack(connection: &mut Connection) -> Option<Segment> {
    if connection.hot.ecn & bit::EARLY == 0 {
        return None;
    }
    connection.hot.ecn &= !bit::EARLY;
    let ack = connection.shared.controls.get(connection.cold.control)?.early_ack;
    let mut segment = bare(connection, ack);
    // The state before the change.
    if connection.hot.ecn & bit::ECHO == 0 {
        segment.flags |= Flags::ECE;
    }
    Some(segment)
}

/// An acknowledgement of what came before `ack`, as it was then.
fn bare(connection: &Connection, ack: SeqNum) -> Segment {
    let hot = &*connection.hot;
    let mut segment = Segment::new(hot.local_port(), hot.remote_port(), hot.snd_nxt, ack, Flags::ACK);
    let window = hot.rcv_adv.since(ack) >> hot.rcv_scale;
    segment.window = u16::try_from(window).unwrap_or(u16::MAX);
    if hot.flags & flag::TIMESTAMPS != 0 {
        segment.options.timestamps =
            Some((connection.shared.now.millis.wrapping_add(hot.ts_offset), hot.ts_recent));
    }
    segment
}

/// A segment echoes a mark.
pub fn note(connection: &mut Connection, segment: &Segment) {
    if connection.hot.ecn & bit::OK != 0 {
        let echoes = segment.flags.contains(Flags::ECE) && !segment.flags.contains(Flags::SYN);
        connection.shared.signals.echoed = echoes;
    }
}

/// An acknowledgement has moved SND.UNA by `acked`, and losses are known: react to its echo, once a window.
//= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.2
//# The indication
//# of congestion should be treated just as a congestion loss in non-
//# ECN-Capable TCP.
pub fn react(connection: &mut Connection, acked: u32) {
    if connection.hot.ecn & bit::OK == 0 {
        return;
    }
    if acked > 0 && connection.cold.congestion == Congestion::Dctcp {
        connection.congestion(|algorithm, window| algorithm.on_echo(window, acked));
    }
    let una = connection.hot.snd_una;
    let end = connection.shared.controls.get(connection.cold.control).map_or(una, |control| control.cwr_end);
    // What was in flight as the window fell may have met the same congestion, up to its last byte.
    if connection.hot.ecn & bit::REDUCED != 0 && una.gt(end) {
        connection.hot.ecn &= !bit::REDUCED;
    }
    if !connection.shared.signals.echoed
        || connection.hot.ecn & bit::REDUCED != 0
        || connection.loss().is_repairing()
    {
        return;
    }
    let flight = connection.flight() + acked;
    if flight == 0 {
        return;
    }
    let single = connection.hot.cwnd <= connection.send_mss();
    connection.congestion(|algorithm, window| {
        algorithm.on_mark(window, flight);
        window.control.cwr_end = window.snd_nxt;
    });
    if connection.flight() > 0 {
        connection.hot.ecn |= bit::REDUCED;
    }
    //= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.2
    //# Therefore, the sending TCP MUST reset the
    //# retransmit timer on receiving the ECN-Echo packet when the congestion
    //# window is one.
    if single {
        connection.hot.ecn |= bit::HELD;
        timers::arm_timeout(connection);
    }
}

/// New data must wait: the window of one segment was marked, and the timer still runs.
//= https://www.rfc-editor.org/rfc/rfc3168#section-6.1.2
//# The sending TCP will then be able to send a new
//# packet only when the retransmit timer expires.
pub fn holds(connection: &mut Connection) -> bool {
    if connection.hot.ecn & bit::HELD == 0 {
        return false;
    }
    if connection.hot.retransmit_at.is_on() {
        return true;
    }
    connection.hot.ecn &= !bit::HELD;
    false
}

#[cfg(test)]
mod tests;
