//! What a lane's engine is made with: addresses, bounds, and TCP's profile. Bounds of the application's end are
//! `lane::LaneOptions`.

use core::net::IpAddr;
use core::time::Duration;
use std::sync::Arc;

use drivers::RssTable;

/// How a connection finds out how much may be in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Congestion {
    /// CUBIC (RFC 9438) with HyStart++ (RFC 9406).
    #[default]
    Cubic,
    /// DCTCP (RFC 8257): for networks whose switches mark packets, with both ends set to it.
    Dctcp,
    /// The standard's own (RFC 5681).
    NewReno,
}

impl Congestion {
    /// The algorithm's name, which is Linux's.
    pub fn name(self) -> &'static str {
        match self {
            Congestion::Cubic => "cubic",
            Congestion::Dctcp => "dctcp",
            Congestion::NewReno => "reno",
        }
    }

    /// The algorithm that people call so, by Linux's names and ours.
    pub fn by_name(name: &str) -> Option<Congestion> {
        match name {
            "cubic" => Some(Congestion::Cubic),
            "dctcp" => Some(Congestion::Dctcp),
            "newreno" | "reno" => Some(Congestion::NewReno),
            _ => None,
        }
    }
}

/// When a connection uses explicit congestion notification (RFC 3168). DCTCP always asks for it and grants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ecn {
    /// Never.
    Off,
    /// If the peer grants it, and if the peer asks for it.
    Request,
    /// If the peer asks for it.
    #[default]
    Accept,
}

impl Ecn {
    /// The mode of a number, as Linux numbers them: 0 never, 1 asked for and granted, 2 granted.
    pub fn from_number(number: u8) -> Option<Ecn> {
        match number {
            0 => Some(Ecn::Off),
            1 => Some(Ecn::Request),
            2 => Some(Ecn::Accept),
            _ => None,
        }
    }
}

/// When TCP finds out by itself which size of packets a path takes (RFC 4821). What routers tell is heeded always.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MtuProbing {
    /// Never.
    Off,
    /// Once full segments go unanswered again and again.
    #[default]
    BlackHole,
    /// From the start.
    Always,
}

impl MtuProbing {
    /// The mode of a number, as Linux numbers them in `tcp_mtu_probing`.
    pub fn from_number(number: u8) -> Option<MtuProbing> {
        match number {
            0 => Some(MtuProbing::Off),
            1 => Some(MtuProbing::BlackHole),
            2 => Some(MtuProbing::Always),
            _ => None,
        }
    }
}

/// When a listener answers a SYN without remembering it, by a cookie (RFC 4987 section 3.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SynCookies {
    /// Never: SYNs for which there is no room are dropped.
    Off,
    /// While as many handshakes are under way as may be.
    #[default]
    WhenFull,
    /// Always.
    Always,
}

impl SynCookies {
    /// The mode of a number, as Linux numbers them: 0 never, 1 when full, 2 always.
    pub fn from_number(number: u8) -> Option<SynCookies> {
        match number {
            0 => Some(SynCookies::Off),
            1 => Some(SynCookies::WhenFull),
            2 => Some(SynCookies::Always),
            _ => None,
        }
    }
}

