-- SPDX-License-Identifier: MIT OR Apache-2.0
-- What wrk sends: four clients, three of them above their limit, one request in ten a report, each
-- with a W3C traceparent.  Arguments: seconds to send, pause between requests in ms.
--
-- It stops sending before wrk stops, so that no answer is cut off: what was sent and not answered
-- is what the gateway lost.  The counts go to $WRK_OUT as shell assignments.
local ffi = require("ffi")
ffi.cdef [[
typedef struct { long sec; long nsec; } weir_timespec;
int clock_gettime(int clock, weir_timespec *ts);
]]
local ts = ffi.new("weir_timespec")

local function now()
	ffi.C.clock_gettime(1, ts)
	return tonumber(ts.sec) + tonumber(ts.nsec) / 1e9
end

local threads = {}

function setup(thread)
	table.insert(threads, thread)
	thread:set("id", #threads)
end

function init(args)
	until_s = now() + tonumber(args[1])
	pause_ms = tonumber(args[2])
	math.randomseed(id)
	counts = {}
	-- wrk asks the first thread for one request that it does not send, to look at it.
	sent = id == 1 and -1 or 0
end

function delay()
	if now() > until_s then
		return 1000000000
	end
	return pause_ms
end

local function hex(n)
	local text = ""
	for _ = 1, n do
		text = text .. string.format("%04x", math.random(0, 65535))
	end
	return text
end

function request()
	local dice = math.random(1000)
	local client = dice <= 20 and "w-quiet" or dice <= 400 and "w-gold" or
		dice <= 700 and "w-silver" or "w-bronze"
	local path = math.random(10) == 1 and "/report?month=" .. math.random(12) or "/item"
	sent = sent + 1
	return wrk.format("GET", path, {
		["X-Client"] = client,
		["traceparent"] = "00-" .. hex(8) .. "-" .. hex(4) .. "-01",
	})
end

function response(status)
	local key = "s" .. status
	counts[key] = (counts[key] or 0) + 1
end

function done(summary, latency)
	local out = assert(io.open(os.getenv("WRK_OUT"), "w"))
	local all, answered, sent_all = {}, 0, 0
	for _, thread in ipairs(threads) do
		sent_all = sent_all + thread:get("sent")
		for key, n in pairs(thread:get("counts")) do
			all[key] = (all[key] or 0) + n
			answered = answered + n
		end
	end
	for key, n in pairs(all) do
		out:write("wrk_", key:sub(2), "=", n, "\n")
	end
	out:write("wrk_sent=", sent_all, "\nwrk_answered=", answered, "\n")
	out:write("wrk_p50_us=", latency:percentile(50), "\nwrk_p99_us=",
		latency:percentile(99), "\n")
	for _, kind in ipairs({"connect", "read", "write", "timeout"}) do
		out:write("wrk_error_", kind, "=", summary.errors[kind], "\n")
	end
	out:close()
end
