-- Reports for the program that started it.
function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        'REPORT {"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"p999":%d,'
            .. '"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
        summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
        errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
