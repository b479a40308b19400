//! Ops: what an application asks of its lane. What comes back is in `event.rs`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use super::{LaneId, Payload, QueueId, SocketId, Stream, Tag, Udp};
use crate::config::{Address, Congestion, Gateway};
use crate::time::Instant;

/// What to do, where its completions go, and under which tag.
#[derive(Debug)]
pub struct Op {
    /// What to do.
    pub action: Action,
    /// Where its completions go.
    pub queue: QueueId,
    /// The application's word on it.
    pub tag: Tag,
}

/// What an op does. `P` is the payload: the application's [`Payload`] on its side, a view on the engine's.
#[derive(Debug)]
#[non_exhaustive]
pub enum Action<P = Payload> {
    /// Accept until cancelled or closed. Multishot: `Listening`, then `Accepted` each.
    Listen {
        /// Where to listen; port zero takes a free one.
        address: SocketAddr,
        /// How connections are taken.
        options: ListenOptions,
    },
    /// Open a connection that lives on this lane. → `Connected`.
    Connect {
        /// The peer.
        to: SocketAddr,
        /// Our end; `None` chooses by route, port zero by RFC 6056.
        from: Option<SocketAddr>,
        /// How long to try.
        timeout: Duration,
        /// The lane it is to live on; `None`: the one that is asked. Another one answers with `WrongLane`.
        lane: Option<LaneId>,
        /// What the connection begins with; `None`: the defaults. With options of its own, `Connecting` comes first.
        options: Option<Box<StreamOptions>>,
    },
    /// Deliver what arrives. Multishot: `Received` …, `End`. Given again, it moves the direction to another queue and tag.
    Receive {
        /// The connection.
        stream: Stream,
    },
    /// Queue a payload, whole or not at all. `Sent` if `notify`.
    Send {
        /// The connection.
        stream: Stream,
        /// The bytes.
        payload: P,
        /// Say when they are acknowledged and free.
        notify: bool,
        /// The next send follows at once: do not send a short segment yet.
        more: bool,
    },
    /// Receive datagrams until closed. Multishot: `Bound`, then `Datagram` each.
    Bind {
        /// Where to receive; port zero takes a free one. With a peer an unspecified address is the one towards it, and
        /// port zero one whose replies come to this lane.
        address: SocketAddr,
        /// The only one to exchange datagrams with; `None`: anybody.
        peer: Option<SocketAddr>,
    },
    /// Name the only peer of a UDP socket, name another, or forget it. → `Bound`, with what holds from here on.
    SetPeer {
        /// The socket.
        socket: Udp,
        /// The peer; `None`: anybody again.
        peer: Option<SocketAddr>,
    },
    /// Send one datagram. `SentTo` if `notify`.
    SendTo {
        /// The socket.
        socket: Udp,
        /// To whom; `None`: to the socket's peer.
        to: Option<SocketAddr>,
        /// The datagram's bytes.
        payload: P,
        /// Say when it was handed to the port.
        notify: bool,
    },
    /// → `Timer` at that time, not before.
    Timer {
        /// When, on the lane's clock.
        at: Instant,
    },
    /// Change the addresses or routes of the whole runtime. On lane zero alone: others answer with `WrongLane`.
    /// → `Configured`.
    Configure {
        /// What to change.
        change: NetworkChange,
    },
    /// Change an option, in order with the ops around it; silent unless it fails.
    Set {
        /// The socket.
        socket: SocketId,
        /// The option.
        option: SocketOption,
    },
    /// → `Info`.
    Inspect {
        /// The connection.
        stream: Stream,
    },
    /// Half-close: FIN after what is queued; receiving goes on.
    Shutdown {
        /// The connection.
        stream: Stream,
    },
    /// The same, and receiving is over too, also where the FIN went before: what was received stays, and new text is answered
    /// with a reset.
    ShutdownBoth {
        /// The connection.
        stream: Stream,
    },
    /// Close in order: deliver no more, send what is queued, FIN. → `Closed`.
    ///
    /// A stream whose received bytes wait, in its socket or untaken in a queue, is reset at once instead, whatever
    /// `within` says: its peer must not believe that they were read. Untaken `Received` and `End` go.
    Close {
        /// The socket.
        socket: SocketId,
        /// Reset if it takes longer.
        within: Option<Duration>,
    },
    /// RST now; what is queued comes back or is dropped, and so do untaken `Received` and `End`. → `Closed`.
    ///
    /// Once both ends have sent their FINs nothing is sent, unless bytes are lost with it that were received.
    Abort {
        /// The socket.
        socket: SocketId,
    },
    /// The same of a stream of which the application has taken bytes that it has not read: RST goes whatever both ends have said.
    AbortUnread {
        /// The connection.
        stream: Stream,
    },
    /// End each unfinished listen, connect, receive, bind or timer of this queue and tag `of`.
    Cancel {
        /// The tag of the ops to end.
        of: Tag,
    },
}

