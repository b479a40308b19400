//! DPDK: its EAL, ports and pools as safe types (feature `dpdk`).
//!
//! | file | duty |
//! | --- | --- |
//! | `eal.rs` | starting DPDK, once in a process |
//! | `chatter.rs` | what DPDK says, kept from the user and quoted in errors |
//! | `surroundings.rs` | huge pages, rights, interfaces: looked at before DPDK trips over them |
//! | `probe.rs` | from a device's name to one of DPDK's ports |
//! | `plan.rs`, `rss.rs` | what to ask of a port that offers this and that |
//! | `port.rs` | [`Port`]: configured, then started |
//! | `control.rs` | statistics and link |
//! | `queue.rs` | [`PortQueue`]: bursts of frames |
//! | `wake.rs` | what wakes a lane that sleeps: sockets, receive interrupts |
//! | `gate.rs` | keeping bursts out of memory that DPDK's own thread takes away |
//! | `signals.rs` | which thread takes the signal that tells TAP's driver of frames |
//! | `pool.rs` | pools of mbufs; memory for regions; threads that DPDK knows |
//!
//! The layout of frames is `mbuf.rs`'s, one level up; the C side's offsets are checked against it here.

use core::mem::{offset_of, size_of};

use dpdk_sys as ffi;

use crate::device::Device;
use crate::mbuf::{Header, SharedInfo, rx, tx};
use crate::memif;
use crate::open::OpenOptions;
use crate::port::{Opened, QueueParts};
use crate::setup::SetupError;
use crate::tap;

mod chatter;
mod control;
mod eal;
mod gate;
mod plan;
mod pool;
mod port;
mod probe;
mod queue;
mod rss;
mod signals;
mod surroundings;
mod wake;

pub use control::PortControl;
pub use eal::{Eal, EalOptions, HUGE_MIB_MIN, split_arguments};
pub(crate) use pool::Bulk;
pub(crate) use pool::{DpdkPool, free_segment};
pub use pool::{RegisteredThread, register_thread};
pub use port::{Configured, Port, Started};
pub use queue::PortQueue;
pub use signals::refuse_tap_signal;

/// Opens a device on DPDK and starts it.
pub(crate) fn open(device: &Device, options: &OpenOptions) -> Result<Opened, SetupError> {
    let eal = Eal::running_or_default(device)?;
    let pools = |queues, lanes| port::pools(options, queues, lanes);
    match device {
        Device::Memif { .. } => return memif::open(device, options, pools),
        Device::Tap(_) => return tap::open(device, options, pools),
        _ => {}
    }
    let mut port = Port::open(&eal, device, options)?.start()?;
    let queues = port.claim_queues();
    let queues = queues.into_iter().map(|(queue, pools)| QueueParts { queue: Box::new(queue), pools });
    Ok(Opened {
        name: device.to_string(),
        mac: port.mac(),
        mtu: port.mtu(),
        capabilities: port.capabilities(),
        queues: queues.collect(),
        queueless: port.claim_queueless(),
        rss: port.rss(),
        control: Box::new(port.into_control()),
    })
}

