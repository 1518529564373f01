#!/usr/bin/python3
"""An OMEMO partner on slixmpp and python-omemo for confab's tests. It does what the
lines of stdin say and prints what it hears as lines of JSON. Behind the address it is
told which versions to speak: old, new or both, and where to keep its keys; "storm" makes
it read what comes in a random order, some of it twice and some not at all."""
import asyncio, base64, json, os, random, secrets, sys
from xml.sax import saxutils
import slixmpp
import omemo, oldmemo, twomemo, oldmemo.etree, twomemo.etree
from omemo.storage import Just, Nothing, Storage
from omemo.types import TrustLevel
from slixmpp import JID
from slixmpp.exceptions import IqError
from slixmpp.plugins.xep_0004 import Form
from slixmpp.xmlstream import ET
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

jid, password, host, port, ca, speaks, keys = sys.argv[1:8]
OLD, NEW = oldmemo.oldmemo.NAMESPACE, twomemo.twomemo.NAMESPACE
SPEAKS = {"old": [OLD], "new": [NEW], "both": [NEW, OLD]}[speaks]
LISTS = {OLD: "eu.siacs.conversations.axolotl.devicelist", NEW: "urn:xmpp:omemo:2:devices"}
ETREE = {OLD: oldmemo.etree, NEW: twomemo.etree}
SCE = "urn:xmpp:sce:1"


def say(what, **more):
    print(json.dumps({"what": what, **more}), flush=True)


class File(Storage):
    def __init__(self):
        super().__init__()
        self.d = json.load(open(keys)) if os.path.exists(keys) else {}

    def save(self):
        json.dump(self.d, open(keys + ".tmp", "w"))
        os.replace(keys + ".tmp", keys)

    async def _load(self, key):
        return Just(self.d[key]) if key in self.d else Nothing()

    async def _store(self, key, value):
        self.d[key] = value
        self.save()

    async def _delete(self, key):
        if self.d.pop(key, None) is not None:
            self.save()


def options(kind, **kw):
    f = Form()
    f["type"] = "submit"
    f.add_field(var="FORM_TYPE", ftype="hidden", value="http://jabber.org/protocol/pubsub#" + kind)
    for k, v in kw.items():
        f.add_field(var="pubsub#" + k, value=v)
    return f


def manager(x):
    async def publish(node, item, elt, most):
        last = None
        for n in (["1", None] if most == "1" else ["max", "1000", None]):
            o = dict(access_model="open", persist_items="true", **({"max_items": n} if n else {}))
            try:
                return await x["xep_0060"].publish(JID(x.boundjid.bare), node, item, elt, options("publish-options", **o))
            except IqError as e:
                last = e
                if e.iq["error"].xml.find("{http://jabber.org/protocol/pubsub#errors}precondition-not-met") is not None:
                    await x["xep_0060"].set_node_config(JID(x.boundjid.bare), node, options("node_config", **o))
                    return await x["xep_0060"].publish(JID(x.boundjid.bare), node, item, elt)
        raise last

    async def items(who, node, **kw):
        try:
            r = await x["xep_0060"].get_items(JID(who), node, **kw)
        except IqError as e:
            if e.condition in ("item-not-found", "forbidden"):
                return []
            raise
        return [list(i.xml)[0] for i in r["pubsub"]["items"] if len(i.xml)]

    class SM(omemo.SessionManager):
        @staticmethod
        async def _upload_bundle(b):
            if b.namespace == NEW:
                await publish("urn:xmpp:omemo:2:bundles", str(b.device_id), twomemo.etree.serialize_bundle(b), "max")
            else:
                await publish(f"eu.siacs.conversations.axolotl.bundles:{b.device_id}", "current", oldmemo.etree.serialize_bundle(b), "1")

        @staticmethod
        async def _download_bundle(ns, who, dev):
            if ns == NEW:
                got = await items(who, "urn:xmpp:omemo:2:bundles", item_ids=[str(dev)])
            else:
                got = await items(who, f"eu.siacs.conversations.axolotl.bundles:{dev}")
            if not got:
                raise omemo.BundleNotFound(f"{who} {dev} {ns}")
            try:
                return ETREE[ns].parse_bundle(got[-1], who, dev)
            except Exception as e:
                raise omemo.BundleDownloadFailed(f"{who} {dev} {ns}: {e}") from e

        @staticmethod
        async def _delete_bundle(ns, dev):
            pass

        @staticmethod
        async def _upload_device_list(ns, l):
            await publish(LISTS[ns], "current", ETREE[ns].serialize_device_list(l), "1")

        @staticmethod
        async def _download_device_list(ns, who):
            got = await items(who, LISTS[ns])
            try:
                return ETREE[ns].parse_device_list(got[-1]) if got else {}
            except Exception as e:
                raise omemo.DeviceListDownloadFailed(f"{who} {ns}: {e}") from e

        async def _evaluate_custom_trust_level(self, device):
            name = device if isinstance(device, str) else device.trust_level_name
            return TrustLevel.UNDECIDED if name == "UNDECIDED" else TrustLevel.TRUSTED

        async def _make_trust_decision(self, undecided, identifier):
            for d in undecided:
                await self.set_trust(d.bare_jid, d.identity_key, "TRUSTED")

        @staticmethod
        async def _send_message(m, who):
            s = x.make_message(JID(who), mtype="chat")
            s.append(ETREE[m.namespace].serialize_message(m))
            s.append(ET.fromstring("<store xmlns='urn:xmpp:hints'/>"))
            s.send()
            say("empty", to=who)

    return SM


