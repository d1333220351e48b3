-- Listed before the JSON transcoder: on a request it runs first, on a reply it sees what the transcoder made.
-- Proven on HTTP/1.1 and HTTP/2: refusals, statuses, lengths, empty bodies of HEAD, 204 and 304. Native gRPC keeps its own.
local STATUS, BODY, LENGTH = "x-taskhouse-status", "x-taskhouse-body", "x-taskhouse-length"
local LEFT_OVER = {"grpc-status", "grpc-message", "grpc-encoding", "grpc-accept-encoding", "grpc-status-details-bin"}
local FAULT = "x-taskhouse-fault" -- the answer that names a <field>, if the transcoder has said which; BODY otherwise
local TYPE = "x-taskhouse-type" -- the content type of BODY, where it is not plain JSON
local CODE = "x-taskhouse-code" -- the gRPC code of a refusal by Envoy itself, which would call a timeout UNAVAILABLE

local MAX_HEADERS, MAX_HEADER_BYTES, MAX_PARAMETERS = 100, 16 * 1024, 100

local find, sub = string.find, string.sub

local function remember(handle, what)
  handle:streamInfo():dynamicMetadata():set("taskhouse", what, "1")
end

-- Native gRPC, or what the next filter makes native: as the routes tell them.
local WEB = {["-web"] = true, ["-web+proto"] = true, ["-web-text"] = true, ["-web-text+proto"] = true}
local function is_native(headers)
  local kind = string.match(headers:get("content-type") or "", "^application/grpc(.*)")
  return kind and (kind == "" or sub(kind, 1, 1) == "+" or WEB[kind])
end

-- What a client's headers must not say: underscores, which others read as "-" (one documented header has one), and gRPC's
-- own words in the mouth of a JSON client. edge.yaml.j2 removes more of them before. Returns whether they are too large;
-- Envoy's own limits are higher, as it answers before it knows the path.
local function remove_refused(headers, native)
  local names -- a header must not go while they are being walked
  local count, size = 0, 0
  for name, value in pairs(headers) do
    count, size = count + 1, size + #name + #value + 4
    if (find(name, "_", 1, true) and name ~= "validation_mode") or (not native and sub(name, 1, 5) == "grpc-") then
      names = names or {}
      names[#names + 1] = name
    end
  end
  for _, name in ipairs(names or {}) do headers:remove(name) end
  return count > MAX_HEADERS or size > MAX_HEADER_BYTES
end

-- The name of a query parameter as the transcoder reads it: unescaped once, and in either of a field's two spellings.
local function name_of(part)
  local name = string.match(part, "^[^=]*")
  name = string.gsub(name, "%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end)
  return name == "perPage" and "per_page" or name
end

-- The documented API takes the last of repeated parameters; the transcoder refuses to set an optional field twice.
-- Whose query is long, or has a single parameter, is served without: whoever calls may be a stranger.
local function with_last_page(path)
  local start = find(path, "?", 1, true)
  if not start or sub(path, 1, 18) ~= "/api/task_results/" or not find(path, "&", start, true) then return path end
  local parts, last, kept = {}, {}, {}
  for part in string.gmatch(sub(path, start + 1), "[^&]+") do
    if #parts == MAX_PARAMETERS then return path end
    parts[#parts + 1] = part
    last[name_of(part)] = #parts
  end
  for i, part in ipairs(parts) do
    local name = name_of(part)
    if last[name] == i or (name ~= "page" and name ~= "per_page") then kept[#kept + 1] = part end
  end
  if #kept == #parts then return path end
  return sub(path, 1, start) .. table.concat(kept, "&")
end

-- The field that the transcoder could not read; its texts are those of grpc-httpjson-transcoding and protobuf.
local FIELDS = {'^Could not find field "([%w_.]+)"', "^%(?([%w_.%[%]]+)%)?: ", " of the field ([%w_.]+) is conflicting"}
local function field_in(text)
  for _, pattern in ipairs(FIELDS) do
    local found = string.match(text, pattern)
    if found and #found <= 200 then return found end
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local native = is_native(headers)
  local too_large = remove_refused(headers, native)
  if native then remember(handle, "native") end
  if headers:get(":method") == "HEAD" then remember(handle, "head") end
  if too_large then
    handle:respond({[":status"] = "431"}, "")
    return
  end
  local path = headers:get(":path") or "" -- CONNECT has none
  local changed = with_last_page(path)
  if changed ~= path then headers:replace(":path", changed) end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local request = handle:streamInfo():dynamicMetadata():get("taskhouse") or {}
  local status, body, length = headers:get(STATUS), headers:get(BODY), headers:get(LENGTH)
  local code = headers:get(CODE)
  local fault, kind = headers:get(FAULT), headers:get(TYPE)
  for _, name in ipairs({STATUS, BODY, LENGTH, CODE, FAULT, TYPE}) do headers:remove(name) end
  if request["native"] then
    if code and is_native(headers) then
      headers:replace("grpc-status", code)
      headers:replace(":status", "200") -- gRPC-Web's refusal is still an HTTP one here
    end
    return
  end

  -- A success may carry its tag as the status message: metadata of its own would cost the server a tenth of the call.
  local message = headers:get("grpc-message")
  if message and headers:get("grpc-status") == "0" and sub(message, 1, 5) == "etag=" then
    headers:replace("etag", sub(message, 6))
  end
  for _, name in ipairs(LEFT_OVER) do headers:remove(name) end
  if status and string.match(status, "^[2-5]%d%d$") then headers:replace(":status", status) end
  if length then headers:replace("content-length", length) end
  if body then
    headers:replace("content-type", kind or "application/json")
    body = string.gsub(string.gsub(body, "~1", "\n"), "~0", "~") -- as server/rpc/refusals.py writes it
  end

  status = headers:get(":status")
  local bare = request["head"] or status == "204" or status == "304"
  if not body and not bare then return end
  local size = length or (not body and headers:get("content-length"))
  local content = handle:body(true)
  local field = fault and field_in(content:getBytes(0, content:length()))
  if field then body = string.gsub(fault, "<field>", field) end
  if body then content:setBytes(body) end
  size = size or tostring(content:length())
  if bare then content:setBytes("") end
  headers = handle:headers() -- the earlier object is out of scope after body()
  if status == "204" then headers:remove("content-length") else headers:replace("content-length", size) end
end
