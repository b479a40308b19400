//! What a lane that sleeps beside a port is woken by: a NIC's receive interrupts, or the kernel's socket below the drivers of
//! AF_PACKET and AF_XDP. These files are the driver's, which closes them with the port.

use std::ffi::c_int;
use std::fs;
use std::os::fd::{BorrowedFd, RawFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use dpdk_sys as ffi;

use super::port::Shared;
use super::surroundings::{VFIO, kernel_driver};

/// Drivers that give each receive queue an interrupt of its own over VFIO: all of Intel's in 1 and 10 GbE for which DPDK
/// lists that. Only the first has been tried.
const INTERRUPTING: [&[u8]; 3] = [b"net_e1000_igb", b"net_ixgbe", b"net_i40e"];

/// What the queues of one port have to be woken by.
pub(super) enum Wakes {
    Nothing,
    /// AF_PACKET: a socket each, with which the driver's structure of a queue begins.
    Sockets,
    /// AF_XDP: the one socket of the one queue, once it is known.
    Socket(Option<RawFd>),
    /// One each. Drivers change registers that a port's queues have in common without a lock of their own.
    Interrupts(Mutex<()>),
}

impl Wakes {
    /// Those of a port of this driver. `folder`: in /sys, of a NIC that is to interrupt if it can.
    pub fn of(driver: &[u8], folder: Option<&Path>) -> Wakes {
        match driver {
            b"net_af_packet" => Wakes::Sockets,
            b"net_af_xdp" => Wakes::Socket(None),
            _ if INTERRUPTING.contains(&driver)
                && folder.and_then(kernel_driver).as_deref() == Some(VFIO) =>
            {
                Wakes::Interrupts(Mutex::new(()))
            }
            _ => Wakes::Nothing,
        }
    }

    /// The port is to be configured with receive interrupts.
    pub fn interrupts(&self) -> bool {
        matches!(self, Wakes::Interrupts(_))
    }

    /// The process's sockets of a kind that the driver does not tell: ask before its queues are set up.
    pub fn sockets(&self) -> Vec<RawFd> {
        let listed = matches!(self, Wakes::Socket(_)).then(|| fs::read_dir("/proc/self/fd").ok()).flatten();
        let numbers = listed
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.filter(|number| is_of(*number, libc::AF_XDP)).collect()
    }

    /// The queues have been set up: whatever there was not `before` is the port's, if that is one.
    pub fn find(&mut self, before: &[RawFd]) {
        let mut new = self.sockets();
        new.retain(|socket| !before.contains(socket));
        if let (Wakes::Socket(place), [socket]) = (self, &new[..]) {
            *place = Some(*socket);
        }
    }
}

/// What comes of looking before a sleep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Watched {
    /// What comes from now on makes the file readable.
    Rest,
    /// Something has come.
    Come,
    /// Nothing will.
    Refused,
}

/// What one queue is woken by. The queue keeps the port open, and with it the file.
pub(super) struct Wake {
    file: RawFd,
    queue: u16,
    interrupts: bool,
    armed: bool,
}

impl Wake {
    /// That of a queue of a port that has been started, if it has any.
    pub fn of(shared: &Shared, queue: u16) -> Option<Wake> {
        let (port, interrupts) = (shared.port.id, shared.wakes.interrupts());
        let file = match &shared.wakes {
            Wakes::Nothing => None,
            Wakes::Sockets => {
                // SAFETY: the port is started and has this queue; its driver is one whose queues begin so.
                let number = unsafe { ffi::corelane_rx_queue_descriptor(port, queue) };
                Some(number).filter(|number| is_of(*number, libc::AF_PACKET))
            }
            Wakes::Socket(socket) => *socket,
            Wakes::Interrupts(_) => {
                // SAFETY: the port is started. Of a queue without an interrupt it fails.
                let number = unsafe { ffi::rte_eth_dev_rx_intr_ctl_q_get_fd(port, queue) };
                // The first vector is for what is no queue's. Whoever has too few is not told by the driver.
                let has_vector =
                    shared.folder.as_deref().is_some_and(|folder| vectors(folder) >= usize::from(queue) + 2);
                Some(number).filter(|number| *number >= 0 && has_vector)
            }
        };
        file.map(|file| Wake { file, queue, interrupts, armed: false })
    }

    /// What a lane sleeps beside.
    pub fn file(&self) -> BorrowedFd<'_> {
        // SAFETY: the driver keeps it open until the port is closed, and the port is not while the queue that has this is there.
        unsafe { BorrowedFd::borrow_raw(self.file) }
    }

    /// The lane is about to sleep.
    pub fn watch(&mut self, shared: &Shared) -> Watched {
        if !self.interrupts {
            // An interface that was down leaves an error in its sockets, and whoever has one is never asleep.
            let _ = rustix::net::sockopt::socket_error(self.file());
            return Watched::Rest;
        }
        // SAFETY: the port is started, and the queue is the caller's.
        let status =
            one_at_a_time(shared, || unsafe { ffi::rte_eth_dev_rx_intr_enable(shared.port.id, self.queue) });
        if status != 0 {
            return Watched::Refused;
        }
        self.armed = true;
        // SAFETY: as above.
        let next = unsafe { ffi::corelane_rx_descriptor_status(shared.port.id, self.queue, 0) };
        if next == DESCRIPTOR_DONE { Watched::Come } else { Watched::Rest }
    }

    /// The next thing that comes is to interrupt.
    #[inline]
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// The lane is awake: nothing is to interrupt any more.
    #[cold]
    pub fn disarm(&mut self, shared: &Shared) {
        self.armed = false;
        // SAFETY: the port is started, and the queue is the caller's.
        one_at_a_time(shared, || unsafe { ffi::rte_eth_dev_rx_intr_disable(shared.port.id, self.queue) });
        // How often it has; the file does not wait.
        let _ = rustix::io::read(self.file(), &mut [0_u8; 8]);
    }
}

/// `RTE_ETH_RX_DESC_DONE`.
const DESCRIPTOR_DONE: c_int = 1;

fn one_at_a_time<T>(shared: &Shared, change: impl FnOnce() -> T) -> T {
    let _one = match &shared.wakes {
        Wakes::Interrupts(one) => Some(one.lock().unwrap_or_else(PoisonError::into_inner)),
        _ => None,
    };
    change()
}

/// Interrupt vectors that the kernel has set up for a NIC.
fn vectors(folder: &Path) -> usize {
    fs::read_dir(folder.join("msi_irqs")).map_or(0, Iterator::count)
}

/// The number is of a socket of this family. By the number alone: whose it is, and whether it is still open, is not known yet.
fn is_of(descriptor: RawFd, family: c_int) -> bool {
    let mut found: c_int = 0;
    let Ok(mut length) = libc::socklen_t::try_from(size_of::<c_int>()) else { return false };
    // SAFETY: the kernel writes at most so many bytes to the number; of what is no socket it fails.
    let status = unsafe {
        libc::getsockopt(
            descriptor,
            libc::SOL_SOCKET,
            libc::SO_DOMAIN,
            (&raw mut found).cast(),
            &raw mut length,
        )
    };
    status == 0 && found == family
}
