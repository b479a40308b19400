//! What our programs are measured beside: an echo server and its client on Linux's own TCP, one thread each, on `epoll`.
//!
//! | file | duty |
//! | --- | --- |
//! | `server` | answers: echo, discard, or bytes without end |
//! | `client` | connections, what goes out on them and when |
//! | `found` | what the client found, as JSON |
#![forbid(unsafe_code)]

mod client;
mod found;
mod server;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;

/// Longest read, and longest write of bytes that came. Units: bytes.
const CHUNK: usize = 64 * 1024;

/// An echo server on Linux's TCP, and the client that loads it.
#[derive(Parser, Debug)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    side: Side,
}

#[derive(Subcommand, Debug)]
enum Side {
    /// Serve until a signal comes
    Serve(Serve),
    /// Load a server, and tell as JSON how it fared
    Load(Load),
}

#[derive(Args, Debug)]
struct Serve {
    /// Where to listen
    address: SocketAddr,
    /// Drop what arrives
    #[arg(long)]
    discard: bool,
    /// Send pieces of so many bytes without end
    #[arg(long, value_name = "BYTES", conflicts_with = "discard", value_parser = piece)]
    generate: Option<usize>,
}

#[derive(Args, Clone, Debug)]
struct Load {
    /// Where the server listens
    address: SocketAddr,
    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    connections: u32,
    /// Bytes of a ping
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = piece)]
    ping: usize,
    /// Pings of a connection that may be unanswered
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pipeline: u16,
    /// A connection for each ping
    #[arg(long, conflicts_with = "pipeline")]
    close: bool,
    /// Send pieces of so many bytes, and await nothing
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["close", "pipeline"], value_parser = piece)]
    upload: Option<usize>,
    /// Send nothing, and count what comes
    #[arg(long, conflicts_with_all = ["close", "pipeline", "upload"])]
    download: bool,
    /// How long. Units: seconds
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    duration: Duration,
}

fn piece(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok().filter(|bytes| (1..=1 << 20).contains(bytes));
    bytes.ok_or_else(|| format!("`{text}` is no size: write a number from 1 to 1048576"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.01..=3600.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("`{text}` is no time: write seconds from 0.01 to 3600"))
}

/// A set of descriptors, and the events that they have.
struct Poll {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poll {
    fn new() -> io::Result<Poll> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Poll { epoll, events: Vec::with_capacity(512) })
    }

    fn add(&self, fd: &OwnedFd, token: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token), flags)?)
    }

    fn change(&self, fd: &OwnedFd, token: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(token), flags)?)
    }

    /// Wait until there are events, which lie in `events` then, or the time is up.
    fn wait(&mut self, within: Option<Duration>) -> io::Result<()> {
        let within = within.and_then(|within| within.try_into().ok());
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), within.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn main() -> ExitCode {
    let done = match Options::parse().side {
        Side::Serve(options) => server::serve(&options),
        Side::Load(options) => client::load(&options).map(|found| println!("{found}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("epoll: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    /// Loads a server of this manner, and returns what was found.
    fn found(manner: &str, words: &str) -> serde_json::Value {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let parse = |line: String| Options::try_parse_from(line.split_whitespace()).unwrap().side;
        let Side::Serve(serve) = parse(format!("epoll serve {free} {manner}")) else { panic!("a server") };
        // It ends with the process.
        thread::spawn(move || server::serve(&serve));
        let Side::Load(load) = parse(format!("epoll load {free} --duration 0.05 {words}")) else {
            panic!("a client")
        };
        let began = Instant::now();
        while TcpStream::connect(free).is_err() {
            assert!(began.elapsed() < Duration::from_secs(10), "nobody listens");
            thread::yield_now();
        }
        serde_json::from_str(&client::load(&load).unwrap()).unwrap()
    }

    #[test]
    fn pings_come_back_and_bytes_go_one_way() {
        // Shows each manner of client and server, pings longer than a read, and that there is no error.
        for words in [
            "--connections 3",
            "--connections 2 --pipeline 16",
            "--ping 200000",
            "--ping 100 --pipeline 1024",
            "--connections 3 --close",
        ] {
            let found = found("", words);
            assert!(found["requests"].as_u64() > Some(0), "{words}: {found}");
            assert_eq!(
                (found["errors"].as_u64(), &found["sent_bytes"]),
                (Some(0), &found["received_bytes"]),
                "{words}"
            );
        }
        let up = found("--discard", "--connections 2 --upload 4096");
        assert!(up["sent_bytes"].as_u64() > Some(4096) && up["errors"] == 0, "{up}");
        let down = found("--generate 4096", "--connections 2 --download");
        assert!(down["received_bytes"].as_u64() > Some(4096) && down["errors"] == 0, "{down}");
    }
}