// The other half of the agreement: `mbuf.rs` asserts the numbers, this that the C compiler saw the same.
const _: () = {
    assert!(offset_of!(Header, buf_addr) as u64 == ffi::MBUF_OFFSET_BUF_ADDR);
    assert!(offset_of!(Header, buf_iova) as u64 == ffi::MBUF_OFFSET_BUF_IOVA);
    assert!(offset_of!(Header, data_off) as u64 == ffi::MBUF_OFFSET_DATA_OFF);
    assert!(offset_of!(Header, refcnt) as u64 == ffi::MBUF_OFFSET_REFCNT);
    assert!(offset_of!(Header, nb_segs) as u64 == ffi::MBUF_OFFSET_NB_SEGS);
    assert!(offset_of!(Header, port) as u64 == ffi::MBUF_OFFSET_PORT);
    assert!(offset_of!(Header, ol_flags) as u64 == ffi::MBUF_OFFSET_OL_FLAGS);
    assert!(offset_of!(Header, packet_type) as u64 == ffi::MBUF_OFFSET_PACKET_TYPE);
    assert!(offset_of!(Header, pkt_len) as u64 == ffi::MBUF_OFFSET_PKT_LEN);
    assert!(offset_of!(Header, data_len) as u64 == ffi::MBUF_OFFSET_DATA_LEN);
    assert!(offset_of!(Header, vlan_tci) as u64 == ffi::MBUF_OFFSET_VLAN_TCI);
    assert!(offset_of!(Header, hash) as u64 == ffi::MBUF_OFFSET_HASH);
    assert!(offset_of!(Header, buf_len) as u64 == ffi::MBUF_OFFSET_BUF_LEN);
    assert!(offset_of!(Header, pool) as u64 == ffi::MBUF_OFFSET_POOL);
    assert!(offset_of!(Header, next) as u64 == ffi::MBUF_OFFSET_NEXT);
    assert!(offset_of!(Header, tx_offload) as u64 == ffi::MBUF_OFFSET_TX_OFFLOAD);
    assert!(offset_of!(Header, shinfo) as u64 == ffi::MBUF_OFFSET_SHINFO);
    assert!(offset_of!(Header, priv_size) as u64 == ffi::MBUF_OFFSET_PRIV_SIZE);
    assert!(size_of::<Header>() as u64 == ffi::MBUF_BYTES);

    assert!(size_of::<SharedInfo>() == size_of::<ffi::rte_mbuf_ext_shared_info>());
    assert!(offset_of!(SharedInfo, free_cb) == offset_of!(ffi::rte_mbuf_ext_shared_info, free_cb));
    assert!(offset_of!(SharedInfo, opaque) == offset_of!(ffi::rte_mbuf_ext_shared_info, fcb_opaque));
    assert!(offset_of!(SharedInfo, refcnt) == offset_of!(ffi::rte_mbuf_ext_shared_info, refcnt));

    assert!(rx::RSS_HASH == ffi::RTE_MBUF_F_RX_RSS_HASH);
    assert!(rx::IP_GOOD == ffi::RTE_MBUF_F_RX_IP_CKSUM_GOOD && rx::IP_BAD == ffi::RTE_MBUF_F_RX_IP_CKSUM_BAD);
    assert!(rx::L4_GOOD == ffi::RTE_MBUF_F_RX_L4_CKSUM_GOOD && rx::L4_BAD == ffi::RTE_MBUF_F_RX_L4_CKSUM_BAD);
    assert!(rx::IP_GOOD | rx::IP_BAD == ffi::RTE_MBUF_F_RX_IP_CKSUM_NONE);
    assert!(rx::L4_GOOD | rx::L4_BAD == ffi::RTE_MBUF_F_RX_L4_CKSUM_NONE);
    assert!(rx::VLAN_STRIPPED == ffi::RTE_MBUF_F_RX_VLAN_STRIPPED);
    assert!(tx::TCP_SEGMENTATION == ffi::RTE_MBUF_F_TX_TCP_SEG);
    assert!(tx::TCP_CHECKSUM == ffi::RTE_MBUF_F_TX_TCP_CKSUM);
    assert!(tx::UDP_CHECKSUM == ffi::RTE_MBUF_F_TX_UDP_CKSUM);
    assert!(tx::IP_CHECKSUM == ffi::RTE_MBUF_F_TX_IP_CKSUM);
    assert!(tx::IPV4 == ffi::RTE_MBUF_F_TX_IPV4 && tx::IPV6 == ffi::RTE_MBUF_F_TX_IPV6);
    assert!(tx::VLAN == ffi::RTE_MBUF_F_TX_VLAN);
    assert!(tx::EXTERNAL == ffi::RTE_MBUF_F_EXTERNAL && tx::INDIRECT == ffi::RTE_MBUF_F_INDIRECT);
};

/// The text of an error number of DPDK's or Linux's, of either sign.
fn error_text(number: i32) -> String {
    std::io::Error::from_raw_os_error(number.abs()).to_string()
}
