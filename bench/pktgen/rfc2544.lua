-- RFC 2544, 26.1: the highest rate at which nothing is lost (or settings.loss of it), for every frame size and
-- number of flows. Writes throughput.csv.
--
--   pktgen ... -f rfc2544.lua
package.path = package.path .. ";./?.lua"
local settings = require "settings"
local traffic = require "traffic"

-- The highest rate that passes, by halving. Every trial that fails is trusted, every one that passes too; the
-- confirmation is longer and may still say no.
local function search(passes)
  local low, high = 0, 100
  if passes(high) then
    return high
  end
  while high - low > settings.resolution do
    local middle = (low + high) / 2
    if passes(middle) then
      low = middle
    else
      high = middle
    end
  end
  return low
end

local function throughput(size, flows, results)
  traffic.prepare(size, flows)
  -- Neighbours, caches and connections exist before anything counts.
  traffic.trial(size, 1, 2000)
  -- A rate that the generator does not reach is one it cannot be asked for.
  local limited = false
  local function passes(rate)
    local trial = traffic.trial(size, rate, settings.trial_ms)
    limited = limited or (not trial.reached and trial.loss <= settings.loss)
    return trial.reached and trial.loss <= settings.loss
  end
  local rate = search(passes)
  local confirmed
  while rate > 0 do
    confirmed = traffic.trial(size, rate, settings.confirm_ms)
    if confirmed.loss <= settings.loss then
      break
    end
    rate = math.max(0, rate - math.max(settings.resolution, rate * 0.01))
  end
  if rate == 0 then
    results.line(size, flows, 0, 0, 0, "nothing passes without loss")
    return
  end
  results.line(
    size,
    flows,
    string.format("%.3f", rate),
    string.format("%.0f", confirmed.received_pps),
    string.format("%.6f", confirmed.loss),
    limited and "the generator was the limit" or "ok"
  )
end

local results = traffic.results("throughput.csv", "size", "flows", "rate_percent", "packets_per_second", "loss_percent", "note")
for _, flows in ipairs(settings.flows) do
  for _, size in ipairs(settings.sizes) do
    throughput(size, flows, results)
  end
end
