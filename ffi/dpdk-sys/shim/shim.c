#define _GNU_SOURCE /* fopencookie */
#define ALLOW_EXPERIMENTAL_API

#include "shim.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <rte_cycles.h>

/* The offsets that packet::Mbuf relies on. */
#define AT(field, offset) \
	_Static_assert(offsetof(struct rte_mbuf, field) == (offset), "rte_mbuf." #field " moved")
_Static_assert(sizeof(struct rte_mbuf) == 128, "rte_mbuf has another size");
_Static_assert(_Alignof(struct rte_mbuf) % 64 == 0, "rte_mbuf has another alignment");
AT(buf_addr, 0);
AT(data_off, 16);
AT(refcnt, 18);
AT(nb_segs, 20);
AT(port, 22);
AT(ol_flags, 24);
AT(packet_type, 32);
AT(pkt_len, 36);
AT(data_len, 40);
AT(vlan_tci, 42);
AT(hash.rss, 44);
AT(vlan_tci_outer, 52);
AT(buf_len, 54);
AT(pool, 56);
AT(next, 64);
AT(tx_offload, 72);
AT(shinfo, 80);
AT(priv_size, 88);
AT(timesync, 90);
AT(dynfield1, 92);
_Static_assert(RTE_PKTMBUF_HEADROOM <= 192, "packet::HEADROOM is smaller than DPDK's headroom");

static ssize_t
log_cookie_write(void *cookie, const char *text, size_t length)
{
	dp_log_write write = (dp_log_write)(uintptr_t)cookie;

	write(text, length, (uint32_t)rte_log_cur_msg_loglevel());
	return (ssize_t)length;
}

int
dp_log_to(dp_log_write write)
{
	cookie_io_functions_t io = { .write = log_cookie_write };
	FILE *stream = fopencookie((void *)(uintptr_t)write, "w", io);

	if (stream == NULL)
		return -ENOMEM;
	setvbuf(stream, NULL, _IOLBF, BUFSIZ);
	return rte_openlog_stream(stream);
}

int
dp_errno(void)
{
	return rte_errno;
}

unsigned int
dp_lcore_id(void)
{
	return rte_lcore_id();
}

uint64_t
dp_rdtsc(void)
{
	return rte_rdtsc();
}

struct rte_mbuf *
dp_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

int
dp_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count)
{
	return rte_pktmbuf_alloc_bulk(pool, mbufs, count);
}

void
dp_mbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

uint16_t
dp_mbuf_data_room(struct rte_mempool *pool)
{
	return rte_pktmbuf_data_room_size(pool);
}

uint16_t
dp_mbuf_private_size(struct rte_mempool *pool)
{
	return rte_pktmbuf_priv_size(pool);
}

int
dp_port_attach(const char *devargs, uint16_t *ports, unsigned int max)
{
	struct rte_dev_iterator iterator;
	unsigned int count = 0;
	uint16_t port;
	int ret = rte_dev_probe(devargs);

	if (ret < 0)
		return ret;
	RTE_ETH_FOREACH_MATCHING_DEV(port, devargs, &iterator) {
		if (count < max)
			ports[count] = port;
		count++;
	}
	return (int)count;
}

int
dp_port_detach(uint16_t port)
{
	struct rte_eth_dev_info info;
	uint16_t sibling;
	int ret = rte_eth_dev_info_get(port, &info);

	if (ret < 0)
		return ret;
	ret = rte_eth_dev_close(port);
	if (ret < 0)
		return ret;
	/* A device with several ports goes with the last of them. */
	RTE_ETH_FOREACH_DEV(sibling) {
		struct rte_eth_dev_info other;

		if (rte_eth_dev_info_get(sibling, &other) == 0 && other.device == info.device)
			return 0;
	}
	return rte_dev_remove(info.device);
}

int
dp_port_info(uint16_t port, struct dp_port_info *out)
{
	struct rte_eth_dev_info info;
	int ret = rte_eth_dev_info_get(port, &info);

	if (ret < 0)
		return ret;
	memset(out, 0, sizeof(*out));
	snprintf(out->driver, sizeof(out->driver), "%s", info.driver_name ? info.driver_name : "");
	if (info.device != NULL)
#if RTE_VERSION >= RTE_VERSION_NUM(22, 11, 0, 0)
		snprintf(out->name, sizeof(out->name), "%s", rte_dev_name(info.device));
#else
		snprintf(out->name, sizeof(out->name), "%s", info.device->name);
#endif
	out->min_mtu = info.min_mtu;
	out->max_mtu = info.max_mtu;
	out->max_rx_queues = info.max_rx_queues;
	out->max_tx_queues = info.max_tx_queues;
	out->socket = rte_eth_dev_socket_id(port);
	out->rx_offloads = info.rx_offload_capa;
	out->tx_offloads = info.tx_offload_capa;
	out->rss_types = info.flow_type_rss_offloads;
	out->rss_key_len = info.hash_key_size;
	return dp_port_mac(port, out->mac);
}

