-- Runs the scripts against the stub: lua5.3 check.lua FOLDER_OF_THE_SCRIPTS, in a folder to write to.
local folder = arg[1]
package.path = folder .. "/stub/?.lua;" .. folder .. "/?.lua;" .. package.path
local stub = require "pktgen"
local settings = require "settings"
local quiet = function() end
local real_print = print

local function lines_of(name)
  local lines = {}
  for line in assert(io.open(name)):lines() do
    local fields = {}
    for field in (line .. ","):gmatch("([^,]*),") do
      fields[#fields + 1] = field
    end
    lines[#lines + 1] = fields
  end
  return lines
end

local function run(script)
  print = quiet
  dofile(folder .. "/" .. script)
  print = real_print
end

local function near(value, expected, percent, what)
  value = tonumber(value)
  assert(math.abs(value - expected) <= expected * percent / 100, what .. ": " .. value .. " instead of " .. expected)
end

local function check(what, body)
  body()
  real_print("ok  " .. what)
end

settings.sizes, settings.flows = { 64, 1518 }, { 1, 100000 }
check("the search finds what the machine forwards, and the line where that is less", function()
  run("rfc2544.lua")
  local lines = lines_of("throughput.csv")
  assert(#lines == 5, "four cases")
  near(lines[2][4], 5e6, 0.2, "64 bytes, packets/s")
  near(lines[3][4], 10e9 / (1538 * 8), 0.2, "1518 bytes: the line")
  assert(lines[3][3] == "100.000" and lines[2][6] == "ok")
end)
check("a generator that is too slow is named", function()
  stub.generator = 3e6
  run("rfc2544.lua")
  local lines = lines_of("throughput.csv")
  near(lines[2][4], 3e6, 1.1, "what the generator sends")
  assert(lines[2][6] == "the generator was the limit", lines[2][6])
  stub.generator = 20e6
end)
check("a machine that forwards nothing has no throughput; loss that is allowed is used", function()
  local capacity, link = stub.capacity, settings.loss
  stub.capacity = 0
  run("rfc2544.lua")
  assert(lines_of("throughput.csv")[2][6] == "nothing passes without loss")
  stub.capacity, settings.loss = capacity, 0.5
  run("rfc2544.lua")
  near(lines_of("throughput.csv")[2][4], 5e6, 0.2, "with 0.5 % of loss")
  settings.loss = link
end)
check("the sweep shows the knee", function()
  run("sweep.lua")
  local lines = lines_of("sweep.csv")
  assert(#lines == 1 + 4 * #settings.rates)
  near(lines[2][4], 148809, 0.1, "1 % of 10 Gbit/s in frames of 64")
  local last = lines[1 + #settings.rates]
  near(last[5], 5e6, 0.1, "received at 100 %")
  near(last[6], 100 * (1 - 5e6 / 14880952), 0.1, "lost at 100 %")
end)
check("latency has percentiles at every load", function()
  run("rfc2544.lua")
  run("latency.lua")
  local lines = lines_of("latency.csv")
  assert(#lines == 1 + 4 * #settings.loads)
  near(lines[2][4], 0.5e6, 1, "packets/s at 10 %")
  assert(tonumber(lines[2][6]) == settings.samples)
  near(lines[2][7], 4500, 0.1, "p50")
  near(lines[2][11], 4999, 0.1, "max")
end)
check("both ways count both", function()
  settings.both_ways = true
  run("sweep.lua")
  near(lines_of("sweep.csv")[2][4], 2 * 148809, 0.1, "sent by both")
  settings.both_ways = false
  local there, back = stub.ports[0].range, stub.ports[1].range
  for _, pair in ipairs({ { "src_ip", "dst_ip" }, { "src_port", "dst_port" } }) do
    for _, bound in ipairs({ "start", "min", "max", "inc" }) do
      assert(there[pair[1]][bound] == back[pair[2]][bound] and there[pair[2]][bound] == back[pair[1]][bound], pair[1] .. " " .. bound)
    end
  end
end)
check("Pktgen before 26.02", function()
  stub.old = true
  run("sweep.lua")
  near(lines_of("sweep.csv")[2][4], 148809, 0.1, "1 %")
  stub.old = false
end)
check("as many flows as were asked for", function()
  local traffic = require "traffic"
  local function count(range)
    if type(range.start) == "number" then
      return range.max - range.min + 1
    end
    local a, b = 0, 0
    for part in range.min:gmatch("%d+") do a = a * 256 + part end
    for part in range.max:gmatch("%d+") do b = b * 256 + part end
    return b - a + 1
  end
  local function gcd(a, b) return b == 0 and a or gcd(b, a % b) end
  for _, flows in ipairs({ 1, 100, 1000, 10000, 100000, 1000000 }) do
    traffic.prepare(64, flows)
    local distinct = 1
    for _, name in ipairs({ "src_ip", "dst_ip", "src_port", "dst_port" }) do
      local length = count(stub.ports[0].range[name])
      distinct = distinct * length // gcd(distinct, length)
    end
    assert(distinct == flows, distinct .. " instead of " .. flows)
  end
end)
