//! What stands in front of each frame on a TUN/TAP file: virtio's network header (virtio 1.2, 5.1.6, without the count of
//! buffers; Linux's `virtio_net.h`), in the machine's byte order.

use crate::frame::{Checksum, Frame, Offload, Transport, Verdicts};

/// Its length.
pub(super) const HEADER_BYTES: usize = 10;

/// The longest headers up to TCP's payload: Ethernet's with a tag, IPv4's and TCP's with all options.
pub(super) const HEADERS_MAX: usize = 14 + 4 + 60 + 60;

/// `flags`: a checksum is to be filled in.
const NEEDS_CHECKSUM: u8 = 1;
/// `flags`: the checksums were found right.
const DATA_VALID: u8 = 2;

/// `gso_type`: TCP over IPv4, and over IPv6.
const TCP_IPV4: u8 = 1;
const TCP_IPV6: u8 = 4;

/// Ethernet's header and IPv4's without options; Ethernet's and IPv6's.
const IPV4: usize = 14 + 20;
const IPV6: usize = 14 + 40;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The header in front of one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Header {
    flags: u8,
    gso_type: u8,
    /// Bytes in front of the payload that is to be cut.
    headers: u16,
    /// Payload of each segment.
    segment_bytes: u16,
    /// Where what a checksum covers begins.
    sum_start: u16,
    /// Where it goes, from there.
    sum_field: u16,
}

impl Header {
    /// Of a frame that goes.
    #[inline]
    pub fn of(offload: &Offload) -> Header {
        let Some(transport) = offload.checksums.transport else { return Header::default() };
        let sum_start = u16::from(offload.link_bytes) + offload.network_bytes;
        let mut header =
            Header { flags: NEEDS_CHECKSUM, sum_start, sum_field: field(transport), ..Header::default() };
        if offload.segment_bytes > 0 {
            header.gso_type = if offload.ipv6 { TCP_IPV6 } else { TCP_IPV4 };
            header.headers = sum_start + u16::from(offload.transport_bytes);
            header.segment_bytes = offload.segment_bytes;
        }
        header
    }

    #[inline]
    pub fn bytes(&self) -> [u8; HEADER_BYTES] {
        let [headers, segment, start, field] =
            [self.headers, self.segment_bytes, self.sum_start, self.sum_field].map(u16::to_ne_bytes);
        [
            self.flags,
            self.gso_type,
            headers[0],
            headers[1],
            segment[0],
            segment[1],
            start[0],
            start[1],
            field[0],
            field[1],
        ]
    }

    #[inline]
    pub fn read(bytes: &[u8; HEADER_BYTES]) -> Header {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Header {
            flags: bytes[0],
            gso_type: bytes[1],
            headers: word(2),
            segment_bytes: word(4),
            sum_start: word(6),
            sum_field: word(8),
        }
    }

    /// Where TCP's header begins in a frame of several segments, and the payload of each; `None` of any other.
    #[inline]
    pub fn segments(&self) -> Option<(usize, usize)> {
        (self.gso_type != 0).then_some((usize::from(self.sum_start), usize::from(self.segment_bytes)))
    }

    /// Says of a frame that came behind this header what the kernel knows of its checksums.
    #[inline]
    pub fn judge(&self, frame: &mut Frame) {
        if self.flags & (NEEDS_CHECKSUM | DATA_VALID) == 0 {
            return;
        }
        let needs = self.flags & NEEDS_CHECKSUM != 0;
        let at = (usize::from(self.sum_start), self.sum_field);
        let verdicts = match covered(frame.bytes()) {
            // Nothing to verify: either it never left this machine, or whoever took it in has looked.
            Some(covered) if !needs || covered == at => {
                Verdicts { ip: Checksum::Good, transport: Checksum::Good }
            }
            _ if needs => Verdicts { ip: Checksum::Unknown, transport: Checksum::Partial },
            _ => return,
        };
        frame.set_verdicts(verdicts);
    }
}

/// Bytes of a transport's header up to its checksum.
#[inline]
fn field(transport: Transport) -> u16 {
    match transport {
        Transport::Tcp => 16,
        Transport::Udp => 6,
    }
}

/// Where TCP or UDP begins in a frame of the common shape, whose own IPv4 header is right, and where in it the checksum is.
#[inline]
fn covered(frame: &[u8]) -> Option<(usize, u16)> {
    let head = frame.first_chunk::<IPV4>()?;
    let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let (start, protocol) = match half(12) {
        0x0800 => {
            let sum: u32 = (14..IPV4).step_by(2).map(|at| u32::from(half(at))).sum();
            // Version, no options; neither a fragment's offset nor more to come.
            let plain = head[14] == 0x45 && half(20) & 0x3fff == 0 && sum.is_multiple_of(0xffff);
            (IPV4, plain.then_some(head[23])?)
        }
        0x86dd if head[14] >> 4 == 6 => (IPV6, head[20]),
        _ => return None,
    };
    match protocol {
        TCP => Some((start, field(Transport::Tcp))),
        UDP => Some((start, field(Transport::Udp))),
        _ => None,
    }
}