/// How long [`Op::connect`] tries: with 1 s initial RTO, seven SYNs take 127 s, and R2 for SYN is at least 3 minutes
/// (RFC 9293 MUST-23).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(180);

impl Op {
    /// An op that reports to the lane's main queue, under tag zero.
    pub fn new(action: Action) -> Op {
        Op { action, queue: QueueId::MAIN, tag: Tag(0) }
    }

    /// Accept connections; each starts receiving once a `receive` is given for it.
    pub fn listen(address: SocketAddr) -> Op {
        Op::new(Action::Listen { address, options: ListenOptions::default() })
    }

    /// Accept connections that start receiving at once, to the listener's queue and tag.
    pub fn listen_eager(address: SocketAddr) -> Op {
        Op::new(Action::Listen {
            address,
            options: ListenOptions { eager: true, ..ListenOptions::default() },
        })
    }

    /// Open a connection within [`CONNECT_TIMEOUT`].
    pub fn connect(to: SocketAddr) -> Op {
        Op::new(Action::Connect { to, from: None, timeout: CONNECT_TIMEOUT, lane: None, options: None })
    }

    /// Open a connection from this address and port; an unspecified address or port zero: any. A named port may bring
    /// its replies to another lane, which hands them over.
    pub fn connect_from(from: SocketAddr, to: SocketAddr) -> Op {
        Op::new(Action::Connect { to, from: Some(from), timeout: CONNECT_TIMEOUT, lane: None, options: None })
    }

    /// Deliver what arrives on a stream.
    pub fn receive(stream: Stream) -> Op {
        Op::new(Action::Receive { stream })
    }

    /// Send a payload.
    pub fn send(stream: Stream, payload: impl Into<Payload>) -> Op {
        Op::new(Action::Send { stream, payload: payload.into(), notify: false, more: false })
    }

    /// Receive datagrams.
    pub fn bind(address: SocketAddr) -> Op {
        Op::new(Action::Bind { address, peer: None })
    }

