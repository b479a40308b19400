//! The command line both programs share: `[EAL arguments --] [options]`. What comes of it is `program.rs`'s.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use corelane::{Config, Device, DeviceConfig, FaultSpec, SynCookies, TcpConfig};

use crate::devices::{AddressArgument, Misfit, MtuArgument, Of, Said, VlanArgument};

/// A time such as `5s`, `250ms` or `2` (seconds).
///
/// Errors: it is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').unwrap_or(text), 1000),
    };
    let count: Option<u64> = number.parse().ok();
    let milliseconds = count.and_then(|count| count.checked_mul(unit));
    milliseconds
        .map(Duration::from_millis)
        .ok_or_else(|| format!("`{text}` is no time: write it as 5s or 500ms"))
}

/// When SYN cookies are sent.
///
/// Errors: it is no such word.
fn syn_cookies(text: &str) -> Result<SynCookies, String> {
    match text {
        "off" => Ok(SynCookies::Off),
        "full" => Ok(SynCookies::WhenFull),
        "always" => Ok(SynCookies::Always),
        _ => Err(format!("`{text}` is no time for SYN cookies: write off, full or always")),
    }
}

/// Options of every program that runs a lane.
#[derive(Clone, Debug, Args)]
pub struct LaneArguments {
    /// Device: tap:NAME, af_packet:IFACE, pcap:IN,OUT, null, ring, vdev:TEXT, or a PCI address (0000:01:00.0); may be
    /// given several times
    #[arg(long, value_name = "DEVICE", required = true)]
    pub device: Vec<Device>,

    /// Address of the lane and its prefix length, such as 10.77.0.2/24 or fd77::2/64; may be given several times. With several devices
    /// it says whose it is: 10.77.0.2/24@tap:lane0
    #[arg(long, value_name = "ADDR/PREFIX[@DEVICE]", required = true)]
    pub address: Vec<Of<AddressArgument>>,

    /// Default gateway, of the device in whose subnet it is; one for each device and version of IP
    #[arg(long, value_name = "ADDR")]
    pub gateway: Vec<IpAddr>,

    /// Take addresses, prefixes and default routers of IPv6 from what routers on the link advertise
    #[arg(long)]
    pub slaac: bool,

    /// Largest IP packet, of every device or the one named [default: the device's]
    #[arg(long, value_name = "BYTES[@DEVICE]")]
    pub mtu: Vec<Of<MtuArgument>>,

    /// 802.1Q VLAN that all frames are in, of every device or the one named [default: untagged]
    #[arg(long, value_name = "ID[@DEVICE]")]
    pub vlan: Vec<Of<VlanArgument>>,

    /// Most connections
    #[arg(long, value_name = "N", default_value_t = 65_536)]
    pub sockets: usize,

    /// When SYNs are answered by cookies, which cost no memory: off, full (while as many handshakes are under way as may be),
    /// always
    #[arg(long, value_name = "WHEN", default_value = "full", value_parser = syn_cookies)]
    pub syn_cookies: SynCookies,

    /// Take every segment by the way that uncommon ones take: slower, and the same on the wire
    #[arg(long)]
    pub no_fast_path: bool,

    /// Run without huge pages, in this much ordinary memory
    #[arg(long, value_name = "MB", num_args = 0..=1, default_missing_value = "256")]
    pub no_huge: Option<u32>,

    /// Frames to receive into, of each device
    #[arg(long, value_name = "N", default_value_t = 8192)]
    pub receive_frames: usize,

    /// Receive and transmit descriptors
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub descriptors: u16,

    /// Faults of the link, such as loss=1,delay=5ms,reorder=10,duplicate=1,corrupt=1,rate=100M,seed=7 (per cent,
    /// both directions)
    #[arg(long, value_name = "SPEC")]
    pub faults: Option<FaultSpec>,

    /// Write everything the device receives and sends to this file, as pcapng; what a second device does goes to
    /// FILE with a 2 before its last dot, and so on
    #[arg(long, value_name = "FILE")]
    pub capture: Option<PathBuf>,

    /// Write the counters as JSON to this file at the end, and on SIGUSR1; `-`: a line each on standard output
    #[arg(long, value_name = "FILE")]
    pub json_report: Option<PathBuf>,

    /// Lanes, each with connections of its own [default: one for each thread]
    #[arg(long, value_name = "N")]
    pub lanes: Option<u16>,

    /// Threads that the lanes share [default: one for each core named, else for each lane]
    #[arg(long, value_name = "N")]
    pub threads: Option<u16>,

    /// Queue pairs of each device [default: one for each lane, or as many as it has]
    #[arg(long, value_name = "N")]
    pub queues: Option<u16>,

    /// Pin the threads to these cores, one each [default: wherever the system runs them]
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    pub core: Vec<u16>,

    /// Never sleep, even when there is nothing to do
    #[arg(long)]
    pub poll: bool,

    /// How long answers under way may take once told to stop
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub stop_within: Duration,

    /// Say more
    #[arg(short, long)]
    pub verbose: bool,
}

impl LaneArguments {
    /// The devices these options ask for, each with what is its own.
    ///
    /// Errors: something is for no device, or for several.
    pub fn devices(&self) -> Result<Vec<DeviceConfig>, Misfit> {
        let LaneArguments { device, address, gateway, mtu, vlan, .. } = self;
        let said = Said { devices: device, addresses: address, gateways: gateway, mtus: mtu, vlans: vlan };
        let mut devices = said.of_each()?;
        devices.iter_mut().for_each(|device| device.ipv6.routers = self.slaac);
        Ok(devices)
    }

