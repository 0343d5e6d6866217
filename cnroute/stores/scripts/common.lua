-- What both scripts begin with. Amounts are whole numbers of 10^-18, written "high:low" with low below 10^15, since one
-- Lua number is exact up to 2^53 only. What cannot be read raises, and the caller takes that for an outage.
local BASE = 1e15
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
-- Orders answers that overtake one another on their way.
local stamp = string.format('%.0f', tonumber(clock[1]) * 1e6 + tonumber(clock[2]))
local ask = cjson.decode(ARGV[1])

local function read(text)
    if not text then return {0, 0} end
    local high, low = string.match(text, '^(%d+):(%d+)$')
    return {tonumber(high) + 0, tonumber(low) + 0}
end
local function text(a) return string.format('%.0f:%.0f', a[1], a[2]) end
local function add(a, b)
    local low = a[2] + b[2]
    if low >= BASE then return {a[1] + b[1] + 1, low - BASE} end
    return {a[1] + b[1], low}
end
local function subtract(a, b)
    local low = a[2] - b[2]
    if low < 0 then return {a[1] - b[1] - 1, low + BASE} end
    return {a[1] - b[1], low}
end
local function more(a, b) return a[1] > b[1] or (a[1] == b[1] and a[2] > b[2]) end
local function number(value) return value and (tonumber(value) + 0) or 0 end

-- The breaker of one deployment.
local function desk_of(key)
    local all = redis.call('HMGET', key, 'open', 'until', 'for', 'cool', 'kind', 'probe', 'probe_until', 'row', 'throttled')
    return {
        open = number(all[1]), ['until'] = number(all[2]), ['for'] = number(all[3]), cool = number(all[4]), kind = all[5] or '',
        probe = all[6] or '', probe_until = number(all[7]), row = number(all[8]), throttled = number(all[9]),
    }
end
local function keep(key, desk)
    redis.call('HSET', key, 'open', desk.open, 'until', string.format('%.6f', desk['until']), 'for', desk['for'],
        'cool', string.format('%.6f', desk.cool), 'kind', desk.kind, 'probe', desk.probe,
        'probe_until', string.format('%.6f', desk.probe_until), 'row', desk.row, 'throttled', desk.throttled)
    redis.call('EXPIRE', key, 3600)
end
local function shown(desk)
    return {
        open = desk.open, left = math.max(0, desk['until'] - now), ['for'] = desk['for'], cool = math.max(0, desk.cool - now),
        kind = desk.kind, row = desk.row, throttled = desk.throttled,
    }
end
-- The part of a vendor's allowance that is used: it comes back by and by after calls were refused.
local function share_of(share, shrunk, back) return math.min(1, share + back * (now - shrunk) / 60) end
