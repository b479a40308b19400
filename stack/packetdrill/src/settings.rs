//! What the caller settles: addresses from its flags, TCP's settings from the lines of a file.

use core::net::IpAddr;
use core::time::Duration;
use std::path::PathBuf;

use stack::config::{Address, Congestion, Ecn, MtuProbing, SynCookies, TcpConfig};
use stack::poll::Buffers;

/// The variable that names the file of settings.
const FILE: &str = "PD_SYSCTL_FILE";

/// What the flags say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flags {
    /// This host's addresses.
    pub local: Vec<Address>,
    /// Its gateways, as far as they are told.
    pub gateways: Vec<IpAddr>,
    /// Largest IP packet.
    pub mtu: u16,
    /// Settings among the flags, before those of the file.
    pub settings: Vec<(String, String)>,
}

impl Flags {
    /// Read `local=192.168.0.1/16,gw=192.168.0.1,mtu=1500`; each name may come more than once, and unknown ones are
    /// settings.
    pub fn parse(text: &str) -> Flags {
        let mut flags = Flags { local: Vec::new(), gateways: Vec::new(), mtu: 1500, settings: Vec::new() };
        for part in text.split([',', ' ', ';']).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (name.trim().trim_start_matches('-'), value.trim());
            match name {
                "local" | "local_ip" | "ip" => flags.local.extend(address(value)),
                "gw" | "gateway" | "gateway_ip" => flags.gateways.extend(value.parse::<IpAddr>()),
                "mtu" => flags.mtu = value.parse().unwrap_or(flags.mtu).max(MTU_MIN),
                _ => flags.settings.push((name.to_owned(), value.to_owned())),
            }
        }
        if flags.local.is_empty() {
            flags.local.extend(address("192.168.0.1/16"));
            flags.local.extend(address("fd3d:0a0b:17d6::1/48"));
        }
        flags
    }
}

/// RFC 791's least MTU.
const MTU_MIN: u16 = 68;

fn address(text: &str) -> Option<Address> {
    let (ip, prefix) = text.split_once('/').unwrap_or((text, ""));
    let ip: IpAddr = ip.parse().ok()?;
    let (default, most) = if ip.is_ipv4() { (16, 32) } else { (64, 128) };
    let prefix = prefix.parse().ok().filter(|prefix| *prefix <= most).unwrap_or(default);
    Some(Address { ip, prefix })
}

/// TCP's settings and the sizes of buffers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// TCP's.
    pub tcp: TcpConfig,
    /// Of sockets.
    pub buffers: Buffers,
}

impl Settings {
    /// The defaults, what the flags say, and what the file says now.
    pub fn read(flags: &Flags) -> Settings {
        // Linux's default, which scripts count on: segments that nobody answers are not made smaller.
        let tcp = TcpConfig { mtu_probing: MtuProbing::Off, ..TcpConfig::default() };
        let mut settings = Settings { tcp, buffers: Buffers::default() };
        for (name, value) in &flags.settings {
            settings.set(name, value);
        }
        let file = std::env::var_os(FILE).map(PathBuf::from);
        let text = file.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        for line in text.lines() {
            if let Some((name, value)) = line.split_once('=') {
                settings.set(name, value.trim().trim_matches('"'));
            }
        }
        settings
    }

