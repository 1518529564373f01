// The gloox peer: message and MUC handlers; MAM through a stanza extension,
// since gloox 1.0.24 has none.
#include <gloox/client.h>
#include <gloox/connectionlistener.h>
#include <gloox/connectiontcpclient.h>
#include <gloox/error.h>
#include <gloox/eventhandler.h>
#include <gloox/event.h>
#include <gloox/iqhandler.h>
#include <gloox/message.h>
#include <gloox/messagehandler.h>
#include <gloox/mucroom.h>
#include <gloox/mucroomhandler.h>
#include <gloox/presence.h>
#include <cstdlib>
#include <cstring>
#include <unistd.h>
#include <vector>
using namespace gloox;

static std::string env(const char *k) { const char *v = getenv(k); return v ? v : ""; }
static std::string W;
static long N, n, chk, sent, inflight;

static void say(Client *c, const std::string &b) { Message m(Message::Chat, JID("ctl@localhost"), b); c->send(m); }
static void done(Client *c) { say(c, "DONE n=" + std::to_string(n) + " chk=" + std::to_string(chk)); }

enum { ExtMam = ExtUser + 1, ExtFin };

struct MamResult : StanzaExtension {
  std::string id, stamp, from, mid, body;
  MamResult(const Tag *t = 0) : StanzaExtension(ExtMam) {
    if (!t) return;
    id = t->findAttribute("id");
    const Tag *f = t->findChild("forwarded");
    if (!f) return;
    if (const Tag *d = f->findChild("delay")) stamp = d->findAttribute("stamp");
    if (const Tag *m = f->findChild("message")) {
      from = m->findAttribute("from");
      mid = m->findAttribute("id");
      if (const Tag *b = m->findChild("body")) body = b->cdata();
    }
  }
  const std::string &filterString() const { static const std::string f = "/message/result[@xmlns='urn:xmpp:mam:2']"; return f; }
  StanzaExtension *newInstance(const Tag *t) const { return new MamResult(t); }
  Tag *tag() const { return 0; }
  StanzaExtension *clone() const { return new MamResult(*this); }
};

struct Fin : StanzaExtension {
  bool complete = false;
  std::string last, after;
  Fin(const Tag *t = 0) : StanzaExtension(ExtFin) {
    if (!t) return;
    complete = t->findAttribute("complete") == "true";
    if (const Tag *s = t->findChild("set"))
      if (const Tag *l = s->findChild("last")) last = l->cdata();
  }
  const std::string &filterString() const { static const std::string f = "/iq/fin[@xmlns='urn:xmpp:mam:2']"; return f; }
  StanzaExtension *newInstance(const Tag *t) const { return new Fin(t); }
  Tag *tag() const { // as a query
    Tag *q = new Tag("query", XMLNS, "urn:xmpp:mam:2");
    q->addAttribute("queryid", "q1");
    Tag *s = new Tag(q, "set", XMLNS, "http://jabber.org/protocol/rsm");
    new Tag(s, "max", "250");
    if (!after.empty()) new Tag(s, "after", after);
    return q;
  }
  StanzaExtension *clone() const { return new Fin(*this); }
};

struct Peer : ConnectionListener, MessageHandler, MUCRoomHandler, IqHandler, EventHandler {
  Client *c;
  MUCRoom *room = 0;
  Peer() {
    c = new Client(JID(env("XB_JID")), env("XB_PASS"), atoi(env("XB_PORT").c_str()));
    c->setServer(env("XB_HOST"));
    c->setTls(TLSDisabled);
    c->setCompression(false);
    c->registerConnectionListener(this);
    c->registerMessageHandler(this);
    c->registerStanzaExtension(new MamResult());
    c->registerStanzaExtension(new Fin());
  }
  ~Peer() { delete room; delete c; }
  void query(const std::string &after) {
    IQ iq(IQ::Set, JID("bench@localhost"), c->getID());
    Fin *f = new Fin();
    f->after = after;
    iq.addExtension(f);
    c->send(iq, this, 0);
  }
  void ping() { c->xmppPing(JID("localhost"), this); sent++; }
  void onConnect() {
    if (W[1] == '6') { if (++n == N) done(c); return; }
    if (W == "W3") { room = new MUCRoom(c, JID(env("XB_ROOM") + "/bench"), this); room->join(); return; }
    say(c, "GO");
    if (W == "W2") query("");
    if (W[1] == '4') while (sent < inflight) ping();
  }
  void onDisconnect(ConnectionError) {}
  bool onTLSConnect(const CertInfo &) { return true; }
  void handleMessage(const Message &m, MessageSession *) {
    if (W == "W2") {
      if (const MamResult *r = m.findExtension<MamResult>(ExtMam)) {
        n++;
        chk += r->id.size() + r->stamp.size() + r->from.size() + r->mid.size() + r->body.size();
      }
      return;
    }
    std::string b = m.body();
    if (b == "END") {
      if (W.rfind("W5", 0) == 0) {
        for (long i = 0; i < N; i++) {
          Message o(Message::Chat, JID("user1@localhost/Conversations.k3Xy"),
                    "her come and will this use go other hot of day he had people he who & more than");
          o.setID("id-" + std::to_string(i));
          c->send(o);
        }
      } else if (W[1] == '7') c->disconnect();
      else done(c);
      return;
    }
    n++;
    chk += m.from().full().size() + m.id().size() + b.size();
  }
  bool handleIq(const IQ &) { return false; }
  void handleIqID(const IQ &iq, int) {
    const Fin *f = iq.findExtension<Fin>(ExtFin);
    if (!f || f->complete) done(c); else query(f->last);
  }
  void handleEvent(const Event &) {
    if (++n == N) done(c); else if (sent < N) ping();
  }
  void handleMUCParticipantPresence(MUCRoom *, const MUCRoomParticipant p, const Presence &pr) {
    static const char *aff[] = {"none", "outcast", "member", "owner", "admin"}, *role[] = {"none", "visitor", "participant", "moderator"};
    n++;
    chk += pr.from().full().size() + strlen(aff[p.affiliation]) + strlen(role[p.role]);
  }
  void handleMUCMessage(MUCRoom *, const Message &m, bool) { handleMessage(m, 0); }
  bool handleMUCRoomCreation(MUCRoom *) { return true; }
  void handleMUCSubject(MUCRoom *, const std::string &, const std::string &) {}
  void handleMUCInviteDecline(MUCRoom *, const JID &, const std::string &) {}
  void handleMUCError(MUCRoom *, StanzaError) {}
  void handleMUCInfo(MUCRoom *, int, const std::string &, const DataForm *) {}
  void handleMUCItems(MUCRoom *, const Disco::ItemList &) {}
};

int main() {
  W = env("XB_W");
  N = atol(env("XB_N").c_str());
  inflight = atol(env("XB_INFLIGHT").c_str());
  if (W[1] == '6') {
    for (long i = 0; i < N; i++) {
      Peer *p = new Peer();
      p->c->connect(false);
      while (n <= i) p->c->recv(1000);
    }
    for (;;) pause();
  }
  if (W[1] == '7') {
    for (long i = 0; i < N; i++) { Peer p; p.c->connect(); }
    return 0;
  }
  Peer p;
  p.c->connect();
}
