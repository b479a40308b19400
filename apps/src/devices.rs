//! The options that belong to one device of several: `VALUE@DEVICE`. All other options are in `options.rs`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use corelane::{Address, Device, DeviceConfig};

/// A value, and the device it is for, as it was typed behind an `@`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Of<T> {
    /// The value.
    pub value: T,
    /// The device; `None`: the only one, or every one where the option says so.
    pub device: Option<String>,
}

impl<T: FromStr<Err = String>> FromStr for Of<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (value, device) = match text.split_once('@') {
            Some((_, "")) => {
                return Err(format!("`{text}` names no device behind the @: name one, or leave the @ out"));
            }
            Some((value, device)) => (value, Some(canonical(device))),
            None => (text, None),
        };
        Ok(Of { value: value.parse()?, device })
    }
}

/// A device's name as it is shown, however it was typed.
fn canonical(name: &str) -> String {
    name.parse::<Device>().map_or_else(|_| name.to_owned(), |device| device.to_string())
}

/// An address with the length of its prefix, as `10.77.0.2/24`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressArgument(pub Address);

impl FromStr for AddressArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no address with a prefix length: write it as 10.77.0.2/24");
        let (ip, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
        let prefix = prefix.parse().map_err(|_| wrong())?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        if prefix > most { Err(wrong()) } else { Ok(AddressArgument(Address { ip, prefix })) }
    }
}

/// The largest IP packet of a device. Units: bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MtuArgument(pub u16);

impl FromStr for MtuArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(MtuArgument).map_err(|_| format!("`{text}` is not in 0..=65535"))
    }
}

/// The number of an 802.1Q VLAN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VlanArgument(pub u16);

impl FromStr for VlanArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let id = text.parse().ok().filter(|id| (1..=4094).contains(id));
        id.map(VlanArgument).ok_or_else(|| format!("`{text}` is not in 1..=4094"))
    }
}

/// Options that do not fit together: what is wrong with one of them, in a line with the remedy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Misfit {
    /// The option.
    pub key: &'static str,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--{}: {}", self.key, self.text)
    }
}

impl std::error::Error for Misfit {}

/// What the options say of all devices.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// `--device`.
    pub devices: &'a [Device],
    /// `--address`.
    pub addresses: &'a [Of<AddressArgument>],
    /// `--gateway`: each is the device's in whose subnet it is.
    pub gateways: &'a [IpAddr],
    /// `--mtu`.
    pub mtus: &'a [Of<MtuArgument>],
    /// `--vlan`.
    pub vlans: &'a [Of<VlanArgument>],
}

impl Said<'_> {
    /// What they mean for each device.
    ///
    /// Errors: the first that is for no device, or for which it cannot be told.
    pub fn of_each(&self) -> Result<Vec<DeviceConfig>, Misfit> {
        let unspecified = IpAddr::from([0; 4]);
        let empty = |device: &Device| DeviceConfig {
            addresses: Vec::new(),
            ..DeviceConfig::new(device.clone(), unspecified)
        };
        let mut configs: Vec<DeviceConfig> = self.devices.iter().map(empty).collect();
        for (at, name) in self.names().enumerate() {
            if self.names().take(at).any(|before| before == name) {
                return misfit("device", format!("`{name}` is named twice; name each device once"));
            }
        }
        for of in self.addresses {
            let Address { ip, prefix } = of.value.0;
            let at = self.only(of, "address", || format!("{ip}/{prefix}"))?;
            configs[at].addresses.push(of.value.0);
        }
        if let Some(bare) = configs.iter().find(|config| config.addresses.is_empty()) {
            let name = &bare.device;
            return misfit("device", format!("`{name}` has no address; add --address ADDR/PREFIX@{name}"));
        }
        self.place_gateways(&mut configs)?;
        for of in self.mtus {
            for at in self.some(of, "mtu", of.value.0)? {
                configs[at].mtu = Some(of.value.0);
            }
        }
        for of in self.vlans {
            for at in self.some(of, "vlan", of.value.0)? {
                configs[at].vlan = Some(of.value.0);
            }
        }
        Ok(configs)
    }

    fn names(&self) -> impl Iterator<Item = String> {
        self.devices.iter().map(Device::to_string)
    }

    fn all_names(&self) -> String {
        self.names().collect::<Vec<_>>().join(", ")
    }

    fn place_gateways(&self, configs: &mut [DeviceConfig]) -> Result<(), Misfit> {
        for &gateway in self.gateways {
            // A router's address of the link alone is in no subnet of ours, and on any link.
            let link =
                matches!(gateway, IpAddr::V6(six) if six.is_unicast_link_local()) && configs.len() == 1;
            let near = |config: &&mut DeviceConfig| {
                config.addresses.iter().any(|ours| is_in(gateway, *ours))
                    || link && config.addresses.iter().any(|ours| ours.ip.is_ipv6())
            };
            let Some(config) = configs.iter_mut().find(near) else {
                let text =
                    format!("{gateway} is in no subnet of --address; give one that is reached directly");
                return misfit("gateway", text);
            };
            let same = |before: &&IpAddr| before.is_ipv4() == gateway.is_ipv4();
            if let Some(before) = config.gateways.iter().find(same) {
                let name = &config.device;
                return misfit(
                    "gateway",
                    format!("{gateway} and {before} are both for `{name}`; give one of them"),
                );
            }
            config.gateways.push(gateway);
        }
        Ok(())
    }

    /// The place of the one device that a value is for.
    fn only<T>(&self, of: &Of<T>, key: &'static str, shown: impl Fn() -> String) -> Result<usize, Misfit> {
        match (&of.device, self.devices) {
            (Some(name), _) => self.place(name, key, &shown()),
            (None, [_]) => Ok(0),
            (None, _) => {
                let (shown, names) = (shown(), self.all_names());
                misfit(
                    key,
                    format!("whose is {shown}? write {shown}@DEVICE, the device being one of: {names}"),
                )
            }
        }
    }

    /// The places of the devices that a value is for: all, if none is named.
    fn some<T>(&self, of: &Of<T>, key: &'static str, shown: u16) -> Result<Vec<usize>, Misfit> {
        match &of.device {
            Some(name) => self.place(name, key, &shown.to_string()).map(|at| vec![at]),
            None => Ok((0..self.devices.len()).collect()),
        }
    }

    fn place(&self, name: &str, key: &'static str, shown: &str) -> Result<usize, Misfit> {
        let names = self.all_names();
        let text = || format!("{shown} is for `{name}`, which is no --device; name one of: {names}");
        self.names().position(|known| known == name).ok_or_else(|| Misfit { key, text: text() })
    }
}

