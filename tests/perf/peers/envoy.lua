-- Each worker thread has a table of its own: from `Authorization` to the one that goes upstream in its place.
local LIFETIME, MOST = 300, 100000
local decisions, count = {}, 0

function envoy_on_request(handle)
  local credential = handle:headers():get("authorization")
  if credential == nil then
    handle:respond({ [":status"] = "401", ["www-authenticate"] = "Bearer" }, "")
    return
  end
  local now = os.time()
  local decision = decisions[credential]
  if decision == nil or decision.expires <= now then
    local headers = handle:httpCall("authorization_server", {
      [":method"] = "GET", [":path"] = "/decide", [":authority"] = "authorization-server", authorization = credential,
    }, "", 2000)
    if headers[":status"] ~= "200" then
      handle:respond({ [":status"] = "401", ["www-authenticate"] = "Bearer error=\"invalid_token\"" }, "")
      return
    end
    if count >= MOST then decisions, count = {}, 0 end
    decision = { credential = headers["authorization"], expires = now + LIFETIME }
    decisions[credential], count = decision, count + 1
  end
  handle:headers():replace("authorization", decision.credential)
end
