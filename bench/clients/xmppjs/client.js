// The xmpp.js peer (@xmpp/client): the "stanza" event and iqCaller.
import { client, xml } from "@xmpp/client";

const { XB_HOST, XB_PORT, XB_PASS, XB_ROOM, XB_W: W } = process.env;
const N = +process.env.XB_N, INFLIGHT = +process.env.XB_INFLIGHT;
let n = 0, chk = 0;

function dial() {
  const c = client({
    service: `xmpp://${XB_HOST}:${XB_PORT}`,
    domain: "localhost",
    // By itself it refuses PLAIN on a plain socket.
    credentials: (authenticate, mechanisms) =>
      authenticate({ username: "bench", password: XB_PASS }, mechanisms.includes("SCRAM-SHA-1") ? "SCRAM-SHA-1" : "PLAIN"),
  });
  c.reconnect.stop();
  c.on("error", (e) => { if (!W.startsWith("W7")) console.error(e); });
  return c;
}
const say = (c, body) => c.send(xml("message", { to: "ctl@localhost", type: "chat" }, xml("body", {}, body)));
const done = (c) => say(c, `DONE n=${n} chk=${chk}`);

async function online(c) {
  await c.start();
  return c;
}

if (W.startsWith("W6")) {
  let c;
  const keep = [];
  for (let i = 0; i < N; i++) keep.push((c = await online(dial())));
  n = N;
  await done(c);
} else if (W.startsWith("W7")) {
  for (let i = 0; i < N; i++) {
    const c = dial();
    const got = new Promise((r) => c.on("stanza", (s) => s.is("message") && r()));
    await online(c);
    await say(c, "GO");
    await got;
    await c.stop();
  }
  process.exit(0);
} else {
  const c = dial();
  let ended;
  const end = new Promise((r) => (ended = r));
  c.on("stanza", (s) => {
    if (s.is("message")) {
      const r = W === "W2" && s.getChild("result", "urn:xmpp:mam:2");
      if (r) {
        const f = r.getChild("forwarded", "urn:xmpp:forward:0"), m = f.getChild("message");
        n++;
        chk += r.attrs.id.length + f.getChild("delay").attrs.stamp.length + m.attrs.from.length + m.attrs.id.length + m.getChildText("body").length;
        return;
      }
      const body = s.getChildText("body");
      if (body === "END") return ended();
      n++;
      chk += s.attrs.from.length + s.attrs.id.length + body.length;
    } else if (s.is("presence")) {
      const i = s.getChild("x", "http://jabber.org/protocol/muc#user").getChild("item");
      n++;
      chk += s.attrs.from.length + i.attrs.affiliation.length + i.attrs.role.length;
    }
  });
  await online(c);
  if (W === "W3") {
    await c.send(xml("presence", { to: XB_ROOM + "/bench" }, xml("x", { xmlns: "http://jabber.org/protocol/muc" })));
    await end;
  } else await say(c, "GO");
  if (W === "W1") await end;
  if (W === "W2") {
    for (let after, complete = false; !complete; ) {
      const fin = await c.iqCaller.request(
        xml("iq", { type: "set", to: "bench@localhost" },
          xml("query", { xmlns: "urn:xmpp:mam:2", queryid: "q1" },
            xml("set", { xmlns: "http://jabber.org/protocol/rsm" }, xml("max", {}, "250"), after && xml("after", {}, after)))), 60000);
      const f = fin.getChild("fin");
      complete = f.attrs.complete === "true";
      after = f.getChild("set").getChildText("last");
    }
  }
  if (W.startsWith("W4")) {
    const one = async (k) => {
      for (; k > 0; k--) {
        await c.iqCaller.request(xml("iq", { type: "get", to: "localhost" }, xml("ping", { xmlns: "urn:xmpp:ping" })), 60000);
        n++;
      }
    };
    await Promise.all(Array.from({ length: INFLIGHT }, (_, i) => one(Math.floor((N + i) / INFLIGHT))));
  }
  if (W.startsWith("W5")) {
    await end;
    for (let i = 0; i < N; i++)
      await c.send(xml("message", { to: "user1@localhost/Conversations.k3Xy", type: "chat", id: "id-" + i },
        xml("body", {}, "her come and will this use go other hot of day he had people he who & more than")));
  }
  await done(c);
}
