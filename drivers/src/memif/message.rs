//! What the two ends of a memif link say over their socket: version 2.0 of the protocol, as DPDK and VPP speak it.
//! How a message travels, and what is done about it, is `channel.rs`'s, `client.rs`'s and `server.rs`'s.

/// Every message is as long.
pub(super) const MESSAGE_BYTES: usize = 128;

/// Version 2.0: the high byte is the major one.
pub(super) const VERSION: u16 = 0x0200;

/// Bytes of a name, zeros behind it included.
const NAME_BYTES: usize = 32;

/// Bytes that a reason for leaving has room for.
const REASON_BYTES: usize = 96;

/// The ring's frames go from the client to the server.
const TO_SERVER: u16 = 1;

/// Frames have Ethernet headers.
const ETHERNET: u8 = 0;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The last request is granted.
    Ack,
    /// The server, as a client comes: what it can do.
    Hello { versions: (u16, u16), region_max: u16, to_server_max: u16, to_client_max: u16, log2_ring_max: u8 },
    /// The client: which of the server's links it wants.
    Init { version: u16, id: u32, mode: u8 },
    /// The client: memory to share. Its file comes along.
    AddRegion { index: u16, bytes: u64 },
    /// The client: a ring in that memory. The file by which its consumer is woken comes along.
    AddRing { ring: RingPlace },
    /// The client: that was all.
    Connect,
    /// The server: the link is up.
    Connected,
    /// Either: the link is down.
    Disconnect { reason: String },
}

/// Where a ring lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RingPlace {
    /// From the client to the server, or back.
    pub to_server: bool,
    pub index: u16,
    pub region: u16,
    pub offset: u32,
    pub log2_size: u8,
}

impl Message {
    pub fn encode(&self, name: &str) -> [u8; MESSAGE_BYTES] {
        let mut message = Fields { bytes: [0; MESSAGE_BYTES], at: 0 };
        match self {
            Message::Ack => message.put(&1_u16.to_ne_bytes()),
            Message::Hello { versions, region_max, to_server_max, to_client_max, log2_ring_max } => {
                message.put(&2_u16.to_ne_bytes());
                message.put_text(name, NAME_BYTES);
                for word in [versions.0, versions.1, *region_max, *to_server_max, *to_client_max] {
                    message.put(&word.to_ne_bytes());
                }
                message.put(&[*log2_ring_max]);
            }
            Message::Init { version, id, mode } => {
                message.put(&3_u16.to_ne_bytes());
                message.put(&version.to_ne_bytes());
                message.put(&id.to_ne_bytes());
                message.put(&[*mode]);
                message.put(&[0; 24]);
                message.put_text(name, NAME_BYTES);
            }
            Message::AddRegion { index, bytes } => {
                message.put(&4_u16.to_ne_bytes());
                message.put(&index.to_ne_bytes());
                message.put(&bytes.to_ne_bytes());
            }
            Message::AddRing { ring } => {
                message.put(&5_u16.to_ne_bytes());
                message.put(&(if ring.to_server { TO_SERVER } else { 0 }).to_ne_bytes());
                message.put(&ring.index.to_ne_bytes());
                message.put(&ring.region.to_ne_bytes());
                message.put(&ring.offset.to_ne_bytes());
                message.put(&[ring.log2_size]);
            }
            Message::Connect => {
                message.put(&6_u16.to_ne_bytes());
                message.put_text(name, NAME_BYTES);
            }
            Message::Connected => {
                message.put(&7_u16.to_ne_bytes());
                message.put_text(name, NAME_BYTES);
            }
            Message::Disconnect { reason } => {
                message.put(&8_u16.to_ne_bytes());
                message.put(&0_u32.to_ne_bytes());
                message.put_text(reason, REASON_BYTES);
            }
        }
        message.bytes
    }

