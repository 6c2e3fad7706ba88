-- What leases have in common; stands before the script that uses it. A key holds `L<token>` while somebody is at it,
-- and `O<outcome>` once it is answered; a claim returns either, or `B<milliseconds>` while somebody else is at it.
-- KEYS[1]: the counter of tokens. ARGV[1]: the lease in milliseconds.
local counter, lease = KEYS[1], ARGV[1]

local function answered(value) return value and string.sub(value, 1, 1) == 'O' end

local function claim(key)
  local value = redis.call('GET', key)
  if not value then
    local taken = string.format('L%.0f', redis.call('INCR', counter)) -- `..` would write 1e+14
    redis.call('SET', key, taken, 'PX', lease)
    return taken
  end
  if answered(value) then return value end
  return 'B' .. redis.call('PTTL', key)
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

-- By their letters. A script adds those of its own; one that brings an outcome says so.
local operations = { c = { call = claim }, n = { call = renew }, d = { call = release } }

-- Does what is asked: so many keys and arguments stand before theirs, which are a key each, and together one argument
-- of letter and token each, and behind it the outcomes of those that bring one.
local function run(keys, arguments)
  local results, outcome = {}, arguments + 1
  for letter, token in string.gmatch(ARGV[arguments + 1], '(%a)(%d*)') do
    local operation = operations[letter]
    if operation.outcome then outcome = outcome + 1 end
    results[#results + 1] = operation.call(KEYS[keys + #results + 1], token, ARGV[outcome])
  end
  return results
end

