//! What the load goes to: URLs and host names, resolved before any device is touched. How it is spoken to is
//! `exchange.rs`'s.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use crate::tls::rustls::pki_types::ServerName;

/// What is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// HTTP/1.1.
    Http,
    /// HTTP/1.1 inside TLS.
    Https,
    /// Bytes that come back as they are.
    Tcp,
}

/// A target as it is written: `http://host[:port]/path`, `https://…`, or `host:port` and `tcp://host:port` for echo.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// What is spoken.
    pub scheme: Scheme,
    /// A name or an address; an IPv6 address without its brackets.
    pub host: String,
    /// Where the server listens.
    pub port: u16,
    /// Path and query, as they go into the request.
    pub path: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let wrong = |why: &str| {
            format!("`{text}` is no target ({why}): write it as http://host[:port]/path or tcp://host:port")
        };
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("tcp", rest)) => (Scheme::Tcp, rest),
            Some(_) => return Err(wrong("that protocol is not spoken here")),
            None => (Scheme::Tcp, text),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let path = path.split('#').next().unwrap_or("");
        if authority.contains('@') {
            return Err(wrong("users and passwords are not sent"));
        }
        if scheme == Scheme::Tcp && !path.is_empty() {
            return Err(wrong("there is no path without HTTP"));
        }
        let graphic = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !graphic(path) || !graphic(authority) {
            return Err(wrong("spaces and letters beyond ASCII must be escaped"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| wrong("the port is no number"))?;
        if host.is_empty() {
            return Err(wrong("there is no host in it"));
        }
        let port = match (port, scheme) {
            (Some(0), _) => return Err(wrong("there is no port 0")),
            (Some(port), _) => port,
            (None, Scheme::Http) => 80,
            (None, Scheme::Https) => 443,
            (None, Scheme::Tcp) => return Err(wrong("there is no port in it")),
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Target { scheme, host: host.to_owned(), port, path })
    }
}

/// Host and port of an authority. `None`: what should be a port is none.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    if let Some(inside) = authority.strip_prefix('[') {
        let (host, rest) = inside.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match authority.rsplit_once(':') {
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((authority, None)),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Http => write!(f, "http://{}{}", self.authority(), self.path),
            Scheme::Https => write!(f, "https://{}{}", self.authority(), self.path),
            Scheme::Tcp => write!(f, "tcp://{}", self.authority()),
        }
    }
}

impl Target {
    /// Host and port as the `Host` field has them: no port where it is the protocol's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// The name that a certificate must have.
    ///
    /// Errors: no certificate can have it.
    pub fn server_name(&self) -> Result<ServerName<'static>, String> {
        ServerName::try_from(self.host.clone()).map_err(|_| {
            format!("`{}` is no name a certificate can have; name the host another way", self.host)
        })
    }

    /// Where it is: by `pins` first, as an address, else as the system's resolver has it, before DPDK has the ports
    /// that the resolver may need.
    ///
    /// Of a name's addresses the first of a version that `speaks` knows is taken.
    ///
    /// Errors: nobody knows the name, or not as an address of such a version.
    pub fn resolve(&self, pins: &[Pin], speaks: impl Fn(IpAddr) -> bool) -> Result<SocketAddr, String> {
        let pinned = pins.iter().find(|pin| pin.name.eq_ignore_ascii_case(&self.host)).map(|pin| pin.address);
        if let Some(ip) = pinned.or_else(|| self.host.parse().ok()) {
            return Ok(SocketAddr::new(ip, self.port));
        }
        let host = &self.host;
        let found = (host.as_str(), self.port).to_socket_addrs();
        let found = found.map_err(|error| {
            format!("cannot resolve `{host}` ({error}); write its address, or give --resolve {host}:ADDR")
        })?;
        let fitting = found.into_iter().find(|found| speaks(found.ip()));
        fitting.ok_or_else(|| {
            format!(
                "`{host}` has no address of the version of --address; give one with --resolve {host}:ADDR"
            )
        })
    }
}

/// A name whose address is given: `NAME:ADDR`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pin {
    /// The name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Pin, String> {
        let pin = text.split_once(':').and_then(|(name, address)| {
            let address = address.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
            (!name.is_empty()).then(|| Pin { name: name.to_owned(), address })
        });
        pin.ok_or_else(|| {
            format!("`{text}` is no name with an address: write it as www.example.org:10.77.0.2")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    #[test]
    fn targets_are_read_as_they_are_written() {
        // Shows defaults, ports, paths with queries, fragments that are not sent, and the `Host` field of each.
        for (text, display, authority) in [
            ("http://10.0.0.1", "http://10.0.0.1/", "10.0.0.1"),
            ("http://h:80/a?b=c#d", "http://h/a?b=c", "h"),
            ("http://h:8080?x", "http://h:8080/?x", "h:8080"),
            ("https://example.org/", "https://example.org/", "example.org"),
            ("https://example.org:80/", "https://example.org:80/", "example.org:80"),
            ("10.0.0.1:7", "tcp://10.0.0.1:7", "10.0.0.1:7"),
            ("tcp://[::1]:7", "tcp://[::1]:7", "[::1]:7"),
            ("http://[fe80::1]/", "http://[fe80::1]/", "[fe80::1]"),
        ] {
            let target = target(text);
            assert_eq!((target.to_string().as_str(), target.authority().as_str()), (display, authority));
        }
    }

    #[test]
    fn what_is_no_target_is_refused() {
        // Shows one line with the way to write it for each.
        for text in [
            "",
            "http://",
            "http://:80/",
            "ftp://h/",
            "h",
            "tcp://h",
            "tcp://h:7/x",
            "http://h:x/",
            "http://h:0/",
            "http://u@h/",
            "http://h/a b",
            "http://h/\r\nX: y",
            "http://[::1/",
            "http://[::1]x/",
            "http://h:99999/",
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert!(error.contains("write it as") && !error.trim().is_empty(), "{error}");
        }
    }

    #[test]
    fn names_have_the_addresses_they_are_given() {
        // Shows that a pin wins, that an address needs no resolver, and what a name without any gets.
        let pins = ["Example.org:10.0.0.9".parse::<Pin>().unwrap()];
        let resolve =
            |text: &str| target(text).resolve(&pins, |ip| ip.is_ipv4()).map(|address| address.to_string());
        assert_eq!(resolve("http://example.ORG/"), Ok("10.0.0.9:80".to_owned()));
        assert_eq!(resolve("10.0.0.1:7"), Ok("10.0.0.1:7".to_owned()));
        assert!(resolve("http://no.such.invalid/").unwrap_err().contains("--resolve no.such.invalid:ADDR"));
        for text in ["x", ":10.0.0.1", "x:", "x:y"] {
            assert!(text.parse::<Pin>().is_err(), "{text}");
        }
    }
}
