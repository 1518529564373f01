-- XEP-0156 for Prosody 0.12, which has no module for it: /.well-known/host-meta and host-meta.json
module:depends("http");
local ws = module:get_option_string("test_ws_url");
local bosh = module:get_option_string("test_bosh_url");
local xml = ([[<?xml version='1.0' encoding='utf-8'?>
<XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>
<Link rel="urn:xmpp:alt-connections:xbosh" href="%s"/>
<Link rel="urn:xmpp:alt-connections:websocket" href="%s"/>
</XRD>]]):format(bosh, ws);
local json = ([[{"links":[{"rel":"urn:xmpp:alt-connections:xbosh","href":"%s"},{"rel":"urn:xmpp:alt-connections:websocket","href":"%s"}]}]]):format(bosh, ws);
module:provides("http", {
	default_path = "/.well-known";
	route = {
		["GET /host-meta"] = { headers = { content_type = "application/xrd+xml", access_control_allow_origin = "*" }; body = xml };
		["GET /host-meta.json"] = { headers = { content_type = "application/json", access_control_allow_origin = "*" }; body = json };
	};
});