    /// Exchange datagrams with one peer, from any address and port of ours. Only what it sends is received, before any
    /// socket that is merely bound to that port; ICMP errors about what was sent to it come as `DatagramError`.
    pub fn connect_udp(peer: SocketAddr) -> Op {
        let any: IpAddr = match peer.ip().to_canonical() {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Op::connect_udp_from(SocketAddr::new(any, 0), peer)
    }

    /// Exchange datagrams with one peer, from this address and port; an unspecified address or port zero: any. Several
    /// such sockets may share a port, with each other and with one that is bound to it, each with a peer of its own.
    pub fn connect_udp_from(address: SocketAddr, peer: SocketAddr) -> Op {
        Op::new(Action::Bind { address, peer: Some(peer) })
    }

    /// Name the only peer of a UDP socket, name another, or with `None` forget it. What was delivered before may still be
    /// others'.
    pub fn set_peer(socket: Udp, peer: Option<SocketAddr>) -> Op {
        Op::new(Action::SetPeer { socket, peer })
    }

    /// Be told at a time.
    pub fn timer(at: Instant) -> Op {
        Op::new(Action::Timer { at })
    }

    /// Send a datagram.
    pub fn send_to(socket: Udp, to: SocketAddr, payload: impl Into<Payload>) -> Op {
        Op::new(Action::SendTo { socket, to: Some(to), payload: payload.into(), notify: false })
    }

    /// Send a datagram to the socket's one peer.
    pub fn send_to_peer(socket: Udp, payload: impl Into<Payload>) -> Op {
        Op::new(Action::SendTo { socket, to: None, payload: payload.into(), notify: false })
    }

    /// Change an option of a socket.
    pub fn set(socket: impl Into<SocketId>, option: SocketOption) -> Op {
        Op::new(Action::Set { socket: socket.into(), option })
    }

    /// Change the runtime's addresses or routes.
    pub fn configure(change: NetworkChange) -> Op {
        Op::new(Action::Configure { change })
    }

    /// Ask for a connection's figures.
    pub fn inspect(stream: Stream) -> Op {
        Op::new(Action::Inspect { stream })
    }

    /// Half-close a stream.
    pub fn shutdown(stream: Stream) -> Op {
        Op::new(Action::Shutdown { stream })
    }

    /// End both directions of a stream, and keep it.
    pub fn shutdown_both(stream: Stream) -> Op {
        Op::new(Action::ShutdownBoth { stream })
    }

    /// Close a socket in order; a stream with received bytes that nobody took is reset.
    pub fn close(socket: impl Into<SocketId>) -> Op {
        Op::new(Action::Close { socket: socket.into(), within: None })
    }

    /// Close a socket in order, or reset it when that takes longer than `within`.
    pub fn close_within(socket: impl Into<SocketId>, within: Duration) -> Op {
        Op::new(Action::Close { socket: socket.into(), within: Some(within) })
    }

    /// Reset a connection, or end any other socket at once.
    pub fn abort(socket: impl Into<SocketId>) -> Op {
        Op::new(Action::Abort { socket: socket.into() })
    }

    /// The same of a stream of which the application took bytes that it has not read.
    pub fn abort_unread(stream: Stream) -> Op {
        Op::new(Action::AbortUnread { stream })
    }

    /// End the unfinished ops of a tag.
    pub fn cancel(of: Tag) -> Op {
        Op::new(Action::Cancel { of })
    }

    /// Report to `queue`.
    #[must_use]
    pub fn to(self, queue: QueueId) -> Op {
        Op { queue, ..self }
    }

    /// Report under `tag`.
    #[must_use]
    pub fn tag(self, tag: Tag) -> Op {
        Op { tag, ..self }
    }

    /// Say when a payload is free again. Of meaning to sends alone.
    #[must_use]
    pub fn notify(mut self) -> Op {
        match &mut self.action {
            Action::Send { notify, .. } | Action::SendTo { notify, .. } => *notify = true,
            _ => {}
        }
        self
    }

    /// Listen on this lane, or open the connection from it: any other answers with `WrongLane`. Of meaning to `listen`
    /// and `connect` alone.
    #[must_use]
    pub fn on(mut self, on: LaneId) -> Op {
        match &mut self.action {
            Action::Listen { options, .. } => options.lane = Some(on),
            Action::Connect { lane, .. } => *lane = Some(on),
            _ => {}
        }
        self
    }

    /// The next send follows at once. Of meaning to sends alone.
    #[must_use]
    pub fn more(mut self) -> Op {
        if let Action::Send { more, .. } = &mut self.action {
            *more = true;
        }
        self
    }
}

/// A change of the addresses and routes of a runtime.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NetworkChange {
    /// Take an address on an interface, and announce it there.
    ///
    /// Errors: `AddressInUse` if it is ours already, `AddressNotAvailable` if no host can have it, `Unreachable` if
    /// there is no such interface, `NoRoom`.
    AddAddress {
        /// The address and its subnet.
        address: Address,
        /// The interface: its device's place among the runtime's.
        interface: u8,
    },
    /// Give an address up. Its connections are reset and end with [`super::Reason::AddressGone`], connects that have
    /// not succeeded fail; listeners and UDP sockets bound to it stay, and are reached again once it is back. Routes by
    /// gateways of its subnet go as well.
    ///
    /// Errors: `AddressNotAvailable` if it is not ours.
    RemoveAddress {
        /// The address.
        address: IpAddr,
    },
    /// Take a route through a gateway on one of our subnets; a default route has a prefix of no bits.
    ///
    /// Errors: `Unreachable` if the gateway is on none, `AddressNotAvailable` if it is ourselves, `NoRoom`.
    AddRoute(Gateway),
    /// Give up the routes through gateways to exactly these destinations.
    ///
    /// Errors: `Unreachable` if there is none.
    RemoveRoute {
        /// The destinations.
        destination: Address,
    },
}

