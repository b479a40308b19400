//! `struct sockaddr` to addresses and back, as bytes.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use stack::poll::{Errno, Family};

const AF_UNSPEC: u16 = 0;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// An address as C lays it out.
///
/// Errors: it is too short, or of no family there is.
pub fn parse(bytes: &[u8]) -> Result<SocketAddr, Errno> {
    let family = bytes.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes)).ok_or(Errno::Invalid)?;
    let port = || bytes.get(2..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
    match family {
        AF_INET => {
            let ip: &[u8; 4] = bytes.get(4..16).and_then(|rest| rest.first_chunk()).ok_or(Errno::Invalid)?;
            Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(*ip)), port().ok_or(Errno::Invalid)?))
        }
        AF_INET6 => {
            let ip: &[u8; 16] = bytes.get(8..24).and_then(|rest| rest.first_chunk()).ok_or(Errno::Invalid)?;
            let scope: &[u8; 4] = bytes.get(24..).and_then(|rest| rest.first_chunk()).unwrap_or(&[0; 4]);
            let (ip, port) = (Ipv6Addr::from(*ip), port().ok_or(Errno::Invalid)?);
            Ok(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, u32::from_ne_bytes(*scope))))
        }
        _ => Err(Errno::NoFamily),
    }
}

/// It names no address at all, as a connect does that forgets the peer.
pub fn is_unspecified(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|bytes| u16::from_ne_bytes(*bytes) == AF_UNSPEC)
}

/// The same backwards, for a socket of a family: IPv4 addresses are mapped for those of IPv6.
pub fn emit(address: SocketAddr, family: Family) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(28);
    match (family, address.ip()) {
        (Family::V4, IpAddr::V4(ip)) => {
            bytes.extend_from_slice(&AF_INET.to_ne_bytes());
            bytes.extend_from_slice(&address.port().to_be_bytes());
            bytes.extend_from_slice(&ip.octets());
            bytes.extend_from_slice(&[0; 8]);
        }
        (_, ip) => {
            let ip = match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            bytes.extend_from_slice(&AF_INET6.to_ne_bytes());
            bytes.extend_from_slice(&address.port().to_be_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&ip.octets());
            bytes.extend_from_slice(&[0; 4]);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_both_ways() {
        // Shows that emit and parse are inverse, IPv4 in an IPv6 socket, and what is too short.
        let v4 = "192.0.2.1:8080".parse().unwrap();
        let v6 = "[fd3d:a0b::1]:80".parse().unwrap();
        assert_eq!(parse(&emit(v4, Family::V4)), Ok(v4));
        assert_eq!(parse(&emit(v6, Family::V6)), Ok(v6));
        assert_eq!(parse(&emit(v4, Family::V6)), Ok("[::ffff:192.0.2.1]:8080".parse().unwrap()));
        assert_eq!(parse(&emit(v4, Family::V4)[..15]), Err(Errno::Invalid));
        assert_eq!(parse(&[1, 0, 0, 0]), Err(Errno::NoFamily));
    }
}
