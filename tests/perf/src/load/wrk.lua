-- Takes turns with the tokens in TOKENS, and reports for the program that started it.
local requests, last = {}, 0

wrk.method = METHOD
wrk.body = BODY
for name, value in pairs(HEADERS) do wrk.headers[name] = value end

function init()
    for _, token in ipairs(TOKENS) do
        wrk.headers["Authorization"] = "Bearer " .. token
        requests[#requests + 1] = wrk.format()
    end
    TOKENS = nil
end

-- With a single request, wrk asks for it once.
if #TOKENS > 1 then
    function request()
        last = last % #requests + 1
        return requests[last]
    end
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        'REPORT {"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"p999":%d,'
            .. '"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
        summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
        errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
