/* Bodies of shim.h, and the layout that the Rust mbuf header relies on. */
/* For sem_clockwait. */
#define _GNU_SOURCE
/* For the making of interrupt handles. */
#define ALLOW_EXPERIMENTAL_API
#include "shim.h"

#include <errno.h>
#include <semaphore.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <rte_interrupts.h>

#if RTE_VERSION < RTE_VERSION_NUM(22, 11, 0, 0)
#error "Corelane needs DPDK 22.11 or later: install the package libdpdk-dev of Debian 12 or later"
#endif

/* The Rust header has these offsets: they have not moved since 22.11, though the fields have gone
 * into anonymous unions in between. */
#define AT(field, offset) \
	_Static_assert(offsetof(struct rte_mbuf, field) == (offset), "rte_mbuf." #field " has moved")
AT(buf_addr, 0);
AT(buf_iova, 8);
AT(data_off, 16);
AT(refcnt, 18);
AT(nb_segs, 20);
AT(port, 22);
AT(ol_flags, 24);
AT(packet_type, 32);
AT(pkt_len, 36);
AT(data_len, 40);
AT(vlan_tci, 42);
AT(hash, 44);
AT(hash.rss, 44);
AT(vlan_tci_outer, 52);
AT(buf_len, 54);
AT(pool, 56);
AT(next, 64);
AT(tx_offload, 72);
AT(shinfo, 80);
AT(priv_size, 88);
_Static_assert(sizeof(struct rte_mbuf) == 128, "rte_mbuf is not two cache lines");
_Static_assert(sizeof(((struct rte_mbuf *)0)->refcnt) == 2, "rte_mbuf.refcnt is not 16 bits");

_Static_assert(offsetof(struct rte_mbuf_ext_shared_info, free_cb) == 0, "free_cb has moved");
_Static_assert(offsetof(struct rte_mbuf_ext_shared_info, fcb_opaque) == 8, "fcb_opaque has moved");
_Static_assert(offsetof(struct rte_mbuf_ext_shared_info, refcnt) == 16, "refcnt has moved");
_Static_assert(sizeof(struct rte_mbuf_ext_shared_info) == 24, "the shared information has grown");

_Static_assert(RTE_MBUF_L2_LEN_BITS == 7 && RTE_MBUF_L3_LEN_BITS == 9 && RTE_MBUF_L4_LEN_BITS == 8 &&
		       RTE_MBUF_TSO_SEGSZ_BITS == 16,
	       "the bit fields of rte_mbuf.tx_offload have changed");

int corelane_errno(void)
{
	return rte_errno;
}

unsigned int corelane_lcore_id(void)
{
	return rte_lcore_id();
}

uint16_t corelane_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t limit)
{
	return rte_eth_rx_burst(port, queue, frames, limit);
}

uint16_t corelane_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, frames, count);
}

uint16_t corelane_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count)
{
	return rte_eth_tx_prepare(port, queue, frames, count);
}

int corelane_rx_queue_count(uint16_t port, uint16_t queue)
{
	return rte_eth_rx_queue_count(port, queue);
}

int corelane_rx_descriptor_status(uint16_t port, uint16_t queue, uint16_t offset)
{
	return rte_eth_rx_descriptor_status(port, queue, offset);
}

int corelane_tx_descriptor_status(uint16_t port, uint16_t queue, uint16_t offset)
{
	return rte_eth_tx_descriptor_status(port, queue, offset);
}

struct rte_mbuf *corelane_pktmbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

int corelane_pktmbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **frames, unsigned int count)
{
	return rte_pktmbuf_alloc_bulk(pool, frames, count);
}

void corelane_pktmbuf_free(struct rte_mbuf *frame)
{
	rte_pktmbuf_free(frame);
}

void corelane_pktmbuf_free_seg(struct rte_mbuf *segment)
{
	rte_pktmbuf_free_seg(segment);
}

