//! The steps: what the bytes choose among.

use core::net::SocketAddr;
use core::time::Duration;

use stack::config::Congestion;
use stack::socket::{Op, QuickAck, SocketOption, Stream, StreamOptions, Tag};
use stack::wire::tcp::{Flags, Options, SackBlocks, Segment, SeqNum};

use super::conversation::{Pair, peer_byte};
use super::frames::{self, Family};
use super::{Bench, HOST, MS, SECOND};
use crate::input::Input;

/// The engine's ports, and the peer's.
const OURS: [u16; 3] = [9, 10, 11];
const THEIRS: [u16; 4] = [4000, 4001, 4002, 9];

/// The peer's initial sequence number: near the end of the circle, so that everything wraps.
const IRS: SeqNum = SeqNum(u32::MAX - 5);

/// Flags of segments; any others are made of a byte.
const FLAGS: [Flags; 8] = [
    Flags::ACK,
    Flags(Flags::ACK.0 | Flags::PSH.0),
    Flags::SYN,
    Flags(Flags::SYN.0 | Flags::ACK.0),
    Flags(Flags::FIN.0 | Flags::ACK.0),
    Flags::RST,
    Flags(Flags::RST.0 | Flags::ACK.0),
    Flags(Flags::ACK.0 | Flags::URG.0 | Flags::PSH.0),
];

