/* One function for each DPDK `static inline` or macro that Rust needs, and the few calls whose
 * structures change from one DPDK release to the next. What Rust reads field by field is not here:
 * the mbuf header has its offsets asserted in shim.c. */
#ifndef CORELANE_SHIM_H
#define CORELANE_SHIM_H

#include <stddef.h>
#include <stdint.h>

#include <rte_config.h>
#include <rte_alarm.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>
#include <rte_mempool.h>
#include <rte_memory.h>
#include <rte_ring.h>
#include <rte_version.h>

/* --- threads and errors: thread-local variables, which bindgen takes for plain statics --- */
int corelane_errno(void);
unsigned int corelane_lcore_id(void);

/* --- bursts --- */
uint16_t corelane_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t limit);
uint16_t corelane_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count);
uint16_t corelane_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count);
int corelane_rx_queue_count(uint16_t port, uint16_t queue);
int corelane_rx_descriptor_status(uint16_t port, uint16_t queue, uint16_t offset);
int corelane_tx_descriptor_status(uint16_t port, uint16_t queue, uint16_t offset);

/* --- mbufs --- */
struct rte_mbuf *corelane_pktmbuf_alloc(struct rte_mempool *pool);
int corelane_pktmbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **frames, unsigned int count);
void corelane_pktmbuf_free(struct rte_mbuf *frame);
void corelane_pktmbuf_free_seg(struct rte_mbuf *segment);
void corelane_pktmbuf_free_bulk(struct rte_mbuf **frames, unsigned int count);
struct rte_mbuf *corelane_pktmbuf_prefree_seg(struct rte_mbuf *segment);
void corelane_mbuf_raw_free(struct rte_mbuf *segment);
void corelane_pktmbuf_reset(struct rte_mbuf *segment);
uint16_t corelane_pktmbuf_data_room_size(struct rte_mempool *pool);
uint16_t corelane_pktmbuf_priv_size(struct rte_mempool *pool);

/* --- mempools of plain objects --- */
int corelane_mempool_get_bulk(struct rte_mempool *pool, void **objects, unsigned int count);
void corelane_mempool_put_bulk(struct rte_mempool *pool, void *const *objects, unsigned int count);
/* Gives this thread's cache back to the pool, so that the pool's count of it is exact. */
void corelane_mempool_cache_flush(struct rte_mempool *pool);
uint32_t corelane_mempool_size(const struct rte_mempool *pool);

/* --- rings: single and many producers and consumers --- */
unsigned int corelane_ring_sp_enqueue_burst(struct rte_ring *ring, const void *items, unsigned int item_bytes,
					    unsigned int count);
unsigned int corelane_ring_sp_enqueue_bulk(struct rte_ring *ring, const void *items, unsigned int item_bytes,
					   unsigned int count);
unsigned int corelane_ring_sc_dequeue_burst(struct rte_ring *ring, void *items, unsigned int item_bytes,
					    unsigned int limit);
unsigned int corelane_ring_sc_dequeue_bulk(struct rte_ring *ring, void *items, unsigned int item_bytes,
					   unsigned int count);
unsigned int corelane_ring_mp_enqueue_burst(struct rte_ring *ring, const void *items, unsigned int item_bytes,
					    unsigned int count);
unsigned int corelane_ring_mp_enqueue_bulk(struct rte_ring *ring, const void *items, unsigned int item_bytes,
					   unsigned int count);
unsigned int corelane_ring_mc_dequeue_burst(struct rte_ring *ring, void *items, unsigned int item_bytes,
					    unsigned int limit);
unsigned int corelane_ring_mc_dequeue_bulk(struct rte_ring *ring, void *items, unsigned int item_bytes,
					   unsigned int count);
unsigned int corelane_ring_count(const struct rte_ring *ring);
unsigned int corelane_ring_free_count(const struct rte_ring *ring);

/* --- ports: what rte_eth_dev_info says, in a shape that no release changes --- */
struct corelane_port_info {
	const char *driver_name;
	struct rte_device *device;
	uint64_t rx_offloads;
	uint64_t tx_offloads;
	uint64_t rss_types;
	uint32_t kernel_interface; /* its index, 0 if none */
	uint32_t rx_packet_bytes_max;
	uint32_t rx_buffer_bytes_min;
	uint16_t mtu_min;
	uint16_t mtu_max;
	uint16_t rx_queues_max;
	uint16_t tx_queues_max;
	uint16_t rx_descriptors_min;
	uint16_t rx_descriptors_max;
	uint16_t rx_descriptors_step;
	uint16_t tx_descriptors_min;
	uint16_t tx_descriptors_max;
	uint16_t tx_descriptors_step;
	uint16_t tx_segments_max;     /* in one frame that the port cuts */
	uint16_t tx_mtu_segments_max; /* in one that goes as it is */
	uint16_t rx_free_threshold;   /* the driver's defaults: descriptors that are refilled, */
	uint16_t tx_free_threshold;   /* freed, */
	uint16_t tx_report_threshold; /* and reported as done at a time */
	uint16_t reta_entries;
	uint8_t rss_key_bytes;
};

struct corelane_port_config {
	uint64_t rx_offloads;
	uint64_t tx_offloads;
	uint64_t rss_types;   /* 0: no receive-side scaling */
	const uint8_t *rss_key; /* NULL: the driver's */
	uint32_t mtu;
	uint16_t rx_queues;
	uint16_t tx_queues;
	uint8_t rss_key_bytes;
	uint8_t rx_interrupts; /* not 0: each receive queue has one, masked at first */
};

struct corelane_link {
	uint32_t speed_mbps; /* UINT32_MAX: unknown */
	uint8_t up;
	uint8_t full_duplex;
};

int corelane_port_info(uint16_t port, struct corelane_port_info *info);
int corelane_port_configure(uint16_t port, const struct corelane_port_config *config);
int corelane_rx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors, int numa,
			    struct rte_mempool *pool);
int corelane_tx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors, int numa);
/* Key and hash types as the port has them; the key has room for as many bytes as are asked for. */
int corelane_rss_read(uint16_t port, uint8_t *key, uint8_t key_bytes, uint64_t *types);
int corelane_link(uint16_t port, struct corelane_link *link);
/* The descriptor that a receive queue of a started port begins with in the memory of the drivers that
 * have one there (net_af_packet), or -1. */
int corelane_rx_queue_descriptor(uint16_t port, uint16_t queue);

/* Whether the device has been taken away, as its driver tells when asked, or told by an event. The
 * second is noted from the time a port is watched to its unwatching. */
void corelane_port_watch(uint16_t port);
void corelane_port_unwatch(uint16_t port);
int corelane_port_is_removed(uint16_t port);

/* Returns when DPDK's interrupt thread has dealt with every event that it had fetched before this call,
 * or after a second. Not to be called on that thread. Returns 0, or a negative errno. */
int corelane_events_settle(void);

/* The version that these functions were compiled for. */
const char *corelane_compiled_version(void);

#endif