void corelane_pktmbuf_free_bulk(struct rte_mbuf **frames, unsigned int count)
{
	rte_pktmbuf_free_bulk(frames, count);
}

struct rte_mbuf *corelane_pktmbuf_prefree_seg(struct rte_mbuf *segment)
{
	return rte_pktmbuf_prefree_seg(segment);
}

void corelane_mbuf_raw_free(struct rte_mbuf *segment)
{
	rte_mbuf_raw_free(segment);
}

void corelane_pktmbuf_reset(struct rte_mbuf *segment)
{
	rte_pktmbuf_reset(segment);
}

uint16_t corelane_pktmbuf_data_room_size(struct rte_mempool *pool)
{
	return rte_pktmbuf_data_room_size(pool);
}

uint16_t corelane_pktmbuf_priv_size(struct rte_mempool *pool)
{
	return rte_pktmbuf_priv_size(pool);
}

int corelane_mempool_get_bulk(struct rte_mempool *pool, void **objects, unsigned int count)
{
	return rte_mempool_get_bulk(pool, objects, count);
}

void corelane_mempool_put_bulk(struct rte_mempool *pool, void *const *objects, unsigned int count)
{
	rte_mempool_put_bulk(pool, objects, count);
}

void corelane_mempool_cache_flush(struct rte_mempool *pool)
{
	/* Both are safe for a thread without a cache: it has none to flush. */
	struct rte_mempool_cache *cache = rte_mempool_default_cache(pool, rte_lcore_id());
	if (cache != NULL)
		rte_mempool_cache_flush(cache, pool);
}

uint32_t corelane_mempool_size(const struct rte_mempool *pool)
{
	return pool->size;
}

unsigned int corelane_ring_sp_enqueue_burst(struct rte_ring *ring, const void *items, unsigned int item_bytes,
					    unsigned int count)
{
	return rte_ring_sp_enqueue_burst_elem(ring, items, item_bytes, count, NULL);
}

unsigned int corelane_ring_sp_enqueue_bulk(struct rte_ring *ring, const void *items, unsigned int item_bytes,
					   unsigned int count)
{
	return rte_ring_sp_enqueue_bulk_elem(ring, items, item_bytes, count, NULL);
}

unsigned int corelane_ring_sc_dequeue_burst(struct rte_ring *ring, void *items, unsigned int item_bytes,
					    unsigned int limit)
{
	return rte_ring_sc_dequeue_burst_elem(ring, items, item_bytes, limit, NULL);
}

unsigned int corelane_ring_sc_dequeue_bulk(struct rte_ring *ring, void *items, unsigned int item_bytes,
					   unsigned int count)
{
	return rte_ring_sc_dequeue_bulk_elem(ring, items, item_bytes, count, NULL);
}

unsigned int corelane_ring_mp_enqueue_burst(struct rte_ring *ring, const void *items, unsigned int item_bytes,
					    unsigned int count)
{
	return rte_ring_mp_enqueue_burst_elem(ring, items, item_bytes, count, NULL);
}

unsigned int corelane_ring_mp_enqueue_bulk(struct rte_ring *ring, const void *items, unsigned int item_bytes,
					   unsigned int count)
{
	return rte_ring_mp_enqueue_bulk_elem(ring, items, item_bytes, count, NULL);
}

unsigned int corelane_ring_mc_dequeue_burst(struct rte_ring *ring, void *items, unsigned int item_bytes,
					    unsigned int limit)
{
	return rte_ring_mc_dequeue_burst_elem(ring, items, item_bytes, limit, NULL);
}

unsigned int corelane_ring_mc_dequeue_bulk(struct rte_ring *ring, void *items, unsigned int item_bytes,
					   unsigned int count)
{
	return rte_ring_mc_dequeue_bulk_elem(ring, items, item_bytes, count, NULL);
}

unsigned int corelane_ring_count(const struct rte_ring *ring)
{
	return rte_ring_count(ring);
}