    /// `None` for what the protocol does not know.
    pub fn decode(bytes: &[u8; MESSAGE_BYTES]) -> Option<Message> {
        let mut message = Fields { bytes: *bytes, at: 0 };
        Some(match message.word() {
            1 => Message::Ack,
            2 => {
                message.at += NAME_BYTES;
                Message::Hello {
                    versions: (message.word(), message.word()),
                    region_max: message.word(),
                    to_server_max: message.word(),
                    to_client_max: message.word(),
                    log2_ring_max: message.byte(),
                }
            }
            3 => Message::Init { version: message.word(), id: message.long(), mode: message.byte() },
            4 => Message::AddRegion { index: message.word(), bytes: u64::from_ne_bytes(message.take()) },
            5 => {
                let to_server = message.word() & TO_SERVER != 0;
                let (index, region) = (message.word(), message.word());
                let (offset, log2_size) = (message.long(), message.byte());
                Message::AddRing { ring: RingPlace { to_server, index, region, offset, log2_size } }
            }
            6 => Message::Connect,
            7 => Message::Connected,
            8 => {
                message.at += size_of::<u32>();
                let text: [u8; REASON_BYTES] = message.take();
                let end = text.iter().position(|byte| *byte == 0).unwrap_or(REASON_BYTES);
                // It goes to a terminal.
                let text = String::from_utf8_lossy(&text[..end]);
                Message::Disconnect { reason: text.chars().filter(|letter| !letter.is_control()).collect() }
            }
            _ => return None,
        })
    }

    /// The client's wish, in the only mode that there is.
    pub fn init(id: u32) -> Message {
        Message::Init { version: VERSION, id, mode: ETHERNET }
    }

    /// Whether an [`Init`](Message::Init) asks for what we speak.
    pub fn is_spoken(version: u16, mode: u8) -> bool {
        version == VERSION && mode == ETHERNET
    }
}

/// A message while it is written or read, field by field.
struct Fields {
    bytes: [u8; MESSAGE_BYTES],
    at: usize,
}

impl Fields {
    fn put(&mut self, field: &[u8]) {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
    }

    /// A text of at most `most` bytes, with a zero behind it.
    fn put_text(&mut self, text: &str, most: usize) {
        let text = &text.as_bytes()[..text.len().min(most - 1)];
        self.bytes[self.at..self.at + text.len()].copy_from_slice(text);
        self.at += most;
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.bytes[self.at..self.at + N]);
        self.at += N;
        field
    }

    fn byte(&mut self) -> u8 {
        u8::from_ne_bytes(self.take())
    }

    fn word(&mut self) -> u16 {
        u16::from_ne_bytes(self.take())
    }

    fn long(&mut self) -> u32 {
        u32::from_ne_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        // Shows of each kind that both directions agree, and where the fields of three lie.
        let ring = RingPlace { to_server: true, index: 3, region: 2, offset: 0x0102_0304, log2_size: 10 };
        let all = [
            Message::Ack,
            Message::Hello {
                versions: (VERSION, VERSION),
                region_max: 255,
                to_server_max: 1,
                to_client_max: 2,
                log2_ring_max: 14,
            },
            Message::init(7),
            Message::AddRegion { index: 1, bytes: 1 << 33 },
            Message::AddRing { ring },
            Message::Connect,
            Message::Connected,
            Message::Disconnect { reason: "no more".to_owned() },
        ];
        for (kind, message) in (1_u16..).zip(all) {
            let bytes = message.encode("corelane");
            assert_eq!(bytes[..2], kind.to_ne_bytes());
            assert_eq!(Message::decode(&bytes), Some(message));
        }
        let hello = Message::Hello {
            versions: (1, 2),
            region_max: 3,
            to_server_max: 4,
            to_client_max: 5,
            log2_ring_max: 6,
        };
        assert_eq!(hello.encode("x")[34..45], [1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6]);
        assert_eq!(Message::init(7).encode("x")[2..9], [0, 2, 7, 0, 0, 0, 0]);
        assert_eq!(Message::AddRing { ring }.encode("x")[2..13], [1, 0, 3, 0, 2, 0, 4, 3, 2, 1, 10]);
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        // Shows a kind that is none, a reason without an end, and that what would upset a terminal is left out of it.
        assert_eq!(Message::decode(&[0; MESSAGE_BYTES]), None);
        assert_eq!(Message::decode(&[0xff; MESSAGE_BYTES]), None);
        let mut bytes = [b'a'; MESSAGE_BYTES];
        bytes[..2].copy_from_slice(&8_u16.to_ne_bytes());
        bytes[7] = 0x1b;
        assert_eq!(Message::decode(&bytes), Some(Message::Disconnect { reason: "a".repeat(95) }));
        let long = Message::Disconnect { reason: "b".repeat(200) };
        assert_eq!(Message::decode(&long.encode("x")), Some(Message::Disconnect { reason: "b".repeat(95) }));
    }
}