/// How a listener takes connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListenOptions {
    /// Connections that may be under way or wait to be accepted.
    pub backlog: u32,
    /// Each accepted stream starts receiving at once, to the listener's queue and tag.
    pub eager: bool,
    /// The lane that is to listen, and on which the connections will live; `None`: the one that is asked. Another one
    /// answers with `WrongLane`, so that one program can run on all lanes and listen on one of them.
    pub lane: Option<LaneId>,
    /// What each connection begins with.
    pub stream: StreamOptions,
}

impl Default for ListenOptions {
    /// A backlog of 4,096 as Linux's `somaxconn` has it, and not eager.
    fn default() -> Self {
        ListenOptions { backlog: 4096, eager: false, lane: None, stream: StreamOptions::default() }
    }
}

/// What a connection does otherwise than the lane's [`TcpConfig`](crate::config::TcpConfig) says.
///
/// Zero: as the configuration has it, or not at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamOptions {
    /// Send short segments at once (Nagle's algorithm off), and with them what waits, even for more to follow.
    pub no_delay: bool,
    /// Send no short segment before more was written, for at most 200 ms.
    pub cork: bool,
    /// Probe an idle peer.
    pub keepalive: bool,
    /// Unanswered keepalive probes before the connection is given up.
    pub keepalive_probes: u8,
    /// Idle time before the first keepalive probe. Units: seconds.
    pub keepalive_idle_s: u16,
    /// Time between keepalive probes. Units: seconds.
    pub keepalive_interval_s: u16,
    /// Largest payload of a segment, either way. Of effect before the handshake alone. Units: bytes.
    pub mss_max: u16,
    /// SYNs sent again before a connect is given up.
    pub syn_retries: u8,
    /// The IPv4 header's type of service, or the IPv6 header's traffic class; the two bits of ECN are TCP's own.
    pub traffic_class: u8,
    /// The IPv4 header's time to live, or the IPv6 header's hop limit.
    pub hop_limit: u8,
    /// Give the connection up once a SYN, data or keepalive probes stay unanswered this long (RFC 5482). Units: milliseconds.
    pub user_timeout_ms: u32,
    /// Bytes that may wait for the application: what the window is advertised from. Units: bytes.
    pub receive_bytes: u32,
    /// How long FIN_WAIT_2 lasts once the application has closed. Units: seconds.
    pub fin_timeout_s: u16,
    /// How soon segments are acknowledged.
    pub quick_ack: QuickAck,
    /// How it finds out how much may be in flight. `None`: as the configuration has it.
    pub congestion: Option<Congestion>,
    /// Tell its figures when it ends, by `Info` before `Closed`, whatever ends it.
    pub report: bool,
}

/// How soon segments are acknowledged. Setting it anew acts anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum QuickAck {
    /// At a connection's start at once, then delayed.
    #[default]
    Default,
    /// The next ones at once.
    On,
    /// Delayed from here on.
    Off,
}

/// Settings that can change during a connection's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SocketOption {
    /// Send short segments at once (Nagle's algorithm off). Each time it is set to true, what waits for more goes.
    NoDelay(bool),
    /// Probe an idle peer after this long; `None` turns probing off.
    KeepAlive(Option<Duration>),
    /// Give a connection up whose SYN, data or keepalive probes stay unanswered this long (RFC 5482). Zero: by their counts.
    UserTimeout(Duration),
    /// Most frames the stream may hold for the application.
    ReceiveFrames(u32),
    /// How the stream finds out how much may be in flight. The window stays as it is.
    Congestion(Congestion),
    /// What was sent so far ends with urgent data: said to the peer until it is acknowledged (RFC 9293 section 3.8.5).
    Urgent,
    /// Everything a stream does otherwise than its lane's configuration; of a listener: what its connections begin with.
    Stream(StreamOptions),
    /// Of a listener: further connections that may be under way or wait to be accepted.
    Backlog(u32),
}