    /// One setting by its name in Linux's `net.ipv4`; one that is not known changes nothing.
    fn set(&mut self, name: &str, value: &str) {
        let name = name.trim().rsplit(['.', '/']).next().unwrap_or_default();
        if let ("tcp_congestion_control", Some(congestion)) = (name, Congestion::by_name(value.trim())) {
            self.tcp.congestion = congestion;
        }
        let words: Vec<u64> = value.split([' ', '\t', ',']).filter_map(|word| word.parse().ok()).collect();
        let Some(&first) = words.first() else { return };
        let (on, seconds) = (first != 0, Duration::from_secs(first));
        let count = u8::try_from(first).unwrap_or(u8::MAX);
        let us = |scale: u64| u32::try_from(first.saturating_mul(scale)).unwrap_or(u32::MAX);
        let tcp = &mut self.tcp;
        match name {
            "tcp_timestamps" => tcp.timestamps = on,
            "tcp_sack" => tcp.sack = on,
            "tcp_window_scaling" => tcp.window_scaling = on,
            // Not Linux's: everything by the slow path, where it is off.
            "tcp_fast_path" => tcp.fast_path = on,
            "tcp_slow_start_after_idle" => tcp.slow_start_after_idle = on,
            "tcp_syn_retries" => tcp.syn_retries = count,
            "tcp_synack_retries" => tcp.syn_ack_retries = count,
            "tcp_syncookies" => tcp.syn_cookies = SynCookies::from_number(count).unwrap_or(tcp.syn_cookies),
            "tcp_retries2" => tcp.retries = count,
            "tcp_keepalive_time" => tcp.keepalive_idle = seconds,
            "tcp_keepalive_intvl" => tcp.keepalive_interval = seconds,
            "tcp_keepalive_probes" => tcp.keepalive_probes = count,
            "tcp_fin_timeout" => tcp.fin_timeout = seconds,
            "tcp_ecn" => tcp.ecn = Ecn::from_number(count).unwrap_or(tcp.ecn),
            "tcp_mtu_probing" => tcp.mtu_probing = MtuProbing::from_number(count).unwrap_or(tcp.mtu_probing),
            "tcp_base_mss" => tcp.base_mss = u16::try_from(first).unwrap_or(tcp.base_mss),
            "tcp_init_cwnd" => tcp.initial_window = count,
            "tcp_early_retrans" => tcp.tlp = on,
            "tcp_rto_min_us" => tcp.rto_min_us = us(1),
            "tcp_rto_max_ms" => tcp.rto_max_us = us(1_000),
            "tcp_wmem" => self.buffers.send = sizes(&words, self.buffers.send),
            "tcp_rmem" => {
                self.buffers.receive = sizes(&words, self.buffers.receive);
                tcp.window_scale = window_scale(self.buffers.receive[2].max(RMEM_MAX));
            }
            _ => {}
        }
    }
}

fn sizes(words: &[u64], before: [u32; 3]) -> [u32; 3] {
    let mut sizes = before;
    for (size, word) in sizes.iter_mut().zip(words) {
        *size = u32::try_from(*word).unwrap_or(u32::MAX);
    }
    sizes
}

/// Linux's rmem_max: what a receive buffer may be asked to be, whatever tcp_rmem says.
const RMEM_MAX: u32 = 212_992;

/// The least shift by which 16 bits stand for so many bytes (RFC 7323 section 2.3).
fn window_scale(bytes: u32) -> u8 {
    let bits = u8::try_from(u32::BITS - bytes.leading_zeros()).unwrap_or(32);
    bits.saturating_sub(16).min(14)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_carry_addresses() {
        // Shows the form that packetdrill is given, several addresses, defaults, and what is none of these.
        let flags = Flags::parse("local=192.168.0.1/16,gw=192.168.0.1,mtu=1500");
        assert_eq!(flags.local, [Address { ip: "192.168.0.1".parse().unwrap(), prefix: 16 }]);
        assert_eq!((flags.gateways.len(), flags.mtu), (1, 1500));
        let flags = Flags::parse("local=10.0.0.1,local=fd3d:0a0b:17d6::1/48,mtu=9000,tcp_sack=0");
        assert_eq!((flags.local[0].prefix, flags.local[1].prefix, flags.mtu), (16, 48, 9000));
        assert_eq!(flags.settings, [("tcp_sack".to_owned(), "0".to_owned())]);
        assert_eq!(Flags::parse("").local.len(), 2);
    }

    #[test]
    fn settings_have_their_names_in_linux() {
        // Shows names with and without their folder, lists, and the window scale that tcp_rmem asks for.
        let mut settings = Settings { tcp: TcpConfig::default(), buffers: Buffers::default() };
        settings.set("net.ipv4.tcp_sack", "0");
        settings.set("tcp_rmem ", "4096\t131072 6291456");
        settings.set("tcp_wmem", "4096 16384 65536");
        settings.set("tcp_fin_timeout", "7");
        settings.set("tcp_congestion_control", "reno");
        settings.set("tcp_congestion_control", "no such");
        settings.set("tcp_ecn", "1");
        settings.set("no_such_thing", "1");
        assert_eq!((settings.tcp.congestion, settings.tcp.ecn), (Congestion::NewReno, Ecn::Request));
        assert!(!settings.tcp.sack);
        assert_eq!((settings.tcp.window_scale, settings.buffers.send), (7, [4096, 16_384, 65_536]));
        assert_eq!(settings.tcp.fin_timeout, Duration::from_secs(7));
        let scales = [65_535, 65_536, 15 << 20].map(window_scale);
        assert_eq!(scales, [0, 1, 8]);
    }
}
