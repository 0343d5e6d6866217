-- Settles one hold; what is not known here (any more) is left alone. KEYS: one per charge, then the minute, then the
-- breaker and its recent calls.
local place, seen = #ask.charges, {}
for index, charge in ipairs(ask.charges) do
    local key, mine = KEYS[index], 'h' .. ask.id
    local all = redis.call('HMGET', key, mine, 's', 'u', 'r')
    if all[1] then
        local amount = read(all[1])
        redis.call('HDEL', key, mine)
        redis.call('HSET', key, 'r', text(subtract(read(all[4]), amount)))
        if charge.spent then redis.call('HSET', key, 's', text(add(read(all[2]), read(charge.spent))))
        else redis.call('HSET', key, 'u', text(add(read(all[3]), amount))) end
    end
    all = redis.call('HMGET', key, 's', 'u', 'r')
    seen[index] = {text(read(all[1])), text(read(all[2])), text(read(all[3]))}
end

local draft = ask.draft
if draft then
    place = place + 1
    local key = KEYS[place]
    if draft.at + 1 + draft.counts_for > now then
        if draft.requests ~= 0 then redis.call('HINCRBY', key, 'q' .. string.format('%.0f', draft.at), draft.requests) end
        if draft.tokens ~= 0 then
            redis.call('HINCRBY', key, 't' .. string.format('%.0f', draft.at), string.format('%.0f', draft.tokens))
        end
        redis.call('EXPIRE', key, 1800)
    end
    if draft.shrink then
        local all = redis.call('HMGET', key, 'share', 'shrunk')
        local share, shrunk = all[1] and number(all[1]) or 1, number(all[2])
        if now - shrunk >= draft.step then
            share = math.max(draft.least, share_of(share, shrunk, draft.back) * draft.smaller)
            redis.call('HSET', key, 'share', share, 'shrunk', string.format('%.3f', now))
            redis.call('EXPIRE', key, 1800)
        end
    end
end

if ask.desk then
    local key, recent = KEYS[place + 1], KEYS[place + 2]
    local desk, lesson, params = desk_of(key), ask.desk.lesson, ask.desk
    local probe = desk.probe == ask.id
    if probe then desk.probe, desk.probe_until = '', 0 end
    local function note(good)
        redis.call('ZREMRANGEBYSCORE', recent, '-inf', now - params.window)
        redis.call('ZADD', recent, now, ask.id .. (good and '+' or '-'))
        redis.call('ZREMRANGEBYRANK', recent, 0, -1001)
        redis.call('EXPIRE', recent, math.ceil(params.window) + 1)
    end
    local function mostly_failing()
        local bad, all = 0, redis.call('ZRANGE', recent, 0, -1)
        for _, each in ipairs(all) do if string.sub(each, -1) == '-' then bad = bad + 1 end end
        return #all >= params.min_calls and bad >= params.ratio * #all
    end
    local function open()
        desk.open = 1
        desk['for'] = math.min(params.max_open, desk['for'] > 0 and desk['for'] * 2 or params.open_for)
        desk['until'] = now + desk['for'] * params.factor
    end
    if lesson and lesson.good then
        desk.row, desk.throttled = 0, 0
        note(true)
        if desk.open == 1 and probe then
            desk.open, desk['for'], desk['until'] = 0, 0, 0
            redis.call('DEL', recent)
        end
    elseif lesson then
        local seconds = lesson.cooldown
        if lesson.throttled then
            -- Of many calls that were on the way together and refused together, one doubles it.
            if desk.throttled <= params.grown then
                desk.throttled = math.min(params.most_grown, desk.throttled > 0 and desk.throttled * 2 or params.first)
            end
            seconds = lesson.told or desk.throttled
        end
        if seconds > 0 and now + seconds > desk.cool then desk.cool, desk.kind = now + seconds, lesson.kind end
        if lesson.counts then
            desk.row = desk.row + 1
            note(false)
            if desk.open == 1 then
                if probe then open() end
            elseif desk.row >= params.failures or mostly_failing() then
                open()
            end
        end
    end
    keep(key, desk)
    return cjson.encode({now = now, stamp = stamp, seen = seen, desk = shown(desk)})
end
return cjson.encode({now = now, stamp = stamp, seen = seen})
