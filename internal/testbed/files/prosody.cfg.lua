-- Prosody for tests: 0.12 (Debian 12) and 13. The starter sets every ENV_XT_ variable.
local tonumber = Lua and Lua.tonumber or tonumber
local ipairs = Lua and Lua.ipairs or ipairs
local domain = ENV_XT_DOMAIN
local dir = ENV_XT_DIR
local gen13 = ENV_XT_GEN == "13"
local https = "localhost:" .. ENV_XT_HTTPS

run_as_root = true
daemonize = false
pidfile = dir .. "/prosody.pid"
data_path = dir .. "/data"
plugin_paths = { dir }
installer_plugin_path = dir .. "/custom_plugins"
certificates = dir .. "/tls"
log = { { levels = { min = ENV_XT_LOGLEVEL }, to = "file", filename = dir .. "/server.log" } }

interfaces = { "127.0.0.1" }
local_interfaces = { "127.0.0.1" }
c2s_ports = { tonumber(ENV_XT_C2S) }
c2s_direct_tls_ports = { tonumber(ENV_XT_DIRECT) }
http_ports = { tonumber(ENV_XT_HTTP) }
http_interfaces = { "127.0.0.1" }
https_ports = { tonumber(ENV_XT_HTTPS) }
https_interfaces = { "127.0.0.1" }
component_ports = { tonumber(ENV_XT_COMPONENT) }
component_interfaces = { "127.0.0.1" }
proxy65_ports = { tonumber(ENV_XT_PROXY) }
proxy65_interfaces = { "127.0.0.1" }

local tls = { key = dir .. "/tls/server.key", certificate = dir .. "/tls/server.crt", cafile = dir .. "/tls/ca.crt" }
ssl = tls
https_ssl = tls
c2s_direct_tls_ssl = tls

admins = { "admin@" .. domain }
authentication = "internal_hashed"
default_iteration_count = 4096 -- the least there may be: tests sign in often
storage = "internal"
archive_expires_after = "never"
c2s_require_encryption = true
allow_registration = true
registration_invite_only = false
consider_websocket_secure = true
consider_bosh_secure = true
cross_domain_websocket = true
cross_domain_bosh = true
http_default_host = "localhost"
http_host = "localhost"
http_external_url = "https://" .. https .. "/"
test_ws_url = "wss://" .. https .. "/xmpp-websocket"
test_bosh_url = "https://" .. https .. "/http-bind"
contact_info = { abuse = { "mailto:abuse@" .. domain }, admin = { "xmpp:admin@" .. domain } }
smacks_hibernation_time = 120
smacks_max_unacked_stanzas = 0
vjud_mode = "all"
muc_log_expires_after = "never"
external_services = {
	{ type = "stun", transport = "udp", host = "localhost", port = tonumber(ENV_XT_STUN) },
	{ type = "turn", transport = "udp", host = "localhost", port = tonumber(ENV_XT_STUN), secret = "test" },
}

-- No limits module: rate limits would slow the tests. No server-to-server:
-- nothing leaves the loopback device.
modules_disabled = { "s2s", "s2s_auth_certs" }
local mods = {
	"disco", "roster", "saslauth", "tls",
	"blocklist", "bookmarks", "carbons", "pep", "private", "smacks", "vcard4", "vcard_legacy",
	"csi", "csi_simple", "invites", "invites_adhoc", "invites_register", "ping", "register", "time", "uptime", "version",
	"mam", "admin_adhoc", "adhoc", "bosh", "websocket", "http", "server_contact_info", "announce",
	"external_services", "tombstones", "user_account_management", "lastactivity", "offline",
	"mimicking", "cron", "posix", "presence", "message", "iq", "c2s",
	-- prosody-modules
	"cloud_notify",
}
if gen13 then
	-- SASL2 and its family break every TLS stream of 0.12
	for _, m in ipairs { "account_activity", "cloud_notify_extensions", "cloud_notify_encrypted", "cloud_notify_filters",
		"cloud_notify_priority_tag", "spam_reporting", "sasl_ssdp", "http_altconnect",
		"sasl2", "sasl2_bind2", "sasl2_sm", "sasl2_fast" } do
		mods[#mods + 1] = m
	end
else
	mods[#mods + 1] = "test_host_meta"
end
modules_enabled = mods

VirtualHost (domain)
	disco_items = { { "rooms." .. domain, "Chat rooms" }, { "share." .. domain, "File share" } }

-- passwords kept in the clear, so every SCRAM kind is offered
VirtualHost ("plain." .. domain)
	authentication = "internal_plain"

VirtualHost ("anon." .. domain)
	authentication = "anonymous"
	allow_registration = false

Component ("rooms." .. domain) "muc"
	name = "Rooms"
	modules_enabled = { "muc_mam", "muc_unique", "muc_moderation", gen13 and "muc_search" or "vcard_muc" }
	restrict_room_creation = false
	muc_room_default_public = true
	muc_room_default_persistent = false
	muc_room_locking = true
	muc_log_by_default = true
	max_history_messages = 50

Component ("share." .. domain) "http_file_share"
	http_file_share_size_limit = 2 * 1024 * 1024 * 1024
	http_file_share_daily_quota = 100 * 1024 * 1024 * 1024
	http_file_share_access = { domain, "plain." .. domain, "anon." .. domain }

Component ("pubsub." .. domain) "pubsub"
	autocreate_on_publish = true
	autocreate_on_subscribe = true
	add_publisher_unused = true

Component ("search." .. domain) "vjud"
	vjud_search_domain = domain

Component ("proxy." .. domain) "proxy65"
	proxy65_address = "127.0.0.1"

-- a component that never connects
Component ("bot." .. domain)
	component_secret = "componentsecret"