unsigned int corelane_ring_free_count(const struct rte_ring *ring)
{
	return rte_ring_free_count(ring);
}

int corelane_port_info(uint16_t port, struct corelane_port_info *info)
{
	struct rte_eth_dev_info dev;
	int status = rte_eth_dev_info_get(port, &dev);
	if (status != 0)
		return status;
	*info = (struct corelane_port_info){
		.driver_name = dev.driver_name,
		.device = dev.device,
		.rx_offloads = dev.rx_offload_capa,
		.tx_offloads = dev.tx_offload_capa,
		.rss_types = dev.flow_type_rss_offloads,
		.kernel_interface = dev.if_index,
		.rx_packet_bytes_max = dev.max_rx_pktlen,
		.rx_buffer_bytes_min = dev.min_rx_bufsize,
		.mtu_min = dev.min_mtu,
		.mtu_max = dev.max_mtu,
		.rx_queues_max = dev.max_rx_queues,
		.tx_queues_max = dev.max_tx_queues,
		.rx_descriptors_min = dev.rx_desc_lim.nb_min,
		.rx_descriptors_max = dev.rx_desc_lim.nb_max,
		.rx_descriptors_step = dev.rx_desc_lim.nb_align,
		.tx_descriptors_min = dev.tx_desc_lim.nb_min,
		.tx_descriptors_max = dev.tx_desc_lim.nb_max,
		.tx_descriptors_step = dev.tx_desc_lim.nb_align,
		.tx_segments_max = dev.tx_desc_lim.nb_seg_max,
		.tx_mtu_segments_max = dev.tx_desc_lim.nb_mtu_seg_max,
		.rx_free_threshold = dev.default_rxconf.rx_free_thresh,
		.tx_free_threshold = dev.default_txconf.tx_free_thresh,
		.tx_report_threshold = dev.default_txconf.tx_rs_thresh,
		.reta_entries = dev.reta_size,
		.rss_key_bytes = dev.hash_key_size,
	};
	return 0;
}

int corelane_port_configure(uint16_t port, const struct corelane_port_config *config)
{
	struct rte_eth_conf conf;
	memset(&conf, 0, sizeof(conf));
	conf.rxmode.mq_mode = config->rss_types != 0 ? RTE_ETH_MQ_RX_RSS : RTE_ETH_MQ_RX_NONE;
	conf.rxmode.mtu = config->mtu;
	conf.rxmode.offloads = config->rx_offloads;
	conf.txmode.mq_mode = RTE_ETH_MQ_TX_NONE;
	conf.txmode.offloads = config->tx_offloads;
	conf.intr_conf.rxq = config->rx_interrupts != 0;
	conf.rx_adv_conf.rss_conf.rss_hf = config->rss_types;
	/* DPDK only reads the key. */
	conf.rx_adv_conf.rss_conf.rss_key = (uint8_t *)(uintptr_t)config->rss_key;
	conf.rx_adv_conf.rss_conf.rss_key_len = config->rss_key != NULL ? config->rss_key_bytes : 0;
	return rte_eth_dev_configure(port, config->rx_queues, config->tx_queues, &conf);
}

int corelane_rx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors, int numa,
			    struct rte_mempool *pool)
{
	/* No configuration: the driver's own, with the port's offloads. */
	return rte_eth_rx_queue_setup(port, queue, descriptors, (unsigned int)numa, NULL, pool);
}

int corelane_tx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors, int numa)
{
	return rte_eth_tx_queue_setup(port, queue, descriptors, (unsigned int)numa, NULL);
}

int corelane_rss_read(uint16_t port, uint8_t *key, uint8_t key_bytes, uint64_t *types)
{
	struct rte_eth_rss_conf conf;
	memset(&conf, 0, sizeof(conf));
	conf.rss_key = key;
	conf.rss_key_len = key_bytes;
	int status = rte_eth_dev_rss_hash_conf_get(port, &conf);
	*types = status == 0 ? conf.rss_hf : 0;
	return status;
}