impl Bench {
    /// Do what the next bytes say.
    pub(super) fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0..=6 => self.segment(input),
            7 => self.broken(input),
            8 => self.other_packet(input),
            9..=12 => self.op(input),
            13 => self.world_changes(input),
            _ => {
                let wait = input.of(&[0, MS, 5 * MS, 41 * MS, 210 * MS, SECOND, 10 * SECOND, 70 * SECOND]);
                self.wait(wait);
            }
        }
    }

    fn pair(&mut self, input: &mut Input<'_>) -> Pair {
        let choice = input.byte();
        let count = self.conversations.pairs().count();
        let known = self.conversations.pairs().nth(usize::from(choice >> 1) % count.max(1));
        match known {
            Some(pair) if choice & 1 == 0 => *pair,
            _ => (input.of(&OURS), input.of(&THEIRS)),
        }
    }

    /// A segment of the peer's, at or near where the conversation stands.
    fn segment(&mut self, input: &mut Input<'_>) {
        let pair = self.pair(input);
        let known = self.conversations.get(pair);
        let choice = input.byte();
        let flags = if choice & 0x80 == 0 { FLAGS[usize::from(choice & 7)] } else { Flags(input.byte()) };
        let places = input.byte();
        let nxt = known.ack.unwrap_or(IRS + if flags.contains(Flags::SYN) { 0 } else { 1 });
        let window = known.edge.since(nxt).min(1 << 30);
        let seq = match places & 15 {
            0..=5 => nxt,
            6 => nxt - 1,
            7 => nxt + 1,
            8 => nxt + 1460,
            9 => nxt + 100,
            10 => nxt + window,
            11 => nxt + window - 1,
            12 => nxt + window + 1,
            13 => nxt - 1460,
            14 => IRS,
            _ => nxt + input.long(),
        };
        let base = known.iss.unwrap_or(SeqNum(0));
        let ack = match places >> 4 {
            0..=6 => known.snd_nxt,
            7 => known.snd_nxt - 1,
            8 => known.snd_nxt + 1,
            9 => base + 1,
            10 => base,
            11 => base + 1 + (known.snd_nxt.since(base) / 2),
            12 => known.snd_nxt - 1460,
            13 => known.snd_nxt - 100_000,
            14 => known.snd_nxt + 100_000,
            _ => base + input.long(),
        };
        let more = input.byte();
        let len = [0, 0, 1, 10, 100, 536, 1000, 1440][usize::from(more & 7)];
        let mut segment = Segment::new(pair.1, pair.0, seq, SeqNum(0), flags);
        if flags.contains(Flags::ACK) {
            segment.ack = ack;
        }
        segment.window = [65_535, 1000, 1, 0][usize::from(more >> 3 & 3)];
        if flags.contains(Flags::URG) {
            segment.urgent = input.of(&[0, 1, 2, 500, 65_535]);
        }
        segment.options = self.options(input, more >> 5, &segment, known.snd_nxt, known.stamp);
        let start = seq + u32::from(flags.contains(Flags::SYN));
        let payload: Vec<u8> = (0..len).map(|at| peer_byte(start + at)).collect();
        if flags.contains(Flags::SYN) {
            self.conversations.syn(pair, seq);
        }
        let frame = frames::segment(self.family, &segment, &payload, input.of(&[0, 2, 3, 1]));
        self.last[0].clone_from(&frame);
        self.inject(&frame);
    }

    fn options(
        &self,
        input: &mut Input<'_>,
        which: u8,
        segment: &Segment,
        nxt: SeqNum,
        stamp: u32,
    ) -> Options {
        let mut options = Options::NONE;
        if which & 1 != 0 {
            let millis = u32::try_from(self.now() / MS % (1 << 32)).unwrap_or(0);
            let skew = input.of(&[0, 0, 0, 1, 1000, u32::MAX, u32::MAX - 1000, 1 << 31]);
            options.timestamps = Some((millis.wrapping_add(skew), stamp));
        }
        if segment.flags.contains(Flags::SYN) {
            let offers = input.byte();
            options.mss = (offers & 1 != 0).then(|| input.of(&[1460, 536, 1, 48, 65_535, 0, 9000]));
            options.window_scale = (offers & 2 != 0).then_some(offers >> 4 & 15);
            options.sack_permitted = offers & 4 != 0;
        } else if which & 2 != 0 {
            let mut blocks = SackBlocks::NONE;
            for _ in 0..=input.below(3) {
                let left = nxt - input.of(&[1, 10, 100, 1460, 2920, 5000, 0, 70_000]);
                let len = input.of(&[1, 9, 90, 1460, 2920, 0, u32::MAX, 65_536]);
                blocks.push(left, left + len);
            }
            options.sack = blocks;
        }
        options
    }

    /// The last frame of either side, broken.
    fn broken(&mut self, input: &mut Input<'_>) {
        let model = self.last[input.below(2)].clone();
        let mut bytes = frames::broken(&model, input);
        if bytes.len() >= 12 && input.below(4) > 0 {
            bytes[..6].copy_from_slice(&frames::OUR_MAC.0);
        }
        self.tainted = true;
        if !bytes.is_empty() {
            self.inject(&bytes);
        }
    }

    /// Anything but TCP, and TCP in pieces.
    fn other_packet(&mut self, input: &mut Input<'_>) {
        let family = self.family;
        let kind = input.below(6);
        let frame = match (kind, family) {
            (0, Family::V4) => {
                let mut bytes = vec![0xff; 6];
                bytes.extend([2, 0, 0, 0, 0, 2, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1 + input.byte() % 2]);
                bytes.extend([2, 0, 0, 0, 0, input.byte(), 10, 0, 0, input.byte()]);
                bytes.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, input.byte()]);
                bytes
            }
            (1, Family::V4) => self.icmp_error(input, 1, &[3, 11, 12, 4, 5]),
            (1, Family::V6) => self.icmp_error(input, 58, &[1, 2, 3, 4, 137]),
            (2, _) => {
                let mut datagram = vec![15, 160, 0, input.of(&[53, 54, 0]), 0, 0, 0, 0];
                datagram.extend(core::iter::repeat_n(7, usize::from(input.byte())));
                let len = u16::try_from(datagram.len()).expect("a datagram's length");
                datagram[4..6].copy_from_slice(&len.to_be_bytes());
                frames::around(family, 17, &datagram)
            }
            (3, Family::V4) => {
                let mut message = vec![input.of(&[8, 13, 0, 17]), 0, 0, 0, 0, 1, 0, 1];
                message.extend(core::iter::repeat_n(0x5a, usize::from(input.byte())));
                frames::around(family, 1, &message)
            }
            (4, _) => self.piece(input),
            (_, Family::V4) => frames::around(family, input.byte(), &[0; 64][..input.below(64)]),
            (_, Family::V6) => {
                let mut message = vec![input.of(&[128, 133, 134, 135, 136, 130, 131]), 0, 0, 0];
                let rest = input.below(64);
                message.extend((0..rest).map(|_| input.byte()));
                let mut frame = frames::around(family, 58, &message);
                // Neighbour discovery is heard from the link alone: hop limit 255.
                frame[21] = input.of(&[255, 64]);
                frame
            }
        };
        self.tainted |= kind == 4;
        self.last[0].clone_from(&frame);
        self.inject(&frame);
    }

    /// An ICMP error about the last packet of ours.
    fn icmp_error(&mut self, input: &mut Input<'_>, protocol: u8, kinds: &[u8]) -> Vec<u8> {
        let mut message = vec![input.of(kinds), input.byte() % 8, 0, 0];
        message.extend(input.of(&[0_u32, 500, 576, 1280, 1400, 1499, 1500, 68]).to_be_bytes());
        let quote = self.last[1].get(14..).unwrap_or(&[]);
        let len = quote.len().min(28 + 20 * input.below(4));
        message.extend_from_slice(&quote[..len]);
        frames::around(self.family, protocol, &message)
    }

    /// A piece of a datagram.
    fn piece(&self, input: &mut Input<'_>) -> Vec<u8> {
        let (offset, more, id) = (u16::from(input.byte() % 16) * 8, input.byte() % 2, input.byte() % 4);
        let protocol = input.of(&[17, 6, 1, 58, 44, 0]);
        let payload = vec![id; 8 * input.below(24) + input.below(2)];
        match self.family {
            Family::V4 => {
                let mut frame =
                    frames::packet(&frames::ip(self.family, stack::wire::Protocol(protocol), 0), &payload);
                let word = (offset / 8) | (u16::from(more) << 13);
                frame[18..22].copy_from_slice(&[0, id, word.to_be_bytes()[0], word.to_be_bytes()[1]]);
                frames::mend(frame)
            }
            Family::V6 => {
                let [a, b] = (offset | u16::from(more)).to_be_bytes();
                let mut bytes = vec![protocol, 0, a, b, 0, 0, 0, id];
                bytes.extend(payload);
                frames::packet(&frames::ip(self.family, stack::wire::Protocol(44), 0), &bytes)
            }
        }
    }

    /// The wire and the application change their ways.
    fn world_changes(&mut self, input: &mut Input<'_>) {
        let choice = input.below(10);
        self.behind |= choice < 2;
        let mut wire = self.wire.lock().expect("one thread");
        match choice {
            0 => wire.takes = Some(0),
            1 => wire.takes = Some(1),
            2 | 3 => wire.open(),
            4 => wire.keeps = true,
            5 => wire.ring.clear(),
            _ => {}
        }
        drop(wire);
        let app = self.world.app_mut(HOST);
        match choice {
            6 => app.holds = true,
            7 => {
                app.holds = false;
                app.held.clear();
            }
            8 => app.pauses = true,
            9 => app.pauses = false,
            _ => drop(app.held.pop()),
        }
        self.wait(0);
    }

    /// An op of the application.
    fn op(&mut self, input: &mut Input<'_>) {
        let (us, peer) = (self.family.us(), self.family.peer());
        let which = input.below(20);
        let streams = &self.world.app(HOST).streams;
        let stream = streams.get(input.below(streams.len())).copied();
        let op = match (which, stream) {
            (0 | 1, _) => {
                let port = input.of(&OURS);
                let address = SocketAddr::new(us, port);
                let op = if which == 0 { Op::listen_eager(address) } else { Op::listen(address) };
                op.tag(Tag(port.into()))
            }
            (2, _) => {
                let port = input.of(&THEIRS);
                let to = SocketAddr::new(input.of(&[peer, peer, peer, self.family.nobody()]), port);
                Op::connect(to).tag(Tag(port.into()))
            }
            (3, _) => {
                let (port, from) = (input.of(&THEIRS), SocketAddr::new(us, input.of(&OURS)));
                Op::connect_from(from, SocketAddr::new(peer, port)).tag(Tag(port.into()))
            }
            (4, _) => Op::bind(SocketAddr::new(us, input.of(&[53, 54, 0]))),
            (5, _) => {
                let Some(socket) = self.world.app(HOST).sockets.front().copied() else { return };
                let payload = vec![9; usize::from(input.byte()) * input.of(&[1, 8, 257])];
                let op = Op::send_to(socket, SocketAddr::new(peer, 5000), payload);
                if input.below(2) == 0 { op } else { op.notify() }
            }
            (6, _) => {
                let Some(listener) = self.world.app_mut(HOST).listeners.pop_front() else { return };
                Op::close(listener)
            }
            (7, _) => Op::cancel(Tag(input.of(&THEIRS).into())),
            (8..=11, Some(stream)) => {
                let len = usize::from(input.byte()) * input.of(&[1, 16, 100]) + 1;
                let payload = self.world.app_mut(HOST).payload(stream, len);
                let op = Op::send(stream, payload);
                match input.below(4) {
                    0 | 1 => op,
                    2 => op.notify(),
                    _ => op.more(),
                }
            }
            (12 | 13, Some(stream)) => Op::receive(stream),
            (14, Some(stream)) => Op::shutdown(stream),
            (15, Some(stream)) => Op::close(stream),
            (16, Some(stream)) => Op::abort(stream),
            (17, Some(stream)) => Op::close_within(stream, Duration::from_millis(u64::from(input.word()))),
            (18, Some(stream)) => Op::inspect(stream),
            (_, Some(stream)) => option(stream, input),
            (8..=10, None) => Op::connect_udp(SocketAddr::new(peer, input.of(&[5000, 53, 4000, 0]))),
            (11, None) => {
                let from = SocketAddr::new(us, input.of(&[53, 54, 0]));
                Op::connect_udp_from(from, SocketAddr::new(peer, 5000))
            }
            (12 | 13, None) => {
                let Some(socket) = self.world.app(HOST).sockets.back().copied() else { return };
                Op::set_peer(
                    socket,
                    input.of(&[None, Some(5000), Some(4000)]).map(|port| SocketAddr::new(peer, port)),
                )
            }
            (14, None) => {
                let Some(socket) = self.world.app(HOST).sockets.back().copied() else { return };
                Op::send_to_peer(socket, vec![9; usize::from(input.byte())])
            }
            _ => Op::timer(stack::time::Instant(self.now() + MS * u64::from(input.byte()))),
        };
        self.tell("op", || format!("{op:?}"));
        let refused = self.world.lane(HOST).submit(op).is_err();
        self.world.app_mut(HOST).refused |= refused;
        self.wait(0);
    }
}

