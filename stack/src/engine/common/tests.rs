//! The common shape against the layered parsers and writers, which are its specification.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use drivers::{Capabilities, Checksum as Verdict, Frame, Pool, Pools, Verdicts};
use proptest::prelude::*;

use super::{HEADERS, LINK, NETWORK, PathHead, Said, TRANSPORT, Template, arrived, plain};
use crate::config::EngineConfig;
use crate::engine::paths::Hop;
use crate::engine::ports::Port;
use crate::engine::receive::Parsed;
use crate::engine::transmit::Form;
use crate::engine::{Engine, Interface};
use crate::mode::SMALL_MAX;
use crate::socket::LaneId;
use crate::tcp::fast::Plain;
use crate::tcp::isn::Tuple;
use crate::tcp::state::Hot;
use crate::time::Instant;
use crate::wire::tcp::{Flags, Options, Segment, SeqNum};
use crate::wire::{Checksum, DropReason, EtherType, Fill, IpHeader, MacAddress, Protocol, ethernet, ipv4};

pub(super) const OURS: (Ipv4Addr, [u8; 6]) = (Ipv4Addr::new(10, 0, 0, 1), [2, 0, 0, 0, 0, 1]);
pub(super) const THEIRS: (Ipv4Addr, [u8; 6]) = (Ipv4Addr::new(10, 0, 0, 2), [2, 0, 0, 0, 0, 2]);

pub(super) fn engine(capabilities: Capabilities) -> Engine {
    let config = EngineConfig::new(IpAddr::V4(OURS.0), 24);
    let interface = Interface { mac: OURS.1, mtu: 1500, vlan: None, capabilities };
    Engine::new(LaneId(0), config, vec![(interface, Pools::heap(4, 8))], Instant(1)).unwrap()
}

pub(super) fn segment(
    (seq, ack, window): (u32, u32, u16),
    flags: Flags,
    timestamps: Option<(u32, u32)>,
) -> Segment {
    let mut segment = Segment::new(4000, 80, SeqNum(seq), SeqNum(ack), flags);
    segment.window = window;
    segment.options = Options { timestamps, ..Options::NONE };
    segment
}

/// A frame to us, by the layered writers.
pub(super) fn frame(
    pool: &Pool,
    segment: &Segment,
    payload: &[u8],
    padding: usize,
    verdicts: Option<Verdicts>,
) -> Frame {
    let ip = IpHeader::V4(ipv4::Header::new(THEIRS.0, OURS.0, Protocol::TCP, 64));
    let header_len = segment.header_len();
    let mut frame = pool.take().unwrap();
    let room = frame.append(LINK + NETWORK + header_len + payload.len() + padding).unwrap();
    let link = ethernet::Header {
        destination: MacAddress(OURS.1),
        source: MacAddress(THEIRS.1),
        vlan: None,
        ether_type: EtherType::IPV4,
    };
    link.emit(room).unwrap();
    ip.emit(&mut room[LINK..], header_len + payload.len(), true).unwrap();
    let len = u16::try_from(header_len + payload.len()).unwrap();
    let sum = Checksum::pseudo_ipv4(THEIRS.0, OURS.0, Protocol::TCP.0, len).with(payload);
    room[LINK + NETWORK + header_len..][..payload.len()].copy_from_slice(payload);
    segment.emit(&mut room[LINK + NETWORK..], Fill::Full(sum)).unwrap();
    if let Some(verdicts) = verdicts {
        frame.set_verdicts(verdicts);
    }
    frame
}

pub(super) fn verdicts() -> impl Strategy<Value = Option<Verdicts>> {
    let verdict = || prop_oneof![Just(Verdict::Good), Just(Verdict::Unknown), Just(Verdict::Bad)];
    prop::option::of((verdict(), verdict()).prop_map(|(ip, transport)| Verdicts { ip, transport }))
}

