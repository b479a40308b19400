//! The command line of `loadgen`: checked whole before any device is touched. What is done is `plan.rs`'s.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use corelane::{Address, Config, DeviceConfig};

use super::{Exchange, Pace, Pin, Plan, Scheme, SourceRange, Spread, Target, Tls, addresses};
use crate::devices::{Misfit, is_in};
use crate::options::LaneArguments;
use crate::tls::{SYSTEM_ROOTS, Trust, client_config};

/// Most requests of a connection that may be unanswered.
const PIPELINE_MAX: u16 = 1024;

/// Longest ping. Units: bytes.
const PING_MAX: u64 = 1 << 30;

/// Longest piece of an upload. Units: bytes.
const UPLOAD_MAX: u64 = 1 << 20;

/// Most connections of a lane.
const CONNECTIONS_MAX: u64 = 1 << 24;

/// Loads an HTTP or echo server, from a user-level TCP/IP stack, and tells how it fared.
///
/// Arguments before a bare `--` are DPDK's own.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version)]
pub struct Options {
    /// The lane it runs on.
    #[command(flatten)]
    pub lane: LaneArguments,

    /// What to load: an http or https URL (its port may be left out), or HOST:PORT of an echo server
    pub target: Target,

    /// Connections at a time
    #[arg(short, long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=CONNECTIONS_MAX))]
    pub connections: u64,

    /// Of them, those that may be opening at a time
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=CONNECTIONS_MAX))]
    pub connecting: u64,

    /// Open loop: so many requests a second, due whether or not the ones before are answered, and timed from then
    #[arg(short, long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,

    /// Spread the requests of an open loop at random, as many independent clients do
    #[arg(long, requires = "rate")]
    pub poisson: bool,

    /// Seed of what is random
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// How long requests begin, after the warm-up [default: 10s, unless --requests is given]
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,

    /// End after so many requests
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,

    /// How long the first requests do not count
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub warmup: Duration,

    /// Requests of a connection that may be unanswered
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(PIPELINE_MAX)))]
    pub pipeline: u16,

    /// A connection for each request
    #[arg(long, conflicts_with = "pipeline")]
    pub close: bool,

    /// Bytes of a ping to an echo server [default: 64]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=PING_MAX))]
    pub ping: Option<u64>,

    /// Send pieces of so many bytes to a server that answers nothing (`echo --discard`), and count what it acknowledges
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["ping", "close"], value_parser = clap::value_parser!(u64).range(1..=UPLOAD_MAX))]
    pub upload: Option<u64>,

    /// Send nothing, and count what the server sends by itself (`echo --generate`)
    #[arg(long, conflicts_with_all = ["ping", "upload", "close", "pipeline", "rate", "requests"])]
    pub download: bool,

    /// How long a connection may take to open, and an answer to come; at the end all that are missing have twice as long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,

    /// How long to try until the server can be reached, before anything counts
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub wait: Duration,

    /// Addresses that connections come from, in turn, such as 10.77.0.100-10.77.0.200; may be given several times
    #[arg(long, value_name = "FIRST-LAST")]
    pub source: Vec<SourceRange>,

    /// Take this address for a host name, such as www.example.org:10.77.0.2; may be given several times
    #[arg(long, value_name = "NAME:ADDR")]
    pub resolve: Vec<Pin>,

    /// Believe any certificate
    #[arg(long)]
    pub insecure: bool,

    /// Certificates of the authorities to believe, in PEM [default: the system's]
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub ca: Option<PathBuf>,

    /// Write the results as JSON to this file; to standard output in place of the text for `-`
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// End with status 0 whatever the errors
    #[arg(long)]
    pub allow_errors: bool,
}

/// A time such as `5s`, `250ms`, `2m` or `2` (seconds).
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => f64::NAN,
    };
    let seconds = number.parse().unwrap_or(f64::NAN) * unit;
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| format!("`{text}` is no time: write it as 5s, 500ms or 2m"))
}

/// Requests a second.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (1e-3..=1e9).contains(rate));
    rate.ok_or_else(|| format!("`{text}` is no rate: write a number from 0.001 to 1000000000"))
}

