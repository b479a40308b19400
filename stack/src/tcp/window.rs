//! The window that is advertised: where its edge stands, and when telling of it is worth a segment. How much room there
//! is, is `options`' to say.

use super::options;
use super::state::{Connection, State, flag};
use crate::wire::tcp::SeqNum;

/// Where the window's edge could stand now.
#[inline]
fn window_edge(connection: &Connection) -> SeqNum {
    let (nxt, adv) = (connection.hot.rcv_nxt, connection.hot.rcv_adv);
    let (whole, mss) = (options::receive_bytes(connection), u32::from(connection.hot.rcv_mss));
    // The least step by which it moves.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.6.2.2
    //# RCV.BUFF - RCV.USER - RCV.WND  >=  min( Fr * RCV.BUFF, Eff.snd.MSS )
    let step = (whole / 2).min(mss);
    // Even the whole buffer would not move it by that. None has more than 30 bits.
    if connection.rcv_wnd() + step > whole {
        return adv;
    }
    let limit = u32::from(u16::MAX) << connection.hot.rcv_scale;
    let edge = nxt + options::window_room(connection).min(limit);
    if edge.gt(adv) && edge.since(adv) >= step { edge } else { adv }
}

/// The window field of a segment sent now. The edge never moves back.
//= https://www.rfc-editor.org/rfc/rfc9293#section-3.8.6.2.2
//# A TCP implementation MUST include a SWS avoidance algorithm in the
//# receiver (MUST-39).
#[inline]
pub(super) fn advertise(connection: &mut Connection) -> u16 {
    let edge = window_edge(connection);
    let scale = connection.hot.rcv_scale;
    let window = edge.since(connection.hot.rcv_nxt);
    // In units, rounded up: a window has no more than 30 bits.
    let field = u16::try_from((window + ((1 << scale) - 1)) >> scale).unwrap_or(u16::MAX);
    let advertised = connection.hot.rcv_nxt + (u32::from(field) << scale);
    connection.hot.rcv_adv = connection.hot.rcv_adv.max(advertised);
    field
}

/// The window of a SYN is never scaled (RFC 7323 section 2.2).
pub(super) fn syn_window(connection: &mut Connection) -> u16 {
    let field = u16::try_from(options::window_room(connection)).unwrap_or(u16::MAX);
    if connection.hot.state == State::SynReceived {
        connection.hot.rcv_adv = connection.hot.rcv_adv.max(connection.hot.rcv_nxt + u32::from(field));
    }
    field
}

/// The application has given frames back: say so if the window has opened by enough to be worth a segment.
#[inline]
pub fn window_opened(connection: &mut Connection) -> bool {
    // An open window must be able to grow by a quarter of the buffer, of which mostly three are open.
    let (open, mss) = (connection.rcv_wnd(), u32::from(connection.hot.rcv_mss));
    let whole = options::receive_bytes(connection);
    if open >= mss && open + whole / 4 > whole {
        return false;
    }
    is_opened(connection) && tell_opened(connection)
}

/// The same, where less is open.
fn is_opened(connection: &Connection) -> bool {
    let (open, mss) = (connection.rcv_wnd(), u32::from(connection.hot.rcv_mss));
    open < mss || options::window_room(connection) >= open + options::receive_bytes(connection) / 4
}

fn tell_opened(connection: &mut Connection) -> bool {
    let whole = options::receive_bytes(connection);
    let worth = (whole / 4).min(2 * u32::from(connection.hot.rcv_mss)).max(1);
    let closed = connection.rcv_wnd() < u32::from(connection.hot.rcv_mss);
    let opened = window_edge(connection).since(connection.hot.rcv_adv);
    let say = opened >= worth && (closed || opened >= whole / 4);
    if say && connection.hot.state.receives() {
        connection.set(flag::ACK_NOW);
        return true;
    }
    false
}
