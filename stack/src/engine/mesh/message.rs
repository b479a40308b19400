//! What lanes tell each other. What comes of it is in `mesh.rs`.

use core::net::{IpAddr, SocketAddr};

use drivers::Frame;

use crate::socket::NetworkChange;
use crate::tcp::isn::Tuple;
use crate::wire::arp;

/// What one lane tells another.
#[derive(Debug)]
pub enum Message {
    /// A frame that is yours, or more likely yours than mine.
    Frame {
        /// As it came from the port.
        frame: Frame,
        /// By which interface.
        interface: u8,
        /// Lanes it has left.
        hops: u8,
    },
    /// An IP datagram that was joined from fragments, without a link header.
    Datagram {
        /// From the IP header on.
        frame: Frame,
        /// The interface by which its last piece came.
        interface: u8,
        /// Lanes it has left.
        hops: u8,
    },
    /// Send this: I have no queue there.
    Transmit {
        /// The frame.
        frame: Frame,
        /// By which interface.
        interface: u8,
    },
    /// An ARP packet that concerns all of us.
    Neighbour {
        /// The packet.
        packet: arp::Packet,
        /// The interface it came by.
        interface: u8,
        /// It changed something where it came, so its sender is to be known here too.
        good: bool,
    },
    /// A message of neighbour discovery, which concerns all of us.
    Discovery {
        /// A copy of the frame.
        frame: Frame,
        /// The interface it came by.
        interface: u8,
    },
    /// A connection that is at home with you lives with me from now on, or no longer.
    Claim {
        /// The connection.
        tuple: Tuple,
        /// It lives with me.
        lives: bool,
    },
    /// Somebody listens here, or no longer.
    Listener {
        /// On which address.
        address: SocketAddr,
        /// He does.
        open: bool,
    },
    /// Lane zero has changed addresses or routes: do the same.
    Network(NetworkChange),
    /// The way to a destination takes packets of another size.
    PathMtu {
        /// The destination.
        destination: IpAddr,
        /// Its largest packet. Units: bytes, with IP header.
        mtu: u16,
        /// Our own packets have shown it, and no router.
        found: bool,
        /// Streams that live are to hear of it.
        sure: bool,
    },
    /// I answer SYNs by cookies.
    Cookies,
    /// A UDP socket is bound here, or no longer.
    Udp {
        /// To which address.
        address: SocketAddr,
        /// It is.
        open: bool,
    },
    /// A UDP socket here has a peer, or no longer, whose datagrams may come to you.
    Pair {
        /// Both ends.
        tuple: Tuple,
        /// It has.
        lives: bool,
    },
}
