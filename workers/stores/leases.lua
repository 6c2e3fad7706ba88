-- What leases have in common; stands before the script that uses it. A key holds `L<token>` while somebody is at it,
-- and `O<outcome>` once it is answered.
-- KEYS[1]: the counter of tokens. ARGV[1]: the lease in milliseconds.
local counter, lease = KEYS[1], ARGV[1]

local function answered(value) return value and string.sub(value, 1, 1) == 'O' end

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

-- Whether whoever has this token may still record: the lease may have ended, but is nobody else's.
local function open_to(key, token)
  local value = redis.call('GET', key)
  return not value or value == 'L' .. token
end

local function release(key, token)
  if redis.call('GET', key) == 'L' .. token then redis.call('DEL', key) end
  return 1
end

-- Does the operations: so many keys and arguments stand before theirs, which are a key, and name, token and outcome.
local function run(operations, keys, arguments)
  local results = {}
  for i = 1, #KEYS - keys do
    local at = arguments + 1 + (i - 1) * 3
    results[i] = operations[ARGV[at]](KEYS[keys + i], ARGV[at + 1], ARGV[at + 2])
  end
  return results
end

