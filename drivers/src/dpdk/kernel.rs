//! The kernel's interface below a port: what it is called, whether it is still there. Ports themselves are `port.rs`'s.

use std::ffi::{CStr, CString, c_char};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// An interface, watched from outside DPDK: some of its drivers call a link «up» whose interface has gone.
pub(super) struct Interface {
    /// Of the namespace that the interface is in, whichever the asking thread is in.
    socket: UdpSocket,
    index: i32,
}

/// State of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
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
    }
}
