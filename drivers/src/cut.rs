//! Several segments of one TCP flow in one piece, cut into what a wire carries: as a NIC does that is asked to, and as a lane
//! wants what the kernel hands over whole.

use crate::frame::{Checksum, Frame, Offload, Verdicts};
use crate::pool::Pool;
use crate::soft::frame_of;

/// Ethernet's header, and the tag that may stand in it.
const ETHERNET: usize = 14;
const TAG: usize = 4;

/// The fields of TCP's header that differ between segments.
const SEQUENCE: usize = 4;
const OFFSET: usize = 12;
const FLAGS: usize = 13;
const SUM: usize = 16;
/// TCP, as IP calls it.
const PROTOCOL: u8 = 6;
/// TCP's header without options.
const TCP: usize = 20;

const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// Several segments of one flow in one piece.
pub(crate) struct Whole<'b> {
    /// Its front, with all headers, and what is behind that.
    pieces: [&'b [u8]; 2],
    /// Where IP's and TCP's headers begin, and the payload.
    network: usize,
    transport: usize,
    payload: usize,
    /// Payload of each segment but the last.
    each: usize,
    ipv6: bool,
}

impl<'b> Whole<'b> {
    /// What lies in `pieces`, with the pseudo-header's sum where TCP's checksum goes, where TCP's header begins at `transport`, to be cut after `each` bytes of payload. `None`: it is
    /// not as the kernel says.
    pub fn new(pieces: [&'b [u8]; 2], transport: usize, each: usize) -> Option<Whole<'b>> {
        let front = pieces[0];
        let half = |at: usize| Some(u16::from_be_bytes([*front.get(at)?, *front.get(at + 1)?]));
        let tagged = half(12)? == 0x8100;
        let network = if tagged { ETHERNET + TAG } else { ETHERNET };
        let (ipv6, least) = match half(network - 2)? {
            0x0800 => (false, 20),
            0x86dd => (true, 40),
            _ => return None,
        };
        let header = transport.checked_sub(network).filter(|header| *header >= least)?;
        let (version, protocol) = (front.get(network)?, front.get(network + if ipv6 { 6 } else { 9 })?);
        // IP's header says so too: the segments are marked as verified.
        let agrees = match (ipv6, version >> 4) {
            (false, 4) => usize::from(version & 0xf) * 4 == header && *protocol == PROTOCOL,
            // What stands between is an extension header.
            (true, 6) => header > least || *protocol == PROTOCOL,
            _ => false,
        };
        let payload = transport + usize::from(front.get(transport + OFFSET)? >> 4) * 4;
        let total = front.len() + pieces[1].len();
        let sane = agrees && transport + TCP <= payload && payload <= front.len() && payload < total;
        // What IP's length counts; IPv6's leaves its own header out.
        let length = total - network - if ipv6 { least } else { 0 };
        let fits = each > 0 && length <= usize::from(u16::MAX);
        (sane && fits).then_some(Whole { pieces, network, transport, payload, each, ipv6 })
    }

    /// Makes the segments in frames of `pool`, and appends them to `frames`. False if the pool has too few: the rest is lost.
    pub fn cut(&self, pool: &Pool, frames: &mut Vec<Frame>) -> bool {
        for number in 0..self.count() {
            let Some(mut frame) = pool.take() else { return false };
            match frame.append(self.payload + self.len(number)) {
                Some(room) => self.write(room, number),
                None => {
                    let Some(long) = frame_of(pool, &self.segment(number)) else { return false };
                    frame = long;
                }
            }
            // The kernel says of what it hands over whole that its sum is not filled in.
            frame.set_verdicts(Verdicts { ip: Checksum::Good, transport: Checksum::Good });
            frames.push(frame);
        }
        true
    }

    /// How many segments there are.
    pub fn count(&self) -> u16 {
        u16::try_from((self.total() - self.payload).div_ceil(self.each)).unwrap_or(u16::MAX)
    }

    /// The segment `number`.
    pub fn segment(&self, number: u16) -> Vec<u8> {
        let mut bytes = vec![0; self.payload + self.len(number)];
        self.write(&mut bytes, number);
        bytes
    }

    fn total(&self) -> usize {
        self.pieces[0].len() + self.pieces[1].len()
    }

    /// Where the payload of a segment begins.
    fn start(&self, number: u16) -> usize {
        self.payload + usize::from(number) * self.each
    }

    fn len(&self, number: u16) -> usize {
        self.each.min(self.total() - self.start(number))
    }

    /// Writes the segment `number` to `room`, which is as long.
    fn write(&self, room: &mut [u8], number: u16) {
        let (at, total) = (self.start(number), self.total());
        let (headers, payload) = room.split_at_mut(self.payload);
        let [front, behind] = self.pieces;
        headers.copy_from_slice(&front[..self.payload]);
        // Part of it may lie in the front, and part behind.
        let here = front.get(at..).unwrap_or_default();
        let here = &here[..here.len().min(payload.len())];
        payload[..here.len()].copy_from_slice(here);
        let from = (at + here.len()).saturating_sub(front.len());
        let rest = payload.len() - here.len();
        payload[here.len()..].copy_from_slice(&behind[from..from + rest]);
        let (network, transport) = headers.split_at_mut(self.transport);
        let behind_network = transport.len() + payload.len();
        self.write_network(&mut network[self.network..], behind_network, number);
        let add = |bytes: &mut [u8], more: u32| {
            let value = bytes.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
            bytes.copy_from_slice(&value.wrapping_add(more).to_be_bytes());
        };
        add(&mut transport[SEQUENCE..SEQUENCE + 4], u32::try_from(at - self.payload).unwrap_or(0));
        if at + payload.len() < total {
            transport[FLAGS] &= !FIN_PSH;
        }
        if number > 0 {
            transport[FLAGS] &= !CWR;
        }
        // The pseudo-header's sum, with this segment's length instead of all segments'.
        let all = u32::try_from(total - self.transport).unwrap_or(0) % 0xffff;
        let one = u32::try_from(behind_network).unwrap_or(0);
        let sum = u32::from(u16::from_be_bytes([transport[SUM], transport[SUM + 1]]));
        transport[SUM..SUM + 2].copy_from_slice(&fold(sum + 0xffff - all + one).to_be_bytes());
    }

    /// Makes IP's header that of a packet with so many bytes behind it.
    fn write_network(&self, header: &mut [u8], behind: usize, number: u16) {
        if self.ipv6 {
            // Extension headers count, its own does not.
            let length = u16::try_from(header.len() - 40 + behind).unwrap_or(u16::MAX);
            header[4..6].copy_from_slice(&length.to_be_bytes());
            return;
        }
        let length = u16::try_from(header.len() + behind).unwrap_or(u16::MAX);
        header[2..4].copy_from_slice(&length.to_be_bytes());
        let identification = u16::from_be_bytes([header[4], header[5]]).wrapping_add(number);
        header[4..6].copy_from_slice(&identification.to_be_bytes());
        header[10..12].fill(0);
        let words = header.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
        let sum = !fold(words.sum());
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Adds the length of what TCP's checksum covers to the pseudo-header's sum in its field, in `headers` of a frame that is to be
/// cut: the stack leaves it out, as NICs want it. `bytes`: of the whole frame. False if there is no such field.
pub(crate) fn add_length(headers: &mut [u8], offload: &Offload, bytes: usize) -> bool {
    let start = usize::from(offload.link_bytes) + usize::from(offload.network_bytes);
    let length = bytes.checked_sub(start).and_then(|length| u32::try_from(length).ok());
    let (Some(field), Some(length)) = (headers.get_mut(start + SUM..start + SUM + 2), length) else {
        return false;
    };
    let sum = u32::from(u16::from_be_bytes([field[0], field[1]])) + length;
    field.copy_from_slice(&fold(sum).to_be_bytes());
    true
}

/// RFC 1071's sum, of a sum.
fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or(u16::MAX)
}