    /// The names of the devices, as one.
    pub fn device_names(&self) -> String {
        self.device.iter().map(Device::to_string).collect::<Vec<_>>().join(", ")
    }

    /// The configuration these options ask for. `eal` are DPDK's own arguments.
    ///
    /// Errors: see `devices`.
    pub fn config(&self, eal: Vec<String>) -> Result<Config, Misfit> {
        Ok(Config {
            capture: self.capture.clone(),
            lanes: self.lanes,
            threads: self.threads,
            queues: self.queues,
            cores: self.core.clone(),
            sockets: self.sockets,
            stop_within: self.stop_within,
            receive_frames: self.receive_frames,
            descriptors: self.descriptors,
            faults: self.faults,
            tcp: TcpConfig {
                syn_cookies: self.syn_cookies,
                fast_path: !self.no_fast_path,
                ..TcpConfig::default()
            },
            no_huge_mib: self.no_huge,
            eal,
            poll: self.poll,
            verbose: self.verbose,
            ..Config::on(self.devices()?)
        })
    }

    /// Where to listen: the first address.
    pub fn listen(&self, port: u16) -> SocketAddr {
        let first = self.address.first().map(|address| address.value.0.ip);
        SocketAddr::new(first.unwrap_or(IpAddr::from([0, 0, 0, 0])), port)
    }
}

/// Split a program's arguments (without its name) into DPDK's and its own, at the first bare `--`.
pub fn split_arguments(arguments: Vec<String>) -> (Vec<String>, Vec<String>) {
    match arguments.iter().position(|word| word == "--") {
        Some(at) => {
            let mut dpdk = arguments;
            let own = dpdk.split_off(at + 1);
            dpdk.pop();
            (dpdk, own)
        }
        None => (Vec::new(), arguments),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use corelane::Address;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        lane: LaneArguments,
    }

    fn parse(line: &str) -> Result<LaneArguments, clap::Error> {
        Program::try_parse_from(line.split(' ')).map(|program| program.lane)
    }

    #[test]
    fn options_become_a_configuration() {
        // Shows the required ones, the defaults, and an optional value left out.
        let lane =
            parse("x --device tap:t0 --address 10.0.0.2/16 --no-huge --core 1 --stop-within 250ms").unwrap();
        let config = lane.config(vec!["-v".into()]).unwrap();
        assert_eq!(config.devices[0].device.to_string(), "tap:t0");
        assert_eq!(config.devices[0].addresses, [Address { ip: [10, 0, 0, 2].into(), prefix: 16 }]);
        assert_eq!(
            (config.no_huge_mib, config.cores, config.eal),
            (Some(256), vec![1], vec!["-v".to_owned()])
        );
        assert_eq!((config.sockets, config.receive_frames, config.descriptors), (65_536, 8192, 512));
        assert_eq!(config.stop_within, Duration::from_millis(250));
        assert_eq!(lane.listen(80).to_string(), "10.0.0.2:80");
        assert_eq!(config.tcp, TcpConfig::default());
        let cookies = |word| {
            let lane = parse(&format!("x --device null --address 10.0.0.2/8 --syn-cookies {word}")).unwrap();
            lane.config(Vec::new()).unwrap().tcp.syn_cookies
        };
        assert_eq!(
            ["off", "full", "always"].map(cookies),
            [SynCookies::Off, SynCookies::WhenFull, SynCookies::Always]
        );
        let slow = parse("x --device null --address 10.0.0.2/8 --no-fast-path").unwrap();
        assert!(config.tcp.fast_path && !slow.config(Vec::new()).unwrap().tcp.fast_path);
        assert_eq!(parse("x --device null --address 10.0.0.2/8 --no-huge 64").unwrap().no_huge, Some(64));
    }

    #[test]
    fn bad_options_are_refused() {
        // Shows what is missing, out of range or no value at all.
        for line in [
            "x",
            "x --device null",
            "x --address 10.0.0.2/24",
            "x --device nothing --address 10.0.0.2/24",
            "x --device null --address 10.0.0.2",
            "x --device null --address 10.0.0.2/33",
            "x --device null --address fe80::1/129",
            "x --device null --address 10.0.0.2/24 --mtu 65536",
            "x --device null --address 10.0.0.2/24 --stop-within soon",
            "x --device null --address 10.0.0.2/24 --faults loss=101",
            "x --device null --address 10.0.0.2/24 --syn-cookies never",
            "x --device null --address 10.0.0.2/24 --no-such-option",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn dpdk_has_what_stands_before_the_dashes() {
        // Shows the three cases, and that further dashes stay with the program.
        let split = |line: &str| {
            let (dpdk, own) = split_arguments(line.split_whitespace().map(str::to_owned).collect());
            (dpdk.join(" "), own.join(" "))
        };
        assert_eq!(split("--a b"), (String::new(), "--a b".to_owned()));
        assert_eq!(split("-l 0 -- --a"), ("-l 0".to_owned(), "--a".to_owned()));
        assert_eq!(split("-- --a -- b"), (String::new(), "--a -- b".to_owned()));
    }
}
