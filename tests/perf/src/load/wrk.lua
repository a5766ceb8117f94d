-- Takes turns with the tokens in TOKENS.
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