impl Options {
    /// What is to be done. Names are resolved, files read.
    ///
    /// Errors: options contradict each other, or name what is not there; one line with the remedy.
    pub fn plan(&self) -> Result<Plan, String> {
        let ours = &self.lane.address;
        let speaks = |ip: IpAddr| ours.iter().any(|ours| ours.value.0.ip.is_ipv4() == ip.is_ipv4());
        let to = self.target.resolve(&self.resolve, speaks)?;
        if !speaks(to.ip()) {
            let version = if to.is_ipv4() { "IPv4" } else { "IPv6" };
            return Err(format!(
                "{} is of {version}, and no --address is; add one, or name another",
                to.ip()
            ));
        }
        let exchange = self.exchange()?;
        if self.duration.is_some_and(|duration| duration.is_zero()) {
            return Err("--duration 0 leaves no time for a request; give a longer one".into());
        }
        let sources = addresses(&self.source)?;
        self.check_sockets()?;
        let duration = self.duration.or_else(|| self.requests.is_none().then_some(Duration::from_secs(10)));
        let pace = self.rate.map_or(Pace::Closed, |rate| Pace::Open {
            rate,
            spread: if self.poisson { Spread::Poisson } else { Spread::Fixed },
            seed: self.seed,
        });
        let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Ok(Plan {
            tls: self.tls()?,
            sources,
            connections: count(self.connections),
            connecting: count(self.connecting),
            pipeline: usize::from(self.pipeline),
            close: self.close,
            pace,
            duration: duration.map(|duration| duration + self.warmup),
            requests: self.requests,
            warmup: self.warmup,
            timeout: self.timeout,
            wait: self.wait,
            ..Plan::new(to, exchange)
        })
    }

    fn exchange(&self) -> Result<Exchange, String> {
        let length = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let named = [
            ("--ping", self.ping.is_some()),
            ("--upload", self.upload.is_some()),
            ("--download", self.download),
        ];
        let named = named.iter().find(|(_, is_given)| *is_given);
        match (self.target.scheme, named) {
            (Scheme::Tcp, _) => Ok(match self.upload {
                Some(bytes) => Exchange::upload(length(bytes)),
                None if self.download => Exchange::Download,
                None => Exchange::ping(length(self.ping.unwrap_or(64))),
            }),
            (_, None) => Ok(Exchange::get(&self.target.authority(), &self.target.path, self.close)),
            (_, Some((name, _))) => {
                let way = format!("{}:{}", self.target.host, self.target.port);
                Err(format!("{name} speaks to an echo server, not HTTP; leave it out, or write {way}"))
            }
        }
    }

    fn check_sockets(&self) -> Result<(), String> {
        let sockets = self.lane.sockets as u64;
        if self.connections > sockets {
            let asked = self.connections;
            return Err(format!("{asked} connections do not fit --sockets {sockets}; raise --sockets"));
        }
        Ok(())
    }

    fn tls(&self) -> Result<Option<Tls>, String> {
        if self.target.scheme != Scheme::Https {
            return match (self.insecure, &self.ca) {
                (false, None) => Ok(None),
                _ => Err("--insecure and --ca are of use with https:// alone; leave them out".into()),
            };
        }
        let trust = match (&self.ca, self.insecure) {
            (_, true) => Trust::Anyone,
            (Some(file), false) => Trust::File(file.clone()),
            (None, false) => Trust::File(SYSTEM_ROOTS.into()),
        };
        let config = client_config(&trust).map_err(|error| error.to_string())?;
        Ok(Some(Tls { config, name: self.target.server_name()? }))
    }

    /// The configuration these options ask for: the lane's, with the source addresses on its interface.
    ///
    /// Errors: the lane's devices and addresses do not fit together.
    pub fn config(&self, plan: &Plan, eal: Vec<String>) -> Result<Config, Misfit> {
        let mut config = self.lane.config(eal)?;
        for &ip in &plan.sources {
            if config.devices.iter().flat_map(|of| &of.addresses).any(|address| address.ip == ip) {
                continue;
            }
            // On the device in whose subnet it is, else on the first.
            let near = |of: &DeviceConfig| of.addresses.iter().any(|ours| is_in(ip, *ours));
            let at = config.devices.iter().position(near).unwrap_or(0);
            let addresses = &mut config.devices[at].addresses;
            let same = addresses.iter().find(|ours| ours.ip.is_ipv4() == ip.is_ipv4());
            let prefix = same.map_or(if ip.is_ipv4() { 24 } else { 64 }, |address| address.prefix);
            addresses.push(Address { ip, prefix });
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        let line = format!("loadgen --device null --address 10.77.0.1/24 {line}");
        Options::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())
    }

