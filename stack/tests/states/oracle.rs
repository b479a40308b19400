//! What RFC 9293 section 3.10.7 says about any segment in any state, with the changes of RFC 5961, RFC 1337 and RFC 6191.
//! Written from the text, in its order; nothing here was taken from the engine.

use stack::socket::TcpState;

/// The states, and which way SYN_RECEIVED was come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    Closed,
    Listen,
    SynSent,
    /// From LISTEN.
    SynReceivedPassive,
    /// From SYN_SENT: both ends have opened.
    SynReceivedActive,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
}

impl At {
    pub const ALL: [At; 12] = [
        At::Closed,
        At::Listen,
        At::SynSent,
        At::SynReceivedPassive,
        At::SynReceivedActive,
        At::Established,
        At::FinWait1,
        At::FinWait2,
        At::CloseWait,
        At::Closing,
        At::LastAck,
        At::TimeWait,
    ];

    pub fn state(self) -> TcpState {
        match self {
            At::Closed => TcpState::Closed,
            At::Listen => TcpState::Listen,
            At::SynSent => TcpState::SynSent,
            At::SynReceivedPassive | At::SynReceivedActive => TcpState::SynReceived,
            At::Established => TcpState::Established,
            At::FinWait1 => TcpState::FinWait1,
            At::FinWait2 => TcpState::FinWait2,
            At::CloseWait => TcpState::CloseWait,
            At::Closing => TcpState::Closing,
            At::LastAck => TcpState::LastAck,
            At::TimeWait => TcpState::TimeWait,
        }
    }
}

/// Where a connection stands. Numbers are relative to each side's initial one.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    pub at: At,
    pub snd_una: i64,
    pub snd_nxt: i64,
    pub max_snd_wnd: i64,
    pub rcv_nxt: i64,
    pub rcv_wnd: i64,
}

/// A segment.
#[derive(Clone, Copy, Debug)]
pub struct Seg {
    pub syn: bool,
    pub ack: bool,
    pub fin: bool,
    pub rst: bool,
    pub urg: bool,
    pub seq: i64,
    pub ack_number: i64,
    pub text: i64,
}

impl Seg {
    /// SEG.LEN.
    fn len(&self) -> i64 {
        self.text + i64::from(self.syn) + i64::from(self.fin)
    }
}

/// What is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    None,
    /// <SEQ=SND.NXT><ACK=this><CTL=ACK>
    Ack(i64),
    /// <SEQ=ISS><ACK=this><CTL=SYN,ACK>
    SynAck(i64),
    /// <SEQ=this><CTL=RST>
    Rst(i64),
    /// <SEQ=0><ACK=this><CTL=RST,ACK>
    RstAck(i64),
}

/// What becomes of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Due {
    pub next: TcpState,
    pub reply: Reply,
    /// Bytes of text that the application gets at once.
    pub text: i64,
    /// What the application is told, in order.
    pub told: Vec<&'static str>,
}

impl Due {
    fn stays(standing: &Standing, reply: Reply) -> Due {
        Due { next: standing.at.state(), reply, text: 0, told: Vec::new() }
    }
}

/// What is due.
pub fn due(standing: &Standing, seg: &Seg) -> Due {
    match standing.at {
        At::Closed => closed(standing, seg),
        At::Listen => listen(standing, seg),
        At::SynSent => syn_sent(standing, seg),
        _ => other(standing, seg),
    }
}

/// Section 3.10.7.1.
fn closed(standing: &Standing, seg: &Seg) -> Due {
    let reply = match (seg.rst, seg.ack) {
        (true, _) => Reply::None,
        (false, false) => Reply::RstAck(seg.seq + seg.len()),
        (false, true) => Reply::Rst(seg.ack_number),
    };
    Due::stays(standing, reply)
}

