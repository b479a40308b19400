//! Every state × every combination of flags × sequence and acknowledgement numbers in, at and beyond every edge × with
//! and without text, against what RFC 9293 says about each: `states/oracle.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "tests state their expectations by panicking, and their figures are small"
)]

/// Lanes of the engine's host.
const LANES: u8 = 1;

/// It speaks IPv6.
const IPV6: bool = false;

#[path = "segments/driver.rs"]
#[allow(dead_code, reason = "other tests share this file")]
mod driver;
#[path = "states/oracle.rs"]
mod oracle;

use core::net::SocketAddr;

use stack::socket::{Action, CONNECT_TIMEOUT, Event, Op, OpError, TcpState};
use stack::wire::tcp::{Flags, Segment, SeqNum};

use self::driver::{IRS, In, PEER, PORT, Peer, US, read, seg};
use self::oracle::{At, Due, Reply, Seg, Standing};

/// Connections of one world: then comes the next, for each takes a socket, and its tuple.
const CASES_A_WORLD: u32 = 500;

/// Text of a segment, and what we have sent and the peer has not acknowledged.
const TEXT: usize = 10;
const UNACKNOWLEDGED: usize = 500;

/// The window that the peer offers.
const PEER_WINDOW: u16 = 10_000;

struct Table {
    peer: Peer,
    cases: u32,
}

impl Table {
    fn new() -> Table {
        Table { peer: Table::world(), cases: 0 }
    }

    fn world() -> Peer {
        let mut peer = Peer::with(|host| {
            host.receive_frames = 256;
            host.config.sockets = 2 * CASES_A_WORLD as usize;
        });
        peer.op(Op::listen_eager(SocketAddr::new(US, PORT)));
        assert_eq!(peer.event(), "listening");
        peer
    }

    /// A fresh connection in this state, and where it stands.
    fn connection(&mut self, at: At) -> Standing {
        self.cases += 1;
        if self.cases.is_multiple_of(CASES_A_WORLD) {
            self.peer = Table::world();
        }
        let peer = &mut self.peer;
        peer.app().events.clear();
        peer.app().received.clear();
        peer.frames();
        (peer.stream, peer.iss) = (None, SeqNum(0));
        peer.port = if at == At::Closed { PORT + 1 } else { PORT };
        peer.peer_port = 1_000 + (self.cases % CASES_A_WORLD) as u16;
        let (mut snd_una, mut snd_nxt, mut rcv_nxt) = (0, 0, 0);
        let mut wnd = 0;
        match at {
            At::Closed | At::Listen => {}
            At::SynSent | At::SynReceivedActive => {
                let to = SocketAddr::new(PEER, peer.peer_port);
                let (timeout, options) = (CONNECT_TIMEOUT, Some(Box::default()));
                peer.op(Op::new(Action::Connect { to, from: None, timeout, lane: None, options }));
                assert_eq!(peer.tx(), "S 0(0)");
                match peer.app().events.pop_front() {
                    Some(Event::Connecting { stream, .. }) => peer.stream = Some(stream),
                    other => panic!("{other:?}"),
                }
                snd_nxt = 1;
                if at == At::SynReceivedActive {
                    peer.rx(seg("S", 0, 0).window(PEER_WINDOW));
                    assert_eq!(peer.tx(), "S. 0(0) ack 1");
                    rcv_nxt = 1;
                }
            }
            At::SynReceivedPassive => {
                peer.rx(seg("S", 0, 0).window(PEER_WINDOW));
                assert_eq!(peer.tx(), "S. 0(0) ack 1");
                (snd_nxt, rcv_nxt) = (1, 1);
            }
            _ => (snd_una, snd_nxt, rcv_nxt) = opened(peer, at),
        }
        if let Some(last) = peer.last.filter(|_| rcv_nxt > 0) {
            wnd = i64::from(last.ack.since(IRS + rcv_nxt as u32).cast_signed()) + i64::from(last.window);
        }
        peer.app().events.clear();
        assert_eq!(peer.tx(), "-", "the state is quiet");
        let max_snd_wnd = i64::from(PEER_WINDOW);
        Standing { at, snd_una, snd_nxt, max_snd_wnd, rcv_nxt, rcv_wnd: wnd }
    }

