-- Operations on outcomes, many in one round trip; each is atomic with all others. Follows leases.lua.
-- KEYS[i + 1]: the key of operation i. ARGV[2]: the window in milliseconds; then the operations.
local window = ARGV[2]

local function record(key, token, outcome)
  if not open_to(key, token) then return 0 end
  redis.call('SET', key, 'O' .. outcome, 'PX', window)
  return 1
end

operations.r = { call = record, outcome = true }

return run(1, 2)
