-- Saves a changed roster once, a second after the first change, not anew for each contact that is set.
--
-- For Prosody 0.12 and 13, in modules_enabled of the host. If Prosody is killed, or its machine fails, the changes of the
-- last roster_save_delay seconds are lost.

local delay = module:get_option_number("roster_save_delay", 1);

-- By user name: the roster, which may change further, and the store to save it in.
local unsaved = {};

local function save(user)
    local last = unsaved[user];
    if last then
        unsaved[user] = nil;
        local ok, err = last.store:set(user, last.roster);
        if not ok then
            module:log("error", "The roster of %s was not saved: %s", user, err or "no reason is known");
        end
    end
end

local function save_all()
    for user in pairs(unsaved) do
        save(user);
    end
end

local function delayed(store)
    local wrapped = {};
    function wrapped:get(user) -- luacheck: ignore 212/self
        if unsaved[user] then
            return unsaved[user].roster;
        end
        return store:get(user);
    end
    function wrapped:set(user, roster) -- luacheck: ignore 212/self
        if not roster then
            unsaved[user] = nil;
            return store:set(user, roster);
        end
        if not unsaved[user] then
            module:add_timer(delay, function () save(user); end);
        end
        unsaved[user] = { roster = roster, store = store };
        return true;
    end
    return setmetatable(wrapped, { __index = store });
end

-- Stores of single contacts, such as those of SQL.
local function ordered(store)
    local wrapped = {};
    for _, name in ipairs { "get", "set", "set_keys" } do
        wrapped[name] = function (_, user, ...)
            save(user);
            return store[name](store, user, ...);
        end
    end
    return setmetatable(wrapped, { __index = store });
end

module:hook("store-opened", function (event)
    if event.store_name ~= "roster" then
        return;
    elseif event.store_type == "keyval" then
        event.store = delayed(event.store);
    elseif event.store_type == "map" and not event.store.keyval_store then
        event.store = ordered(event.store);
    end
end);

module:hook_global("user-deleted", function (event)
    if event.host == module.host then
        unsaved[event.username] = nil;
    end
end);

module:hook_global("server-stopping", save_all);
module:hook_global("server-stopped", save_all);
module.unload = save_all;
