package valkey

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
)

// Every script begins with #!lua: so a replica refuses it before it runs, even one
// that only reads. What a replica has may be old, and 'absent' would be a false
// InvalidToken. Time is the engine's, and no JSON is read in Lua.
//
// All return nil for a session that is not there, and otherwise a list: one of the codes
// below, the engine's time in milliseconds, and what the script says.

// Codes of replies.
const (
	codeOther   = 0 // the session is not as the script wanted it: nothing has changed
	codeDone    = 1
	codeMerge   = 2 // the patch may be too large: Go has to merge it
	codeUnknown = 3 // the value has a format that the script does not know
	codeLate    = 4 // the deadline of the call has passed: nothing has changed
)

// script is a script of the engine's.
type script struct {
	name string
	text string
	sha  string
	// repeats says that a second run does what the first one did: a call that got no
	// answer may be sent again.
	repeats bool
}

// newScript returns a script. One that grows says that it may be refused by an engine that
// is full; all others must not be.
func newScript(name string, grows, repeats bool, body string) *script {
	flags := "#!lua flags=allow-oom\n"
	if grows {
		flags = "#!lua\n"
	}
	text := flags + luaNow + body
	sum := sha1.Sum([]byte(text))
	return &script{name: name, text: text, sha: hex.EncodeToString(sum[:]), repeats: repeats}
}

// luaNow is the beginning of each script.
const luaNow = `local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`

// luaHead has what scripts need of an extended value: see the codec. Positions count from 1.
var luaHead = fmt.Sprintf(`local function remaining(v, lifetime)
  local own, absolute, index = struct.unpack('>I6I6I6', v, %d)
  local ttl = own > 0 and own or lifetime
  if absolute > 0 then ttl = math.min(ttl, absolute - now) end
  if index > 0 then ttl = math.min(ttl, index - now) end
  return ttl
end
`, lifetimeAt+1)

// luaContent returns a value with a patch appended, or with other metadata in its place. It
// stands after v, the value, has been read, and leaves contentAt.
var luaContent = fmt.Sprintf(`local contentAt = %d
if string.byte(v, %d) ~= 123 then
  if string.byte(v, %d) ~= %d then return {%d, now, v} end
  contentAt = %d
end
local function content(text)
  if string.byte(text) == 123 then return text end
  return string.sub(v, contentAt) .. text
end
`, plainHead+1, formatAt+1, formatAt+1, formatExtended, codeUnknown, extendedHead+1)

// scriptCreate stores a session.
//
//	KEYS  session, and the index of its subject if it has one
//	ARGV  digest, deadline, idle lifetime, metadata;
//	      of an extended one also: call, own lifetime, absolute lifetime, subject, member of the index,
//	      start of the keys of the subject's sessions
var scriptCreate = newScript("create", true, true, fmt.Sprintf(`local v = redis.call('GET', KEYS[1])
if v then
  if string.sub(v, 1, 16) == ARGV[1] then return {%[1]d, now} end
  return {%[2]d, now}
end
if now > tonumber(ARGV[2]) then return {%[3]d, now} end
local ttl = tonumber(ARGV[3])
if not ARGV[5] then
  redis.call('SET', KEYS[1], ARGV[1] .. ARGV[4], 'PX', ttl)
  return {%[1]d, now}
end
local created, absolute, index = time[1] * 1000000 + time[2], 0, 0
local most = tonumber(ARGV[7])
if KEYS[2] then
  local newest = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
  if newest[2] and tonumber(newest[2]) >= created then created = tonumber(newest[2]) + 1 end
  local function clean(members)
    for _, member in ipairs(members) do
      if redis.pcall('EXISTS', ARGV[10] .. member) == 0 then redis.call('ZREM', KEYS[2], member) end
    end
  end
  clean(redis.call('ZRANGE', KEYS[2], 0, %[5]d - 1))
  clean(redis.call('ZRANDMEMBER', KEYS[2], %[5]d))
  redis.call('ZADD', KEYS[2], string.format('%%.0f', created), ARGV[9])
  local left = redis.call('PTTL', KEYS[2])
  if left < 2 * ttl then
    left = 2 * ttl
    redis.call('PEXPIRE', KEYS[2], left)
  end
  index = now + left
end
if most > 0 then
  absolute = now + most
  ttl = math.min(ttl, most)
end
redis.call('SET', KEYS[1], ARGV[1] .. string.char(%[4]d) .. ARGV[5] ..
  struct.pack('>I4I8I6I6I6', 0, created, tonumber(ARGV[6]), absolute, index) ..
  ARGV[8] .. string.rep('\0', %[6]d) .. ARGV[4], 'PX', ttl)
return {%[1]d, now}
`, codeDone, codeOther, codeLate, formatExtended, staleMembers, spentLen))