    /// What the engine answers: as text it would be ambiguous where a reset's number is zero.
    fn reply(&mut self) -> (Reply, Option<Segment>) {
        let frames = self.peer.frames();
        let mut segments = frames.iter().filter_map(|(_, bytes)| read(bytes)).map(|(segment, data)| {
            assert!(data.is_empty(), "no data is due: {segment:?}");
            segment
        });
        let Some(segment) = segments.next() else { return (Reply::None, None) };
        assert_eq!(segments.next(), None, "one answer is enough");
        let ack = i64::from(segment.ack.since(IRS).cast_signed());
        let seq = i64::from(segment.seq.since(self.peer.iss).cast_signed());
        let flags = segment.flags.without(Flags::ECE | Flags::PSH);
        let reply = if flags == Flags::ACK {
            Reply::Ack(ack)
        } else if flags == Flags::SYN | Flags::ACK {
            Reply::SynAck(ack)
        } else if flags == Flags::RST {
            Reply::Rst(seq)
        } else {
            assert_eq!((flags, segment.seq), (Flags::RST | Flags::ACK, SeqNum(0)));
            Reply::RstAck(ack)
        };
        (reply, Some(segment))
    }

    /// What the application was told, but for what it asked.
    fn told(&mut self) -> Vec<String> {
        std::iter::from_fn(|| Some(self.peer.event()).filter(|event| event != "-"))
            .filter(|event| !event.starts_with("Urgent"))
            .collect()
    }

