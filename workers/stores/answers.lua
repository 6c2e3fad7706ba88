-- Operations on gateways' answers, many in one round trip; each is atomic with all others.
-- KEYS[1]: the index, a sorted set of `<bytes>:<key>` by when the key ends; KEYS[2]: the sum of these bytes;
-- KEYS[i + 2]: the key of operation i. A key holds `P` or `A`, the length of the fingerprint as one byte, the
-- fingerprint, and after `A` the answer.
-- ARGV[1]: milliseconds to keep; ARGV[2]: bytes to keep in all; then name and value of each operation.
local keep, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local OVERHEAD = 300

local function entry(key, length)
  return string.format('%d:%s', length + #key + OVERHEAD, key)
end

local function size_of(member)
  return tonumber(string.match(member, '^%d+'))
end

local function set(key, value)
  local before = redis.call('STRLEN', key)
  if before > 0 then
    local old = entry(key, before)
    if redis.call('ZREM', KEYS[1], old) == 1 then redis.call('DECRBY', KEYS[2], size_of(old)) end
  end
  local new = entry(key, #value)
  redis.call('SET', key, value, 'PX', keep)
  redis.call('ZADD', KEYS[1], now + keep, new)
  redis.call('INCRBY', KEYS[2], size_of(new))
end

local function begin(key, fingerprint)
  local value = redis.call('GET', key)
  if value then return value end
  set(key, 'P' .. string.char(#fingerprint) .. fingerprint)
  return false
end

local function put(key, answer)
  local value = redis.call('GET', key)
  local fingerprint = value and string.sub(value, 2, 2 + string.byte(value, 2)) or '\0'
  set(key, 'A' .. fingerprint .. answer)
  return true
end

local function get(key)
  return redis.call('GET', key)
end

local operations = { begin = begin, put = put, get = get }
local results = {}
for i = 3, #KEYS do
  local at = 3 + (i - 3) * 2
  results[i - 2] = operations[ARGV[at]](KEYS[i], ARGV[at + 1])
end

-- What ended by itself leaves the index; then the oldest go until the rest has room.
local ended = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1000)
for _, member in ipairs(ended) do
  redis.call('ZREM', KEYS[1], member)
  redis.call('DECRBY', KEYS[2], size_of(member))
end
while tonumber(redis.call('GET', KEYS[2]) or '0') > most do
  local oldest = redis.call('ZPOPMIN', KEYS[1])
  if #oldest == 0 then
    redis.call('DEL', KEYS[2])
    break
  end
  redis.call('DECRBY', KEYS[2], size_of(oldest[1]))
  redis.call('DEL', string.match(oldest[1], '^%d+:(.*)$'))
end
return results
