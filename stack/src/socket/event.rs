//! Completions: what a lane answers. What was asked is in `op.rs`.

use core::fmt;
use core::net::SocketAddr;

use super::{LaneId, Listener, Payload, Received, SocketId, Stream, Tag, TcpInfo, Udp};

/// One answer.
#[derive(Debug)]
pub struct Completion {
    /// What happened.
    pub event: Event,
    /// The tag of the op it answers.
    pub tag: Tag,
    /// The op goes on, and further completions will come under this tag.
    pub more: bool,
}

/// What happened. `D` is received data and `P` a payload: the application's types here, the engine's on its side.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<D = Received, P = Payload> {
    /// A listener is open.
    Listening {
        /// The listener.
        listener: Listener,
        /// Where it listens.
        local: SocketAddr,
    },
    /// A peer has connected.
    Accepted {
        /// The listener it came by.
        listener: Listener,
        /// The connection.
        stream: Stream,
        /// The peer.
        peer: SocketAddr,
    },
    /// A connection with options of its own is being opened: its handle, so that they can be changed meanwhile.
    Connecting {
        /// The connection.
        stream: Stream,
        /// Our end.
        local: SocketAddr,
    },
    /// A connection we opened is established.
    Connected {
        /// The connection.
        stream: Stream,
        /// Our end.
        local: SocketAddr,
    },
    /// Bytes, in order. Dropping `data` gives its frame, and the window it held, back.
    Received {
        /// The connection.
        stream: Stream,
        /// The bytes.
        data: D,
    },
    /// The peer has sent urgent data, or more of it. It is in line: the last of it lies `ahead` bytes behind what was
    /// received before.
    Urgent {
        /// The connection.
        stream: Stream,
        /// Bytes to its end, counted from the next `Received`.
        ahead: u32,
    },
    /// What was sent does not arrive, which may pass: the connection goes on. Told once, until the peer acknowledges
    /// something new. An application that does not want to know lets it lie.
    //= https://www.rfc-editor.org/rfc/rfc9293#section-3.9.1.8
    //# There MUST be a mechanism for reporting soft TCP error conditions to
    //# the application (MUST-47).
    Trouble {
        /// The connection.
        stream: Stream,
        /// What is known of it.
        trouble: Trouble,
    },
    /// The peer has sent its FIN. Sending goes on.
    End {
        /// The connection.
        stream: Stream,
    },
    /// Acknowledged, and no frame refers to the payload any more: it is the application's again.
    Sent {
        /// The connection.
        stream: Stream,
        /// What was sent.
        payload: P,
    },
    /// A send was refused because the stream was full; half of its bound is free again.
    Writable {
        /// The connection.
        stream: Stream,
    },
    /// A UDP socket is open, or has the peer that `set_peer` asked for.
    Bound {
        /// The socket.
        socket: Udp,
        /// Where it receives.
        local: SocketAddr,
        /// The only one it exchanges datagrams with; `None`: anybody.
        peer: Option<SocketAddr>,
    },
    /// A datagram.
    Datagram {
        /// The socket.
        socket: Udp,
        /// Who sent it.
        from: SocketAddr,
        /// Its bytes.
        data: D,
    },
    /// Somebody on the way tells that a datagram did not arrive. Anyone may say so.
    DatagramError {
        /// The socket it left by.
        socket: Udp,
        /// To whom.
        to: SocketAddr,
        /// `Refused` if nobody has the port, `NetworkUnreachable`, `Unreachable`, or `TooLong` for the way; later ones go in
        /// fragments.
        error: OpError,
    },
    /// A datagram was handed to the port.
    SentTo {
        /// The socket.
        socket: Udp,
        /// What was sent.
        payload: P,
    },
    /// The time has come.
    Timer,
    /// Addresses or routes were changed on this lane, and the others have been told.
    Configured,
    /// A connection's figures: of now, as asked for, or its last ones if its options say so.
    Info {
        /// The connection.
        stream: Stream,
        /// The figures.
        info: Box<TcpInfo>,
    },
    /// The last completion of a socket; its handle is stale from here on.
    Closed {
        /// The socket.
        socket: SocketId,
        /// Why it ended.
        reason: Reason,
        /// Bytes that were never acknowledged.
        unsent: u64,
    },
    /// The op of this tag failed; its payload comes back.
    Failed {
        /// The socket the op named, if it named one.
        socket: Option<SocketId>,
        /// Why.
        error: OpError,
        /// How much of the payload reached the peer.
        acked: u64,
        /// The payload, if the op had one.
        payload: Option<P>,
    },
}

/// Why what was sent does not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Trouble {
    /// The peer has answered none of three retransmissions in a row.
    Unanswered,
    /// A router, or the peer's host, says by ICMP that it could not deliver a packet: `Refused` if nobody has the port,
    /// `NetworkUnreachable`, or `Unreachable`.
    Undelivered(OpError),
}

/// Why an op failed: the application's to handle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum OpError {
    /// The socket has ended.
    StaleHandle,
    /// The socket lives on another lane.
    WrongLane(LaneId),
    /// The socket is of another kind.
    WrongKind,
    /// Something listens there already.
    AddressInUse,
    /// The address is not one of this host's.
    AddressNotAvailable,
    /// Every port to choose from is taken: towards that peer, or at that address.
    NoPorts,
    /// A bound of the lane is reached: sockets, or memory.
    NoRoom,
    /// The peer refused.
    Refused,
    /// The connection was reset.
    Reset,
    /// It took too long.
    TimedOut,
    /// No way to the peer.
    Unreachable,
    /// A router on the way knows none to the peer's network.
    NetworkUnreachable,
    /// The direction is closed, or not open yet; or a UDP socket has no peer to send to.
    NotOpen,
    /// A datagram larger than the address family carries.
    TooLong,
    /// Cancelled by the application.
    Cancelled,
    /// Not the application's to name.
    Denied,
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            OpError::StaleHandle => "the socket has ended",
            OpError::WrongLane(lane) => return write!(f, "the socket lives on {lane}"),
            OpError::WrongKind => "the socket is of another kind",
            OpError::AddressInUse => "something listens on that address already",
            OpError::AddressNotAvailable => "the address is not one of this host's",
            OpError::NoPorts => "every port to choose from is taken",
            OpError::NoRoom => "the lane's bound on sockets or memory is reached",
            OpError::Refused => "connection refused",
            OpError::Reset => "connection reset by the peer",
            OpError::TimedOut => "timed out",
            OpError::Unreachable => "no way to the peer",
            OpError::NetworkUnreachable => "no way to the peer's network",
            OpError::NotOpen => "that direction is not open, or nobody is named to send to",
            OpError::TooLong => "the datagram is too long",
            OpError::Cancelled => "cancelled",
            OpError::Denied => "not the application's to name",
        };
        f.write_str(text)
    }
}

impl core::error::Error for OpError {}

/// Why a socket ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// In order.
    Done,
    /// By the application's abort, or by its close while received bytes waited that it had not taken.
    Aborted,
    /// By the peer's reset.
    Reset,
    /// The peer did not answer.
    TimedOut,
    /// The runtime stopped.
    Stopping,
    /// The connection goes on in another engine.
    Moved,
    /// Our address was removed.
    AddressGone,
    /// The process that ran the engine has gone.
    ServiceLost,
}