// scriptExchange spends a token. It returns what the value was, and, if nothing was spent,
// is.
//
//	KEYS  session
//	ARGV  digest, next digest, deadline, idle lifetime, patch, its limit, call, changes,
//	      absolute lifetime of a session that becomes an extended one, or nothing
//
// The patch is text that is appended, or an object that takes the place of all metadata, which
// the session has to have changed so often for.
var scriptExchange, scriptExchangePatch = newScript("exchange", false, true, luaExchange), newScript("exchange-patch", true, true, luaExchange)

var luaExchange = fmt.Sprintf(`local v = redis.call('GET', KEYS[1])
if not v then return nil end
if string.sub(v, 1, 16) ~= ARGV[1] then return {%[1]d, now, v} end
if now > tonumber(ARGV[3]) then return {%[2]d, now} end
local patch = ARGV[5]
if patch == '' and ARGV[9] == '' and string.byte(v, 17) == 123 then
  if #v > %[3]d then
    redis.call('SETRANGE', KEYS[1], '0', ARGV[2])
    redis.call('PEXPIRE', KEYS[1], ARGV[4])
  else
    redis.call('SET', KEYS[1], ARGV[2] .. string.sub(v, 17), 'PX', ARGV[4])
  end
  return {%[4]d, now, v}
end
local ttl = tonumber(ARGV[4])
`, codeOther, codeLate, setRangeFrom, codeDone) + luaHead + luaContent + fmt.Sprintf(`if string.byte(patch) == 123 then
  if contentAt == %[3]d and struct.unpack('>I4', v, %[4]d) ~= tonumber(ARGV[8]) then return {%[1]d, now, v} end
elseif patch ~= '' and #v - contentAt + 1 + #patch > tonumber(ARGV[6]) then
  return {%[1]d, now, v}
end
local spent = struct.pack('>I6', now)
if contentAt == %[3]d then
  ttl = remaining(v, ttl)
  local head = ARGV[2] .. string.sub(v, 17, 17) .. ARGV[7] .. string.sub(v, %[4]d, %[5]d) ..
    spent .. string.sub(v, %[6]d, %[7]d)
  if patch == '' and #v > %[11]d then
    redis.call('SETRANGE', KEYS[1], '0', head)
    redis.call('PEXPIRE', KEYS[1], ttl)
  else
    redis.call('SET', KEYS[1], head .. content(patch), 'PX', ttl)
  end
elseif ARGV[9] ~= '' then
  local absolute = tonumber(ARGV[9])
  if absolute > 0 then
    ttl = math.min(ttl, absolute)
    absolute = now + absolute
  end
  redis.call('SET', KEYS[1], ARGV[2] .. string.char(%[8]d) .. ARGV[7] ..
    struct.pack('>I4I8I6I6I6', 0, time[1] * 1000000 + time[2], 0, absolute, 0) .. string.rep('\0', %[9]d) ..
    spent .. string.rep('\0', %[10]d) .. content(patch), 'PX', ttl)
else
  redis.call('SET', KEYS[1], ARGV[2] .. content(patch), 'PX', ttl)
end
return {%[2]d, now, v}
`, codeMerge, codeDone, extendedHead+1, changesAt+1, spentAt, spentAt+1, spentAt+spentLen-timeLen,
	formatExtended, subjectLen, spentLen-timeLen, setRangeFrom)

// setRangeFrom is from how many bytes on an exchange without a patch writes only the head of a
// value, which saves two copies of the metadata and costs a second command.
const setRangeFrom = 300

// scriptPatch changes the metadata of a session, and neither its token nor its deadline. It
// returns what the value was.
//
//	KEYS  session
//	ARGV  digest, deadline, patch, its limit, changes
//
// The patch is as that of an exchange. A second run would append it twice.
var scriptPatch, scriptCompact = newScript("patch", true, false, luaPatch), newScript("compact", false, true, luaPatch)

var luaPatch = fmt.Sprintf(`local v = redis.call('GET', KEYS[1])
if not v then return nil end
if string.sub(v, 1, 16) ~= ARGV[1] then return {%[1]d, now, v} end
if now > tonumber(ARGV[2]) then return {%[2]d, now} end
`, codeOther, codeLate) + luaContent + fmt.Sprintf(`local patch = ARGV[3]
local changes = 0
if contentAt == %[3]d then changes = struct.unpack('>I4', v, %[4]d) end
if string.byte(patch) == 123 then
  if changes ~= tonumber(ARGV[5]) then return {%[1]d, now, v} end
elseif #v - contentAt + 1 + #patch > tonumber(ARGV[4]) then
  return {%[5]d, now, v}
end
local head = string.sub(v, 1, contentAt - 1)
if contentAt == %[3]d then
  head = string.sub(v, 1, %[4]d - 1) .. struct.pack('>I4', (changes + 1) %% 4294967296) .. string.sub(v, %[6]d, contentAt - 1)
end
redis.call('SET', KEYS[1], head .. content(patch), 'KEEPTTL')
return {%[7]d, now, v}
`, codeOther, codeLate, extendedHead+1, changesAt+1, codeMerge, createdAt+1, codeDone)

