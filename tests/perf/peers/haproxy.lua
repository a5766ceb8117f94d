-- Each thread has a table of its own: from `Authorization` to the one that goes upstream in its place.
local LIFETIME, MOST = 300, 100000
local decisions, count = {}, 0

core.register_action("decide", { "http-req" }, function(txn)
    local credential = txn.sf:req_hdr("authorization")
    if credential == nil or credential == "" then return end
    local now = os.time()
    local decision = decisions[credential]
    if decision == nil or decision.expires <= now then
        local answer = core.httpclient():get{
            url = "http://@AUTHORIZATION_SERVER@/decide",
            headers = { authorization = { credential } },
            timeout = 2000,
        }
        if answer == nil or answer.status ~= 200 then return end
        if count >= MOST then decisions, count = {}, 0 end
        decision = { credential = answer.headers["authorization"][0], expires = now + LIFETIME }
        decisions[credential], count = decision, count + 1
    end
    txn:set_var("txn.credential", decision.credential)
end)
