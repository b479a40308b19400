//! The options of the program `httpd`, and whether they fit together: checked whole, before anything is touched.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use corelane::Address;

use super::{Doors, Limits, Secure, ServerOptions, Timeouts};
use crate::configuration::{Mistakes, Origins};
use crate::devices::Misfit;
use crate::options::{LaneArguments, duration};
use crate::tls::{TlsSetupError, server_config};

/// Options of which a typed one overrides the other in a file.
pub const ALTERNATIVES: [(&str, &str); 1] = [("listen", "port")];

/// Sockets a lane can name.
const SOCKETS_MAX: usize = 1 << 24;

/// Serves a folder over HTTP/1.1 on a user-level TCP/IP stack.
///
/// Arguments before a bare `--` are DPDK's own.
#[derive(Clone, Debug, Parser)]
#[command(name = "httpd", version)]
pub struct Options {
    /// What the lane needs.
    #[command(flatten)]
    pub lane: LaneArguments,

    /// Read further options from this TOML file: its keys are the long options; what is typed overrides it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Only check the options and the file, and say what is wrong
    #[arg(long)]
    pub check: bool,

    /// Folder to serve [default: the site that comes with the sources]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Where to listen, such as 10.77.0.2:80, or 0.0.0.0:80 for every address; may be given several times [default:
    /// the first address, port 80]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Vec<SocketAddr>,

    /// Where to listen for HTTPS, such as 10.77.0.2:443; may be given several times
    #[arg(long, value_name = "ADDR:PORT")]
    pub tls_listen: Vec<SocketAddr>,

    /// The server's certificate and those above it, in PEM
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Port to listen on at the first address [default: 80]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,

    /// List what is in a folder that has no index.html
    #[arg(long)]
    pub listing: bool,

    /// Note each answer in this file, in the combined log format; opened anew on SIGHUP
    #[arg(long, value_name = "FILE")]
    pub access_log: Option<PathBuf>,

    /// Show what was counted, as Prometheus reads it, at this path [default path: /metrics]
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "/metrics")]
    pub metrics: Option<String>,

    /// Show that at this address alone, with nothing else there
    #[arg(long, value_name = "ADDR:PORT")]
    pub metrics_listen: Option<SocketAddr>,

    /// Most connections of a lane; one more is answered with 503 [default: as many as --sockets]
    #[arg(long, value_name = "N")]
    pub most_connections: Option<usize>,

    /// Most requests of a connection; the last one's answer ends it [default: any number]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub most_requests: Option<u64>,

    /// Most bytes of a request's line and fields; more are answered with 431
    #[arg(long, value_name = "BYTES", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(256..=65_536))]
    pub header_bytes: u32,

    /// How long a request's head may take from its first byte; then 408
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub header_within: Duration,

    /// How long a connection may say nothing
    #[arg(long, value_name = "TIME", default_value = "75s", value_parser = duration)]
    pub idle_within: Duration,

    /// How long a client may take for 256 KiB of an answer; one that reads more slowly is dropped
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub send_within: Duration,

    /// No status line on a terminal
    #[arg(short, long)]
    pub quiet: bool,
}

impl Options {
    /// Where to listen.
    pub fn doors(&self) -> Doors {
        let mut site = self.listen.clone();
        if site.is_empty() && (self.tls_listen.is_empty() || self.port.is_some()) {
            site.push(self.lane.listen(self.port.unwrap_or(80)));
        }
        site.extend(&self.tls_listen);
        Doors { site, metrics: self.metrics_listen }
    }

    /// Where it speaks TLS, and as whom; `None`: nowhere.
    ///
    /// Errors: the files cannot be used.
    pub fn secure(&self) -> Result<Option<Secure>, TlsSetupError> {
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else { return Ok(None) };
        let config = server_config(certificate, key)?;
        Ok(Some(Secure { doors: self.tls_listen.clone(), config }))
    }

    /// What the server is to keep to.
    pub fn server(&self) -> ServerOptions {
        ServerOptions {
            limits: Limits {
                connections: self.most_connections.unwrap_or(self.lane.sockets),
                requests: self.most_requests.unwrap_or(u64::MAX),
                header_bytes: usize::try_from(self.header_bytes).unwrap_or(usize::MAX),
            },
            timeouts: Timeouts {
                idle: self.idle_within,
                head: self.header_within,
                send: self.send_within,
                ..Timeouts::default()
            },
            ..ServerOptions::default()
        }
    }