// scriptDelete ends a session whose token is current. It returns what the value is, or was.
//
//	KEYS  session
//	ARGV  digest, deadline
var scriptDelete = newScript("delete", false, true, fmt.Sprintf(`local v = redis.call('GET', KEYS[1])
if not v then return nil end
if string.sub(v, 1, 16) ~= ARGV[1] then return {%d, now, v} end
if now > tonumber(ARGV[2]) then return {%d, now} end
redis.call('DEL', KEYS[1])
return {%d, now, v}
`, codeOther, codeLate, codeDone))

// scriptEnd ends a session, whatever its token is, and returns how many lived.
//
//	KEYS  session, and the index of its subject if it has one
//	ARGV  deadline, member of the index
var scriptEnd = newScript("end", false, true, fmt.Sprintf(`if now > tonumber(ARGV[1]) then return {%d, now} end
if KEYS[2] then redis.call('ZREM', KEYS[2], ARGV[2]) end
return {%d, now, redis.call('DEL', KEYS[1])}
`, codeLate, codeDone))

// scriptID returns the identity of the sessions, which it sets if there is none, also in an engine
// that is full. scriptGiveID returns it only if it has set it.
//
//	KEYS  identity
//	ARGV  what to set
var (
	scriptID = newScript("id", false, true, `redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
`)
	scriptGiveID = newScript("give-id", false, true, `if redis.call('SET', KEYS[1], ARGV[1], 'NX') then return ARGV[1] end
return nil
`)
)

// scriptLook returns a session's value and when it expires, in milliseconds.
//
//	KEYS  session
var scriptLook = newScript("look", false, true, fmt.Sprintf(`local v = redis.call('GET', KEYS[1])
if not v then return nil end
return {%d, now, v, redis.call('PEXPIRETIME', KEYS[1])}
`, codeDone))

// scriptIDs returns members of an index and their scores, the newest first.
//
//	KEYS  index
//	ARGV  where to begin, as ZRANGE says it, and how many
var scriptIDs = newScript("ids", false, true, fmt.Sprintf(`return {%d, now,
  redis.call('ZRANGE', KEYS[1], ARGV[1], '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[2], 'WITHSCORES')}
`, codeDone))

// scriptScan returns some of a node's keys, and where to go on. It has no key of its own, and is
// sent to a node: as a script, it is refused by a replica.
//
//	ARGV  cursor, pattern, about how many keys
var scriptScan = newScript("scan", false, true, fmt.Sprintf(`return {%d, now, redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])}
`, codeDone))

// scriptRenew gives the index of a session's subject, and then the session, their full
// lifetime, after an exchange that could not since the index would have ended first.
//
//	KEYS  session, index
//	ARGV  digest, idle lifetime, member of the index
var scriptRenew = newScript("renew", true, true, luaHead+fmt.Sprintf(`local v = redis.call('GET', KEYS[1])
if not v then return nil end
if string.sub(v, 1, 16) ~= ARGV[1] or string.byte(v, %[1]d) ~= %[2]d then return {%[3]d, now} end
local created, lifetime = struct.unpack('>I8I6', v, %[4]d)
if lifetime == 0 then lifetime = tonumber(ARGV[2]) end
redis.call('ZADD', KEYS[2], 'NX', string.format('%%.0f', created), ARGV[3])
local left = redis.call('PTTL', KEYS[2])
if left < 2 * lifetime then
  left = 2 * lifetime
  redis.call('PEXPIRE', KEYS[2], left)
end
v = string.sub(v, 1, %[5]d) .. struct.pack('>I6', now + left) .. string.sub(v, %[6]d)
redis.call('SET', KEYS[1], v, 'PX', remaining(v, lifetime))
return {%[7]d, now}
`, formatAt+1, formatExtended, codeOther, createdAt+1, indexEndAt, subjectAt+1, codeDone))

// staleMembers is how many of the oldest members of an index each create looks at, and how many
// others at random, and takes out if their session is gone. While a slot moves, a session that
// the node has not, or not any more, is an error and not absent.
const staleMembers = 4
