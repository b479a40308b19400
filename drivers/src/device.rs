//! Names of devices that a person can type. Opening one is `open.rs`; DPDK's side of it is `dpdk/port.rs`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A device, as named on a command line or in a configuration.
///
/// | typed | is |
/// | --- | --- |
/// | `0000:03:00.0`, `03:00.0` | the NIC at this PCI address, bound to a driver for user space |
/// | `tap:NAME` | a TAP interface that is made, and goes with the program |
/// | `af_packet:IFACE` | an interface of the kernel's, shared with it |
/// | `pcap:IN,OUT` | a capture that is read, and one that is written |
/// | `null` | frames from nowhere; what is sent is forgotten |
/// | `ring` | what is sent comes back |
/// | `vdev:TEXT` | DPDK's own text, such as `vdev:net_memif0,role=client` |
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Device {
    /// An interface of the kernel's, through AF_PACKET sockets.
    AfPacket(String),
    /// Frames from nowhere, to nowhere.
    Null,
    /// Frames read from one capture file and written to another.
    Pcap {
        /// The file that is read.
        input: String,
        /// The file that is written.
        output: String,
    },
    /// A NIC.
    Pci(PciAddress),
    /// A loop.
    Ring,
    /// A TAP interface.
    Tap(String),
    /// A virtual device in DPDK's own words.
    Vdev(String),
}

/// Where a NIC sits: domain, bus, device and function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PciAddress {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

/// Why a text names no device. The operator's to handle.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceNameError {
    /// An interface's name the kernel would not take.
    #[error("`{name}` is no interface name: use 1 to 15 characters without spaces, `/` and `:`")]
    Interface {
        /// What was typed.
        name: String,
    },
    /// A capture without its second file, or with a comma too many.
    #[error("`{text}` names no captures: write `pcap:IN,OUT`, two file names without commas")]
    Pcap {
        /// What was typed.
        text: String,
    },
    /// Nothing known.
    #[error("`{text}` is no device: name one as {FORMS}")]
    Unknown {
        /// What was typed.
        text: String,
    },
    /// DPDK's text is missing.
    #[error("`vdev:` needs DPDK's text behind it, such as `vdev:net_tap0,iface=tap0`")]
    Vdev,
}

const FORMS: &str =
    "a PCI address (0000:03:00.0), tap:NAME, af_packet:IFACE, pcap:IN,OUT, null, ring, or vdev:TEXT";

impl FromStr for Device {
    type Err = DeviceNameError;

    fn from_str(text: &str) -> Result<Device, DeviceNameError> {
        if let Ok(address) = text.parse() {
            return Ok(Device::Pci(address));
        }
        match text.split_once(':') {
            None if text == "null" => Ok(Device::Null),
            None if text == "ring" => Ok(Device::Ring),
            Some(("tap", name)) => interface(name).map(Device::Tap),
            Some(("af_packet", name)) => interface(name).map(Device::AfPacket),
            Some(("pcap", files)) => pcap(text, files),
            Some(("vdev", rest)) if rest.starts_with(|first: char| first.is_ascii_alphabetic()) => {
                Ok(Device::Vdev(rest.to_owned()))
            }
            Some(("vdev", _)) => Err(DeviceNameError::Vdev),
            _ => Err(DeviceNameError::Unknown { text: text.to_owned() }),
        }
    }
}

/// A name that Linux takes for an interface (`dev_valid_name`) and that DPDK's arguments can carry.
fn interface(name: &str) -> Result<String, DeviceNameError> {
    // Linux's IFNAMSIZ is 16, with the closing zero.
    let fits = (1..16).contains(&name.len()) && name != "." && name != "..";
    let plain = name.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:,=".contains(&byte));
    if fits && plain {
        Ok(name.to_owned())
    } else {
        Err(DeviceNameError::Interface { name: name.to_owned() })
    }
}

fn pcap(text: &str, files: &str) -> Result<Device, DeviceNameError> {
    match files.split_once(',') {
        Some((input, output)) if !input.is_empty() && !output.is_empty() && !output.contains(',') => {
            Ok(Device::Pcap { input: input.to_owned(), output: output.to_owned() })
        }
        _ => Err(DeviceNameError::Pcap { text: text.to_owned() }),
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::AfPacket(name) => write!(f, "af_packet:{name}"),
            Device::Null => f.write_str("null"),
            Device::Pcap { input, output } => write!(f, "pcap:{input},{output}"),
            Device::Pci(address) => address.fmt(f),
            Device::Ring => f.write_str("ring"),
            Device::Tap(name) => write!(f, "tap:{name}"),
            Device::Vdev(text) => write!(f, "vdev:{text}"),
        }
    }
}

impl FromStr for PciAddress {
    type Err = DeviceNameError;

    /// `DDDD:BB:DD.F`, or without the domain; hexadecimal, as lspci prints it.
    fn from_str(text: &str) -> Result<PciAddress, DeviceNameError> {
        parse_pci(text).ok_or_else(|| DeviceNameError::Unknown { text: text.to_owned() })
    }
}

fn parse_pci(text: &str) -> Option<PciAddress> {
    let hex = |digits: &str, most: usize| {
        let fits = (1..=most).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        fits.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    };
    let (rest, function) = text.rsplit_once('.')?;
    let (rest, device) = rest.rsplit_once(':')?;
    let (domain, bus) = rest.rsplit_once(':').unwrap_or(("0", rest));
    let function = u8::try_from(hex(function, 1)?).ok().filter(|function| *function < 8)?;
    let device = u8::try_from(hex(device, 2)?).ok().filter(|device| *device < 32)?;
    let bus = u8::try_from(hex(bus, 2)?).ok()?;
    Some(PciAddress { domain: hex(domain, 8)?, bus, device, function })
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PciAddress { domain, bus, device, function } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read_and_printed_alike() {
        // Shows that what is printed can be typed again, and that a PCI address gets its domain.
        let forms = ["tap:tp0", "af_packet:eth0.1", "pcap:a.pcap,/tmp/b", "null", "ring", "0000:03:00.1"];
        for text in forms.iter().chain(&["vdev:net_tap0,iface=tp0", "10000:e1:1f.7"]) {
            assert_eq!(text.parse::<Device>().map(|device| device.to_string()), Ok((*text).to_owned()));
        }
        assert_eq!("3:0.0".parse::<Device>().map(|device| device.to_string()), Ok("0000:03:00.0".to_owned()));
    }

    #[test]
    fn what_is_no_device_is_told_with_the_forms() {
        // Shows one line with the remedy for each way of being wrong.
        for text in ["", "eth0", "tapp:x", "0000:03:20.0", "03:00.8", "null:", "::.", "g:0.0", "123:00.0"] {
            let error = text.parse::<Device>().expect_err(text).to_string();
            assert!(error.contains("af_packet:IFACE") && !error.contains('\n'), "{error}");
        }
        for text in ["tap:", "tap:sixteen-letters-", "tap:a b", "tap:a,mac=1", "af_packet:a/b", "tap:.."] {
            let error = text.parse::<Device>().expect_err(text).to_string();
            assert!(error.contains("1 to 15 characters"), "{error}");
        }
        for text in ["pcap:", "pcap:a", "pcap:a,", "pcap:,b", "pcap:a,b,c"] {
            assert!(matches!(text.parse::<Device>(), Err(DeviceNameError::Pcap { .. })), "{text}");
        }
        assert_eq!("vdev:".parse::<Device>(), Err(DeviceNameError::Vdev));
    }
}
