#!/usr/bin/python3
"""Reads archives with slixmpp for confab's tests, and prints the ids as lines of JSON."""
import asyncio, json, sys
import slixmpp

jid, password, host, port, ca = sys.argv[1:6]


def say(what, **more):
    print(json.dumps({"what": what, **more}), flush=True)


class Peer(slixmpp.ClientXMPP):
    def __init__(self):
        super().__init__(jid, password, sasl_mech="PLAIN")  # its SCRAM does not know TLS 1.3
        self.register_plugin("xep_0313")
        self.ca_certs = ca
        self.add_event_handler("session_start", self.start)
        self.add_event_handler("failed_auth", lambda m: say("failed", why=str(m)))
        self.add_event_handler("ssl_invalid_chain", lambda m: say("failed", why=str(m)))

    async def start(self, _):
        say("ready", jid=str(self.boundjid))
        reader = self.reader = asyncio.StreamReader()  # or it is collected while it waits
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            what, archive = json.loads(line)
            try:
                await self.read(archive)
            except Exception as e:
                say("failed", why=repr(e))
        self.disconnect()

    async def read(self, archive):
        ids = []
        pages = self["xep_0313"].retrieve(jid=archive and slixmpp.JID(archive) or None, iterator=True, rsm={"max": 20})
        async for page in pages:
            for m in page["mam"]["results"]:
                if m["mam_result"]["forwarded"]["stanza"]["body"]:
                    ids.append(m["mam_result"]["id"])
        say("ids", ids=ids)


peer = Peer()
peer.connect((host, int(port)))
peer.loop.run_until_complete(peer.disconnected)