    /// Find everything that can be known to be wrong without touching a device.
    ///
    /// Errors: all of it, each in a line that names the option, the cause and the remedy.
    pub fn check(&self, origins: &Origins) -> Result<(), Mistakes> {
        let mut checker = Checker { origins, mistakes: Vec::new() };
        checker.addresses(&self.lane);
        checker.doors(self);
        checker.bounds(self);
        checker.files(self);
        checker.secure(self);
        if checker.mistakes.is_empty() { Ok(()) } else { Err(Mistakes(checker.mistakes)) }
    }
}

struct Checker<'a> {
    origins: &'a Origins,
    mistakes: Vec<String>,
}

impl Checker<'_> {
    /// `key` is wrong.
    fn wrong(&mut self, key: &str, why: impl core::fmt::Display) {
        let name = self.origins.name(key);
        self.mistakes.push(format!("{name}: {why}"));
    }

    fn addresses(&mut self, lane: &LaneArguments) {
        let mut seen = BTreeSet::new();
        for Address { ip, prefix } in lane.address.iter().map(|address| address.value.0) {
            match ip {
                IpAddr::V6(v6) => {
                    let mapped = v6.to_ipv4_mapped().is_some();
                    if v6.is_unspecified() || v6.is_multicast() || v6.is_loopback() || mapped {
                        self.wrong("address", format!("{ip} cannot be a host's; give a unicast address"));
                    }
                }
                IpAddr::V4(v4)
                    if v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() || v4.is_loopback() =>
                {
                    self.wrong("address", format!("{ip} cannot be a host's; give a unicast address"));
                }
                IpAddr::V4(v4) if prefix < 31 && is_edge(v4.to_bits(), prefix) => {
                    self.wrong(
                        "address",
                        format!("{ip}/{prefix} names the subnet or its broadcast; give one between"),
                    );
                }
                IpAddr::V4(_) => {}
            }
            if !seen.insert(ip) {
                self.wrong("address", format!("{ip} is given twice; remove one"));
            }
        }
        for gateway in lane.gateway.iter().filter(|gateway| seen.contains(*gateway)) {
            self.wrong("gateway", format!("{gateway} is an address of our own; give the router's"));
        }
        if let Err(Misfit { key, text }) = lane.devices() {
            self.wrong(key, text);
        }
    }

    fn doors(&mut self, options: &Options) {
        let Options { listen, port, metrics, metrics_listen, .. } = options;
        if let (Some(port), false) = (port, listen.is_empty()) {
            self.wrong("port", format!("{port} is given beside --listen; write it there, and remove this"));
        }
        let own = |ip: IpAddr| options.lane.address.iter().any(|address| address.value.0.ip == ip);
        let mut seen = BTreeSet::new();
        let all = listen
            .iter()
            .map(|door| ("listen", door))
            .chain(options.tls_listen.iter().map(|door| ("tls-listen", door)))
            .chain(metrics_listen.iter().map(|door| ("metrics-listen", door)));
        for (key, door) in all {
            if door.port() == 0 {
                self.wrong(key, format!("{door} has no port; give one from 1 to 65535"));
            }
            if !door.ip().is_unspecified() && !own(door.ip()) {
                self.wrong(
                    key,
                    format!("{} is not among --address; add it there, or listen at [::]", door.ip()),
                );
            }
            // IPv6's unspecified address stands for every one of both versions.
            let all = |ip: IpAddr| SocketAddr::new(ip, door.port());
            let both = [all(Ipv4Addr::UNSPECIFIED.into()), all(Ipv6Addr::UNSPECIFIED.into())];
            let twice = both.contains(door) && both.iter().any(|known| seen.contains(known));
            if !seen.insert(*door) || twice {
                self.wrong(key, format!("{door} is listened at twice; remove one"));
            }
        }
        if let (Some(door), true) = (metrics_listen, listen.is_empty())
            && options.doors().site.contains(door)
        {
            self.wrong("metrics-listen", format!("{door} is where the site is; give another port"));
        }
        match metrics {
            None if metrics_listen.is_some() => {
                self.wrong("metrics-listen", "there are no metrics; add --metrics")
            }
            Some(path)
                if !path.starts_with('/')
                    || path.contains(|c: char| "?# ".contains(c) || !c.is_ascii_graphic()) =>
            {
                self.wrong("metrics", format!("`{path}` is no path; begin with / and use no ?, # or spaces"));
            }
            _ => {}
        }
    }

    fn bounds(&mut self, options: &Options) {
        let lane = &options.lane;
        let frames = 1 << 24;
        let bounds = [
            ("sockets", lane.sockets, SOCKETS_MAX),
            ("receive-frames", lane.receive_frames, frames),
            ("descriptors", usize::from(lane.descriptors), 1 << 15),
            ("most-connections", options.most_connections.unwrap_or(1), lane.sockets.max(1)),
        ];
        for (key, value, most) in bounds {
            if value == 0 || value > most {
                self.wrong(key, format!("it cannot be {value}; choose a number from 1 to {most}"));
            }
        }
        if let Some(mtu) = lane.mtu.iter().map(|mtu| mtu.value.0).find(|&mtu| mtu < 576) {
            self.wrong("mtu", format!("{mtu} is less than every IPv4 host takes; choose at least 576"));
        }
        if lane.no_huge == Some(0) {
            self.wrong("no-huge", "nothing fits in 0 MB; choose at least 64, or leave the number out");
        }
        if let Some(core) = lane.core.iter().find(|core| **core >= 1024) {
            self.wrong("core", format!("there is no core {core}; cores are numbered below 1024"));
        }
        let times = [
            ("header-within", options.header_within),
            ("idle-within", options.idle_within),
            ("send-within", options.send_within),
        ];
        for (key, time) in times {
            if time.is_zero() || time > Duration::from_secs(86_400) {
                self.wrong(
                    key,
                    "a client needs some time, and not more than a day; write it as 10s or 500ms",
                );
            }
        }
    }

    fn secure(&mut self, options: &Options) {
        let Options { tls_listen, tls_cert, tls_key, .. } = options;
        for (key, file) in [("tls-cert", tls_cert), ("tls-key", tls_key)] {
            match (tls_listen.is_empty(), file) {
                (true, Some(_)) => self.wrong(key, "nothing listens for HTTPS; add --tls-listen"),
                (false, None) => self.wrong("tls-listen", format!("it needs a --{key}; name a PEM file")),
                _ => {}
            }
        }
        if let (false, Err(error)) = (tls_listen.is_empty(), options.secure()) {
            self.wrong("tls-cert", error);
        }
    }

    fn files(&mut self, options: &Options) {
        if let Some(root) = &options.root
            && let Err(error) = root.read_dir()
        {
            self.wrong(
                "root",
                format!("cannot serve `{}` ({error}); name a folder that can be read", root.display()),
            );
        }
        for (key, path) in [("access-log", &options.access_log), ("json-report", &options.lane.json_report)] {
            let Some(path) = path else { continue };
            let folder =
                path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if path.is_dir() || path.as_os_str().is_empty() {
                self.wrong(key, format!("`{}` is no name for a file; give one", path.display()));
            } else if !folder.is_dir() {
                self.wrong(
                    key,
                    format!("there is no folder `{}`; make it, or name another file", folder.display()),
                );
            }
        }
        if options.access_log.is_some() && options.access_log == options.lane.json_report {
            self.wrong("access-log", "this file is the report's too; name another one");
        }
    }
}

/// First or last of its subnet.
fn is_edge(bits: u32, prefix: u8) -> bool {
    let mask = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    bits & mask == 0 || bits & mask == mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::is_in;

    #[test]
    fn subnets_have_edges_and_an_inside() {
        // Shows both edges of a usual subnet, the middle, the whole Internet, and what lies in a subnet.
        let edge = |a: [u8; 4], prefix| is_edge(Ipv4Addr::from(a).to_bits(), prefix);
        assert!(edge([10, 0, 0, 0], 24) && edge([10, 0, 0, 255], 24) && !edge([10, 0, 1, 0], 16));
        assert!(!edge([10, 0, 0, 1], 24) && !edge([10, 0, 0, 1], 0) && edge([10, 0, 0, 4], 30));
        let subnet = |prefix| Address { ip: IpAddr::from([10, 0, 0, 1]), prefix };
        assert!(is_in([10, 0, 0, 9].into(), subnet(24)) && !is_in([10, 0, 1, 9].into(), subnet(24)));
        assert!(is_in([9, 9, 9, 9].into(), subnet(0)) && !is_in([10, 0, 0, 2].into(), subnet(32)));
    }
}