/// An option of a stream is changed.
fn option(stream: Stream, input: &mut Input<'_>) -> Op {
    let option = match input.below(8) {
        0 => SocketOption::NoDelay(input.below(2) == 0),
        1 => SocketOption::KeepAlive((input.below(4) > 0).then(|| Duration::from_secs(input.byte().into()))),
        2 => SocketOption::UserTimeout(Duration::from_millis(u64::from(input.word()))),
        3 => SocketOption::ReceiveFrames(input.of(&[0, 1, 4, 64, 5000])),
        4 => SocketOption::Congestion(input.of(&[Congestion::Cubic, Congestion::NewReno, Congestion::Dctcp])),
        5 => SocketOption::Urgent,
        _ => {
            let flags = input.byte();
            SocketOption::Stream(StreamOptions {
                no_delay: flags & 1 != 0,
                cork: flags & 2 != 0,
                keepalive: flags & 4 != 0,
                keepalive_probes: flags >> 6,
                keepalive_idle_s: u16::from(flags >> 4 & 3),
                keepalive_interval_s: u16::from(flags >> 5 & 1),
                receive_bytes: input.of(&[0, 1, 1000, 100_000]),
                user_timeout_ms: input.of(&[0, 1, 5000]),
                fin_timeout_s: input.of(&[0, 1, 100]),
                quick_ack: input.of(&[QuickAck::Default, QuickAck::On, QuickAck::Off]),
                ..StreamOptions::default()
            })
        }
    };
    Op::set(stream, option)
}