class Peer(slixmpp.ClientXMPP):
    def __init__(self):
        super().__init__(jid, password, sasl_mech="PLAIN")  # its SCRAM does not know TLS 1.3
        for p in ("xep_0030", "xep_0045", "xep_0060", "xep_0115", "xep_0163", "xep_0280", "xep_0334"):
            self.register_plugin(p)
        self.ca_certs = ca
        for ns in SPEAKS:
            self["xep_0163"].add_interest(LISTS[ns])
        self.queue, self.stormy, self.done = asyncio.Queue(), False, []
        self.add_event_handler("session_start", self.start)
        # The event "message" is for those with a body; version 2 sends none.
        self.register_handler(Callback("all", MatchXPath("{jabber:client}message"), self.arrived))
        self.add_event_handler("carbon_sent", lambda m: self.queue.put_nowait(("copy", m["carbon_sent"])))
        self.add_event_handler("carbon_received", lambda m: self.queue.put_nowait(("copy", m["carbon_received"])))
        self.add_event_handler("pubsub_publish", lambda m: self.queue.put_nowait(("list", m)))
        for e in ("failed_auth", "ssl_invalid_chain", "connection_failed"):
            self.add_event_handler(e, lambda m: say("failed", why=str(m)))

    def start(self, _):
        # Tasks that nobody keeps are collected with their work undone.
        self.tasks = [asyncio.ensure_future(self.run()), asyncio.ensure_future(self.listen())]

    def arrived(self, m):
        carbon = any(c.tag.startswith("{urn:xmpp:carbons:2}") for c in m.xml)
        if not carbon and m["type"] in ("chat", "normal", "groupchat"):
            self.queue.put_nowait(("message", m))

    async def run(self):
        try:
            self.send_presence()
            await self.get_roster()
            await self["xep_0280"].enable()
            store = File()
            kinds = {OLD: oldmemo.Oldmemo, NEW: twomemo.Twomemo}
            self.sm = await manager(self).create([kinds[n](store) for n in SPEAKS], store, self.boundjid.bare, None, "UNDECIDED")
            await self.sm.ensure_data_consistency()
            await self.sm.after_history_sync()
            own, _ = await self.sm.get_own_device_information()
            say("ready", jid=str(self.boundjid), device=own.device_id, key="".join(omemo.SessionManager.format_identity_key(own.identity_key)))
            reader = asyncio.StreamReader(limit=1 << 20)
            await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
            while line := await reader.readline():
                await self.do(*json.loads(line))
        except Exception as e:
            say("failed", why=f"{type(e).__name__}: {e}")
        self.disconnect()

    async def do(self, what, *args):
        if what == "send":
            await self.seal(args[0], args[1], args[2], "chat", [args[0]])
        elif what == "storm":
            self.stormy = args[0] == "on"
        elif what == "join":
            await self["xep_0045"].join_muc_wait(JID(args[0]), args[1], maxstanzas=0, timeout=30)
            say("joined")
        elif what == "say":
            room, mid, body = args
            who = set()
            for a in ("owner", "admin", "member"):
                try:
                    who |= {JID(j).bare for j in await self["xep_0045"].get_affiliation_list(JID(room), a)}
                except IqError:
                    pass
            for n in self["xep_0045"].get_roster(JID(room)):
                if r := self.real(JID(f"{room}/{n}")):
                    who.add(r)
            await self.seal(room, mid, body, "groupchat", sorted(who - {self.boundjid.bare}))

    def real(self, j):
        try:
            return JID(self["xep_0045"].get_jid_property(j.bare, j.resource, "jid")).bare or None
        except Exception:
            return None

    async def refresh(self, who):
        for j in who:
            for ns in SPEAKS:
                try:
                    await self.sm.update_device_list(ns, j, await self.sm._download_device_list(ns, j))
                except Exception as e:
                    say("note", why=f"list of {j}: {type(e).__name__}: {e}")

    def envelope(self, body, to, group):
        q = lambda v: saxutils.escape(v, {"'": "&apos;", '"': "&quot;"})
        return (f"<envelope xmlns='{SCE}'><content><body xmlns='jabber:client'>{q(body)}</body></content>"
                f"<rpad>{base64.b64encode(secrets.token_bytes(20)).decode()}</rpad><from jid='{q(self.boundjid.bare)}'/>"
                + (f"<to jid='{q(to)}'/>" if group else "") + "</envelope>").encode()

    async def seal(self, to, mid, body, kind, who):
        await self.refresh(who)
        plain = {OLD: body.encode(), NEW: self.envelope(body, to, kind == "groupchat")}
        messages, errors = await self.sm.encrypt(frozenset(who), {n: plain[n] for n in SPEAKS}, backend_priority_order=list(SPEAKS))
        for e in errors:
            say("note", why=str(e))
        # One stanza with both versions, as others send it.
        s = self.make_message(JID(to), mtype=kind)
        s["id"], s["body"] = mid, "This is encrypted."
        for m in messages:
            s.append(ETREE[m.namespace].serialize_message(m))
        s.append(ET.fromstring("<store xmlns='urn:xmpp:hints'/>"))
        s.append(ET.fromstring(f"<origin-id xmlns='urn:xmpp:sid:0' id='{mid}'/>"))
        s.send()
        say("sent", id=mid)

    async def listen(self):
        storm = len(sys.argv) > 8 and sys.argv[8] == "storm"
        held = []
        while True:
            try:
                what, m = await asyncio.wait_for(self.queue.get(), 1 if held else None)
            except asyncio.TimeoutError:
                what = None
            while not hasattr(self, "sm"):
                await asyncio.sleep(0.05)
            if storm and what in (None, "message", "copy"):
                if what and any(c.tag.endswith("}payload") for c in m.xml.iter()):
                    if random.randrange(50) == 0 and self.stormy:
                        say("lost", id=m["id"])
                        continue
                    held.append((what, m))
                    if random.randrange(20) == 0:
                        held.append((what, m))
                    if len(held) < 6 and self.stormy:
                        continue
                elif what:
                    held.append((what, m))
                    if self.stormy:
                        continue
                if self.stormy:
                    random.shuffle(held)
                for h in held:
                    try:
                        await self.hear(*h)
                    except Exception as e:
                        if h not in self.done:
                            say("dark", why=f"{type(e).__name__}: {e}", id=h[1]["id"])
                    self.done = self.done[-500:] + [h]
                held = []
                continue
            try:
                if what == "list":
                    await self.published(m)
                else:
                    await self.hear(what, m)
            except Exception as e:
                say("dark", why=f"{type(e).__name__}: {e}")

    async def published(self, m):
        node = m["pubsub_event"]["items"]["node"]
        for ns in SPEAKS:
            if LISTS[ns] == node:
                for i in m["pubsub_event"]["items"]:
                    l = ETREE[ns].parse_device_list(list(i.xml)[0])
                    await self.sm.update_device_list(ns, m["from"].bare, l)
                    say("list", of=m["from"].bare, devices=sorted(l))

    async def hear(self, what, m):
        ns, el = next(((n, e) for n in (NEW, OLD) if n in SPEAKS and (e := m.xml.find(f"{{{n}}}encrypted")) is not None), (None, None))
        if el is None:
            if m["body"] and m["type"] != "error":
                say("clear", id=m["id"], body=m["body"])
            return
        sender = m["from"].bare
        if m["type"] == "groupchat":
            sender = self.real(m["from"])
            if sender == self.boundjid.bare:
                return
        for n in SPEAKS:
            if n != ns and m.xml.find(f"{{{n}}}encrypted") is not None and not self.mine(el):
                ns, el = n, m.xml.find(f"{{{n}}}encrypted")
        if not self.mine(el):
            return
        if not await self.sm.get_device_information(sender):
            await self.refresh([sender])
        parse = lambda: twomemo.etree.parse_message(el, sender) if ns == NEW else oldmemo.etree.parse_message(el, sender, self.boundjid.bare, self.sm)
        parsed = parse()
        parsed = await parsed if asyncio.iscoroutine(parsed) else parsed
        try:
            plain, dev, _ = await self.sm.decrypt(parsed)
        except omemo.SenderNotFound:
            await self.refresh([sender])
            plain, dev, _ = await self.sm.decrypt(parsed)
        if plain is None:
            say("heard-empty", device=dev.device_id)
            return
        text = plain.decode()
        if ns == NEW:
            b = ET.fromstring(text).find(".//{jabber:client}body")
            text = b.text if b is not None else ""
        say(what, id=m["id"], body=text, ns=ns, device=dev.device_id, envelope=plain.decode())

    def mine(self, el):
        own = str(self.sm._SessionManager__own_device_id) if hasattr(self.sm, "_SessionManager__own_device_id") else None
        return own is None or any(k.get("rid") == own for k in el.iter() if k.tag.endswith("}key"))


peer = Peer()
peer.connect((host, int(port)))
peer.loop.run_until_complete(peer.disconnected)
