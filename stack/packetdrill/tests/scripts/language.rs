//! The language of the scripts as a value: events in time, each a packet, a system call, settings or an assertion.
//! It is packetdrill's published one. How text becomes these values is `parse`'s business, what they do `run`'s.

use std::collections::BTreeMap;

/// A script.
#[derive(Debug, Default, PartialEq)]
pub struct Script {
    /// Lines `--name=value` at its head.
    pub options: BTreeMap<String, String>,
    /// What happens, in order.
    pub events: Vec<Event>,
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Line of the script, from one.
    pub line: usize,
    /// When.
    pub time: Time,
    /// What.
    pub action: Action,
}

/// When an event happens. Units: microseconds since the script began, or since the event before if relative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Time {
    /// Counted from the event before.
    pub relative: bool,
    /// The time.
    pub at: Moment,
}

/// A point or a stretch of time. Units: microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Moment {
    /// `*`: any time.
    Any,
    /// One point.
    At(i64),
    /// `a~b`: between two points.
    Between(i64, i64),
    /// `a...b`: a call that begins at one point, blocks, and ends at the other.
    Blocks(i64, i64),
}

/// What an event is.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `<`: a packet for the stack.
    Inbound(Packet),
    /// `>`: a packet that the stack must send.
    Outbound(Packet),
    /// A system call, and what it must answer.
    Call(Call),
    /// Back-quoted: settings.
    Shell(String),
    /// `%{ ... }%`: assertions about TCP_INFO.
    Code(String),
}

/// A packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// What is said of its IP header.
    pub ip: Ip,
    /// What it carries.
    pub body: Body,
}

/// What a script says of an IP header. `None`: anything on the way out, the default on the way in.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ip {
    /// The two ECN bits.
    pub ecn: Option<u8>,
    /// The whole octet.
    pub tos: Option<u8>,
    /// Time to live, or hop limit.
    pub ttl: Option<u8>,
    /// The peer's port.
    pub port: Option<u16>,
}

/// What a packet carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A TCP segment.
    Tcp(Tcp),
    /// A datagram of so many bytes.
    Udp(u16),
    /// An ICMP error about a segment.
    Icmp {
        /// Its type, by the protocol's number.
        kind: u8,
        /// Its code.
        code: u8,
        /// The path's MTU, or zero.
        mtu: u32,
        /// First sequence number and length of the segment it quotes.
        quoted: Option<(u32, u16)>,
    },
}

/// A TCP segment with relative sequence numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tcp {
    /// The header's flag bits.
    pub flags: u16,
    /// First sequence number.
    pub seq: u32,
    /// Bytes of payload.
    pub len: u16,
    /// Acknowledgement number, if it is told.
    pub ack: Option<u32>,
    /// The window field as sent, if it is told.
    pub window: Option<u16>,
    /// The urgent pointer, if it is told.
    pub urgent: Option<u16>,
    /// Options in order; `None`: `<...>`, any.
    pub options: Option<Vec<TcpOption>>,
}

/// A TCP option.
#[derive(Clone, Debug, PartialEq)]
pub enum TcpOption {
    /// End of the list.
    End,
    /// Padding.
    Nop,
    /// Maximum segment size.
    Mss(u16),
    /// Window shift.
    WindowScale(u8),
    /// SACK permitted.
    SackOk,
    /// SACK blocks, relative to the side whose bytes they name.
    Sack(Vec<(u32, u32)>),
    /// Timestamps.
    Timestamps(u32, u32),
    /// Any other: its kind and what follows its length.
    Other(u8, Vec<u8>),
}

/// A system call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub arguments: Vec<Value>,
    /// What it returns; `Value::Any`: whatever.
    pub returns: Value,
    /// The name of the error.
    pub error: Option<String>,
}

/// A value in a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `...` or `?`.
    Any,
    /// A number.
    Number(i64),
    /// Names joined by `|`.
    Names(Vec<String>),
    /// A quoted text.
    Text(String),
    /// `[a, b]`.
    List(Vec<Value>),
    /// `{name=value, ...}`; a value without a name has an empty one.
    Struct(Vec<(String, Value)>),
    /// `name(arguments)`.
    Function(String, Vec<Value>),
}

/// Bits of [`Tcp::flags`].
pub mod flag {
    pub const FIN: u16 = 1;
    pub const SYN: u16 = 2;
    pub const RST: u16 = 4;
    pub const PSH: u16 = 8;
    pub const ACK: u16 = 16;
    pub const URG: u16 = 32;
    pub const ECE: u16 = 64;
    pub const CWR: u16 = 128;
    pub const AE: u16 = 256;
    /// Letters and bits, in the order in which they are told.
    pub const LETTERS: [(char, u16); 9] = [
        ('S', SYN),
        ('F', FIN),
        ('R', RST),
        ('P', PSH),
        ('.', ACK),
        ('U', URG),
        ('E', ECE),
        ('W', CWR),
        ('A', AE),
    ];
}
