//! Congestion marks in IP headers, as a router sets them. When a frame is marked is the line's to say.

const CE: u8 = 0b11;

/// Bytes before an Ethernet frame's type, of the type, and of a VLAN tag.
const ADDRESSES: usize = 12;
const TYPE: usize = 2;
const TAG: usize = 4;

/// Mark the IP packet in a frame, if it is ECN-capable and not marked yet. True if it was.
pub(super) fn mark(frame: &mut [u8]) -> bool {
    let kind =
        |at: usize| frame.get(at..at + TYPE).and_then(|kind| Some(u16::from_be_bytes(kind.try_into().ok()?)));
    let tagged = kind(ADDRESSES) == Some(0x8100);
    let at = ADDRESSES + if tagged { TAG } else { 0 };
    let (kind, packet) = (kind(at), frame.get_mut(at + TYPE..));
    match (kind, packet) {
        (Some(0x0800), Some(packet)) => mark_ipv4(packet),
        (Some(0x86dd), Some(packet)) => mark_ipv6(packet),
        _ => false,
    }
}

fn is_capable(field: u8) -> bool {
    field == 0b01 || field == 0b10
}

fn mark_ipv4(packet: &mut [u8]) -> bool {
    let Some(&mut [first, ref mut service, .., ref mut high, ref mut low]) = packet.first_chunk_mut::<12>()
    else {
        return false;
    };
    if first >> 4 != 4 || !is_capable(*service & CE) {
        return false;
    }
    let before = *service;
    *service |= CE;
    // The checksum by RFC 1624's third equation: complements, so that no sum of the whole is needed.
    let sum = u32::from(!u16::from_be_bytes([*high, *low]))
        + u32::from(!u16::from_be_bytes([first, before]))
        + u32::from(u16::from_be_bytes([first, *service]));
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0);
    [*high, *low] = (!folded).to_be_bytes();
    true
}

fn mark_ipv6(packet: &mut [u8]) -> bool {
    let Some([first, second, ..]) = packet.first_chunk_mut::<40>() else { return false };
    if *first >> 4 != 6 || !is_capable(*second >> 4 & CE) {
        return false;
    }
    *second |= CE << 4;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ip_version_six_is_marked_behind_a_tag_too() {
        // Shows the bits of an IPv6 header that change, with a VLAN tag and without, and what is left alone.
        for tagged in [false, true] {
            let mut frame = vec![0xaa; 12];
            if tagged {
                frame.extend([0x81, 0x00, 0x00, 0x05]);
            }
            frame.extend([0x86, 0xdd, 0x60, 0x25]);
            let at = frame.len() - 1;
            frame.resize(80, 0);
            assert!(mark(&mut frame));
            assert_eq!(frame[at], 0x35);
            assert!(!mark(&mut frame), "it is marked already");
            frame[at] = 0x05;
            assert!(!mark(&mut frame), "it is not ECN-capable");
        }
        for short in 0..20 {
            assert!(!mark(&mut vec![0x45; short]));
        }
    }
}
