//! SYNs of the common shape against the layered parsers and writers, which are their specification.

use core::net::SocketAddr;

use drivers::{Capabilities, Checksum as Verdict, Pool};
use proptest::prelude::*;

use super::{LINK, NETWORK, SYN_HEADERS};
use crate::engine::common::tests::{OURS, THEIRS, engine, frame, segment, verdicts};
use crate::engine::paths::Hop;
use crate::engine::transmit::Form;
use crate::tcp::isn::Tuple;
use crate::time::Instant;
use crate::wire::MacAddress;
use crate::wire::tcp::{Flags, Options};

/// What the options of a SYN say; mostly all of it.
fn options() -> impl Strategy<Value = Options> {
    let sometimes = |most: f64| prop::bool::weighted(most);
    let said = (any::<u16>(), 0u8..15, any::<(u32, u32)>());
    let which = (sometimes(0.9), sometimes(0.9), sometimes(0.9), sometimes(0.9));
    (said, which).prop_map(|((mss, scale, stamps), which)| Options {
        mss: which.0.then_some(mss),
        window_scale: which.1.then_some(scale),
        sack_permitted: which.2,
        timestamps: which.3.then_some(stamps),
        ..Options::NONE
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_syn_that_is_read_at_once_is_what_the_layers_read(
        numbers: (u32, u32, u16),
        flags in prop::sample::select(vec![0x02u8, 0x42, 0xc2, 0x12, 0x22, 0x03, 0x06, 0x0a]).prop_map(Flags),
        options in options(),
        payload in prop::collection::vec(any::<u8>(), 0..3),
        padding in 0usize..8,
        damage in prop::option::of((0..SYN_HEADERS, 0u8..8)),
        verdicts in verdicts(),
    ) {
        // Shows of SYNs with any options, payload, padding and verdicts, whole or with one bit turned over in their headers:
        // what is read at once the layers read alike; and every undamaged SYN of the shape is.
        let (pool, engine) = (Pool::heap(1, 512), engine(Capabilities::plain(1500)));
        let mut syn = segment(numbers, flags, None);
        syn.options = options;
        let mut frame = frame(&pool, &syn, &payload, padding, verdicts);
        if let Some((at, bit)) = damage
            && let Some(byte) = frame.bytes_mut().unwrap().get_mut(at)
        {
            *byte ^= 1 << bit;
        }
        let layered = engine.parse_layers(&frame);
        match engine.parse_syn(&frame) {
            Some(at_once) => prop_assert_eq!(format!("{at_once:?}"), format!("{:?}", layered.unwrap())),
            None => {
                let shape = payload.is_empty() && options.sack_permitted && options.len() == 20 && flags.without(Flags::ECE | Flags::CWR) == Flags::SYN;
                let bad = verdicts.is_some_and(|verdicts| [verdicts.ip, verdicts.transport].contains(&Verdict::Bad));
                prop_assert!(damage.is_some() || bad || !shape, "declined, by layers {layered:?}");
            }
        }
    }

    #[test]
    fn a_syn_that_is_written_at_once_is_what_the_layers_write(
        numbers: (u32, u32, u16),
        flags in prop::sample::select(vec![0x02u8, 0x12, 0x52]).prop_map(Flags),
        options in options(),
        (sums, header_sum, hop_limit) in (any::<bool>(), any::<bool>(), 1u8..),
        known: bool,
    ) {
        // Shows for any options and any port: a frame alike to the byte, with the same orders to the port, in the same queue, or
        // nothing done.
        let capabilities = Capabilities {
            transmit_tcp_checksum: sums,
            transmit_ipv4_checksum: header_sum,
            ..Capabilities::plain(1500)
        };
        let mut engine = engine(capabilities);
        let station = MacAddress(THEIRS.1);
        engine.ports[0].hop_limit = hop_limit;
        if known {
            engine.ports[0].neighbours.add_static(THEIRS.0.into(), station, Instant(1), &mut Vec::new());
        }
        let mut syn = segment(numbers, flags, None);
        syn.options = options;
        let [local, remote] = [(OURS.0, syn.source_port), (THEIRS.0, syn.destination_port)].map(SocketAddr::from);
        let tuple = Tuple { local, remote };
        let way = engine.routes.next_hop_from(local.ip(), remote.ip()).unwrap();
        prop_assert!(!engine.send_syn(&way, &tuple, &syn), "no path leads there yet");
        engine.paths.take(&engine.routes, &tuple).unwrap();
        let at_once = engine.send_syn(&way, &tuple, &syn);
        prop_assert_eq!(at_once, known && options.sack_permitted && options.len() == 20);
        prop_assert_eq!(engine.counters.segments_sent, u64::from(at_once));
        if at_once {
            let hop = Hop { interface: 0, next_hop: remote.ip(), station: Some(station).into() };
            let form = Form { each: 0, field: 0, hop_limit: 0, fragment: false, sum: None };
            let frame = engine.ports[0].composer.header().unwrap();
            engine.send_layered(frame, hop, &tuple, &syn, form);
            let port = &engine.ports[0];
            prop_assert_eq!((port.urgent.len(), port.data.len()), (2, 0));
            prop_assert_eq!(port.urgent[0].bytes(), port.urgent[1].bytes());
            prop_assert_eq!(port.urgent[0].offload(), port.urgent[1].offload());
            prop_assert_eq!(port.urgent[0].len(), LINK + NETWORK + syn.header_len());
        }
    }
}
