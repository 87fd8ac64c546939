-- What arrives at each offered rate: the curve behind the one number. Writes sweep.csv.
--
--   pktgen ... -f sweep.lua
package.path = package.path .. ";./?.lua"
local settings = require "settings"
local traffic = require "traffic"

local results = traffic.results("sweep.csv", "size", "flows", "rate_percent", "sent_pps", "received_pps", "loss_percent", "note")
for _, flows in ipairs(settings.flows) do
  for _, size in ipairs(settings.sizes) do
    traffic.prepare(size, flows)
    traffic.trial(size, 1, 2000)
    for _, rate in ipairs(settings.rates) do
      local trial = traffic.trial(size, rate, settings.trial_ms)
      results.line(
        size,
        flows,
        rate,
        string.format("%.0f", trial.sent_pps),
        string.format("%.0f", trial.received_pps),
        string.format("%.6f", trial.loss),
        trial.reached and "ok" or "the generator was the limit"
      )
    end
  end
end
