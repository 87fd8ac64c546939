-- What the scripts share: flows by Pktgen's ranges, one trial, counters, files of results.
local settings = require "settings"
local traffic = {}

-- Pktgen counts all ranges up together, packet by packet, so the number of flows is the least common multiple
-- of their lengths: addresses by ports.
local SHAPES = {
  [1] = { 1, 1 },
  [100] = { 100, 1 },
  [1000] = { 1000, 1 },
  [10000] = { 10000, 1 },
  [100000] = { 25000, 1, destinations = 32 }, -- lcm(25000, 32) = 100000
  [1000000] = { 62500, 64 }, -- lcm(62500, 64) = 1000000
}

local function to_number(address)
  local a, b, c, d = address:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  assert(d, "not an IPv4 address: " .. address)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

local function to_address(number)
  number = math.floor(number)
  return string.format("%d.%d.%d.%d", number // 16777216, number // 65536 % 256, number // 256 % 256, number % 256)
end

-- One range of Pktgen: from first, count values.
local function range(set, port, first, last, step, none)
  set(port, "start", first)
  set(port, "min", first)
  set(port, "max", last)
  set(port, "inc", first == last and none or step)
end

local function addresses(set, port, first, count)
  range(set, port, first, to_address(to_number(first) + count - 1), "0.0.0.1", "0.0.0.0")
end

local function numbers(set, port, first, count)
  range(set, port, first, first + count - 1, 1, 0)
end

local function one_way(port, mac, from, to, size)
  pktgen.set_mac(port, "dst", mac)
  pktgen.range.dst_mac(port, "start", mac)
  pktgen.range.dst_mac(port, "inc", "00:00:00:00:00:00")
  pktgen.range.ip_proto(port, "udp")
  addresses(pktgen.range.src_ip, port, from.address, from.addresses)
  addresses(pktgen.range.dst_ip, port, to.address, to.addresses)
  numbers(pktgen.range.src_port, port, from.port, from.ports)
  numbers(pktgen.range.dst_port, port, to.port, to.ports)
  numbers(pktgen.range.ttl, port, 64, 1)
  numbers(pktgen.range.pkt_size, port, size, 1)
  -- The template of single packets: latency packets are made from it.
  pktgen.set_type(port, "ipv4")
  pktgen.set_proto(port, "udp")
  pktgen.set_ipaddr(port, "src", from.address .. "/16")
  pktgen.set_ipaddr(port, "dst", to.address)
  pktgen.set(port, "sport", from.port)
  pktgen.set(port, "dport", to.port)
  pktgen.set(port, "size", size)
  pktgen.set(port, "count", 0)
  pktgen.set_range(port, "on")
end

function traffic.ports()
  return settings.both_ways and settings.send .. "," .. settings.receive or settings.send
end

-- Frames of that size in that many flows, ready to be started.
function traffic.prepare(size, flows)
  local shape = SHAPES[flows]
  assert(shape, "traffic.lua has no shape of " .. tostring(flows) .. " flows: add one")
  pktgen.stop("all")
  local here = { address = settings.source, addresses = shape[1], port = settings.source_port, ports = shape[2] }
  local there = {
    address = settings.destination,
    addresses = shape.destinations or 1,
    port = settings.destination_port,
    ports = 1,
  }
  one_way(settings.send, settings.send_to_mac, here, there, size)
  if settings.both_ways then
    -- The same flows, answered.
    one_way(settings.receive, settings.receive_side_mac, there, here, size)
  end
end

-- Counters of a port since they were cleared. Pktgen 26.02 has them under `curr`; before that the function
-- wanted to know which kind.
function traffic.counters(port)
  local known, all = pcall(pktgen.portStats, port)
  if not known then
    all = pktgen.portStats(port, "port")
  end
  local one = all[tonumber(port)]
  return one.curr or one
end

-- Bits per second of the link, from what Pktgen prints of it: <UP-100000-FD>.
function traffic.line_rate()
  local state = pktgen.linkState(settings.send)[tonumber(settings.send)]
  local mbit = tonumber(state:match("%d+"))
  assert(mbit, "the link of port " .. settings.send .. " is not up: " .. state)
  return mbit * 1e6
end

-- Packets per second that fill the link: a frame takes 20 bytes more than it has.
function traffic.line_packets(size)
  return traffic.line_rate() / ((size + 20) * 8)
end

-- Sends at `rate` per cent of the line for `ms`; what was sent, what arrived, per second where it says so.
function traffic.trial(size, rate, ms)
  local ports = traffic.ports()
  pktgen.set(ports, "rate", rate)
  pktgen.clr()
  pktgen.delay(1000)
  pktgen.start(ports)
  pktgen.delay(ms)
  pktgen.stop(ports)
  pktgen.delay(settings.settle_ms)

  local near, far = traffic.counters(settings.send), traffic.counters(settings.receive)
  local sent, received = near.opackets, far.ipackets
  if settings.both_ways then
    sent, received = sent + far.opackets, received + near.ipackets
  end
  local ways = settings.both_ways and 2 or 1
  local wanted = traffic.line_packets(size) * rate / 100 * ms / 1000 * ways
  return {
    rate = rate,
    sent = sent,
    received = received,
    sent_pps = sent * 1000 / ms,
    received_pps = received * 1000 / ms,
    -- More than was sent is no gain: somebody else talks on the link.
    loss = sent > 0 and 100 * (sent - received) / sent or 100,
    -- A generator that does not reach the rate says nothing about the machine under test.
    reached = sent >= 0.99 * wanted,
  }
end

-- A file of comma-separated values that is complete after every line.
function traffic.results(name, ...)
  local file = assert(io.open(name, "w"))
  local results = {}
  function results.line(...)
    local line = table.concat({ ... }, ",")
    file:write(line, "\n")
    file:flush()
    print(line)
  end
  results.line(...)
  return results
end

return traffic
