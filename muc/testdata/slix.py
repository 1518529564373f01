#!/usr/bin/python3
"""An occupant of rooms on slixmpp for confab's tests. It does what the lines of stdin say
and prints what it hears as lines of JSON."""
import asyncio, json, sys
import slixmpp

jid, password, host, port, ca = sys.argv[1:6]


def say(what, **more):
    print(json.dumps({"what": what, **more}), flush=True)


class Peer(slixmpp.ClientXMPP):
    def __init__(self):
        super().__init__(jid, password, sasl_mech="PLAIN")  # its SCRAM does not know TLS 1.3
        for p in ("xep_0030", "xep_0045", "xep_0115", "xep_0199"):
            self.register_plugin(p)
        self.ca_certs = ca
        self.add_event_handler("session_start", self.start)
        self.add_event_handler("groupchat_message", self.groupchat)
        self.add_event_handler("groupchat_subject", lambda m: say("subject", text=m["subject"], nick=m["mucnick"]))
        self.add_event_handler("groupchat_presence", self.presence)
        self.add_event_handler("message", self.private)
        self.add_event_handler("failed_auth", lambda m: say("failed", why=str(m)))
        self.add_event_handler("ssl_invalid_chain", lambda m: say("failed", why=str(m)))
        self.add_event_handler("connection_failed", lambda m: say("failed", why=str(m)))

    async def start(self, _):
        self.send_presence()
        say("ready", jid=str(self.boundjid))
        reader = self.reader = asyncio.StreamReader()  # or it is collected while it waits
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            await self.do(*json.loads(line))
        self.disconnect()

    def groupchat(self, m):
        if m["body"]:
            say("message", nick=m["mucnick"], body=m["body"])

    def private(self, m):
        if m["type"] == "chat" and m["body"]:
            say("private", nick=m["from"].resource, body=m["body"])

    def presence(self, p):
        x = p.xml.find("{http://jabber.org/protocol/muc#user}x")
        if x is None:
            return
        item = x.find("{http://jabber.org/protocol/muc#user}item")
        codes = [int(s.get("code")) for s in x.findall("{http://jabber.org/protocol/muc#user}status")]
        say("left" if p.xml.get("type") == "unavailable" else "there", nick=p["from"].resource, codes=codes,
            to=item.get("nick") if item is not None else None)

    async def do(self, what, room, *args):
        if what == "join":
            await self["xep_0045"].join_muc_wait(slixmpp.JID(room), args[0])
            say("joined", nicks=sorted(self["xep_0045"].get_roster(room)))
        elif what == "send":
            self.send_message(mto=room, mbody=args[0], mtype="groupchat")
        elif what == "private":
            m = self.make_message(mto=room + "/" + args[0], mbody=args[1], mtype="chat")
            m.send()
        elif what == "subject":
            self.send_message(mto=room, msubject=args[0], mtype="groupchat")
        elif what == "nick":
            self.send_presence(pto=room + "/" + args[0])
        elif what == "kick":
            await self["xep_0045"].set_role(slixmpp.JID(room), args[0], "none", reason=args[1])
        elif what == "leave":
            self["xep_0045"].leave_muc(slixmpp.JID(room), args[0])


peer = Peer()
peer.connect((host, int(port)))
peer.loop.run_until_complete(peer.disconnected)
