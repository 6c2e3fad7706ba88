-- Draws from buckets and budgets, many messages in one round trip; the draws of one message are all made or none.
-- KEYS: one a draw, in order. ARGV: the prefix is in the keys; for each message its operation (take, look or add) and
-- number of draws, then of each draw amount, most, rate a second (0: a budget) and end in epoch seconds (of a budget).
-- A bucket is kept as the time at which it will be full again; a budget as what was spent.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000

local function wait_for(key, draw)
  local amount = math.min(draw.amount, draw.most) -- more than fits at all waits until everything is there
  if draw.rate > 0 then
    local full_at = math.max(now, tonumber(redis.call('GET', key) or '0'))
    return full_at + amount / draw.rate - now - draw.most / draw.rate
  end
  local spent = tonumber(redis.call('GET', key) or '0')
  if spent + amount <= draw.most then return 0 end
  return math.max(0.001, draw.ends - now)
end

local function add(key, draw)
  if draw.rate > 0 then
    local full_at = math.max(now, tonumber(redis.call('GET', key) or '0')) + draw.amount / draw.rate
    if full_at <= now then
      redis.call('DEL', key)
    else
      redis.call('SET', key, string.format('%.6f', full_at), 'PX', math.ceil((full_at - now) * 1000) + 1000)
    end
  else
    redis.call('INCRBY', key, string.format('%.0f', draw.amount))
    redis.call('EXPIREAT', key, math.ceil(draw.ends) + 86400)
  end
end

local results, at, key = {}, 1, 1
while at <= #ARGV do
  local operation, count = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  local draws = {}
  for i = 1, count do
    draws[i] = { amount = tonumber(ARGV[at]), most = tonumber(ARGV[at + 1]), rate = tonumber(ARGV[at + 2]),
                 ends = tonumber(ARGV[at + 3]) }
    at = at + 4
  end
  local wait, which = 0, 0
  if operation ~= 'add' then
    for i = 1, count do
      local its = wait_for(KEYS[key + i - 1], draws[i])
      if its > 0.000001 and its > wait then wait, which = its, i end
    end
  end
  if operation == 'add' or (operation == 'take' and which == 0) then
    for i = 1, count do add(KEYS[key + i - 1], draws[i]) end
  end
  results[#results + 1] = { which, string.format('%.6f', wait) }
  key = key + count
end
return results
