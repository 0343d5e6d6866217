-- Grants a claim whole, or nothing and says why. KEYS: one per charge, then the minute, then the breaker, then the workers.
local count = #ask.charges
local reply = {now = now, stamp = stamp, seen = {}}
local place = count

local minute_key, desk_key
if ask.draft then place = place + 1; minute_key = KEYS[place] end
if ask.desk then place = place + 1; desk_key = KEYS[place] end

-- Look, and change nothing yet.
for index, charge in ipairs(ask.charges) do
    if now < charge.start or (charge.stop and now >= charge.stop) then
        return cjson.encode({when = now})
    end
end

local desk = desk_key and desk_of(desk_key)
if desk then
    reply.desk = shown(desk)
    local no
    if desk.cool > now then
        no = {'cooling_down', desk.cool - now}
    elseif desk.open == 1 and desk.probe ~= '' and desk.probe_until > now then
        no = {'probe_out', math.max(0, desk['until'] - now)}
    elseif desk.open == 1 and desk['until'] > now and not ask.early then
        no = {'breaker_open', desk['until'] - now}
    end
    if no then
        reply.no, reply.wait = no[1], no[2]
        return cjson.encode(reply)
    end
end

local books = {}
for index, charge in ipairs(ask.charges) do
    local all = redis.call('HMGET', KEYS[index], 's', 'u', 'r')
    local spent, unknown, running = read(all[1]), read(all[2]), read(all[3])
    -- What a worker has seen spent stays spent, should the data have been lost.
    if charge.spent and more(read(charge.spent), spent) then spent = read(charge.spent) end
    if charge.unknown and more(read(charge.unknown), unknown) then unknown = read(charge.unknown) end
    books[index] = {spent, unknown, running}
    reply.seen[index] = {text(spent), text(unknown), text(running)}
    local total = add(add(add(spent, unknown), running), read(charge.amount))
    if more(total, read(charge.cap)) then
        reply.no, reply.which = 'budget_exceeded', index
        if charge.stop then reply.wait = charge.stop - now end
        return cjson.encode(reply)
    end
end

local draft, drawn = ask.draft, nil
if draft then
    local all = redis.call('HGETALL', minute_key)
    local share, shrunk, requests, tokens, seconds = 1, 0, 0, 0, {}
    local by = {}
    for index = 1, #all, 2 do
        local name, value = all[index], number(all[index + 1])
        local what, at = string.match(name, '^([qt])(%d+)$')
        if what then
            at = tonumber(at)
            if at + 1 + draft.counts_for <= now then
                redis.call('HDEL', minute_key, name)
            else
                if not by[at] then by[at] = {0, 0}; seconds[#seconds + 1] = at end
                if what == 'q' then requests = requests + value; by[at][1] = value
                else tokens = tokens + value; by[at][2] = value end
            end
        elseif name == 'share' then share = value
        elseif name == 'shrunk' then shrunk = value end
    end
    share = share_of(share, shrunk, draft.back)
    local may_requests = draft.requests and math.max(1, math.floor(draft.requests * share)) or math.huge
    local may_tokens = draft.tokens and math.max(1, math.floor(draft.tokens * share)) or math.huge
    local over = {requests + 1 - may_requests, tokens + math.min(draft.amount, may_tokens) - may_tokens}
    if over[1] > 0 or over[2] > 0 then
        reply.no, reply.requests, reply.share = 'throttled', over[1] > 0, share
        table.sort(seconds)
        local last = math.floor(now)
        for _, at in ipairs(seconds) do
            last, over[1], over[2] = at, over[1] - by[at][1], over[2] - by[at][2]
            if over[1] <= 0 and over[2] <= 0 then break end
        end
        reply.wait = last + 1 + draft.counts_for - now
        return cjson.encode(reply)
    end
    drawn = {math.floor(now), math.min(draft.amount, draft.tokens or math.huge)}
end

-- Grant.
if desk and desk.open == 1 then
    desk.probe, desk.probe_until = ask.id, now + ask.probe_for
    keep(desk_key, desk)
    reply.probe = true
end
for index, charge in ipairs(ask.charges) do
    local spent, unknown, running = unpack(books[index])
    redis.call('HSET', KEYS[index], 's', text(spent), 'u', text(unknown), 'r', text(add(running, read(charge.amount))),
        'h' .. ask.id, charge.amount)
    reply.seen[index][3] = text(add(running, read(charge.amount)))
    if charge.stop then redis.call('EXPIRE', KEYS[index], math.ceil(charge.stop - now) + 600) end
end
if drawn then
    redis.call('HINCRBY', minute_key, 'q' .. string.format('%.0f', drawn[1]), 1)
    redis.call('HINCRBY', minute_key, 't' .. string.format('%.0f', drawn[1]), string.format('%.0f', drawn[2]))
    redis.call('EXPIRE', minute_key, 1800)
    reply.drawn = drawn
end
if ask.worker then
    local workers = KEYS[#KEYS]
    redis.call('ZREMRANGEBYSCORE', workers, '-inf', now - 60)
    redis.call('ZADD', workers, now, ask.worker)
    redis.call('EXPIRE', workers, 120)
    reply.workers = redis.call('ZCARD', workers)
end
return cjson.encode(reply)
