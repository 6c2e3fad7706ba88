-- Operations on outcomes, many in one round trip; each is atomic with all others.
-- KEYS[1]: the token counter; KEYS[i + 1]: the key of operation i.
-- ARGV[1], ARGV[2]: lease and window in milliseconds; then name, token and outcome of each operation.
local lease, window = ARGV[1], ARGV[2]
local results = {}

local function claim(key)
  local value = redis.call('GET', key)
  if not value then
    local token = redis.call('INCR', KEYS[1])
    redis.call('SET', key, 'L' .. token, 'PX', lease)
    return { 'claimed', tostring(token) }
  end
  if string.sub(value, 1, 1) == 'O' then
    return { 'recorded', string.sub(value, 2) }
  end
  return { 'busy', tostring(redis.call('PTTL', key)) }
end

local function renew(key, token)
  if redis.call('GET', key) ~= 'L' .. token then return 0 end
  redis.call('PEXPIRE', key, lease)
  return 1
end

local function record(key, token, outcome)
  local value = redis.call('GET', key)
  if value and value ~= 'L' .. token then return 0 end
  redis.call('SET', key, 'O' .. outcome, 'PX', window)
  return 1
end

local function release(key, token)
  if redis.call('GET', key) == 'L' .. token then redis.call('DEL', key) end
  return 1
end

local operations = { claim = claim, renew = renew, record = record, release = release }
for i = 2, #KEYS do
  local at = 3 + (i - 2) * 3
  results[i - 1] = operations[ARGV[at]](KEYS[i], ARGV[at + 1], ARGV[at + 2])
end
return results
