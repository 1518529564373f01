#!/usr/bin/python3
"""A chat partner on slixmpp for confab's tests. It does what the lines of stdin say and
prints what it hears as lines of JSON."""
import asyncio, json, ssl, sys
import slixmpp

jid, password, host, port, ca = sys.argv[1:6]


def say(what, **more):
    print(json.dumps({"what": what, **more}), flush=True)


class Peer(slixmpp.ClientXMPP):
    def __init__(self):
        super().__init__(jid, password, sasl_mech="PLAIN")  # its SCRAM does not know TLS 1.3
        for p in ("xep_0030", "xep_0085", "xep_0184", "xep_0280", "xep_0308", "xep_0333", "xep_0334", "xep_0424", "xep_0444"):
            self.register_plugin(p)
        self.ca_certs = ca
        self.add_event_handler("session_start", self.start)
        self.add_event_handler("message", self.message)
        self.add_event_handler("message_correction", lambda m: say("edit", id=m["replace"]["id"], body=m["body"]))
        self.add_event_handler("receipt_received", lambda m: say("receipt", id=m["receipt"]))
        self.add_event_handler("marker_displayed", lambda m: say("displayed", id=m["displayed"]["id"]))
        self.add_event_handler("reactions", lambda m: say("reactions", id=m["reactions"]["id"], values=sorted(m["reactions"].get_values())))
        self.add_event_handler("chatstate_composing", lambda m: say("composing"))
        self.add_event_handler("message_retract", lambda m: say("retract", id=m["retract"]["id"]))
        self.add_event_handler("carbon_sent", lambda m: say("copy", body=m["carbon_sent"]["body"]))
        self.add_event_handler("carbon_received", lambda m: say("copy", body=m["carbon_received"]["body"]))
        self.add_event_handler("failed_auth", lambda m: say("failed", why=str(m)))
        self.add_event_handler("ssl_invalid_chain", lambda m: say("failed", why=str(m)))
        self.add_event_handler("connection_failed", lambda m: say("failed", why=str(m)))

    async def start(self, _):
        self.send_presence()
        await self.get_roster()
        await self["xep_0280"].enable()
        say("ready", jid=str(self.boundjid))
        reader = self.reader = asyncio.StreamReader()  # or it is collected while it waits
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            self.do(*json.loads(line))
        self.disconnect()

    def message(self, m):
        if m["type"] in ("chat", "normal") and m["body"] and not m.get_plugin("replace", check=True):
            say("message", id=m["id"], body=m["body"])

    def do(self, what, to, *args):
        m = self.make_message(slixmpp.JID(to), mtype="chat")
        if what == "send":
            m["id"], m["body"] = args
            m["request_receipt"] = True
        elif what == "composing":
            m["chat_state"] = "composing"
        elif what == "edit":
            m["replace"]["id"], m["body"] = args
        elif what == "react":
            self["xep_0444"].send_reactions(slixmpp.JID(to), args[0], set(args[1:]))
            return
        m.send()


peer = Peer()
peer.connect((host, int(port)))
peer.loop.run_until_complete(peer.disconnected)
