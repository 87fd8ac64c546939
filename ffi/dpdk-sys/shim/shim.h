/* What Sluice calls of DPDK that bindgen cannot bind by itself: inline functions, and structures
 * whose shape differs between releases (22.11 to 24.11). No logic beyond that.
 *
 * Functions return 0 or a negative errno unless said otherwise. */
#ifndef SLUICE_DPDK_SHIM_H
#define SLUICE_DPDK_SHIM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

/* The mbuf flags and offload bits that are used, one width for all of them. */
static const uint64_t DP_RX_VLAN_STRIPPED = RTE_MBUF_F_RX_VLAN_STRIPPED;
static const uint64_t DP_RX_QINQ_STRIPPED = RTE_MBUF_F_RX_QINQ_STRIPPED;
static const uint64_t DP_RX_RSS_HASH = RTE_MBUF_F_RX_RSS_HASH;
static const uint64_t DP_RX_L4_CKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t DP_RX_L4_CKSUM_GOOD = RTE_MBUF_F_RX_L4_CKSUM_GOOD;

static const uint64_t DP_TX_TCP_SEG = RTE_MBUF_F_TX_TCP_SEG;
static const uint64_t DP_TX_TCP_CKSUM = RTE_MBUF_F_TX_TCP_CKSUM;
static const uint64_t DP_TX_UDP_CKSUM = RTE_MBUF_F_TX_UDP_CKSUM;
static const uint64_t DP_TX_IP_CKSUM = RTE_MBUF_F_TX_IP_CKSUM;
static const uint64_t DP_TX_IPV4 = RTE_MBUF_F_TX_IPV4;
static const uint64_t DP_TX_IPV6 = RTE_MBUF_F_TX_IPV6;

static const uint64_t DP_RX_OFFLOAD_CHECKSUM = RTE_ETH_RX_OFFLOAD_CHECKSUM;
static const uint64_t DP_RX_OFFLOAD_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
static const uint64_t DP_TX_OFFLOAD_IPV4_CKSUM = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
static const uint64_t DP_TX_OFFLOAD_TCP_CKSUM = RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
static const uint64_t DP_TX_OFFLOAD_UDP_CKSUM = RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
static const uint64_t DP_TX_OFFLOAD_TCP_TSO = RTE_ETH_TX_OFFLOAD_TCP_TSO;
static const uint64_t DP_TX_OFFLOAD_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;

/* rte_dev_info without what changes between releases. */
struct dp_port_info {
	char name[64];
	char driver[64];
	uint8_t mac[6];
	uint16_t min_mtu;
	uint16_t max_mtu;
	uint16_t max_rx_queues;
	uint16_t max_tx_queues;
	int socket; /* NUMA node, -1 if unknown */
	uint64_t rx_offloads;
	uint64_t tx_offloads;
	uint64_t rss_types; /* RTE_ETH_RSS_*, what the device can hash */
	uint8_t rss_key_len; /* bytes; 0: it has none of its own */
};

struct dp_port_config {
	uint16_t rx_queues;
	uint16_t tx_queues;
	uint16_t rx_descriptors;
	uint16_t tx_descriptors;
	uint16_t mtu; /* 0: the device's own */
	uint64_t rx_offloads;
	uint64_t tx_offloads;
	struct rte_mempool *pool;
	bool rss; /* spread packets over the rx queues by addresses and ports */
	const uint8_t *rss_key; /* NULL: the device's own */
	uint8_t rss_key_len;
};

struct dp_port_link {
	bool up;
	uint32_t speed; /* Mbit/s, 0 if unknown */
};

struct dp_port_stats {
	uint64_t rx_packets;
	uint64_t tx_packets;
	uint64_t rx_bytes;
	uint64_t tx_bytes;
	uint64_t rx_missed; /* dropped by the device: its queue was full */
	uint64_t rx_nombuf; /* dropped by the driver: the pool was empty */
	uint64_t rx_errors;
	uint64_t tx_errors;
};

/* Takes what DPDK logs: `length` bytes without a zero at the end, and the RTE_LOG_* level. */
typedef void (*dp_log_write)(const char *text, size_t length, uint32_t level);
int dp_log_to(dp_log_write write);

int dp_errno(void);
unsigned int dp_lcore_id(void);
uint64_t dp_rdtsc(void);

/* Mbufs. Allocation gives NULL when the pool is empty. */
struct rte_mbuf *dp_mbuf_alloc(struct rte_mempool *pool);
int dp_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count);
void dp_mbuf_free(struct rte_mbuf *mbuf);
uint16_t dp_mbuf_data_room(struct rte_mempool *pool);
uint16_t dp_mbuf_private_size(struct rte_mempool *pool);

/* Devices. `dp_port_attach` writes up to `max` port numbers and returns how many there are. */
int dp_port_attach(const char *devargs, uint16_t *ports, unsigned int max);
int dp_port_detach(uint16_t port);
int dp_port_info(uint16_t port, struct dp_port_info *info);
int dp_port_setup(uint16_t port, const struct dp_port_config *config);
int dp_port_link(uint16_t port, struct dp_port_link *link);
int dp_port_stats(uint16_t port, struct dp_port_stats *stats);
int dp_port_mac(uint16_t port, uint8_t mac[6]);

uint16_t dp_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t dp_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t dp_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);

/* The tx_offload word of an mbuf. */
uint64_t dp_tx_offload(uint64_t l2_len, uint64_t l3_len, uint64_t l4_len, uint64_t segment_size);

#endif
