-- Stands for Pktgen where there is none: the functions that our scripts use, with the number of arguments that
-- Pktgen 26.02's app/lpktgenlib.c asks for, and a machine under test that forwards so many packets/s and loses
-- the rest. Time passes only in delay.
local stub = { capacity = 5e6, generator = 20e6, link = "<UP-10000-FD>", latency_ns = 4000, calls = {}, old = false }

local ports = {}
for id = 0, 1 do
  ports[id] = { id = id, rate = 100, size = 64, sending = false, sent = 0, received = 0, range = {} }
end

local function each(list)
  assert(type(list) == "string", "a list of ports is a string")
  local found = {}
  if list == "all" then
    list = "0,1"
  end
  for id in list:gmatch("%d+") do
    found[#found + 1] = assert(ports[tonumber(id)], "no port " .. id)
  end
  assert(#found > 0, "no port in " .. list)
  return found
end

local function state(word)
  local on = { on = true, enable = true, off = false, disable = false }
  assert(on[word] ~= nil, "neither on nor off: " .. tostring(word))
  return on[word]
end

local function packets_per_second(port)
  local size = port.range.pkt_size and port.range.pkt_size.start or port.size
  return math.min(stub.generator, 10e9 / ((size + 20) * 8) * port.rate / 100)
end

local function pass(ms)
  for id, port in pairs(ports) do
    if port.sending then
      local offered = packets_per_second(port)
      port.sent = port.sent + math.floor(offered * ms / 1000)
      local other = ports[1 - id]
      other.received = other.received + math.floor(math.min(offered, stub.capacity) * ms / 1000)
    end
  end
end

local SETTABLE = { count = 1, size = 1, rate = 1, burst = 1, sport = 1, dport = 1, ttl = 1 }
local api = {}
function api.set(list, what, value)
  assert(SETTABLE[what], "set does not know " .. tostring(what))
  assert(tonumber(value), "set: no number")
  for _, port in ipairs(each(list)) do
    port[what] = tonumber(value)
  end
end
function api.start(list)
  for _, port in ipairs(each(list)) do
    port.sending = true
  end
end
function api.stop(list)
  for _, port in ipairs(each(list)) do
    port.sending = false
  end
end
function api.clr()
  for _, port in pairs(ports) do
    port.sent, port.received = 0, 0
  end
end
function api.delay(ms)
  assert(ms == math.floor(ms), "delay takes whole milliseconds")
  pass(ms)
end
function api.set_mac(list, which, mac)
  each(list)
  assert(which == "dst" or which == "src")
  assert(mac:match("^%x%x:%x%x:%x%x:%x%x:%x%x:%x%x$"), "no MAC: " .. mac)
end
function api.set_ipaddr(list, which, address)
  each(list)
  assert(which == "dst" or which == "src")
  assert(address:match(which == "src" and "^[%d.]+/%d+$" or "^[%d.]+$"), "no address: " .. address)
end
function api.set_type(list, kind)
  each(list)
  assert(kind == "ipv4" or kind == "ipv6" or kind == "vlan" or kind == "arp")
end
function api.set_proto(list, kind)
  each(list)
  assert(kind == "udp" or kind == "tcp" or kind == "icmp")
end
function api.set_range(list, on)
  for _, port in ipairs(each(list)) do
    assert(not port.sending, "Cannot enable the range settings while sending packets!")
  end
  state(on)
end
function api.linkState(list)
  local all = { n = 0 }
  for _, port in ipairs(each(list)) do
    all[port.id] = stub.link
  end
  return all
end
function api.portStats(list, kind)
  assert((kind == nil) ~= stub.old, "portStats, wrong number of arguments")
  local all = { n = 0 }
  for _, port in ipairs(each(list)) do
    local now = { ipackets = port.received, opackets = port.sent, ibytes = 0, obytes = 0 }
    all[port.id] = stub.old and now or { curr = now }
    all.n = all.n + 1
  end
  return all
end
function api.latency(list, what, value)
  each(list)
  if value then
    assert(what == "rate" or what == "entropy")
    assert(value == math.floor(value))
  else
    state(what)
  end
end
function api.latsampler_params(list, kind, samples, rate, file)
  assert(kind == "simple" or kind == "poisson")
  assert(samples <= 50108, "Too many samples requested")
  for _, port in ipairs(each(list)) do
    port.sampler = { samples = samples, rate = rate, file = file }
  end
end
function api.latsampler(list, on)
  for _, port in ipairs(each(list)) do
    assert(port.sampler, "Set proper sampling type, number, rate and outfile!")
    if not state(on) then
      local file = assert(io.open(port.sampler.file, "w"))
      file:write("Latency\n")
      for i = 1, port.sampler.samples do
        file:write(stub.latency_ns + i % 1000, "\n")
      end
      file:close()
    end
  end
end

local COUNTS = {
  set = "3", start = "1", stop = "1", clr = "0", delay = "1", set_mac = "3", set_ipaddr = "3", set_type = "2",
  set_proto = "2", set_range = "2", linkState = "1", portStats = "1 2", latency = "2 3", latsampler_params = "5",
  latsampler = "2",
}
pktgen = { range = {} }
for name, body in pairs(api) do
  pktgen[name] = function(...)
    local count = select("#", ...)
    assert((" " .. COUNTS[name] .. " "):find(" " .. count .. " ", 1, true), name .. ", wrong number of arguments: " .. count)
    stub.calls[name] = (stub.calls[name] or 0) + 1
    return body(...)
  end
end
for _, name in ipairs({ "dst_mac", "src_ip", "dst_ip", "src_port", "dst_port", "ttl", "pkt_size" }) do
  pktgen.range[name] = function(...)
    assert(select("#", ...) == 3, name .. ", wrong number of arguments")
    local list, what, value = ...
    assert(({ start = 1, min = 1, max = 1, inc = 1 })[what], "neither start, min, max nor inc: " .. tostring(what))
    for _, port in ipairs(each(list)) do
      port.range[name] = port.range[name] or {}
      port.range[name][what] = value
    end
  end
end
function pktgen.range.ip_proto(...)
  assert(select("#", ...) == 2, "ip_proto, wrong number of arguments")
end
-- What is not here is not known to exist.
setmetatable(pktgen, { __index = function(_, name) error("the stub has no pktgen." .. tostring(name)) end })
setmetatable(pktgen.range, { __index = function(_, name) error("the stub has no pktgen.range." .. tostring(name)) end })

stub.ports = ports
return stub
