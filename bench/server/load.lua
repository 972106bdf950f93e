-- What wrk sends: a request made of a template, each time with the next key.
--
-- The template is raw HTTP whose length does not change from key to key. In it `@NEXT@` goes on to the next key and
-- stands for it, `@KEY@` stands for the same key again. Keys are the prefix and a number of eight digits.
--
-- Arguments: the template's file, the prefix, and how many keys there are; after the last one the first comes again.

local pieces = {}
local prefix, count
local at = -1
local checked = false

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local template = file:read("*a")
  file:close()
  prefix = args[2]
  count = tonumber(args[3])
  local from = 1
  for text, mark, next in template:gmatch("(.-)@(%u+)@()") do
    pieces[#pieces + 1] = { text = text, advances = mark == "NEXT" }
    from = next
  end
  pieces.last = template:sub(from)
end

function request()
  local parts = {}
  for _, piece in ipairs(pieces) do
    if piece.advances then at = (at + 1) % count end
    parts[#parts + 1] = piece.text
    parts[#parts + 1] = prefix .. string.format("%08d", at)
  end
  parts[#parts + 1] = pieces.last
  -- The first one is never sent: wrk looks whether it is HTTP.
  if not checked then checked, at = true, -1 end
  return table.concat(parts)
end

-- Beside wrk's own report, a line of JSON. Latencies are microseconds.
function done(summary, latency)
  local errors = summary.errors
  io.write(
    string.format(
      '\n{"requests":%d,"seconds":%.6f,"bytes":%d,"refused":%d,"broken":%d,"p50":%.1f,"p99":%.1f}\n',
      summary.requests,
      summary.duration / 1e6,
      summary.bytes,
      errors.status,
      errors.connect + errors.read + errors.write,
      latency:percentile(50),
      latency:percentile(99)
    )
  )
end
