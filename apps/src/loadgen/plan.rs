//! What is to be done: to whom, what is said, how often, for how long. How it is written is `options.rs`'s.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Spread;
use crate::tls::rustls::ClientConfig;
use crate::tls::rustls::pki_types::ServerName;

/// What is said, and what must come back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Exchange {
    /// These bytes, which come back as they are.
    Ping(Bytes),
    /// This request, which is answered by HTTP/1.x.
    Http(Bytes),
    /// This piece, which is acknowledged and never answered.
    Upload(Bytes),
    /// Nothing: bytes come by themselves, and 64 KiB of them count as an answer.
    Download,
}

/// Bytes of a download that count as one answer.
pub const DOWNLOAD_CHUNK: usize = 64 * 1024;

/// Bytes that go inside their op, copied: `Lane::submit` says so.
const INSIDE_MAX: usize = 64;

impl Exchange {
    /// Bytes that differ from place to place.
    pub fn ping(length: usize) -> Exchange {
        Exchange::Ping(pattern(length))
    }

    /// The same, for nobody to send back.
    pub fn upload(length: usize) -> Exchange {
        Exchange::Upload(pattern(length))
    }

    /// A GET.
    pub fn get(authority: &str, path: &str, close: bool) -> Exchange {
        let fields = if close { "Connection: close\r\n" } else { "" };
        let agent = concat!("User-Agent: corelane-loadgen/", env!("CARGO_PKG_VERSION"));
        let text =
            format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\n{agent}\r\nAccept: */*\r\n{fields}\r\n");
        Exchange::Http(text.into())
    }

    /// What a request sends.
    pub fn request(&self) -> &[u8] {
        match self {
            Exchange::Ping(bytes) | Exchange::Http(bytes) | Exchange::Upload(bytes) => bytes,
            Exchange::Download => &[],
        }
    }

    /// One request, of a burst of them. One that goes inside its op is the process's for good: nobody counts who refers to it.
    pub fn single(&self, burst: &Bytes) -> Bytes {
        let request = self.request();
        match request.len() {
            0..=INSIDE_MAX => Bytes::from_static(Box::leak(Box::from(request))),
            length => burst.slice(..length),
        }
    }
}

fn pattern(length: usize) -> Bytes {
    let byte = |at: usize| u8::try_from((at / 7 + at * 3) % 251).unwrap_or(0);
    (0..length).map(byte).collect::<Vec<u8>>().into()
}

/// TLS around the exchange.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Whom to believe.
    pub config: Arc<ClientConfig>,
    /// Who the server must be.
    pub name: ServerName<'static>,
}

/// When the next request begins.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pace {
    /// When the one before is answered.
    Closed,
    /// When it is due, whatever became of the ones before.
    Open {
        /// Requests a second, of all lanes.
        rate: f64,
        /// How they are spread.
        spread: Spread,
        /// Of what is random.
        seed: u64,
    },
}

/// What is to be done, by all lanes or by one.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the server listens.
    pub to: SocketAddr,
    /// What is said.
    pub exchange: Exchange,
    /// Inside TLS.
    pub tls: Option<Tls>,
    /// Where connections come from, in turn. Empty: the address that the route has.
    pub sources: Vec<IpAddr>,
    /// Connections at a time. At least one.
    pub connections: usize,
    /// Of them, those that may be opening at a time. At least one.
    pub connecting: usize,
    /// Requests of a connection that may be unanswered. At least one.
    pub pipeline: usize,
    /// A connection for each request.
    pub close: bool,
    /// When requests begin.
    pub pace: Pace,
    /// For how long requests begin, the warm-up included; `None`: until there were enough.
    pub duration: Option<Duration>,
    /// How many requests count; `None`: as many as the time allows.
    pub requests: Option<u64>,
    /// How long the first requests do not count.
    pub warmup: Duration,
    /// How long a connection may take to open, and an answer to come.
    pub timeout: Duration,
    /// How long to try until the server can be reached.
    pub wait: Duration,
}

impl Plan {
    /// One request after the other on one connection.
    pub fn new(to: SocketAddr, exchange: Exchange) -> Plan {
        Plan {
            to,
            exchange,
            tls: None,
            sources: Vec::new(),
            connections: 1,
            connecting: 256,
            pipeline: 1,
            close: false,
            pace: Pace::Closed,
            duration: None,
            requests: None,
            warmup: Duration::ZERO,
            timeout: Duration::from_secs(10),
            wait: Duration::ZERO,
        }
    }

    /// The part of lane `index` of `lanes`: so many of the connections, requests and openings. The rate is divided
    /// by [`Schedule`](super::Schedule).
    pub fn part(&self, index: usize, lanes: usize) -> Plan {
        let share = |whole: usize| whole / lanes + usize::from(index < whole % lanes);
        let (index_wide, lanes_wide) = (index as u64, lanes as u64);
        let requests =
            self.requests.map(|whole| whole / lanes_wide + u64::from(index_wide < whole % lanes_wide));
        Plan {
            connections: share(self.connections).max(1),
            connecting: share(self.connecting).max(1),
            requests,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_whole() {
        // Shows that connections and requests are divided without remainder, and that no lane is without a connection.
        let mut plan = Plan::new(([10, 0, 0, 1], 80).into(), Exchange::ping(1));
        (plan.connections, plan.requests) = (10, Some(11));
        let parts: Vec<Plan> = (0..3).map(|index| plan.part(index, 3)).collect();
        assert_eq!(parts.iter().map(|part| part.connections).collect::<Vec<_>>(), [4, 3, 3]);
        assert_eq!(parts.iter().filter_map(|part| part.requests).collect::<Vec<_>>(), [4, 4, 3]);
        plan.connections = 1;
        assert_eq!(plan.part(1, 2).connections, 1);
    }
}