int
dp_port_setup(uint16_t port, const struct dp_port_config *config)
{
	struct rte_eth_conf conf;
	struct rte_eth_dev_info info;
	uint16_t rx_descriptors = config->rx_descriptors;
	uint16_t tx_descriptors = config->tx_descriptors;
	int socket = rte_eth_dev_socket_id(port);
	uint16_t queue;
	int ret = rte_eth_dev_info_get(port, &info);

	if (ret < 0)
		return ret;
	memset(&conf, 0, sizeof(conf));
	conf.rxmode.offloads = config->rx_offloads;
	conf.txmode.offloads = config->tx_offloads;
	if (config->mtu != 0)
		conf.rxmode.mtu = config->mtu;
	if (config->rss) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_key = (uint8_t *)(uintptr_t)config->rss_key;
		conf.rx_adv_conf.rss_conf.rss_key_len = config->rss_key_len;
		conf.rx_adv_conf.rss_conf.rss_hf = info.flow_type_rss_offloads &
			(RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP);
	}
	ret = rte_eth_dev_configure(port, config->rx_queues, config->tx_queues, &conf);
	if (ret < 0)
		return ret;
	ret = rte_eth_dev_adjust_nb_rx_tx_desc(port, &rx_descriptors, &tx_descriptors);
	if (ret < 0)
		return ret;
	for (queue = 0; queue < config->rx_queues; queue++) {
		struct rte_eth_rxconf rxconf = info.default_rxconf;

		rxconf.offloads = config->rx_offloads;
		ret = rte_eth_rx_queue_setup(port, queue, rx_descriptors, (unsigned int)socket,
					     &rxconf, config->pool);
		if (ret < 0)
			return ret;
	}
	for (queue = 0; queue < config->tx_queues; queue++) {
		struct rte_eth_txconf txconf = info.default_txconf;

		txconf.offloads = config->tx_offloads;
		ret = rte_eth_tx_queue_setup(port, queue, tx_descriptors, (unsigned int)socket,
					     &txconf);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int
dp_port_link(uint16_t port, struct dp_port_link *out)
{
	struct rte_eth_link link;
	int ret = rte_eth_link_get_nowait(port, &link);

	if (ret < 0)
		return ret;
	out->up = link.link_status == RTE_ETH_LINK_UP;
	out->speed = link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : link.link_speed;
	return 0;
}

int
dp_port_stats(uint16_t port, struct dp_port_stats *out)
{
	struct rte_eth_stats stats;
	int ret = rte_eth_stats_get(port, &stats);

	if (ret < 0)
		return ret;
	out->rx_packets = stats.ipackets;
	out->tx_packets = stats.opackets;
	out->rx_bytes = stats.ibytes;
	out->tx_bytes = stats.obytes;
	out->rx_missed = stats.imissed;
	out->rx_nombuf = stats.rx_nombuf;
	out->rx_errors = stats.ierrors;
	out->tx_errors = stats.oerrors;
	return 0;
}

int
dp_port_mac(uint16_t port, uint8_t mac[6])
{
	struct rte_ether_addr address;
	int ret = rte_eth_macaddr_get(port, &address);

	if (ret < 0)
		return ret;
	memcpy(mac, address.addr_bytes, sizeof(address.addr_bytes));
	return 0;
}

uint16_t
dp_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, mbufs, count);
}

uint16_t
dp_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, mbufs, count);
}

uint16_t
dp_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_prepare(port, queue, mbufs, count);
}

uint64_t
dp_tx_offload(uint64_t l2_len, uint64_t l3_len, uint64_t l4_len, uint64_t segment_size)
{
	struct rte_mbuf mbuf;

	mbuf.tx_offload = 0;
	mbuf.l2_len = l2_len;
	mbuf.l3_len = l3_len;
	mbuf.l4_len = l4_len;
	mbuf.tso_segsz = segment_size;
	return mbuf.tx_offload;
}
