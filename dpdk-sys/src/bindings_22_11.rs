// Made by bindgen from c/wrapper.h; CORELANE_BLESS_BINDINGS=1 renews the checked-in copy.
#[repr(C)]
pub struct _IO_FILE {
    _private: [u8; 0],
}
#[repr(C)]
pub struct rte_device {
    _private: [u8; 0],
}
#[repr(C)]
pub struct rte_mbuf {
    _private: [u8; 0],
}
#[repr(C)]
pub struct rte_mempool {
    _private: [u8; 0],
}
#[repr(C)]
pub struct rte_ring {
    _private: [u8; 0],
}

pub type __off_t = ::core::ffi::c_long;
pub type __off64_t = ::core::ffi::c_long;
pub type rte_eal_alarm_callback = ::core::option::Option<unsafe extern "C" fn(arg: *mut ::core::ffi::c_void)>;
pub type FILE = _IO_FILE;
pub type rte_iova_t = u64;
pub type RTE_MARKER = [*mut ::core::ffi::c_void; 0usize];
pub type RTE_MARKER64 = [u64; 0usize];
pub const RTE_IOVA_DC: rte_iova_mode = 0;
pub const RTE_IOVA_PA: rte_iova_mode = 1;
pub const RTE_IOVA_VA: rte_iova_mode = 2;
pub type rte_iova_mode = ::core::ffi::c_uint;
#[repr(C)]
#[derive(Default, Copy, Clone)]
pub struct rte_eth_stats {
    pub ipackets: u64,
    pub opackets: u64,
    pub ibytes: u64,
    pub obytes: u64,
    pub imissed: u64,
    pub ierrors: u64,
    pub oerrors: u64,
    pub rx_nombuf: u64,
    pub q_ipackets: [u64; 16usize],
    pub q_opackets: [u64; 16usize],
    pub q_ibytes: [u64; 16usize],
    pub q_obytes: [u64; 16usize],
    pub q_errors: [u64; 16usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of rte_eth_stats"][::core::mem::size_of::<rte_eth_stats>() - 704usize];
    ["Alignment of rte_eth_stats"][::core::mem::align_of::<rte_eth_stats>() - 8usize];
    ["Offset of field: rte_eth_stats::ipackets"][::core::mem::offset_of!(rte_eth_stats, ipackets) - 0usize];
    ["Offset of field: rte_eth_stats::opackets"][::core::mem::offset_of!(rte_eth_stats, opackets) - 8usize];
    ["Offset of field: rte_eth_stats::ibytes"][::core::mem::offset_of!(rte_eth_stats, ibytes) - 16usize];
    ["Offset of field: rte_eth_stats::obytes"][::core::mem::offset_of!(rte_eth_stats, obytes) - 24usize];
    ["Offset of field: rte_eth_stats::imissed"][::core::mem::offset_of!(rte_eth_stats, imissed) - 32usize];
    ["Offset of field: rte_eth_stats::ierrors"][::core::mem::offset_of!(rte_eth_stats, ierrors) - 40usize];
    ["Offset of field: rte_eth_stats::oerrors"][::core::mem::offset_of!(rte_eth_stats, oerrors) - 48usize];
    ["Offset of field: rte_eth_stats::rx_nombuf"]
        [::core::mem::offset_of!(rte_eth_stats, rx_nombuf) - 56usize];
    ["Offset of field: rte_eth_stats::q_ipackets"]
        [::core::mem::offset_of!(rte_eth_stats, q_ipackets) - 64usize];
    ["Offset of field: rte_eth_stats::q_opackets"]
        [::core::mem::offset_of!(rte_eth_stats, q_opackets) - 192usize];
    ["Offset of field: rte_eth_stats::q_ibytes"][::core::mem::offset_of!(rte_eth_stats, q_ibytes) - 320usize];
    ["Offset of field: rte_eth_stats::q_obytes"][::core::mem::offset_of!(rte_eth_stats, q_obytes) - 448usize];
    ["Offset of field: rte_eth_stats::q_errors"][::core::mem::offset_of!(rte_eth_stats, q_errors) - 576usize];
};
#[repr(C)]
#[derive(Copy, Clone)]
pub struct rte_eth_rss_reta_entry64 {
    pub mask: u64,
    pub reta: [u16; 64usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of rte_eth_rss_reta_entry64"][::core::mem::size_of::<rte_eth_rss_reta_entry64>() - 136usize];
    ["Alignment of rte_eth_rss_reta_entry64"][::core::mem::align_of::<rte_eth_rss_reta_entry64>() - 8usize];
    ["Offset of field: rte_eth_rss_reta_entry64::mask"]
        [::core::mem::offset_of!(rte_eth_rss_reta_entry64, mask) - 0usize];
    ["Offset of field: rte_eth_rss_reta_entry64::reta"]
        [::core::mem::offset_of!(rte_eth_rss_reta_entry64, reta) - 8usize];
};
impl Default for rte_eth_rss_reta_entry64 {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
pub type rte_mbuf_extbuf_free_callback_t = ::core::option::Option<
    unsafe extern "C" fn(addr: *mut ::core::ffi::c_void, opaque: *mut ::core::ffi::c_void),
>;
#[repr(C)]
#[derive(Copy, Clone)]
pub struct rte_mbuf_ext_shared_info {
    pub free_cb: rte_mbuf_extbuf_free_callback_t,
    pub fcb_opaque: *mut ::core::ffi::c_void,
    pub refcnt: u16,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of rte_mbuf_ext_shared_info"][::core::mem::size_of::<rte_mbuf_ext_shared_info>() - 24usize];
    ["Alignment of rte_mbuf_ext_shared_info"][::core::mem::align_of::<rte_mbuf_ext_shared_info>() - 8usize];
    ["Offset of field: rte_mbuf_ext_shared_info::free_cb"]
        [::core::mem::offset_of!(rte_mbuf_ext_shared_info, free_cb) - 0usize];
    ["Offset of field: rte_mbuf_ext_shared_info::fcb_opaque"]
        [::core::mem::offset_of!(rte_mbuf_ext_shared_info, fcb_opaque) - 8usize];
    ["Offset of field: rte_mbuf_ext_shared_info::refcnt"]
        [::core::mem::offset_of!(rte_mbuf_ext_shared_info, refcnt) - 16usize];
};
impl Default for rte_mbuf_ext_shared_info {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[repr(align(2))]
#[derive(Default, Copy, Clone)]
pub struct rte_ether_addr {
    pub addr_bytes: [u8; 6usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of rte_ether_addr"][::core::mem::size_of::<rte_ether_addr>() - 6usize];
    ["Alignment of rte_ether_addr"][::core::mem::align_of::<rte_ether_addr>() - 2usize];
    ["Offset of field: rte_ether_addr::addr_bytes"]
        [::core::mem::offset_of!(rte_ether_addr, addr_bytes) - 0usize];
};
#[repr(C)]
#[derive(Copy, Clone)]
pub struct rte_mbuf_dynfield {
    pub name: [::core::ffi::c_char; 64usize],
    pub size: usize,
    pub align: usize,
    pub flags: ::core::ffi::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of rte_mbuf_dynfield"][::core::mem::size_of::<rte_mbuf_dynfield>() - 88usize];
    ["Alignment of rte_mbuf_dynfield"][::core::mem::align_of::<rte_mbuf_dynfield>() - 8usize];
    ["Offset of field: rte_mbuf_dynfield::name"][::core::mem::offset_of!(rte_mbuf_dynfield, name) - 0usize];
    ["Offset of field: rte_mbuf_dynfield::size"][::core::mem::offset_of!(rte_mbuf_dynfield, size) - 64usize];
    ["Offset of field: rte_mbuf_dynfield::align"]
        [::core::mem::offset_of!(rte_mbuf_dynfield, align) - 72usize];
    ["Offset of field: rte_mbuf_dynfield::flags"]
        [::core::mem::offset_of!(rte_mbuf_dynfield, flags) - 80usize];
};
impl Default for rte_mbuf_dynfield {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Default, Copy, Clone)]
pub struct rte_eth_xstat {
    pub id: u64,
    pub value: u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of rte_eth_xstat"][::core::mem::size_of::<rte_eth_xstat>() - 16usize];
    ["Alignment of rte_eth_xstat"][::core::mem::align_of::<rte_eth_xstat>() - 8usize];
    ["Offset of field: rte_eth_xstat::id"][::core::mem::offset_of!(rte_eth_xstat, id) - 0usize];
    ["Offset of field: rte_eth_xstat::value"][::core::mem::offset_of!(rte_eth_xstat, value) - 8usize];
};
#[repr(C)]
#[derive(Copy, Clone)]
pub struct rte_eth_xstat_name {
    pub name: [::core::ffi::c_char; 64usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of rte_eth_xstat_name"][::core::mem::size_of::<rte_eth_xstat_name>() - 64usize];
    ["Alignment of rte_eth_xstat_name"][::core::mem::align_of::<rte_eth_xstat_name>() - 1usize];
    ["Offset of field: rte_eth_xstat_name::name"][::core::mem::offset_of!(rte_eth_xstat_name, name) - 0usize];
};
impl Default for rte_eth_xstat_name {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Copy, Clone)]
pub struct corelane_port_info {
    pub driver_name: *const ::core::ffi::c_char,
    pub device: *mut rte_device,
    pub rx_offloads: u64,
    pub tx_offloads: u64,
    pub rss_types: u64,
    pub kernel_interface: u32,
    pub rx_packet_bytes_max: u32,
    pub rx_buffer_bytes_min: u32,
    pub mtu_min: u16,
    pub mtu_max: u16,
    pub rx_queues_max: u16,
    pub tx_queues_max: u16,
    pub rx_descriptors_min: u16,
    pub rx_descriptors_max: u16,
    pub rx_descriptors_step: u16,
    pub tx_descriptors_min: u16,
    pub tx_descriptors_max: u16,
    pub tx_descriptors_step: u16,
    pub tx_segments_max: u16,
    pub tx_mtu_segments_max: u16,
    pub rx_free_threshold: u16,
    pub tx_free_threshold: u16,
    pub tx_report_threshold: u16,
    pub reta_entries: u16,
    pub rss_key_bytes: u8,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of corelane_port_info"][::core::mem::size_of::<corelane_port_info>() - 88usize];
    ["Alignment of corelane_port_info"][::core::mem::align_of::<corelane_port_info>() - 8usize];
    ["Offset of field: corelane_port_info::driver_name"]
        [::core::mem::offset_of!(corelane_port_info, driver_name) - 0usize];
    ["Offset of field: corelane_port_info::device"]
        [::core::mem::offset_of!(corelane_port_info, device) - 8usize];
    ["Offset of field: corelane_port_info::rx_offloads"]
        [::core::mem::offset_of!(corelane_port_info, rx_offloads) - 16usize];
    ["Offset of field: corelane_port_info::tx_offloads"]
        [::core::mem::offset_of!(corelane_port_info, tx_offloads) - 24usize];
    ["Offset of field: corelane_port_info::rss_types"]
        [::core::mem::offset_of!(corelane_port_info, rss_types) - 32usize];
    ["Offset of field: corelane_port_info::kernel_interface"]
        [::core::mem::offset_of!(corelane_port_info, kernel_interface) - 40usize];
    ["Offset of field: corelane_port_info::rx_packet_bytes_max"]
        [::core::mem::offset_of!(corelane_port_info, rx_packet_bytes_max) - 44usize];
    ["Offset of field: corelane_port_info::rx_buffer_bytes_min"]
        [::core::mem::offset_of!(corelane_port_info, rx_buffer_bytes_min) - 48usize];
    ["Offset of field: corelane_port_info::mtu_min"]
        [::core::mem::offset_of!(corelane_port_info, mtu_min) - 52usize];
    ["Offset of field: corelane_port_info::mtu_max"]
        [::core::mem::offset_of!(corelane_port_info, mtu_max) - 54usize];
    ["Offset of field: corelane_port_info::rx_queues_max"]
        [::core::mem::offset_of!(corelane_port_info, rx_queues_max) - 56usize];
    ["Offset of field: corelane_port_info::tx_queues_max"]
        [::core::mem::offset_of!(corelane_port_info, tx_queues_max) - 58usize];
    ["Offset of field: corelane_port_info::rx_descriptors_min"]
        [::core::mem::offset_of!(corelane_port_info, rx_descriptors_min) - 60usize];
    ["Offset of field: corelane_port_info::rx_descriptors_max"]
        [::core::mem::offset_of!(corelane_port_info, rx_descriptors_max) - 62usize];
    ["Offset of field: corelane_port_info::rx_descriptors_step"]
        [::core::mem::offset_of!(corelane_port_info, rx_descriptors_step) - 64usize];
    ["Offset of field: corelane_port_info::tx_descriptors_min"]
        [::core::mem::offset_of!(corelane_port_info, tx_descriptors_min) - 66usize];
    ["Offset of field: corelane_port_info::tx_descriptors_max"]
        [::core::mem::offset_of!(corelane_port_info, tx_descriptors_max) - 68usize];
    ["Offset of field: corelane_port_info::tx_descriptors_step"]
        [::core::mem::offset_of!(corelane_port_info, tx_descriptors_step) - 70usize];
    ["Offset of field: corelane_port_info::tx_segments_max"]
        [::core::mem::offset_of!(corelane_port_info, tx_segments_max) - 72usize];
    ["Offset of field: corelane_port_info::tx_mtu_segments_max"]
        [::core::mem::offset_of!(corelane_port_info, tx_mtu_segments_max) - 74usize];
    ["Offset of field: corelane_port_info::rx_free_threshold"]
        [::core::mem::offset_of!(corelane_port_info, rx_free_threshold) - 76usize];
    ["Offset of field: corelane_port_info::tx_free_threshold"]
        [::core::mem::offset_of!(corelane_port_info, tx_free_threshold) - 78usize];
    ["Offset of field: corelane_port_info::tx_report_threshold"]
        [::core::mem::offset_of!(corelane_port_info, tx_report_threshold) - 80usize];
    ["Offset of field: corelane_port_info::reta_entries"]
        [::core::mem::offset_of!(corelane_port_info, reta_entries) - 82usize];
    ["Offset of field: corelane_port_info::rss_key_bytes"]
        [::core::mem::offset_of!(corelane_port_info, rss_key_bytes) - 84usize];
};
impl Default for corelane_port_info {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Copy, Clone)]
pub struct corelane_port_config {
    pub rx_offloads: u64,
    pub tx_offloads: u64,
    pub rss_types: u64,
    pub rss_key: *const u8,
    pub mtu: u32,
    pub rx_queues: u16,
    pub tx_queues: u16,
    pub rss_key_bytes: u8,
    pub rx_interrupts: u8,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of corelane_port_config"][::core::mem::size_of::<corelane_port_config>() - 48usize];
    ["Alignment of corelane_port_config"][::core::mem::align_of::<corelane_port_config>() - 8usize];
    ["Offset of field: corelane_port_config::rx_offloads"]
        [::core::mem::offset_of!(corelane_port_config, rx_offloads) - 0usize];
    ["Offset of field: corelane_port_config::tx_offloads"]
        [::core::mem::offset_of!(corelane_port_config, tx_offloads) - 8usize];
    ["Offset of field: corelane_port_config::rss_types"]
        [::core::mem::offset_of!(corelane_port_config, rss_types) - 16usize];
    ["Offset of field: corelane_port_config::rss_key"]
        [::core::mem::offset_of!(corelane_port_config, rss_key) - 24usize];
    ["Offset of field: corelane_port_config::mtu"]
        [::core::mem::offset_of!(corelane_port_config, mtu) - 32usize];
    ["Offset of field: corelane_port_config::rx_queues"]
        [::core::mem::offset_of!(corelane_port_config, rx_queues) - 36usize];
    ["Offset of field: corelane_port_config::tx_queues"]
        [::core::mem::offset_of!(corelane_port_config, tx_queues) - 38usize];
    ["Offset of field: corelane_port_config::rss_key_bytes"]
        [::core::mem::offset_of!(corelane_port_config, rss_key_bytes) - 40usize];
    ["Offset of field: corelane_port_config::rx_interrupts"]
        [::core::mem::offset_of!(corelane_port_config, rx_interrupts) - 41usize];
};
impl Default for corelane_port_config {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Default, Copy, Clone)]
pub struct corelane_link {
    pub speed_mbps: u32,
    pub up: u8,
    pub full_duplex: u8,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of corelane_link"][::core::mem::size_of::<corelane_link>() - 8usize];
    ["Alignment of corelane_link"][::core::mem::align_of::<corelane_link>() - 4usize];
    ["Offset of field: corelane_link::speed_mbps"]
        [::core::mem::offset_of!(corelane_link, speed_mbps) - 0usize];
    ["Offset of field: corelane_link::up"][::core::mem::offset_of!(corelane_link, up) - 4usize];
    ["Offset of field: corelane_link::full_duplex"]
        [::core::mem::offset_of!(corelane_link, full_duplex) - 5usize];
};
pub const RTE_MAX_LCORE: u32 = 128;
pub const RTE_MAX_ETHPORTS: u32 = 32;
pub const RTE_MEMPOOL_NAMESIZE: u32 = 26;
pub const RTE_MEMPOOL_CACHE_MAX_SIZE: u32 = 512;
pub const RTE_RING_NAMESIZE: u32 = 29;
pub const RTE_PKTMBUF_HEADROOM: u32 = 128;
pub const RTE_MBUF_DEFAULT_DATAROOM: u32 = 2048;
pub const RING_F_SP_ENQ: u32 = 1;
pub const RING_F_SC_DEQ: u32 = 2;
pub const RING_F_EXACT_SZ: u32 = 4;
pub const RTE_LOG_EMERG: u32 = 1;
pub const RTE_LOG_ERR: u32 = 4;
pub const RTE_LOG_WARNING: u32 = 5;
pub const RTE_LOG_NOTICE: u32 = 6;
pub const RTE_LOG_INFO: u32 = 7;
pub const RTE_LOG_DEBUG: u32 = 8;
pub const RTE_ETH_NAME_MAX_LEN: u32 = 64;
pub const RTE_ETH_SPEED_NUM_UNKNOWN: u32 = 4294967295;
pub const RTE_ETH_RETA_GROUP_SIZE: u32 = 64;
pub const LCORE_ID_ANY: u32 = 4294967295;
pub const RTE_MP_MAX_FD_NUM: u32 = 8;
pub const RTE_BAD_IOVA: u64 = 18446744073709551615;
pub const SOCKET_ID_ANY: i32 = -1;
pub const RTE_MBUF_F_RX_VLAN: u64 = 1;
pub const RTE_MBUF_F_RX_RSS_HASH: u64 = 2;
pub const RTE_MBUF_F_RX_VLAN_STRIPPED: u64 = 64;
pub const RTE_MBUF_F_RX_IP_CKSUM_MASK: u64 = 144;
pub const RTE_MBUF_F_RX_IP_CKSUM_UNKNOWN: u64 = 0;
pub const RTE_MBUF_F_RX_IP_CKSUM_BAD: u64 = 16;
pub const RTE_MBUF_F_RX_IP_CKSUM_GOOD: u64 = 128;
pub const RTE_MBUF_F_RX_IP_CKSUM_NONE: u64 = 144;
pub const RTE_MBUF_F_RX_L4_CKSUM_MASK: u64 = 264;
pub const RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN: u64 = 0;
pub const RTE_MBUF_F_RX_L4_CKSUM_BAD: u64 = 8;
pub const RTE_MBUF_F_RX_L4_CKSUM_GOOD: u64 = 256;
pub const RTE_MBUF_F_RX_L4_CKSUM_NONE: u64 = 264;
pub const RTE_MBUF_F_RX_LRO: u64 = 65536;
pub const RTE_MBUF_F_TX_VLAN: u64 = 144115188075855872;
pub const RTE_MBUF_F_TX_IP_CKSUM: u64 = 18014398509481984;
pub const RTE_MBUF_F_TX_IPV4: u64 = 36028797018963968;
pub const RTE_MBUF_F_TX_IPV6: u64 = 72057594037927936;
pub const RTE_MBUF_F_TX_TCP_CKSUM: u64 = 4503599627370496;
pub const RTE_MBUF_F_TX_UDP_CKSUM: u64 = 13510798882111488;
pub const RTE_MBUF_F_TX_L4_MASK: u64 = 13510798882111488;
pub const RTE_MBUF_F_TX_TCP_SEG: u64 = 1125899906842624;
pub const RTE_MBUF_F_TX_UDP_SEG: u64 = 4398046511104;
pub const RTE_MBUF_F_EXTERNAL: u64 = 2305843009213693952;
pub const RTE_MBUF_F_INDIRECT: u64 = 4611686018427387904;
pub const MBUF_OFFSET_BUF_ADDR: u64 = 0;
pub const MBUF_OFFSET_BUF_IOVA: u64 = 8;
pub const MBUF_OFFSET_DATA_OFF: u64 = 16;
pub const MBUF_OFFSET_REFCNT: u64 = 18;
pub const MBUF_OFFSET_NB_SEGS: u64 = 20;
pub const MBUF_OFFSET_PORT: u64 = 22;
pub const MBUF_OFFSET_OL_FLAGS: u64 = 24;
pub const MBUF_OFFSET_PACKET_TYPE: u64 = 32;
pub const MBUF_OFFSET_PKT_LEN: u64 = 36;
pub const MBUF_OFFSET_DATA_LEN: u64 = 40;
pub const MBUF_OFFSET_VLAN_TCI: u64 = 42;
pub const MBUF_OFFSET_HASH: u64 = 44;
pub const MBUF_OFFSET_BUF_LEN: u64 = 54;
pub const MBUF_OFFSET_POOL: u64 = 56;
pub const MBUF_OFFSET_NEXT: u64 = 64;
pub const MBUF_OFFSET_TX_OFFLOAD: u64 = 72;
pub const MBUF_OFFSET_SHINFO: u64 = 80;
pub const MBUF_OFFSET_PRIV_SIZE: u64 = 88;
pub const MBUF_BYTES: u64 = 128;
pub const RTE_ETH_RX_OFFLOAD_VLAN_STRIP: u64 = 1;
pub const RTE_ETH_RX_OFFLOAD_IPV4_CKSUM: u64 = 2;
pub const RTE_ETH_RX_OFFLOAD_UDP_CKSUM: u64 = 4;
pub const RTE_ETH_RX_OFFLOAD_TCP_CKSUM: u64 = 8;
pub const RTE_ETH_RX_OFFLOAD_TCP_LRO: u64 = 16;
pub const RTE_ETH_RX_OFFLOAD_SCATTER: u64 = 8192;
pub const RTE_ETH_RX_OFFLOAD_RSS_HASH: u64 = 524288;
pub const RTE_ETH_TX_OFFLOAD_VLAN_INSERT: u64 = 1;
pub const RTE_ETH_TX_OFFLOAD_IPV4_CKSUM: u64 = 2;
pub const RTE_ETH_TX_OFFLOAD_UDP_CKSUM: u64 = 4;
pub const RTE_ETH_TX_OFFLOAD_TCP_CKSUM: u64 = 8;
pub const RTE_ETH_TX_OFFLOAD_TCP_TSO: u64 = 32;
pub const RTE_ETH_TX_OFFLOAD_MULTI_SEGS: u64 = 32768;
pub const RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE: u64 = 65536;
pub const RTE_ETH_RSS_IPV4: u64 = 4;
pub const RTE_ETH_RSS_NONFRAG_IPV4_TCP: u64 = 16;
pub const RTE_ETH_RSS_NONFRAG_IPV4_UDP: u64 = 32;
pub const RTE_ETH_RSS_IPV6: u64 = 256;
pub const RTE_ETH_RSS_NONFRAG_IPV6_TCP: u64 = 1024;
pub const RTE_ETH_RSS_NONFRAG_IPV6_UDP: u64 = 2048;
unsafe extern "C" {
    pub fn rte_eal_alarm_set(
        us: u64,
        cb: rte_eal_alarm_callback,
        cb_arg: *mut ::core::ffi::c_void,
    ) -> ::core::ffi::c_int;
    pub fn rte_openlog_stream(f: *mut FILE) -> ::core::ffi::c_int;
    pub fn rte_log_set_global_level(level: u32);
    pub fn rte_dev_probe(devargs: *const ::core::ffi::c_char) -> ::core::ffi::c_int;
    pub fn rte_dev_remove(dev: *mut rte_device) -> ::core::ffi::c_int;
    pub fn rte_dev_dma_map(
        dev: *mut rte_device,
        addr: *mut ::core::ffi::c_void,
        iova: u64,
        len: usize,
    ) -> ::core::ffi::c_int;
    pub fn rte_dev_dma_unmap(
        dev: *mut rte_device,
        addr: *mut ::core::ffi::c_void,
        iova: u64,
        len: usize,
    ) -> ::core::ffi::c_int;
    pub fn rte_eal_init(argc: ::core::ffi::c_int, argv: *mut *mut ::core::ffi::c_char) -> ::core::ffi::c_int;
    pub fn rte_eal_has_hugepages() -> ::core::ffi::c_int;
    pub fn rte_eal_iova_mode() -> rte_iova_mode;
    pub fn rte_strerror(errnum: ::core::ffi::c_int) -> *const ::core::ffi::c_char;
    pub fn rte_socket_id() -> ::core::ffi::c_uint;
    pub fn rte_thread_register() -> ::core::ffi::c_int;
    pub fn rte_thread_unregister();
    pub fn rte_mem_virt2iova(virt: *const ::core::ffi::c_void) -> rte_iova_t;
    pub fn rte_extmem_register(
        va_addr: *mut ::core::ffi::c_void,
        len: usize,
        iova_addrs: *mut rte_iova_t,
        n_pages: ::core::ffi::c_uint,
        page_sz: usize,
    ) -> ::core::ffi::c_int;
    pub fn rte_extmem_unregister(va_addr: *mut ::core::ffi::c_void, len: usize) -> ::core::ffi::c_int;
    pub fn rte_ring_create_elem(
        name: *const ::core::ffi::c_char,
        esize: ::core::ffi::c_uint,
        count: ::core::ffi::c_uint,
        socket_id: ::core::ffi::c_int,
        flags: ::core::ffi::c_uint,
    ) -> *mut rte_ring;
    pub fn rte_ring_free(r: *mut rte_ring);
    pub fn rte_mempool_free(mp: *mut rte_mempool);
    pub fn rte_mempool_avail_count(mp: *const rte_mempool) -> ::core::ffi::c_uint;
    pub fn rte_mempool_in_use_count(mp: *const rte_mempool) -> ::core::ffi::c_uint;
    pub fn rte_mempool_lookup(name: *const ::core::ffi::c_char) -> *mut rte_mempool;
    pub fn rte_pktmbuf_pool_create(
        name: *const ::core::ffi::c_char,
        n: ::core::ffi::c_uint,
        cache_size: ::core::ffi::c_uint,
        priv_size: u16,
        data_room_size: u16,
        socket_id: ::core::ffi::c_int,
    ) -> *mut rte_mempool;
    pub fn rte_mbuf_dynfield_register_offset(
        params: *const rte_mbuf_dynfield,
        offset: usize,
    ) -> ::core::ffi::c_int;
    pub fn rte_eth_dev_count_avail() -> u16;
    pub fn rte_eth_dev_socket_id(port_id: u16) -> ::core::ffi::c_int;
    pub fn rte_eth_dev_start(port_id: u16) -> ::core::ffi::c_int;
    pub fn rte_eth_dev_stop(port_id: u16) -> ::core::ffi::c_int;
    pub fn rte_eth_dev_close(port_id: u16) -> ::core::ffi::c_int;
    pub fn rte_eth_promiscuous_enable(port_id: u16) -> ::core::ffi::c_int;
    pub fn rte_eth_allmulticast_enable(port_id: u16) -> ::core::ffi::c_int;
    pub fn rte_eth_stats_get(port_id: u16, stats: *mut rte_eth_stats) -> ::core::ffi::c_int;
    pub fn rte_eth_stats_reset(port_id: u16) -> ::core::ffi::c_int;
    pub fn rte_eth_xstats_get_names(
        port_id: u16,
        xstats_names: *mut rte_eth_xstat_name,
        size: ::core::ffi::c_uint,
    ) -> ::core::ffi::c_int;
    pub fn rte_eth_xstats_get(
        port_id: u16,
        xstats: *mut rte_eth_xstat,
        n: ::core::ffi::c_uint,
    ) -> ::core::ffi::c_int;
    pub fn rte_eth_xstats_reset(port_id: u16) -> ::core::ffi::c_int;
    pub fn rte_eth_macaddr_get(port_id: u16, mac_addr: *mut rte_ether_addr) -> ::core::ffi::c_int;
    pub fn rte_eth_dev_get_mtu(port_id: u16, mtu: *mut u16) -> ::core::ffi::c_int;
    pub fn rte_eth_dev_set_mtu(port_id: u16, mtu: u16) -> ::core::ffi::c_int;
    pub fn rte_eth_tx_done_cleanup(port_id: u16, queue_id: u16, free_cnt: u32) -> ::core::ffi::c_int;
    pub fn rte_eth_dev_rx_intr_enable(port_id: u16, queue_id: u16) -> ::core::ffi::c_int;
    pub fn rte_eth_dev_rx_intr_disable(port_id: u16, queue_id: u16) -> ::core::ffi::c_int;
    pub fn rte_eth_dev_rx_intr_ctl_q_get_fd(port_id: u16, queue_id: u16) -> ::core::ffi::c_int;
    pub fn rte_eth_dev_rss_reta_update(
        port_id: u16,
        reta_conf: *mut rte_eth_rss_reta_entry64,
        reta_size: u16,
    ) -> ::core::ffi::c_int;
    pub fn rte_eth_dev_rss_reta_query(
        port_id: u16,
        reta_conf: *mut rte_eth_rss_reta_entry64,
        reta_size: u16,
    ) -> ::core::ffi::c_int;
    pub fn rte_eth_dev_get_port_by_name(
        name: *const ::core::ffi::c_char,
        port_id: *mut u16,
    ) -> ::core::ffi::c_int;
    pub fn rte_eth_dev_get_name_by_port(port_id: u16, name: *mut ::core::ffi::c_char) -> ::core::ffi::c_int;
    pub fn rte_zmalloc_socket(
        type_: *const ::core::ffi::c_char,
        size: usize,
        align: ::core::ffi::c_uint,
        socket: ::core::ffi::c_int,
    ) -> *mut ::core::ffi::c_void;
    pub fn rte_free(ptr: *mut ::core::ffi::c_void);
    pub fn rte_version() -> *const ::core::ffi::c_char;
    pub fn corelane_errno() -> ::core::ffi::c_int;
    pub fn corelane_lcore_id() -> ::core::ffi::c_uint;
    pub fn corelane_rx_burst(port: u16, queue: u16, frames: *mut *mut rte_mbuf, limit: u16) -> u16;
    pub fn corelane_tx_burst(port: u16, queue: u16, frames: *mut *mut rte_mbuf, count: u16) -> u16;
    pub fn corelane_tx_prepare(port: u16, queue: u16, frames: *mut *mut rte_mbuf, count: u16) -> u16;
    pub fn corelane_rx_queue_count(port: u16, queue: u16) -> ::core::ffi::c_int;
    pub fn corelane_rx_descriptor_status(port: u16, queue: u16, offset: u16) -> ::core::ffi::c_int;
    pub fn corelane_tx_descriptor_status(port: u16, queue: u16, offset: u16) -> ::core::ffi::c_int;
    pub fn corelane_pktmbuf_alloc(pool: *mut rte_mempool) -> *mut rte_mbuf;
    pub fn corelane_pktmbuf_alloc_bulk(
        pool: *mut rte_mempool,
        frames: *mut *mut rte_mbuf,
        count: ::core::ffi::c_uint,
    ) -> ::core::ffi::c_int;
    pub fn corelane_pktmbuf_free(frame: *mut rte_mbuf);
    pub fn corelane_pktmbuf_free_seg(segment: *mut rte_mbuf);
    pub fn corelane_pktmbuf_free_bulk(frames: *mut *mut rte_mbuf, count: ::core::ffi::c_uint);
    pub fn corelane_pktmbuf_prefree_seg(segment: *mut rte_mbuf) -> *mut rte_mbuf;
    pub fn corelane_mbuf_raw_free(segment: *mut rte_mbuf);
    pub fn corelane_pktmbuf_reset(segment: *mut rte_mbuf);
    pub fn corelane_pktmbuf_data_room_size(pool: *mut rte_mempool) -> u16;
    pub fn corelane_pktmbuf_priv_size(pool: *mut rte_mempool) -> u16;
    pub fn corelane_mempool_get_bulk(
        pool: *mut rte_mempool,
        objects: *mut *mut ::core::ffi::c_void,
        count: ::core::ffi::c_uint,
    ) -> ::core::ffi::c_int;
    pub fn corelane_mempool_put_bulk(
        pool: *mut rte_mempool,
        objects: *const *mut ::core::ffi::c_void,
        count: ::core::ffi::c_uint,
    );
    pub fn corelane_mempool_cache_flush(pool: *mut rte_mempool);
    pub fn corelane_mempool_size(pool: *const rte_mempool) -> u32;
    pub fn corelane_ring_sp_enqueue_burst(
        ring: *mut rte_ring,
        items: *const ::core::ffi::c_void,
        item_bytes: ::core::ffi::c_uint,
        count: ::core::ffi::c_uint,
    ) -> ::core::ffi::c_uint;
    pub fn corelane_ring_sp_enqueue_bulk(
        ring: *mut rte_ring,
        items: *const ::core::ffi::c_void,
        item_bytes: ::core::ffi::c_uint,
        count: ::core::ffi::c_uint,
    ) -> ::core::ffi::c_uint;
    pub fn corelane_ring_sc_dequeue_burst(
        ring: *mut rte_ring,
        items: *mut ::core::ffi::c_void,
        item_bytes: ::core::ffi::c_uint,
        limit: ::core::ffi::c_uint,
    ) -> ::core::ffi::c_uint;
    pub fn corelane_ring_sc_dequeue_bulk(
        ring: *mut rte_ring,
        items: *mut ::core::ffi::c_void,
        item_bytes: ::core::ffi::c_uint,
        count: ::core::ffi::c_uint,
    ) -> ::core::ffi::c_uint;
    pub fn corelane_ring_mp_enqueue_burst(
        ring: *mut rte_ring,
        items: *const ::core::ffi::c_void,
        item_bytes: ::core::ffi::c_uint,
        count: ::core::ffi::c_uint,
    ) -> ::core::ffi::c_uint;
    pub fn corelane_ring_mp_enqueue_bulk(
        ring: *mut rte_ring,
        items: *const ::core::ffi::c_void,
        item_bytes: ::core::ffi::c_uint,
        count: ::core::ffi::c_uint,
    ) -> ::core::ffi::c_uint;
    pub fn corelane_ring_mc_dequeue_burst(
        ring: *mut rte_ring,
        items: *mut ::core::ffi::c_void,
        item_bytes: ::core::ffi::c_uint,
        limit: ::core::ffi::c_uint,
    ) -> ::core::ffi::c_uint;
    pub fn corelane_ring_mc_dequeue_bulk(
        ring: *mut rte_ring,
        items: *mut ::core::ffi::c_void,
        item_bytes: ::core::ffi::c_uint,
        count: ::core::ffi::c_uint,
    ) -> ::core::ffi::c_uint;
    pub fn corelane_ring_count(ring: *const rte_ring) -> ::core::ffi::c_uint;
    pub fn corelane_ring_free_count(ring: *const rte_ring) -> ::core::ffi::c_uint;
    pub fn corelane_port_info(port: u16, info: *mut corelane_port_info) -> ::core::ffi::c_int;
    pub fn corelane_port_configure(port: u16, config: *const corelane_port_config) -> ::core::ffi::c_int;
    pub fn corelane_rx_queue_setup(
        port: u16,
        queue: u16,
        descriptors: u16,
        numa: ::core::ffi::c_int,
        pool: *mut rte_mempool,
    ) -> ::core::ffi::c_int;
    pub fn corelane_tx_queue_setup(
        port: u16,
        queue: u16,
        descriptors: u16,
        numa: ::core::ffi::c_int,
    ) -> ::core::ffi::c_int;
    pub fn corelane_rss_read(port: u16, key: *mut u8, key_bytes: u8, types: *mut u64) -> ::core::ffi::c_int;
    pub fn corelane_link(port: u16, link: *mut corelane_link) -> ::core::ffi::c_int;
    pub fn corelane_rx_queue_descriptor(port: u16, queue: u16) -> ::core::ffi::c_int;
    pub fn corelane_port_watch(port: u16);
    pub fn corelane_port_unwatch(port: u16);
    pub fn corelane_port_is_removed(port: u16) -> ::core::ffi::c_int;
    pub fn corelane_events_settle() -> ::core::ffi::c_int;
    pub fn corelane_compiled_version() -> *const ::core::ffi::c_char;
}