/// What only a frame that no flow takes is judged by.
pub(super) fn is_of_addresses(reason: DropReason) -> bool {
    use DropReason as R;
    matches!(reason, R::Ipv4Source | R::Ipv4Destination | R::Ipv4NotForUs | R::TcpNotUnicast | R::TcpPortZero)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_read_at_once_is_what_the_layers_read(
        numbers: (u32, u32, u16),
        flags in prop::sample::select(vec![0x10u8, 0x18, 0x11, 0x19, 0x50, 0x90, 0xd1]).prop_map(Flags),
        timestamps: Option<(u32, u32)>,
        payload in prop::collection::vec(any::<u8>(), 0..100),
        padding in 0usize..8,
        damage in prop::option::of((0..HEADERS, 0u8..8)),
        verdicts in verdicts(),
    ) {
        // Shows of frames with and without timestamps, padding and verdicts, whole or with one bit turned over in their
        // headers: what the common shape takes, the layers read alike, but for addresses that it leaves to the flow to
        // have; and every undamaged frame of the shape it takes.
        let (pool, mut engine) = (Pool::heap(1, 512), engine(Capabilities::plain(1500)));
        let mut frame = frame(&pool, &segment(numbers, flags, timestamps), &payload, padding, verdicts);
        if let Some((at, bit)) = damage
            && let Some(byte) = frame.bytes_mut().unwrap().get_mut(at)
        {
            *byte ^= 1 << bit;
        }
        let common = engine.glance(&frame).zip(arrived(&frame));
        let said = frame.bytes().first_chunk().map(plain);
        let layered = engine.parse(&mut frame);
        let bad = verdicts.is_some_and(|verdicts| [verdicts.ip, verdicts.transport].contains(&Verdict::Bad));
        match (common, layered) {
            (Some((hash, arrived)), Ok(Parsed::Tcp { arrived: other, key, .. })) => {
                prop_assert_eq!(format!("{arrived:?} {hash:?}"), format!("{other:?} {:?}", key.hash));
                let plain = Plain::of(&other.segment, u32::from(other.len));
                prop_assert_eq!(said.filter(|_| plain.is_some()), plain);
            }
            (Some(_), Err(reason)) => prop_assert!(is_of_addresses(reason), "{reason:?}"),
            (Some(common), layered) => prop_assert!(false, "{common:?}, by layers {layered:?}"),
            (None, layered) => prop_assert!(
                damage.is_some() || timestamps.is_none() || bad,
                "declined, by layers {layered:?}"
            ),
        }
    }

    #[test]
    fn what_is_written_at_once_is_what_the_layers_write(
        numbers: (u32, u32, u16),
        flags in prop::sample::select(vec![0x10u8, 0x18, 0x11, 0x50, 0x90, 0x02, 0x12, 0x30, 0x04]),
        timestamps: Option<(u32, u32)>,
        (mss, scale, permitted, blocks) in (any::<Option<u16>>(), prop::option::of(0u8..15), any::<bool>(), 0u32..4),
        payload in prop::collection::vec(any::<u8>(), 0..100),
        (sums, header_sum) in (any::<bool>(), any::<bool>()),
        (each, field, hop_limit) in (prop::sample::select(vec![0u16, 40]), 0u8..4, 0u8..3),
        fragment: bool,
        (known, summed) in (any::<bool>(), any::<bool>()),
    ) {
        // Shows for any segment and port, with the payload's sum known and not: frames alike to the byte, with the same
        // orders to the port, in the same queue, or a frame that comes back as it was. And what a template writes of a
        // segment that differs in its number is the same.
        let capabilities = Capabilities {
            transmit_tcp_checksum: sums,
            transmit_ipv4_checksum: header_sum,
            ..Capabilities::plain(1500)
        };
        let mut engine = engine(capabilities);
        let mut segment = segment(numbers, Flags(flags), timestamps);
        (segment.options.mss, segment.options.window_scale) = (mss, scale);
        segment.options.sack_permitted = permitted && segment.flags.contains(Flags::SYN);
        for block in 0..blocks {
            segment.options.sack.push(SeqNum(block), SeqNum(block + 1));
        }
        let tuple = Tuple { local: SocketAddr::from((OURS.0, 4000)), remote: SocketAddr::from((THEIRS.0, 80)) };
        let station = known.then_some(MacAddress(THEIRS.1)).into();
        let hop = Hop { interface: 0, next_hop: THEIRS.0.into(), station };
        let sum = summed.then(|| Checksum::ZERO.with(&payload));
        let form = Form { each, field, hop_limit, fragment, sum };
        let body = |engine: &Engine| {
            let mut frame = engine.ports[0].composer.header().unwrap();
            frame.append(payload.len()).unwrap().copy_from_slice(&payload);
            frame
        };
        let frame = body(&engine);
        if let Some(back) = engine.send_common(frame, hop, &tuple, &segment, form) {
            prop_assert!((fragment || !known) && back.bytes() == payload, "declined: {segment:?}");
            return Ok(());
        }
        let frame = body(&engine);
        engine.send_layered(frame, hop, &tuple, &segment, Form { sum: sum.xor(Some(Checksum::ZERO.with(&payload))), ..form });
        let port = &engine.ports[0];
        prop_assert_eq!((port.urgent.len() % 2, port.data.len() % 2, port.backlog()), (0, 0, 2));
        let queue = if port.urgent.is_empty() { &port.data } else { &port.urgent };
        prop_assert_eq!(queue[0].bytes(), queue[1].bytes());
        prop_assert_eq!(queue[0].offload(), queue[1].offload());
        prop_assert_eq!(queue[0].len(), LINK + NETWORK + segment.header_len() + payload.len());
        let like = Segment { seq: segment.seq + 1, ..segment };
        let len = u32::try_from(payload.len()).unwrap();
        if let Some(template) = Template::new(port, &hop, &tuple, &like, &form, len).filter(|_| each == 0) {
            let mut frame = body(&engine);
            prop_assert!(template.write(&mut frame, segment.seq, Checksum::ZERO.with(&payload)));
            prop_assert_eq!((frame.bytes(), frame.offload()), (queue[1].bytes(), queue[1].offload()));
        } else {
            let plain = segment.header_len() == TRANSPORT && !segment.flags.contains(Flags::SYN);
            prop_assert!(each > 0 || timestamps.is_none() || !plain);
        }
    }

    #[test]
    fn what_a_path_begins_with_is_what_the_layers_write(
        numbers: (u32, u32, u16),
        millis: u32,
        clocks: [u32; 2],
        payload in prop::collection::vec(any::<u8>(), 0..=64),
        ends: [(u32, u16); 2],
        (sums, header_sum, hop_limit) in (any::<bool>(), any::<bool>(), 1u8..),
    ) {
        // Shows of small payloads between any ends and for any port: frames alike to the byte, with the same orders to the port.
        let capabilities = Capabilities {
            transmit_tcp_checksum: sums,
            transmit_ipv4_checksum: header_sum,
            ..Capabilities::plain(1500)
        };
        let mut engine = engine(capabilities);
        engine.ports[0].hop_limit = hop_limit;
        let [local, remote] = ends.map(|(address, port)| SocketAddr::from((Ipv4Addr::from_bits(address), port)));
        let tuple = Tuple { local, remote };
        let stamps = (millis.wrapping_add(clocks[0]), clocks[1]);
        let segment = Segment {
            source_port: local.port(),
            destination_port: remote.port(),
            ..segment(numbers, Flags::ACK | Flags::PSH, Some(stamps))
        };
        let key = u64::from(ends[1].0) << 32 | u64::from(ends[0].0);
        let hot = Hot {
            key,
            ports: tuple.ports(),
            snd_nxt: segment.seq + u32::try_from(payload.len()).unwrap(),
            rcv_nxt: segment.ack,
            ts_offset: clocks[0],
            ts_recent: clocks[1],
            ..Hot::BLANK
        };
        let said = Said { window: segment.window, millis };
        let port = &mut engine.ports[0];
        let head = PathHead::new(port, MacAddress(THEIRS.1));
        let frame = port.composer.header().unwrap();
        let mut text = [0; SMALL_MAX];
        text[..payload.len()].copy_from_slice(&payload);
        let small = (&text, u8::try_from(payload.len()).unwrap());
        prop_assert!(port.send_small(frame, &head, &hot, said, small));
        let mut frame = port.composer.header().unwrap();
        frame.append(payload.len()).unwrap().copy_from_slice(&payload);
        let hop = Hop { interface: 0, next_hop: remote.ip(), station: Some(MacAddress(THEIRS.1)).into() };
        let form = Form { each: 0, field: 0, hop_limit: 0, fragment: false, sum: None };
        engine.send_layered(frame, hop, &tuple, &segment, form);
        let Port { data, urgent, .. } = &engine.ports[0];
        let layered = urgent.first().or(data.get(1)).unwrap();
        prop_assert_eq!(data[0].bytes(), layered.bytes());
        prop_assert_eq!(data[0].offload(), layered.offload());
    }
}