/// TCP's settings. The defaults are those of a Linux-like host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpConfig {
    /// Selective acknowledgements (RFC 2018), used if the peer offers them too.
    pub sack: bool,
    /// Timestamps (RFC 7323), used if the peer offers them too.
    pub timestamps: bool,
    /// Window scaling (RFC 7323), used if the peer offers it too.
    pub window_scaling: bool,
    /// The shift of our windows: eight covers the 6 MiB that 4,096 frames of 1,460 bytes stand for, and more.
    pub window_scale: u8,
    /// Initial congestion window in segments (RFC 6928).
    pub initial_window: u8,
    /// RTO before the first measurement (RFC 6298 section 2). Units: microseconds.
    pub rto_initial_us: u32,
    /// Least RTO: 200 ms as Linux has it, below the one second that RFC 6298 recommends. Units: microseconds.
    pub rto_min_us: u32,
    /// Greatest RTO (RFC 6298 asks for at least 60 s). Units: microseconds.
    pub rto_max_us: u32,
    /// SYNs sent again before a connect is given up: seven last beyond the 3 minutes of RFC 9293 MUST-23.
    pub syn_retries: u8,
    /// SYN-ACKs sent again before a half-open connection is forgotten: five take 63 s.
    pub syn_ack_retries: u8,
    /// When SYNs are answered by cookies.
    pub syn_cookies: SynCookies,
    /// Data retransmitted in a row before the connection is given up (R2 of RFC 9293; at least 100 s).
    pub retries: u8,
    /// How long an acknowledgement may wait (RFC 9293 asks for less than 500 ms). Units: microseconds.
    pub delayed_ack_us: u32,
    /// Segments at a connection's start that are acknowledged at once.
    pub quick_acks: u8,
    /// How long FIN_WAIT_2 lasts after the application has closed.
    pub fin_timeout: Duration,
    /// How long TIME_WAIT lasts: twice an MSL of 30 s, as Linux has it.
    pub time_wait: Duration,
    /// Idle time before the first keepalive probe, for sockets that ask for probing (RFC 9293: two hours).
    pub keepalive_idle: Duration,
    /// Time between unanswered probes.
    pub keepalive_interval: Duration,
    /// Unanswered probes before the connection is given up.
    pub keepalive_probes: u8,
    /// Frames a stream may hold at first.
    pub receive_frames: u16,
    /// Frames a stream may hold once its buffer has tuned itself.
    pub receive_frames_max: u16,
    /// Largest segment payload we take, options included; the port's MTU caps it further.
    pub mss_max: u16,
    /// When the size of packets that a path takes is searched for.
    pub mtu_probing: MtuProbing,
    /// The size of segments that is expected to pass over IPv4 where larger ones do not: a payload and its options.
    /// 1,024 leaves room for tunnels within tunnels, and is Linux's `tcp_base_mss`. Units: bytes.
    pub base_mss: u16,
    /// Tail loss probes (RFC 8985), where SACK is used.
    pub tlp: bool,
    /// Least time before a tail loss probe: a network of microseconds is not probed at its own pace. Units: microseconds.
    pub tlp_us_min: u32,
    /// How much longer a probe waits while a single segment is in flight, whose acknowledgement the peer may delay: as long
    /// as receivers do at most, as Linux has it. Units: microseconds.
    pub tlp_ack_delay_us: u32,
    /// Challenges that a connection answers in one interval (RFC 5961 section 7), eight at most; up to seven more, by what
    /// only its two ends know. A count for each connection is no side channel to others.
    pub challenges: u8,
    /// That interval. Units: milliseconds.
    pub challenge_interval_ms: u32,
    /// Fast path on. Off, the slow path alone does the same on the wire.
    pub fast_path: bool,
    /// The congestion window starts over after an idle RTO (RFC 5681 section 4.1).
    pub slow_start_after_idle: bool,
    /// The congestion control that connections begin with.
    pub congestion: Congestion,
    /// CUBIC ends the initial slow start when round trips get longer (RFC 9406), not only by losses.
    pub hystart: bool,
    /// When explicit congestion notification is used.
    pub ecn: Ecn,
    /// The window falls less for a mark than for a loss (RFC 8511).
    pub abe: bool,
    /// With DCTCP, acknowledgements, retransmissions and probes may be marked too (RFC 8257 section 4.1): for networks whose
    /// switches drop what they cannot mark.
    pub dctcp_ect_always: bool,
}

impl Default for TcpConfig {
    fn default() -> Self {
        TcpConfig {
            sack: true,
            timestamps: true,
            window_scaling: true,
            window_scale: 8,
            initial_window: 10,
            rto_initial_us: 1_000_000,
            rto_min_us: 200_000,
            rto_max_us: 120_000_000,
            syn_retries: 7,
            syn_ack_retries: 5,
            syn_cookies: SynCookies::WhenFull,
            retries: 15,
            delayed_ack_us: 40_000,
            quick_acks: 16,
            fin_timeout: Duration::from_secs(60),
            time_wait: Duration::from_secs(60),
            keepalive_idle: Duration::from_secs(7200),
            keepalive_interval: Duration::from_secs(75),
            keepalive_probes: 9,
            receive_frames: 128,
            receive_frames_max: 4096,
            mss_max: 65_495,
            mtu_probing: MtuProbing::BlackHole,
            base_mss: 1024,
            tlp: true,
            tlp_us_min: 2_000,
            tlp_ack_delay_us: 200_000,
            challenges: 5,
            challenge_interval_ms: 1_000,
            fast_path: true,
            slow_start_after_idle: true,
            congestion: Congestion::Cubic,
            hystart: true,
            ecn: Ecn::Accept,
            abe: false,
            dctcp_ect_always: false,
        }
    }
}

/// An address of ours and the size of its subnet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Leading bits that the subnet shares.
    pub prefix: u8,
}

