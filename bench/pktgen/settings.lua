-- What differs between machines: edit this, the other files read it.
return {
  -- Pktgen's port that sends and the one that receives, as strings: the API takes lists of ports.
  send = "0",
  receive = "1",
  -- Also the other way round, at the same rate.
  both_ways = false,

  -- MAC addresses of the ports of the machine under test that face send and receive.
  send_to_mac = "02:00:00:00:00:01",
  receive_side_mac = "02:00:00:00:00:02",

  -- Flows go from source up to destination: UDP, addresses counted up from the first.
  source = "10.1.0.1",
  destination = "10.2.0.1",
  source_port = 1024,
  destination_port = 5000,

  -- Frame sizes with FCS, as RFC 2544, 9.1, has them for Ethernet.
  sizes = { 64, 128, 256, 512, 1024, 1280, 1518 },
  -- How many flows: a case for each. Any of these; see traffic.lua.
  flows = { 1, 1000, 100000 },

  -- Milliseconds of one trial of the search, of the confirmation (RFC 2544, 24: 60 s), and before counters are
  -- read: Pktgen brings them up to date once a second.
  trial_ms = 10000,
  confirm_ms = 60000,
  settle_ms = 3000,

  -- Per cent of the packets that may be lost. 0: RFC 2544's throughput; 0.5: what CSIT calls PDR.
  loss = 0,
  -- The search ends when it knows the rate to this many per cent of the line.
  resolution = 0.1,

  -- Rates of sweep.lua, per cent of the line.
  rates = { 1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100 },

  -- latency.lua: loads, per cent of the throughput that rfc2544.lua found; samples per load, 50,000 at most;
  -- microseconds between the packets that carry a time.
  loads = { 10, 50, 90 },
  samples = 20000,
  sample_every_us = 1000,
}