/// Section 3.10.7.2.
fn listen(standing: &Standing, seg: &Seg) -> Due {
    if seg.rst {
        return Due::stays(standing, Reply::None);
    }
    if seg.ack {
        return Due::stays(standing, Reply::Rst(seg.ack_number));
    }
    if seg.syn {
        // Text and FIN beside the SYN may be queued or left for the peer to send again.
        return Due { next: TcpState::SynReceived, ..Due::stays(standing, Reply::SynAck(seg.seq + 1)) };
    }
    Due::stays(standing, Reply::None)
}

/// Section 3.10.7.3.
fn syn_sent(standing: &Standing, seg: &Seg) -> Due {
    let acceptable = seg.ack && 0 < seg.ack_number && seg.ack_number <= standing.snd_nxt;
    if seg.ack && !acceptable {
        let reply = if seg.rst { Reply::None } else { Reply::Rst(seg.ack_number) };
        return Due::stays(standing, reply);
    }
    if seg.rst {
        if !acceptable {
            return Due::stays(standing, Reply::None);
        }
        let told = vec!["failed Refused"];
        return Due { next: TcpState::Closed, told, ..Due::stays(standing, Reply::None) };
    }
    if !seg.syn {
        return Due::stays(standing, Reply::None);
    }
    if !seg.ack {
        // The rest of the segment may be left for the peer to send again.
        return Due { next: TcpState::SynReceived, ..Due::stays(standing, Reply::SynAck(seg.seq + 1)) };
    }
    let mut told = vec!["connected"];
    if seg.fin {
        told.push("end");
    }
    Due {
        next: if seg.fin { TcpState::CloseWait } else { TcpState::Established },
        reply: Reply::Ack(seg.seq + seg.len()),
        text: seg.text,
        told,
    }
}

