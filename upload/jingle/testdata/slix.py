#!/usr/bin/python3
"""A partner on slixmpp for confab's tests of bytestreams, in stanzas and over the server's
proxy. It does what the lines of stdin say and prints what it hears as lines of JSON."""
import asyncio, hashlib, json, sys
import slixmpp

jid, password, host, port, ca = sys.argv[1:6]


def say(what, **more):
    print(json.dumps({"what": what, **more}), flush=True)


class Peer(slixmpp.ClientXMPP):
    def __init__(self):
        super().__init__(jid, password, sasl_mech="PLAIN")  # its SCRAM does not know TLS 1.3
        self.register_plugin("xep_0030")
        self.register_plugin("xep_0047", {"auto_accept": True})
        self.register_plugin("xep_0065", {"auto_accept": True})
        self.ca_certs = ca
        self.got = b""
        self.add_event_handler("session_start", self.start)
        self.add_event_handler("ibb_stream_start", self.stream)
        self.add_event_handler("socks5_data", self.data)
        self.add_event_handler("socks5_closed", self.closed)
        for e in ("failed_auth", "ssl_invalid_chain", "connection_failed"):
            self.add_event_handler(e, lambda m: say("failed", why=str(m)))

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

    async def stream(self, s):
        data = await s.gather(timeout=60)
        say("ibb", size=len(data), sha256=hashlib.sha256(data).hexdigest())

    def data(self, data):
        self.got += data

    def closed(self, _):
        data, self.got = self.got, b""
        say("s5b", size=len(data), sha256=hashlib.sha256(data).hexdigest())

    async def do(self, what, to, size):
        data = hashlib.shake_256(what.encode()).digest(int(size))
        if what == "ibb":
            s = await self["xep_0047"].open_stream(slixmpp.JID(to))
            await s.sendall(data)
            await s.close()
        elif what == "ibb messages":
            s = await self["xep_0047"].open_stream(slixmpp.JID(to), use_messages=True)
            await s.sendall(data)
            await s.close()
        elif what == "s5b":
            s = await self["xep_0065"].handshake(slixmpp.JID(to))
            await s.write(data)
            s.transport.close()
        say("sent", sha256=hashlib.sha256(data).hexdigest())


peer = Peer()
peer.connect((host, int(port)))
peer.loop.run_until_complete(peer.disconnected)