int corelane_link(uint16_t port, struct corelane_link *link)
{
	struct rte_eth_link now;
	int status = rte_eth_link_get_nowait(port, &now);
	if (status != 0)
		return status;
	*link = (struct corelane_link){
		.speed_mbps = now.link_speed,
		.up = now.link_status == RTE_ETH_LINK_UP,
		.full_duplex = now.link_duplex == RTE_ETH_LINK_FULL_DUPLEX,
	};
	return 0;
}

int corelane_rx_queue_descriptor(uint16_t port, uint16_t queue)
{
	const int *first;

	if (port >= RTE_MAX_ETHPORTS || queue >= RTE_MAX_QUEUES_PER_PORT || rte_eth_fp_ops[port].rxq.data == NULL)
		return -1;
	first = rte_eth_fp_ops[port].rxq.data[queue];
	return first != NULL ? *first : -1;
}

static int removed[RTE_MAX_ETHPORTS];

static int on_removal(uint16_t port, enum rte_eth_event_type event, void *context, void *result)
{
	(void)event;
	(void)context;
	(void)result;
	if (port < RTE_MAX_ETHPORTS)
		__atomic_store_n(&removed[port], 1, __ATOMIC_RELAXED);
	return 0;
}

void corelane_port_watch(uint16_t port)
{
	if (port >= RTE_MAX_ETHPORTS)
		return;
	__atomic_store_n(&removed[port], 0, __ATOMIC_RELAXED);
	rte_eth_dev_callback_register(port, RTE_ETH_EVENT_INTR_RMV, on_removal, NULL);
}

void corelane_port_unwatch(uint16_t port)
{
	rte_eth_dev_callback_unregister(port, RTE_ETH_EVENT_INTR_RMV, on_removal, NULL);
}

int corelane_port_is_removed(uint16_t port)
{
	if (port >= RTE_MAX_ETHPORTS)
		return 1;
	return __atomic_load_n(&removed[port], __ATOMIC_RELAXED) || rte_eth_dev_is_removed(port) == 1;
}

struct settling {
	int fd;
	sem_t done;
};

static void on_settled(void *argument)
{
	struct settling *settling = argument;
	uint64_t count;

	/* Once is enough: the next event of this descriptor could meet another of the same number. */
	if (read(settling->fd, &count, sizeof(count)) == sizeof(count))
		sem_post(&settling->done);
}

/* A new descriptor makes the thread fetch events anew, so that the first call it brings comes after all
 * that was fetched before. */
int corelane_events_settle(void)
{
	struct rte_intr_handle *handle = rte_intr_instance_alloc(RTE_INTR_INSTANCE_F_PRIVATE);
	struct settling settling = {.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)};
	struct timespec until;
	int status = -ENOMEM;

	if (handle != NULL && settling.fd >= 0 && sem_init(&settling.done, 0, 0) == 0) {
		rte_intr_fd_set(handle, settling.fd);
		rte_intr_type_set(handle, RTE_INTR_HANDLE_EXT);
		status = rte_intr_callback_register(handle, on_settled, &settling);
		if (status == 0) {
			clock_gettime(CLOCK_MONOTONIC, &until);
			until.tv_sec++;
			while ((status = sem_clockwait(&settling.done, CLOCK_MONOTONIC, &until)) != 0 && errno == EINTR)
				;
			if (status != 0)
				status = -errno;
			rte_intr_callback_unregister_sync(handle, on_settled, &settling);
		}
		sem_destroy(&settling.done);
	}
	if (settling.fd >= 0)
		close(settling.fd);
	rte_intr_instance_free(handle);
	return status;
}

const char *corelane_compiled_version(void)
{
	return RTE_VER_PREFIX " " RTE_STR(RTE_VER_YEAR) "." RTE_STR(RTE_VER_MONTH) "." RTE_STR(RTE_VER_MINOR);
}
