-- Operations on cached answers, many in one round trip; each is atomic with all others. Follows leases.lua.
-- KEYS[1] counts the order of answers too; KEYS[2]: answers by age; KEYS[3]: their sizes; KEYS[4]: bytes of all
-- together; KEYS[i + 4]: the key of operation i.
-- ARGV[2..4]: time to live in milliseconds, most entries, most bytes; then the operations.
local ttl, most, most_bytes = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local order, sizes, total = KEYS[2], KEYS[3], KEYS[4]

local function forget(key)
  redis.call('ZREM', order, key)
  local size = redis.call('HGET', sizes, key)
  if size then
    redis.call('HDEL', sizes, key)
    redis.call('DECRBY', total, size)
  end
end

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

local function record(key, token, answer)
  if not open_to(key, token) then return 0 end
  return keep(key, answer)
end

local function replace(key, token, answer) return keep(key, answer) end

operations.r = { call = record, outcome = true }
operations.p = { call = replace, outcome = true }

return run(4, 4)
