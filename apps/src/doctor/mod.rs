//! `corelane doctor`: whether a host is ready for a device, and the command that mends what is not.
//! The command line and the exit status are `bin/corelane.rs`'s. Nothing here changes the host.
//!
//! # Map
//!
//! | module | duty |
//! | --- | --- |
//! | [`read`] | what the kernel tells in files under `/sys`, `/proc` and `/dev`: files to values |
//! | [`checks`] | values to findings, no I/O |
//! | [`report`] | findings as text and as JSON |
//!
//! All reading goes through one root folder, so that any host can be made up in a test.

pub mod checks;
pub mod read;
pub mod report;
#[cfg(test)]
mod tests;

use corelane::Device;

pub use read::Root;
pub use report::{Finding, Report, Verdict};

/// What is to be examined.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The device a program is to run on; `None` asks whether the host is ready for a NIC.
    pub device: Option<Device>,
    /// The session's `SSH_CONNECTION`: client, its port, server, its port.
    pub ssh: Option<String>,
    /// DPDK's version that the programs were built with; `none` without it.
    pub dpdk: String,
}

/// What a device asks of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing was named: what a NIC asks counts, as far as there is one.
    Anything,
    /// The NIC at this address.
    Nic(String),
    /// A TAP interface.
    Tap,
    /// Packet sockets on an interface of the kernel's.
    AfPacket(String),
    /// AF_XDP sockets on an interface of the kernel's.
    AfXdp(String),
    /// Memory and files alone.
    Nothing,
}

impl Question {
    /// What the device that is asked about asks of the host.
    pub fn wanted(&self) -> Wanted {
        // The library keeps to itself what kinds of devices there are; their names tell.
        let Some(name) = self.device.as_ref().map(Device::to_string) else { return Wanted::Anything };
        match name.split_once(':') {
            Some(("tap", _)) => Wanted::Tap,
            Some(("af_packet", interface)) => Wanted::AfPacket(interface.to_owned()),
            Some(("af_xdp", interface)) => Wanted::AfXdp(interface.to_owned()),
            Some((domain, _)) if domain.len() >= 4 && domain.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                Wanted::Nic(name)
            }
            _ => Wanted::Nothing,
        }
    }
}

/// Read the host under `root` and judge it.
pub fn examine(root: &Root, question: &Question) -> Report {
    let machine = read::machine(root, question.ssh.as_deref());
    let findings = checks::all(&machine, &question.wanted(), &question.dpdk);
    Report { device: question.device.as_ref().map(Device::to_string), machine, findings }
}
