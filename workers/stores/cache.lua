-- Operations on cached answers, many in one round trip; each is atomic with all others.
-- KEYS[1]: the counter of tokens and of the order of answers; KEYS[2]: answers by age; KEYS[3]: their sizes;
-- KEYS[4]: bytes of all together; KEYS[i + 4]: the key of operation i.
-- ARGV[1..4]: lease and time to live in milliseconds, most entries, most bytes;
-- then name, token and answer of each operation.
local lease, ttl, most, most_bytes = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local counter, order, sizes, total = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local function forget(key)
  redis.call('ZREM', order, key)
  local size = redis.call('HGET', sizes, key)
  if size then
    redis.call('HDEL', sizes, key)
    redis.call('DECRBY', total, size)
  end
end

local function answered(value) return value and string.sub(value, 1, 1) == 'O' end

local function trim()
  while true do
    local oldest = redis.call('ZRANGE', order, 0, 0)[1]
    if not oldest then return end
    local kept = answered(redis.call('GET', oldest))
    local full = redis.call('ZCARD', order) > most or tonumber(redis.call('GET', total) or '0') > most_bytes
    if kept and not full then return end
    if kept then redis.call('DEL', oldest) end
    forget(oldest)
  end
end

local function keep(key, answer)
  forget(key)
  redis.call('SET', key, 'O' .. answer, 'PX', ttl)
  redis.call('ZADD', order, redis.call('INCR', counter), key)
  redis.call('HSET', sizes, key, #answer)
  redis.call('INCRBY', total, #answer)
  trim()
  return 1
end

local function claim(key)
  local value = redis.call('GET', key)
  if not value then
    local token = redis.call('INCR', counter)
    redis.call('SET', key, 'L' .. token, 'PX', lease)
    return { 'claimed', tostring(token) }
  end
  if answered(value) then return { 'recorded', string.sub(value, 2) } end
  return { 'busy', tostring(redis.call('PTTL', key)) }
end

local function renew(key, token)
  if redis.call('GET', key) ~= 'L' .. token then return 0 end
  redis.call('PEXPIRE', key, lease)
  return 1
end

local function record(key, token, answer)
  local value = redis.call('GET', key)
  if value and value ~= 'L' .. token then return 0 end
  return keep(key, answer)
end

local function release(key, token)
  if redis.call('GET', key) == 'L' .. token then redis.call('DEL', key) end
  return 1
end

local function replace(key, token, answer) return keep(key, answer) end

local operations = { claim = claim, renew = renew, record = record, release = release, replace = replace }
local results = {}
for i = 5, #KEYS do
  local at = 5 + (i - 5) * 3
  results[i - 4] = operations[ARGV[at]](KEYS[i], ARGV[at + 1], ARGV[at + 2])
end
return results
