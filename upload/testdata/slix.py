#!/usr/bin/python3
"""A partner on slixmpp for confab's tests of files. It does what the lines of stdin say
and prints what it hears as lines of JSON. slixmpp looks at the service and gets the slot,
aiohttp moves the bytes."""
import asyncio, hashlib, json, ssl, sys
import aiohttp
import slixmpp

jid, password, host, port, ca = sys.argv[1:6]
tls = ssl.create_default_context(cafile=ca)


def say(what, **more):
    print(json.dumps({"what": what, **more}), flush=True)


class Peer(slixmpp.ClientXMPP):
    def __init__(self):
        super().__init__(jid, password, sasl_mech="PLAIN")  # its SCRAM does not know TLS 1.3
        for p in ("xep_0030", "xep_0066", "xep_0363", "xep_0231"):
            self.register_plugin(p)
        self.ca_certs = ca
        self.add_event_handler("session_start", self.start)
        self.add_event_handler("message", self.message)
        self.add_event_handler("failed_auth", lambda m: say("failed", why=str(m)))
        self.add_event_handler("ssl_invalid_chain", lambda m: say("failed", why=str(m)))
        self.add_event_handler("connection_failed", lambda m: say("failed", why=str(m)))

    async def start(self, _):
        self.send_presence()
        await self.get_roster()
        say("ready", jid=str(self.boundjid))
        reader = self.reader = asyncio.StreamReader()  # or it is collected while it waits
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            try:
                await self.do(*json.loads(line))
            except Exception as e:
                say("failed", why=repr(e))
        self.disconnect()

    def message(self, m):
        url = m["oob"]["url"]
        if m["body"] and url:
            asyncio.ensure_future(self.fetch(m["body"], url))

    async def fetch(self, body, url):
        try:
            async with aiohttp.ClientSession() as web, web.get(url, ssl=tls) as r:
                data = await r.read()
                say("file", body=body, url=url, status=r.status, type=r.headers.get("Content-Type", ""),
                    size=len(data), sha256=hashlib.sha256(data).hexdigest())
        except Exception as e:
            say("failed", why=repr(e))

    async def do(self, what, to, *args):
        if what == "upload":
            service, name, size, typ = args
            data = hashlib.shake_256(name.encode()).digest(int(size))
            info = await self["xep_0030"].get_info(jid=service)  # its own search fails on Python 3.11
            if "urn:xmpp:http:upload:0" not in info["disco_info"]["features"]:
                raise Exception("no upload service")
            slot = await self["xep_0363"].request_slot(slixmpp.JID(service), name, len(data), typ)
            put = slot["http_upload_slot"]["put"]
            headers = {"Content-Type": typ, "Content-Length": str(len(data))}
            headers.update({h["name"]: h["value"] for h in put["headers"]})
            async with aiohttp.ClientSession() as web, web.put(put["url"], data=data, headers=headers, ssl=tls) as r:
                if r.status >= 300:
                    raise Exception("status %d" % r.status)
            url = slot["http_upload_slot"]["get"]["url"]
            m = self.make_message(slixmpp.JID(to), mbody=url, mtype="chat")
            m["oob"]["url"] = url
            m.send()
            say("sent", sha256=hashlib.sha256(data).hexdigest())
        elif what == "bits":
            r = await self["xep_0231"].get_bob(slixmpp.JID(to), args[0], cached=False)
            data = r["bob"]["data"]
            say("bits", type=r["bob"]["type"], sha256=hashlib.sha256(data).hexdigest())


peer = Peer()
peer.connect((host, int(port)))
peer.loop.run_until_complete(peer.disconnected)
