//! What can go wrong before the first frame: the operator's to handle, each text with its remedy.
//! What goes wrong later is counted (`port.rs`), never returned here.

use thiserror::Error;

use crate::device::DeviceNameError;

/// Why a device, its memory or DPDK could not be had. One line: the cause, then the remedy.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetupError {
    /// The device's name says nothing.
    #[error(transparent)]
    Name(#[from] DeviceNameError),
    /// The program was built without DPDK.
    #[error("`{device}` needs DPDK, and this program was built without it: build with the feature `dpdk`")]
    NoDpdk {
        /// The device.
        device: String,
    },
    /// DPDK is started once in a process.
    #[error("DPDK is started already: start it once in a process and share it")]
    EalTwice,
    /// DPDK did not like its arguments or its surroundings.
    #[error("DPDK did not start: {reason}; see the EAL arguments given, or run with verbose logs")]
    Eal {
        /// The last thing DPDK said.
        reason: String,
    },
    /// The kernel's modules cannot be looked up, as in containers that hide them.
    #[error(
        "DPDK looks for the kernel's modules in {folder}, which is not here: mount sysfs, or show the folder to the \
         container (of systemd-nspawn: --bind-ro={folder})"
    )]
    NoModules {
        /// The folder.
        folder: &'static str,
    },
    /// An argument with a zero byte in it.
    #[error("the EAL argument `{argument}` holds a zero byte: leave it out")]
    EalArgument {
        /// The argument.
        argument: String,
    },
    /// Huge pages are missing or used up.
    #[error(
        "DPDK needs {needed_mib} MiB of huge pages and {free_mib} MiB are free: run \
         `sysctl vm.nr_hugepages={suggested}` as root, or start without them (--no-huge)"
    )]
    HugePages {
        /// Units: MiB.
        needed_mib: u64,
        /// Units: MiB.
        free_mib: u64,
        /// Pages of 2 MiB that would do.
        suggested: u64,
    },
    /// A named file prefix shares memory through files, so it needs a file system for them.
    #[error(
        "huge pages are not mounted where DPDK could write files: run `mount -t hugetlbfs none /dev/hugepages` \
         as root, or name no file prefix"
    )]
    HugePageMount,
    /// A right is missing.
    #[error("no permission for `{device}`: run as root, or give the program the capability {capability}")]
    Permission {
        /// The device.
        device: String,
        /// Linux's name of the capability.
        capability: &'static str,
    },
    /// The TAP interface is there already.
    #[error(
        "an interface named `{name}` exists already: choose another name, or remove it (`ip link del {name}`)"
    )]
    InterfaceTaken {
        /// Its name.
        name: String,
    },
    /// No such interface.
    #[error(
        "there is no interface named `{name}` in this network namespace: `ip link` lists those there are"
    )]
    InterfaceMissing {
        /// Its name.
        name: String,
    },
    /// Nobody has made the socket that a memif client is to come to.
    #[error("there is no memif server at `{socket}`: start the server first, with the same path")]
    MemifServer {
        /// The socket's path.
        socket: String,
    },
    /// The kernel has no TUN/TAP, or hides it.
    #[error("{path} is missing: load the kernel's module `tun`, or pass the device into the container")]
    NoTun {
        /// Where it should be.
        path: &'static str,
    },
    /// A capture file cannot be read, or its folder is missing.
    #[error("cannot open `{path}`: {reason}; check the path and its rights")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// A file is no capture that could be received, or would be overwritten while it is read.
    #[error("{reason}")]
    Capture {
        /// The file, what is wrong with it, and the remedy.
        reason: String,
    },
    /// A port that is not DPDK's.
    #[error("cannot capture to `{path}`: only DPDK's ports are captured; leave the capture out")]
    NoCapture {
        /// The file that was asked for.
        path: String,
    },
    /// No such NIC, or one that the kernel still drives.
    #[error(
        "{address} {reason}: `dpdk-devbind.py --status` lists devices, `--bind=vfio-pci {address}` frees one"
    )]
    Pci {
        /// The address.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// DPDK made no port of the device.
    #[error("DPDK could not open `{device}`: {reason}; check the device's options and rights")]
    Device {
        /// The device.
        device: String,
        /// The last thing DPDK said.
        reason: String,
    },
    /// The device has fewer queues than lanes were asked for.
    #[error("`{device}` has {offered} queues and {asked} were asked for: use {offered} lanes or fewer")]
    Queues {
        /// The device.
        device: String,
        /// Queues asked for.
        asked: u16,
        /// Queues it has.
        offered: u16,
    },
    /// The device cannot have this MTU.
    #[error("`{device}` cannot have an MTU of {asked}: choose between {least} and {most}")]
    Mtu {
        /// The device.
        device: String,
        /// Units: bytes.
        asked: u16,
        /// Units: bytes.
        least: u16,
        /// Units: bytes.
        most: u16,
    },
    /// The receive ring would eat the pool.
    #[error("{frames} receive frames are too few for `{device}`: give it at least {needed}")]
    TooFewFrames {
        /// The device.
        device: String,
        /// Frames asked for.
        frames: usize,
        /// Frames needed.
        needed: usize,
    },
    /// DPDK's memory is used up.
    #[error(
        "no memory for {what}: reserve more huge pages (`sysctl vm.nr_hugepages=N`), give --no-huge more if you run \
         without, or ask for fewer frames"
    )]
    Memory {
        /// What it was for.
        what: String,
    },
}
