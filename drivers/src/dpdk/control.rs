//! Link and statistics of a started port. Its queues are `queue.rs`'s.

use std::ffi::CStr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use dpdk_sys as ffi;

use super::port::{Counters, Shared};
use crate::capture::Capture;
use crate::kernel::{Interface, State};
use crate::port::{Control, DeviceStatistics, Link};
use crate::setup::SetupError;

/// Link and statistics of a started port. Any thread may ask.
pub struct PortControl {
    pub(super) shared: Arc<Shared>,
}

impl PortControl {
    /// What the kernel says of the interface below, where there is one.
    fn interface(&self) -> Option<State> {
        self.shared.interface.as_ref().map(Interface::state)
    }
}

impl Control for PortControl {
    fn link(&self) -> Link {
        let _asking = self.shared.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut link = ffi::corelane_link::default();
        // SAFETY: the port is open; `link` is written on success, and is down else.
        unsafe { ffi::corelane_link(self.shared.port.id, &raw mut link) };
        let known = link.speed_mbps != 0 && link.speed_mbps != ffi::RTE_ETH_SPEED_NUM_UNKNOWN;
        let up = link.up != 0 && self.interface().is_none_or(|state| state == State::Up);
        Link { up: up && !self.shared.is_removed(), megabits: known.then_some(link.speed_mbps) }
    }

    fn is_gone(&self) -> bool {
        self.interface() == Some(State::Gone) || self.shared.is_removed()
    }

    fn capture(&self, path: &Path) -> Result<Capture, SetupError> {
        self.shared.capture.begin(path, &self.shared.device)
    }

    fn statistics(&self) -> DeviceStatistics {
        let _asking = self.shared.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = ffi::rte_eth_stats::default();
        // SAFETY: the port is open; the numbers are written on success, and stay zero else.
        unsafe { ffi::rte_eth_stats_get(self.shared.port.id, &raw mut now) };
        DeviceStatistics {
            received_frames: now.ipackets,
            received_bytes: now.ibytes,
            sent_frames: now.opackets,
            sent_bytes: now.obytes,
            missed: now.imissed,
            receive_errors: now.ierrors,
            transmit_errors: now.oerrors + self.shared.counters.refused_frames.load(Ordering::Relaxed),
            no_frames: now.rx_nombuf,
        }
    }

    fn extended_statistics(&self) -> Vec<(String, u64)> {
        let _asking = self.shared.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = xstats(self.shared.port.id).unwrap_or_default();
        let Counters { copied_frames, copied_bytes, refused_frames } = &self.shared.counters;
        for (name, counter) in [
            ("tx_copied_frames", copied_frames),
            ("tx_copied_bytes", copied_bytes),
            ("tx_refused_frames", refused_frames),
        ] {
            all.push((name.to_owned(), counter.load(Ordering::Relaxed)));
        }
        all
    }
}

/// The driver's counters. `None` if it has none, or changes their number meanwhile.
fn xstats(id: u16) -> Option<Vec<(String, u64)>> {
    // SAFETY: the port is open; without room DPDK only says how many there are.
    let count = unsafe { ffi::rte_eth_xstats_get_names(id, std::ptr::null_mut(), 0) };
    let count = u32::try_from(count).ok()?;
    let mut names = vec![ffi::rte_eth_xstat_name::default(); count as usize];
    // SAFETY: the port is open, and there is room for `count` names.
    let named = unsafe { ffi::rte_eth_xstats_get_names(id, names.as_mut_ptr(), count) };
    let mut values = vec![ffi::rte_eth_xstat::default(); count as usize];
    // SAFETY: the port is open, and there is room for `count` values.
    let valued = unsafe { ffi::rte_eth_xstats_get(id, values.as_mut_ptr(), count) };
    if u32::try_from(named) != Ok(count) || u32::try_from(valued) != Ok(count) {
        return None;
    }
    let name = |index: u64| {
        let bytes = names.get(usize::try_from(index).ok()?)?.name.map(|byte| byte.to_ne_bytes()[0]);
        Some(CStr::from_bytes_until_nul(&bytes).ok()?.to_string_lossy().into_owned())
    };
    Some(values.iter().filter_map(|xstat| Some((name(xstat.id)?, xstat.value))).collect())
}