/// Section 3.10.7.4.
fn other(standing: &Standing, seg: &Seg) -> Due {
    let Standing { at, rcv_nxt, rcv_wnd, snd_una, snd_nxt, .. } = *standing;
    let challenge = Due::stays(standing, Reply::Ack(rcv_nxt));
    let silent = Due::stays(standing, Reply::None);
    let gone = |told: &[&'static str]| Due { next: TcpState::Closed, told: told.to_vec(), ..silent.clone() };
    let back_to_listen = Due { next: TcpState::Listen, ..silent.clone() };

    // A simultaneous open's SYN,ACK repeats the SYN that was taken already: what lies before the window is trimmed off. Not of
    // a reset, whose number is to be exact.
    let mut seg = *seg;
    if matches!(at, At::SynReceivedActive) && seg.syn && seg.ack && !seg.rst && seg.seq + 1 == rcv_nxt {
        seg = Seg { syn: false, seq: seg.seq + 1, ..seg };
    }
    // TIME_WAIT: RFC 1337 ignores every reset, RFC 6191 opens anew for a SYN beyond the old connection.
    if at == At::TimeWait && seg.rst {
        return silent;
    }
    if at == At::TimeWait && seg.syn && !seg.ack && seg.seq > rcv_nxt {
        return Due { next: TcpState::SynReceived, ..Due::stays(standing, Reply::SynAck(seg.seq + 1)) };
    }

    // A listener's SYN that comes again is answered as the first one was, in case that answer was lost; trimming would
    // leave nothing of it.
    if at == At::SynReceivedPassive && seg.syn && !seg.ack && !seg.rst && seg.seq + 1 == rcv_nxt {
        return Due::stays(standing, Reply::SynAck(rcv_nxt));
    }

    // First: the sequence number.
    let inside = |number: i64| rcv_nxt <= number && number < rcv_nxt + rcv_wnd;
    let acceptable = inside(seg.seq) || seg.len() > 0 && inside(seg.seq + seg.len() - 1);
    if !acceptable {
        // What a bare acknowledgement says counts from right behind the window, too.
        let bare = seg.ack && !seg.rst && !seg.syn && seg.len() == 0;
        let half_open = matches!(at, At::SynReceivedPassive | At::SynReceivedActive);
        let says = bare && !half_open && seg.seq == rcv_nxt + rcv_wnd;
        if says && seg.ack_number >= snd_una - standing.max_snd_wnd && seg.ack_number <= snd_nxt {
            let due = text_and_fin(standing, &seg);
            let over = !due.told.is_empty();
            return if over { due } else { Due { reply: Reply::Ack(rcv_nxt), ..due } };
        }
        return if seg.rst { silent } else { challenge };
    }

    // Second: RST, exact by RFC 5961 section 3.
    if seg.rst {
        if seg.seq != rcv_nxt {
            return challenge;
        }
        return match at {
            At::SynReceivedPassive => back_to_listen,
            At::SynReceivedActive => gone(&["failed Refused"]),
            _ => gone(&["closed Reset"]),
        };
    }

    // Fourth: SYN, by RFC 5961 section 4.
    if seg.syn {
        return if at == At::SynReceivedPassive { back_to_listen } else { challenge };
    }

    // Fifth: ACK.
    if !seg.ack {
        return silent;
    }
    if matches!(at, At::SynReceivedPassive | At::SynReceivedActive) {
        if !(snd_una < seg.ack_number && seg.ack_number <= snd_nxt) {
            return Due::stays(standing, Reply::Rst(seg.ack_number));
        }
    } else if seg.ack_number < snd_una - standing.max_snd_wnd || seg.ack_number > snd_nxt {
        return challenge;
    }
    text_and_fin(standing, &seg)
}

/// Section 3.10.7.4 from where the acknowledgement is acceptable.
fn text_and_fin(standing: &Standing, seg: &Seg) -> Due {
    let Standing { at, rcv_nxt, rcv_wnd, snd_nxt, .. } = *standing;
    // Our FIN is the last number in these states.
    let fin_acked = seg.ack_number == snd_nxt;
    let mut told = Vec::new();
    let mut at = at;
    match at {
        At::SynReceivedPassive => {
            at = At::Established;
            told.push("accepted");
        }
        At::SynReceivedActive => {
            at = At::Established;
            told.push("connected");
        }
        At::FinWait1 if fin_acked => at = At::FinWait2,
        At::Closing if fin_acked => {
            let next = TcpState::TimeWait;
            return Due { next, reply: Reply::None, text: 0, told: vec!["closed Done"] };
        }
        At::LastAck if fin_acked => {
            return Due { next: TcpState::Closed, reply: Reply::None, text: 0, told: vec!["closed Done"] };
        }
        At::TimeWait => {
            // Acknowledge what has a length, or does not come next; the rest says nothing new.
            let plain = seg.len() == 0 && seg.seq == rcv_nxt;
            return Due::stays(standing, if plain { Reply::None } else { Reply::Ack(rcv_nxt) });
        }
        _ => {}
    }
    let next = at.state();
    if !matches!(at, At::Established | At::FinWait1 | At::FinWait2) || seg.len() == 0 {
        return Due { next, reply: Reply::None, text: 0, told };
    }
    // Seventh: what of the text lies in the window and comes next; the rest waits, or was too much.
    let end = (seg.seq + seg.text).min(rcv_nxt + rcv_wnd);
    let fin_at = seg.seq + seg.text;
    let comes_next = seg.seq <= rcv_nxt;
    let text = if comes_next { (end - rcv_nxt).max(0) } else { 0 };
    // Eighth: FIN, once everything before it has come.
    if !(seg.fin && comes_next && fin_at == rcv_nxt + text) {
        return Due { next, reply: Reply::Ack(rcv_nxt + text), text, told };
    }
    told.push("end");
    let next = match at {
        At::FinWait1 => TcpState::Closing,
        At::FinWait2 => {
            told.push("closed Done");
            TcpState::TimeWait
        }
        _ => TcpState::CloseWait,
    };
    Due { next, reply: Reply::Ack(rcv_nxt + text + 1), text, told }
}
