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
/// | `af_xdp:IFACE` | the same by way of AF_XDP: one queue, frames of one segment |
/// | `memif:ROLE,SOCKET[,ID]` | shared memory with another process: one of the two is `server`, the other `client` |
/// | `pcap:IN,OUT` | a capture that is read, and one that is written |
/// | `null` | frames from nowhere; what is sent is forgotten |
/// | `ring` | what is sent comes back |
/// | `vdev:TEXT` | DPDK's own text, such as `vdev:net_virtio_user0,path=/tmp/s` |
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Device {
    /// An interface of the kernel's, through AF_PACKET sockets.
    AfPacket(String),
    /// An interface of the kernel's, through AF_XDP sockets.
    AfXdp(String),
    /// Memory shared with another process.
    Memif {
        /// Which end this is.
        role: MemifRole,
        /// The socket over which the ends find each other.
        socket: String,
        /// Tells several links over one socket apart.
        id: u32,
    },
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

/// An end of a memif link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemifRole {
    /// Makes the socket, and waits on it.
    Server,
    /// Comes to a socket that is there, and brings the memory.
    Client,
}

impl fmt::Display for MemifRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MemifRole::Server => "server",
            MemifRole::Client => "client",
        })
    }
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
    /// A memif link without its role or socket, or with a socket that is no path for one.
    #[error(
        "`{text}` names no memif link: write `memif:server,SOCKET` or `memif:client,SOCKET`, perhaps with `,ID` \
         (a number); SOCKET is a path of at most {MEMIF_SOCKET_MAX} characters without commas"
    )]
    Memif {
        /// What was typed.
        text: String,
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

/// Linux's `sun_path` has 108 bytes with the closing zero.
const MEMIF_SOCKET_MAX: usize = 107;

const FORMS: &str = "a PCI address (0000:03:00.0), tap:NAME, af_packet:IFACE, af_xdp:IFACE, memif:ROLE,SOCKET[,ID], \
     pcap:IN,OUT, null, ring, or vdev:TEXT";

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
            Some(("af_xdp", name)) => interface(name).map(Device::AfXdp),
            Some(("memif", rest)) => {
                memif(rest).ok_or_else(|| DeviceNameError::Memif { text: text.to_owned() })
            }
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

fn memif(text: &str) -> Option<Device> {
    let (role, rest) = text.split_once(',')?;
    let role = match role {
        "server" => MemifRole::Server,
        "client" => MemifRole::Client,
        _ => return None,
    };
    let (socket, id) = rest.split_once(',').unwrap_or((rest, "0"));
    let id = id.parse().ok().filter(|_| id.bytes().all(|byte| byte.is_ascii_digit()))?;
    let plain = socket.bytes().all(|byte| byte.is_ascii_graphic());
    let fits = (1..=MEMIF_SOCKET_MAX).contains(&socket.len()) && plain;
    fits.then(|| Device::Memif { role, socket: socket.to_owned(), id })
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
            Device::AfXdp(name) => write!(f, "af_xdp:{name}"),
            Device::Memif { role, socket, id: 0 } => write!(f, "memif:{role},{socket}"),
            Device::Memif { role, socket, id } => write!(f, "memif:{role},{socket},{id}"),
            Device::Null => f.write_str("null"),
            Device::Pcap { input, output } => write!(f, "pcap:{input},{output}"),
            Device::Pci(address) => address.fmt(f),
            Device::Ring => f.write_str("ring"),
            Device::Tap(name) => write!(f, "tap:{name}"),
            Device::Vdev(text) => write!(f, "vdev:{text}"),
        }
    }
}

#[cfg(feature = "dpdk")]
impl Device {
    /// The kernel's interface that the device is, or makes.
    pub(crate) fn kernel_interface(&self) -> Option<&str> {
        match self {
            Device::AfPacket(name) | Device::AfXdp(name) | Device::Tap(name) => Some(name),
            Device::Vdev(text) => vdev_option(text, "iface"),
            _ => None,
        }
    }

    /// A NIC's folder, which is there while the NIC is.
    pub(crate) fn folder(&self) -> Option<std::path::PathBuf> {
        match self {
            Device::Pci(address) => Some(format!("/sys/bus/pci/devices/{address}").into()),
            _ => None,
        }
    }
}

/// The value of `key` in DPDK's text for a virtual device.
#[cfg(feature = "dpdk")]
pub(crate) fn vdev_option<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.split(',')
        .skip(1)
        .find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == key))
        .map(|(_, value)| value)
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
        let further = ["af_xdp:eth0", "memif:server,/run/a.sock", "memif:client,b,7", "10000:e1:1f.7"];
        for text in forms.iter().chain(&further).chain(&["vdev:net_tap0,iface=tp0"]) {
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
        let long = format!("memif:server,/{}", "x".repeat(107));
        let wrong = ["memif:", "memif:server", "memif:master,/a", "memif:client,", "memif:client,a,b", &long];
        for text in wrong.iter().chain(&["memif:client,a,+1", "memif:client,a b", "memif:server,a,1,2"]) {
            let error = text.parse::<Device>().expect_err(text).to_string();
            assert!(error.contains("memif:server,SOCKET") && !error.contains('\n'), "{error}");
        }
        assert_eq!("vdev:".parse::<Device>(), Err(DeviceNameError::Vdev));
    }
}
