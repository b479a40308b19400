//! The kernel's interface below a port: what it is called, whether it is still there, what it is told; and what a program
//! may do. Ports themselves are `dpdk/port.rs`'s and `tap/`'s.

use std::ffi::{CStr, CString, c_char, c_short};
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::{fs, io};

use crate::device::Device;
use crate::setup::SetupError;

/// A capability: Linux's number (capability.h) and name.
pub(crate) type Capability = (u32, &'static str);

/// Making interfaces, and changing them.
pub(crate) const NET_ADMIN: Capability = (12, "CAP_NET_ADMIN");

/// An interface, watched from outside DPDK: some of its drivers call a link «up» whose interface has gone.
pub(crate) struct Interface {
    /// Of the namespace that the interface is in, whichever the asking thread is in.
    socket: UdpSocket,
    index: i32,
}

/// The flag of an interface that is up.
#[expect(clippy::cast_possible_truncation, reason = "the first of its bits")]
const UP: c_short = libc::IFF_UP as c_short;

/// State of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Frames can pass.
    Up,
    /// They cannot.
    Down,
    /// There is no such interface any more. One made anew under the same name is another.
    Gone,
}

impl Interface {
    /// The interface of this name in this thread's namespace.
    pub fn find(name: &str) -> Option<Interface> {
        let socket = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("0.0.0.0:0")).ok()?;
        let mut request = request(name)?;
        if !ask(&socket, libc::SIOCGIFINDEX, &mut request) {
            return None;
        }
        // SAFETY: on success the kernel wrote this variant.
        let index = unsafe { request.ifr_ifru.ifru_ifindex };
        Some(Interface { socket, index })
    }

    /// Its largest IP packet. Units: bytes.
    #[cfg(any(test, feature = "dpdk"))]
    pub fn mtu(&self) -> Option<u16> {
        let mut request = request(&self.name()?)?;
        if !ask(&self.socket, libc::SIOCGIFMTU, &mut request) {
            return None;
        }
        // SAFETY: on success the kernel wrote this variant.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        Some(u16::try_from(mtu).unwrap_or(u16::MAX))
    }

    pub fn state(&self) -> State {
        let Some(mut request) = self.name().and_then(|name| request(&name)) else { return State::Gone };
        if !ask(&self.socket, libc::SIOCGIFFLAGS, &mut request) {
            return State::Gone;
        }
        // SAFETY: on success the kernel wrote this variant.
        let flags = i32::from(unsafe { request.ifr_ifru.ifru_flags });
        let needed = libc::IFF_UP | libc::IFF_RUNNING;
        if flags & needed == needed { State::Up } else { State::Down }
    }

    /// Brings it up.
    pub fn bring_up(&self) -> io::Result<()> {
        let mut request = self.request()?;
        if !ask(&self.socket, libc::SIOCGIFFLAGS, &mut request) {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: on success the kernel wrote this variant.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        request.ifr_ifru.ifru_flags = flags | UP;
        self.tell(libc::SIOCSIFFLAGS, request)
    }

    /// Sets its MTU. Units: bytes.
    pub fn set_mtu(&self, mtu: u16) -> io::Result<()> {
        let mut request = self.request()?;
        request.ifr_ifru.ifru_mtu = mtu.into();
        self.tell(libc::SIOCSIFMTU, request)
    }

    /// Sets how many frames wait for whoever takes them.
    pub fn set_queue_frames(&self, frames: u16) -> io::Result<()> {
        let mut request = self.request()?;
        request.ifr_ifru.ifru_metric = frames.into();
        self.tell(libc::SIOCSIFTXQLEN, request)
    }

    fn request(&self) -> io::Result<libc::ifreq> {
        self.name().and_then(|name| request(&name)).ok_or_else(io::Error::last_os_error)
    }

    fn tell(&self, what: libc::Ioctl, mut request: libc::ifreq) -> io::Result<()> {
        if ask(&self.socket, what, &mut request) { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// What it is called now.
    fn name(&self) -> Option<String> {
        let mut request = request("")?;
        request.ifr_ifru.ifru_ifindex = self.index;
        if !ask(&self.socket, libc::SIOCGIFNAME, &mut request) {
            return None;
        }
        let name = request.ifr_name.map(|byte| byte.to_ne_bytes()[0]);
        Some(CStr::from_bytes_until_nul(&name).ok()?.to_str().ok()?.to_owned())
    }
}

/// There is an interface of this name. Asks the kernel rather than /sys, which may show another namespace's.
pub(crate) fn exists(name: &str) -> bool {
    let Ok(name) = CString::new(name) else { return false };
    // SAFETY: the name is a C string.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    index != 0
}

/// Checks that this program has a capability which a device needs.
pub(crate) fn check_capability(device: &Device, (number, capability): Capability) -> Result<(), SetupError> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if effective_capabilities(&status).is_none_or(|held| held >> number & 1 == 1) {
        return Ok(());
    }
    Err(SetupError::Permission { device: device.to_string(), capability })
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Makes `file`, which is the kernel's for TUN/TAP, a queue of the interface `name`, with these of its flags.
pub(crate) fn attach_tun(file: impl AsFd, name: &str, flags: c_short) -> io::Result<()> {
    let mut request = request(name).ok_or(io::ErrorKind::InvalidInput)?;
    request.ifr_ifru.ifru_flags = flags;
    // SAFETY: the question reads and writes a request of this size.
    let status =
        unsafe { libc::ioctl(file.as_fd().as_raw_fd(), libc::TUNSETIFF, std::ptr::from_mut(&mut request)) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Says which offloads (`TUN_F_…`) whoever reads from such a file takes.
pub(crate) fn set_tun_offloads(file: impl AsFd, offloads: u32) -> io::Result<()> {
    // SAFETY: the question takes a number.
    let status =
        unsafe { libc::ioctl(file.as_fd().as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offloads)) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn request(name: &str) -> Option<libc::ifreq> {
    // SAFETY: all-zero bytes are an empty request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = CString::new(name).ok()?;
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes_with_nul()) {
        *to = c_char::from_ne_bytes([*from]);
    }
    Some(request)
}

/// True if the kernel answered. Only for questions that read and write a request.
fn ask(socket: &UdpSocket, question: libc::Ioctl, request: &mut libc::ifreq) -> bool {
    // SAFETY: the questions of this file read and write a request of this size.
    unsafe { libc::ioctl(socket.as_raw_fd(), question, std::ptr::from_mut(request)) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_there_and_others_are_not() {
        // Shows an interface that every namespace has, a name that none has, and a number that none has.
        let lo = Interface::find("lo").expect("the loopback");
        assert_eq!((lo.name().as_deref(), lo.mtu().is_some()), (Some("lo"), true));
        assert_ne!(lo.state(), State::Gone);
        assert!(Interface::find("corelane-nothing").is_none());
        assert_eq!(Interface { index: i32::MAX, ..lo }.state(), State::Gone);
        assert!(exists("lo") && !exists("corelane-nothing"));
    }

    #[test]
    fn capabilities_are_read() {
        // Shows /proc's format.
        assert_eq!(effective_capabilities("Name:\tx\nCapEff:\t0000000000001000\n"), Some(1 << 12));
    }
}