    fn plan(line: &str) -> Result<Plan, String> {
        parse(line)?.plan()
    }

    #[test]
    fn options_become_a_plan() {
        // Shows the defaults, an open loop with all it has, and the source addresses on the interface.
        let simple = plan("http://10.77.0.2/").unwrap();
        assert_eq!((simple.connections, simple.pipeline, simple.close), (64, 1, false));
        assert_eq!((simple.pace, simple.duration), (Pace::Closed, Some(Duration::from_secs(10))));
        assert!(simple.exchange.request().starts_with(b"GET / HTTP/1.1\r\nHost: 10.77.0.2\r\n"));
        let all = "-c 7 --rate 1.5e3 --poisson --seed 9 --warmup 250ms --duration 2m --timeout 3 -p 4 --ping 1000 \
             --source 10.77.0.10-10.77.0.12 --resolve h:10.77.0.2 h:7";
        let options = parse(all).unwrap();
        let all = options.plan().unwrap();
        assert_eq!(all.pace, Pace::Open { rate: 1500.0, spread: Spread::Poisson, seed: 9 });
        assert_eq!((all.to.to_string().as_str(), all.exchange.request().len()), ("10.77.0.2:7", 1000));
        assert_eq!(
            (all.duration, all.timeout),
            (Some(Duration::from_millis(120_250)), Duration::from_secs(3))
        );
        let config = options.config(&all, Vec::new()).unwrap();
        let addresses: Vec<String> =
            config.devices[0].addresses.iter().map(|address| address.ip.to_string()).collect();
        assert_eq!(addresses, ["10.77.0.1", "10.77.0.10", "10.77.0.11", "10.77.0.12"]);
        let counted = plan("-n 5 --close http://10.77.0.2/x").unwrap();
        assert_eq!((counted.duration, counted.requests, counted.close), (None, Some(5), true));
        assert!(counted.exchange.request().ends_with(b"Connection: close\r\n\r\n"));
        assert_eq!(plan("10.77.0.2:9 --upload 4096").unwrap().exchange.request().len(), 4096);
        assert_eq!(plan("10.77.0.2:19 --download").unwrap().exchange, Exchange::Download);
        assert!(plan("https://h/ --resolve h:10.0.0.1 --insecure").unwrap().tls.is_some());
    }

    #[test]
    fn mistakes_are_told_in_one_line_with_their_remedy() {
        // Shows contradictions, values out of range, and files and names that are not there.
        for (line, part) in [
            ("", "TARGET"),
            ("ftp://h/", "write it as"),
            ("http://10.77.0.2/ --ping 5", "leave it out"),
            ("http://10.77.0.2/ --upload 5", "--upload speaks to"),
            ("http://10.77.0.2/ --download", "--download speaks to"),
            ("10.77.0.2:7 --upload 5 --download", "cannot be used with"),
            ("10.77.0.2:7 --upload 1048577", "1048577 is not in"),
            ("http://10.77.0.2/ --insecure", "https:// alone"),
            ("10.77.0.2:7 --ca x", "https:// alone"),
            ("https://10.77.0.2/ --ca /nonexistent", "name a PEM file"),
            ("https://10.77.0.2/ --ca x --insecure", "cannot be used with"),
            ("http://10.77.0.2/ --close --pipeline 4", "cannot be used with"),
            ("http://10.77.0.2/ --poisson", "--rate"),
            ("http://10.77.0.2/ --rate 0", "no rate"),
            ("http://10.77.0.2/ --rate nan", "no rate"),
            ("http://10.77.0.2/ --duration 0", "longer"),
            ("http://10.77.0.2/ --duration soon", "no time"),
            ("http://10.77.0.2/ --duration -1s", ""),
            ("http://10.77.0.2/ --connections 0", "0 is not in"),
            ("http://10.77.0.2/ --connections 70000", "raise --sockets"),
            ("http://10.77.0.2/ --requests 0", "0 is not in"),
            ("http://10.77.0.2/ --pipeline 1025", "1025 is not in"),
            ("10.77.0.2:7 --ping 0", "0 is not in"),
            ("http://10.77.0.2/ --source 10.77.0.9-10.77.0.1", "no range"),
            ("http://10.77.0.2/ --resolve x", "write it as"),
            ("http://no.such.invalid/", "--resolve"),
        ] {
            let error = plan(line).err().unwrap_or_else(|| panic!("{line} is taken"));
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