    /// The state that the connection is in now, seen from outside.
    fn state(&mut self, before: (usize, usize), at: At) -> TcpState {
        if let Some(stream) = self.peer.stream {
            self.peer.op(Op::inspect(stream));
            match self.peer.app().events.pop_front() {
                Some(Event::Info { info, .. }) => return info.state,
                Some(Event::Failed { error: OpError::StaleHandle, .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        let report = self.peer.report();
        let (half_open, time_wait) = (report.half_open, report.time_wait);
        match at {
            _ if half_open > before.0 => TcpState::SynReceived,
            _ if time_wait > before.1 => TcpState::TimeWait,
            At::TimeWait if time_wait == before.1 => TcpState::TimeWait,
            At::SynReceivedPassive if half_open == before.0 => TcpState::SynReceived,
            At::SynReceivedPassive | At::Listen => TcpState::Listen,
            _ => TcpState::Closed,
        }
    }
}

/// A connection that a peer opened, and that has gone on to this state. SND.UNA, SND.NXT, RCV.NXT.
fn opened(peer: &mut Peer, at: At) -> (i64, i64, i64) {
    peer.rx(seg("S", 0, 0).window(PEER_WINDOW));
    assert_eq!(peer.tx(), "S. 0(0) ack 1");
    peer.rx(seg(".", 1, 1).window(PEER_WINDOW));
    assert_eq!(peer.event(), "accepted");
    let stream = peer.stream();
    peer.op(Op::send(stream, vec![b'y'; UNACKNOWLEDGED]));
    assert!(peer.tx().starts_with("P. 1(500)"));
    let (mut una, mut nxt, mut rcv) = (1, 1 + UNACKNOWLEDGED as u32, 1);
    if at == At::CloseWait || at == At::LastAck {
        peer.rx(seg("F.", 1, 1).window(PEER_WINDOW));
        rcv = 2;
        assert!(peer.tx().ends_with("ack 2"));
    }
    if at != At::Established && at != At::CloseWait {
        peer.op(Op::shutdown(stream));
        assert!(peer.tx().starts_with("F. "));
        nxt += 1;
    }
    if at == At::FinWait2 || at == At::TimeWait {
        peer.rx(seg(".", 1, nxt).window(PEER_WINDOW));
        una = nxt;
    }
    if at == At::Closing || at == At::TimeWait {
        peer.rx(seg("F.", 1, una).window(PEER_WINDOW));
        rcv = 2;
        assert!(peer.tx().ends_with("ack 2"));
    }
    (una.into(), nxt.into(), rcv.into())
}

/// Where segments begin: far before the window, at and beside both its edges, inside, far beyond.
fn sequence_numbers(standing: &Standing) -> Vec<i64> {
    let (nxt, wnd) = (standing.rcv_nxt, standing.rcv_wnd.max(2));
    vec![nxt - 100_000, nxt - 1, nxt, nxt + wnd / 2, nxt + wnd - 1, nxt + wnd, nxt + wnd + 100_000]
}

/// What they acknowledge: too old, just acknowledged, at both edges of what is in flight, inside, just beyond, far beyond.
fn acknowledgements(standing: &Standing) -> Vec<i64> {
    let (una, nxt) = (standing.snd_una, standing.snd_nxt);
    let mut numbers = vec![
        una - standing.max_snd_wnd - 1,
        una - standing.max_snd_wnd,
        una - 1,
        una,
        nxt,
        nxt + 1,
        nxt + 100_000,
    ];
    if nxt - una > 1 {
        numbers.push(una + 1);
    }
    // Without a number inside, the edges are all there is.
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Run one row of the table. `Err`: what is due and what was seen.
fn case(
    table: &mut Table,
    at: At,
    bits: u8,
    seq_index: usize,
    ack_index: usize,
    text: bool,
) -> Result<(), String> {
    let standing = table.connection(at);
    let seq = sequence_numbers(&standing)[seq_index];
    let Some(&ack_number) = acknowledgements(&standing).get(ack_index) else { return Ok(()) };
    let flags = Flags(bits);
    let segment = Seg {
        syn: flags.contains(Flags::SYN),
        ack: flags.contains(Flags::ACK),
        fin: flags.contains(Flags::FIN),
        rst: flags.contains(Flags::RST),
        urg: flags.contains(Flags::URG),
        seq,
        ack_number,
        text: if text { TEXT as i64 } else { 0 },
    };
    let due = oracle::due(&standing, &segment);
    let report = table.peer.report();
    let before = (report.half_open, report.time_wait);
    let mut input = In { flags: "", ..seg("", seq as u32, 0) }.window(PEER_WINDOW);
    if text {
        input = input.data(TEXT);
    }
    // The bits of ECN mean nothing here, and take part in turn.
    let ecn = Flags(table.cases.to_be_bytes()[3] << 6);
    table.peer.rx_flags(&input, flags | ecn, ack_number as u32, if segment.urg { 5 } else { 0 });
    let (reply, answer) = table.reply();
    if let (Reply::Ack(_), Some(answer)) = (reply, answer) {
        let at = i64::from(answer.seq.since(table.peer.iss).cast_signed());
        let nxt = if standing.at == At::SynSent { 1 } else { standing.snd_nxt };
        if at != nxt {
            return Err(format!("acknowledged from {at}, not {nxt}"));
        }
    }
    if matches!(at, At::SynSent | At::SynReceivedActive)
        && !due.told.is_empty()
        && due.next != TcpState::Closed
    {
        // A connection that we opened tells of nothing before it is asked to.
        let stream = table.peer.stream();
        table.peer.op(Op::receive(stream));
    }
    let told = table.told();
    let text_taken = table.peer.app().received.len() as i64;
    let next = table.state(before, at);
    let seen = Due { next, reply, text: text_taken, told: due.told.clone() };
    if seen != due || told != due.told {
        return Err(format!(
            "{at:?} {flags:?}{} seq {seq} ack {ack_number} text {text}\n  due {due:?}\n  got {seen:?}, told {told:?}\n  {standing:?}",
            if ecn == Flags::NONE { "" } else { " (and ECN bits)" }
        ));
    }
    Ok(())
}

/// All rows of a state.
fn every_row(at: At) {
    let mut table = Table::new();
    let (mut rows, mut wrong) = (0, Vec::new());
    for bits in 0..64 {
        for seq_index in 0..7 {
            for ack_index in 0..8 {
                // Without the bit the number means nothing: once is enough.
                if bits & Flags::ACK.0 == 0 && ack_index > 0 {
                    continue;
                }
                for text in [false, true] {
                    rows += 1;
                    wrong.extend(case(&mut table, at, bits, seq_index, ack_index, text).err());
                }
            }
        }
    }
    let first = wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {rows} rows:\n{first}", wrong.len());
    assert!(rows > 4_000, "{rows} rows");
}

macro_rules! states {
    ($($name:ident: $at:ident;)*) => {
        $(
            #[test]
            fn $name() {
                // Shows all rows of the state: the reply, the next state, the text taken, what the application hears.
                every_row(At::$at);
            }
        )*

        #[test]
        fn no_state_is_left_out() {
            // Shows that each state has its test.
            assert_eq!([$(At::$at),*], At::ALL);
        }
    };
}

states! {
    closed: Closed;
    listen: Listen;
    syn_sent: SynSent;
    syn_received_by_a_listener: SynReceivedPassive;
    syn_received_by_both: SynReceivedActive;
    established: Established;
    fin_wait_1: FinWait1;
    fin_wait_2: FinWait2;
    close_wait: CloseWait;
    closing: Closing;
    last_ack: LastAck;
    time_wait: TimeWait;
}