/// A way to what is on no subnet of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gateway {
    /// Where the way leads.
    pub destination: Address,
    /// The next hop.
    pub gateway: IpAddr,
}

/// How an interface makes the second half of its IPv6 addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Identifiers {
    /// From its Ethernet address (RFC 4291 appendix A): the same wherever it is.
    #[default]
    Station,
    /// From this secret, another for each prefix (RFC 7217): with the same secret the same after each start.
    Opaque([u64; 2]),
}

/// How an interface speaks IPv6. It does so once it has an address of IPv6, or listens to routers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv6Config {
    /// How often a new address is asked for before it is ours; zero: it is ours at once.
    pub duplicate_transmits: u8,
    /// Routers' advertisements are heard: default routes, prefixes and addresses in them.
    pub routers: bool,
    /// How addresses are made.
    pub identifiers: Identifiers,
}

impl Default for Ipv6Config {
    fn default() -> Self {
        Ipv6Config { duplicate_transmits: 1, routers: false, identifiers: Identifiers::Station }
    }
}

/// What an interface is configured with; what its port can do is [`crate::engine::Interface`]'s.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InterfaceConfig {
    /// Our addresses on it. It answers for no others, though packets for all of ours are taken from it.
    pub addresses: Vec<Address>,
    /// Routes through gateways on its subnets.
    pub gateways: Vec<Gateway>,
    /// Neighbours that are known beforehand and never age: address and Ethernet address.
    pub neighbours: Vec<(IpAddr, [u8; 6])>,
    /// How the port's RSS spreads connections over the lanes; `None`: the lanes do it themselves.
    pub rss: Option<Arc<RssTable>>,
    /// How it speaks IPv6.
    pub ipv6: Ipv6Config,
    /// Time to live, or hop limit, of what we send; `None`: 64, or for IPv6 what a router says.
    pub hop_limit: Option<u8>,
}

impl InterfaceConfig {
    /// An IPv6 address is on a subnet of this interface, or on the link itself.
    pub fn reaches(&self, host: IpAddr) -> bool {
        let IpAddr::V6(host) = host else { return false };
        let shares = |address: &Address| match address.ip {
            IpAddr::V6(ours) => {
                let beyond = 128_u32.saturating_sub(address.prefix.into());
                (u128::from(ours) ^ u128::from(host)).checked_shr(beyond).unwrap_or(0) == 0
            }
            IpAddr::V4(_) => false,
        };
        host.is_unicast_link_local() || self.addresses.iter().any(shares)
    }
}

/// What a lane's engine is made with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineConfig {
    /// The interfaces, at least one and at most [`crate::engine::INTERFACES_MAX`]. Each has a port.
    pub interfaces: Vec<InterfaceConfig>,
    /// Most sockets: listeners, streams and UDP sockets together.
    pub sockets: usize,
    /// Most half-open connections of all listeners.
    pub half_open_max: usize,
    /// Most connections in TIME_WAIT; beyond it the oldest goes.
    pub time_wait_max: usize,
    /// Most ranges queued for sending, of all streams: 64 bytes each.
    pub cells_max: usize,
    /// Frames that may wait for the port to take them.
    pub transmit_backlog_max: usize,
    /// Datagrams a UDP socket may hold for its application.
    pub datagrams_max: usize,
    /// Lanes of this runtime: at most [`crate::engine::LANES_MAX`].
    pub lanes: u8,
    /// Secret of this runtime: sequence numbers, ports, hashes. All lanes have the same.
    pub secret: [u64; 4],
    /// TCP's settings.
    pub tcp: TcpConfig,
}

impl EngineConfig {
    /// One interface with one address in a subnet, and defaults.
    pub fn new(ip: IpAddr, prefix: u8) -> EngineConfig {
        let addresses = vec![Address { ip, prefix }];
        let interface = InterfaceConfig { addresses, ..InterfaceConfig::default() };
        EngineConfig { interfaces: vec![interface], ..EngineConfig::default() }
    }
}

impl Default for EngineConfig {
    /// The bounds of a lane without an interface.
    fn default() -> EngineConfig {
        EngineConfig {
            interfaces: Vec::new(),
            sockets: 65_536,
            half_open_max: 4096,
            time_wait_max: 262_144,
            cells_max: 1 << 20,
            transmit_backlog_max: 4096,
            datagrams_max: 256,
            lanes: 1,
            secret: [0; 4],
            tcp: TcpConfig::default(),
        }
    }
}