fn misfit<T>(key: &'static str, text: String) -> Result<T, Misfit> {
    Err(Misfit { key, text })
}

/// Whether an address is in a subnet of ours.
pub fn is_in(ip: IpAddr, subnet: Address) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()), 32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    };
    let ((a, width), (b, other)) = (bits(ip), bits(subnet.ip));
    let host_bits = u32::saturating_sub(width, u32::from(subnet.prefix));
    width == other && (a ^ b).checked_shr(host_bits).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::LaneArguments;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        lane: LaneArguments,
    }

    fn devices(line: &str) -> Result<Vec<DeviceConfig>, String> {
        let words = ["x"].into_iter().chain(line.split(' '));
        let program = Program::try_parse_from(words).map_err(|error| error.to_string())?;
        program.lane.devices().map_err(|misfit| misfit.to_string())
    }

    const TWO: &str =
        "--device tap:a --device 03:00.0 --address 10.0.0.1/24@tap:a --address 10.1.0.1/16@03:00.0";

    #[test]
    fn each_device_gets_what_is_its_own() {
        // Shows addresses by name, gateways by their subnets, and what is for one device and for all.
        let line = "--gateway 10.1.0.9 --gateway 10.0.0.9 --mtu 9000@0000:03:00.0 --vlan 7";
        let two = devices(&format!("{TWO} {line} --address 10.0.5.1/24@tap:a")).unwrap();
        let ips = |config: &DeviceConfig| {
            config.addresses.iter().map(|address| address.ip.to_string()).collect::<Vec<_>>().join(" ")
        };
        let gateway = |config: &DeviceConfig| config.gateways.first().map(|gateway| gateway.to_string());
        assert_eq!((ips(&two[0]), ips(&two[1])), ("10.0.0.1 10.0.5.1".into(), "10.1.0.1".into()));
        assert_eq!((gateway(&two[0]), gateway(&two[1])), (Some("10.0.0.9".into()), Some("10.1.0.9".into())));
        assert_eq!((two[0].mtu, two[1].mtu, two[0].vlan, two[1].vlan), (None, Some(9000), Some(7), Some(7)));
        let one =
            devices("--device tap:a --address 10.0.0.1/24 --address 10.0.0.2/24@tap:a --mtu 1400").unwrap();
        let both =
            "--device tap:a --address 10.0.0.1/24 --address fd00::1/64 --gateway fe80::9 --gateway 10.0.0.9";
        let both = devices(both).unwrap();
        assert_eq!(both[0].gateways, ["fe80::9", "10.0.0.9"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        assert_eq!((ips(&one[0]), one[0].mtu), ("10.0.0.1 10.0.0.2".into(), Some(1400)));
    }

    #[test]
    fn what_is_for_no_device_is_told_in_one_line() {
        // Shows each way in which devices and what is theirs do not fit together.
        for (line, said) in [
            ("--device tap:b", "--device: `tap:b` has no address; add --address ADDR/PREFIX@tap:b"),
            ("--device 0000:03:00.0", "--device: `0000:03:00.0` is named twice"),
            ("--address 10.0.0.7/24", "whose is 10.0.0.7/24? write 10.0.0.7/24@DEVICE"),
            (
                "--address 10.2.0.1/24@tap:c",
                "is for `tap:c`, which is no --device; name one of: tap:a, 0000:03:00.0",
            ),
            ("--address 10.2.0.1/24@", "names no device behind the @"),
            ("--mtu 1400@null", "--mtu: 1400 is for `null`, which is no --device"),
            ("--vlan 4095@tap:a", "not in 1..=4094"),
            ("--gateway 10.9.0.1", "--gateway: 10.9.0.1 is in no subnet of --address"),
            ("--gateway 10.0.0.8 --gateway 10.0.0.9", "10.0.0.9 and 10.0.0.8 are both for `tap:a`"),
        ] {
            let text = devices(&format!("{TWO} {line}")).unwrap_err();
            assert!(text.contains(said), "{line}: {text}");
        }
    }
}
