# The slixmpp peer: event handlers, and its xep_0045, xep_0313 and xep_0199 plugins.
import asyncio
import os
import sys

import slixmpp
from slixmpp.plugins.xep_0313 import stanza as _mam  # noqa: F401

E = os.environ
W, N, INFLIGHT = E["XB_W"], int(E["XB_N"]), int(E["XB_INFLIGHT"])


class Peer(slixmpp.ClientXMPP):
    def __init__(self, ready):
        super().__init__(E["XB_JID"], E["XB_PASS"])
        self["feature_mechanisms"].unencrypted_plain = True
        self.n = self.chk = 0
        self.ready = ready
        self.end = asyncio.Event()
        self.add_event_handler("session_start", lambda ev: asyncio.ensure_future(ready(self)))

    def dial(self):
        self.connect((E["XB_HOST"], int(E["XB_PORT"])), use_ssl=False, force_starttls=False, disable_starttls=True)

    def say(self, body):
        self.send_message(mto="ctl@localhost", mbody=body, mtype="chat")

    def done(self):
        self.say("DONE n=%d chk=%d" % (self.n, self.chk))

    def on_message(self, m):
        body = m["body"]
        if body == "END":
            self.end.set()
            return
        self.n += 1
        self.chk += len(str(m["from"])) + len(m["id"]) + len(body)

    def on_presence(self, p):
        self.n += 1
        self.chk += len(str(p["from"])) + len(p["muc"]["affiliation"]) + len(p["muc"]["role"])


async def work(c):
    if W == "W3":
        # got_online/muc events of the plugin; its presence handler keeps the roster
        c.add_event_handler("groupchat_message", c.on_message)
        c.add_event_handler("groupchat_presence", c.on_presence)
        c["xep_0045"].join_muc(E["XB_ROOM"], "bench")
        await c.end.wait()
        c.done()
        return
    c.add_event_handler("message", c.on_message) if W != "W2" else None
    c.say("GO")
    if W == "W1":
        await c.end.wait()
    elif W == "W2":
        pages = c["xep_0313"].retrieve(jid="bench@localhost", iterator=True, rsm={"max": "250"})
        async for page in pages:
            for m in page["mam"]["results"]:
                f = m["mam_result"]["forwarded"]
                i = f["stanza"]
                c.n += 1
                c.chk += len(m["mam_result"]["id"]) + len(f.xml.find("{urn:xmpp:delay}delay").get("stamp")) \
                    + len(str(i["from"])) + len(i["id"]) + len(i["body"])
    elif W.startswith("W4"):
        async def one(k):
            for _ in range(k):
                iq = c.Iq()
                iq["type"] = "get"
                iq["to"] = "localhost"
                iq.enable("ping")
                await iq.send(timeout=60)
                c.n += 1
        await asyncio.gather(*[one((N + i) // INFLIGHT) for i in range(INFLIGHT)])
    elif W.startswith("W5"):
        await c.end.wait()
        for i in range(N):
            m = c.make_message(mto="user1@localhost/Conversations.k3Xy", mtype="chat",
                               mbody="her come and will this use go other hot of day he had people he who & more than")
            m["id"] = "id-%d" % i
            m.send()
            if i % 1000 == 999:
                await asyncio.sleep(0)
        await asyncio.sleep(60)
    c.done()


def main():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    if W[:2] == "W6":
        async def idle():
            keep = []
            for i in range(N):
                ok = asyncio.Event()

                async def ready(c):
                    ok.set()
                c = Peer(ready)
                keep.append(c)
                c.dial()
                await ok.wait()
            keep[-1].n = N
            keep[-1].done()
            await asyncio.sleep(600)
        loop.run_until_complete(idle())
        return
    if W[:2] == "W7":
        async def cycle():
            for i in range(N):
                async def ready(c):
                    c.say("GO")
                c = Peer(ready)
                c.add_event_handler("message", c.on_message)
                c.dial()
                await c.end.wait()
                c.abort()
        loop.run_until_complete(cycle())
        return
    c = Peer(work)
    for p in {"W2": ["xep_0030", "xep_0059", "xep_0313"], "W3": ["xep_0045"], "W4a": ["xep_0199"], "W4b": ["xep_0199"]}.get(W, []):
        c.register_plugin(p)
    c.dial()
    loop.run_forever()


main()
