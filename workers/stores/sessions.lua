-- Adds a turn to a session, or replaces the one with the same id, and keeps to the bounds.
-- KEYS[1]: the session's turns, oldest first, each its id (32 digits) and its value
-- ARGV: id, value, most turns, most bytes of all values, milliseconds to live
local turns = redis.call('LRANGE', KEYS[1], 0, -1)
local size, known = 0, false
for place, turn in ipairs(turns) do
  if string.sub(turn, 1, 32) == ARGV[1] then
    redis.call('LSET', KEYS[1], place - 1, ARGV[1] .. ARGV[2])
    turns[place] = ARGV[1] .. ARGV[2]
    known = true
  end
  size = size + string.len(turns[place]) - 32
end
if not known then
  redis.call('RPUSH', KEYS[1], ARGV[1] .. ARGV[2])
  turns[#turns + 1] = ARGV[1] .. ARGV[2]
  size = size + string.len(ARGV[2])
end
local first = 1
while first <= #turns and (#turns - first + 1 > tonumber(ARGV[3]) or size > tonumber(ARGV[4])) do
  redis.call('LPOP', KEYS[1])
  size = size - string.len(turns[first]) + 32
  first = first + 1
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
