-- RFC 2544, 26.2, and more of the distribution: latency at parts of the throughput. Reads throughput.csv, writes
-- latency.csv, and every sample to samples-SIZE-FLOWS-LOAD.csv (nanoseconds).
--
--   pktgen ... -f latency.lua
--
-- Every settings.sample_every_us Pktgen sends one more packet, which carries the time of its sending; it has the
-- size of latency packets, not of the load. Its clock is read in software at both ends: what the NICs and buses
-- on Pktgen's side take is in it. Measure a cable between send and receive first and subtract that.
package.path = package.path .. ";./?.lua"
local settings = require "settings"
local traffic = require "traffic"

-- Lines of throughput.csv: {size, flows, rate}.
local function measured()
  local file = assert(io.open("throughput.csv"), "throughput.csv is not here: run rfc2544.lua first")
  local found = {}
  for line in file:lines() do
    local size, flows, rate = line:match("^(%d+),(%d+),([%d.]+),")
    if size and tonumber(rate) > 0 then
      found[#found + 1] = { size = tonumber(size), flows = tonumber(flows), rate = tonumber(rate) }
    end
  end
  file:close()
  return found
end

-- Pktgen's file: a line that says Latency, then a number per line.
local function read_samples(name)
  local samples = {}
  local file = assert(io.open(name), "Pktgen wrote no " .. name)
  for line in file:lines() do
    samples[#samples + 1] = tonumber(line)
  end
  file:close()
  table.sort(samples)
  return samples
end

local function percentile(samples, percent)
  if #samples == 0 then
    return "-"
  end
  return samples[math.max(1, math.ceil(#samples * percent / 100))]
end

local function latency(case, load, results)
  local name = string.format("samples-%d-%d-%d.csv", case.size, case.flows, load)
  local ports = settings.send .. "," .. settings.receive
  traffic.prepare(case.size, case.flows)
  pktgen.latency(settings.send, "rate", settings.sample_every_us)
  pktgen.latency(settings.send, "entropy", 0)
  -- On the receiver too: it looks for times only then.
  pktgen.latency(ports, "enable")
  -- `simple` takes every packet with a time until it has enough; the pace is that of the packets.
  pktgen.latsampler_params(settings.receive, "simple", settings.samples, 1000, name)
  pktgen.latsampler(settings.receive, "enable")
  local ms = math.ceil(settings.samples * settings.sample_every_us / 1000) + 1000
  local trial = traffic.trial(case.size, case.rate * load / 100, ms)
  pktgen.latsampler(settings.receive, "disable")
  pktgen.latency(ports, "disable")

  local samples = read_samples(name)
  results.line(
    case.size,
    case.flows,
    load,
    string.format("%.0f", trial.received_pps),
    string.format("%.6f", trial.loss),
    #samples,
    percentile(samples, 50),
    percentile(samples, 90),
    percentile(samples, 99),
    percentile(samples, 99.9),
    percentile(samples, 100)
  )
end

local results = traffic.results(
  "latency.csv",
  "size", "flows", "load_percent", "packets_per_second", "loss_percent", "samples",
  "p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"
)
for _, case in ipairs(measured()) do
  for _, load in ipairs(settings.loads) do
    latency(case, load, results)
  end
end
