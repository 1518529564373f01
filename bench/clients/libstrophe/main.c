/* The libstrophe peer: one message handler, id handlers for IQs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strophe.h>

static xmpp_ctx_t *ctx;
static const char *W;
static long N, n, chk, sent, inflight, bound;
static char last[128];

static void say(xmpp_conn_t *c, const char *body)
{
    xmpp_stanza_t *m = xmpp_message_new(ctx, "chat", "ctl@localhost", NULL);
    xmpp_message_set_body(m, body);
    xmpp_send(c, m);
    xmpp_stanza_release(m);
}

static void done(xmpp_conn_t *c)
{
    char b[128];
    snprintf(b, sizeof b, "DONE n=%ld chk=%ld", n, chk);
    say(c, b);
}

static long len(const char *s) { return s ? (long)strlen(s) : 0; }

static long body_len(xmpp_stanza_t *m, int *end)
{
    long l = 0;
    char *t = xmpp_message_get_body(m);
    if (t) {
        l = strlen(t);
        *end = strcmp(t, "END") == 0;
        xmpp_free(ctx, t);
    }
    return l;
}

static void flood(xmpp_conn_t *c)
{
    for (long i = 0; i < N; i++) {
        char id[32];
        snprintf(id, sizeof id, "id-%ld", i);
        xmpp_stanza_t *m = xmpp_message_new(ctx, "chat", "user1@localhost/Conversations.k3Xy", id);
        xmpp_message_set_body(m, "her come and will this use go other hot of day he had people he who & more than");
        xmpp_send(c, m);
        xmpp_stanza_release(m);
    }
}

static int on_message(xmpp_conn_t *c, xmpp_stanza_t *st, void *u)
{
    int end = 0;
    (void)u;
    if (!strcmp(W, "W2")) {
        xmpp_stanza_t *r = xmpp_stanza_get_child_by_ns(st, "urn:xmpp:mam:2"), *f, *m, *d;
        if (!r || !(f = xmpp_stanza_get_child_by_name(r, "forwarded")) || !(m = xmpp_stanza_get_child_by_name(f, "message")))
            return 1;
        d = xmpp_stanza_get_child_by_name(f, "delay");
        n++;
        chk += len(xmpp_stanza_get_id(r)) + len(d ? xmpp_stanza_get_attribute(d, "stamp") : NULL) + len(xmpp_stanza_get_from(m)) +
               len(xmpp_stanza_get_id(m)) + body_len(m, &end);
        return 1;
    }
    long l = body_len(st, &end);
    if (end) {
        if (!strncmp(W, "W7", 2))
            xmpp_disconnect(c);
        else if (!strncmp(W, "W5", 2))
            flood(c);
        else
            done(c);
        return 1;
    }
    n++;
    chk += len(xmpp_stanza_get_from(st)) + len(xmpp_stanza_get_id(st)) + l;
    return 1;
}

static int on_presence(xmpp_conn_t *c, xmpp_stanza_t *st, void *u)
{
    xmpp_stanza_t *x = xmpp_stanza_get_child_by_ns(st, "http://jabber.org/protocol/muc#user"), *i;
    (void)c, (void)u;
    n++;
    chk += len(xmpp_stanza_get_from(st));
    if (x && (i = xmpp_stanza_get_child_by_name(x, "item")))
        chk += len(xmpp_stanza_get_attribute(i, "affiliation")) + len(xmpp_stanza_get_attribute(i, "role"));
    return 1;
}

static xmpp_stanza_t *child(xmpp_stanza_t *p, const char *name, const char *ns)
{
    xmpp_stanza_t *s = xmpp_stanza_new(ctx);
    xmpp_stanza_set_name(s, name);
    if (ns)
        xmpp_stanza_set_ns(s, ns);
    xmpp_stanza_add_child(p, s);
    xmpp_stanza_release(s);
    return s;
}

static void text(xmpp_stanza_t *p, const char *v)
{
    xmpp_stanza_t *t = xmpp_stanza_new(ctx);
    xmpp_stanza_set_text(t, v);
    xmpp_stanza_add_child(p, t);
    xmpp_stanza_release(t);
}

static void query(xmpp_conn_t *c);
static int on_fin(xmpp_conn_t *c, xmpp_stanza_t *st, void *u)
{
    xmpp_stanza_t *f = xmpp_stanza_get_child_by_name(st, "fin"), *s, *l;
    const char *done_attr = f ? xmpp_stanza_get_attribute(f, "complete") : NULL;
    (void)u;
    if (done_attr && !strcmp(done_attr, "true")) {
        done(c);
        return 0;
    }
    s = xmpp_stanza_get_child_by_name(f, "set");
    l = xmpp_stanza_get_child_by_name(s, "last");
    char *t = xmpp_stanza_get_text(l);
    snprintf(last, sizeof last, "%s", t);
    xmpp_free(ctx, t);
    query(c);
    return 0;
}

static void query(xmpp_conn_t *c)
{
    char *id = xmpp_uuid_gen(ctx);
    xmpp_stanza_t *iq = xmpp_iq_new(ctx, "set", id), *q = child(iq, "query", "urn:xmpp:mam:2"), *s;
    xmpp_stanza_set_to(iq, "bench@localhost");
    xmpp_stanza_set_attribute(q, "queryid", "q1");
    s = child(q, "set", "http://jabber.org/protocol/rsm");
    text(child(s, "max", NULL), "250");
    if (last[0])
        text(child(s, "after", NULL), last);
    xmpp_id_handler_add(c, on_fin, id, NULL);
    xmpp_send(c, iq);
    xmpp_stanza_release(iq);
    xmpp_free(ctx, id);
}

static void ping(xmpp_conn_t *c);
static int on_pong(xmpp_conn_t *c, xmpp_stanza_t *st, void *u)
{
    (void)st, (void)u;
    if (++n == N)
        done(c);
    else if (sent < N)
        ping(c);
    return 0;
}

static void ping(xmpp_conn_t *c)
{
    char *id = xmpp_uuid_gen(ctx);
    xmpp_stanza_t *iq = xmpp_iq_new(ctx, "get", id);
    xmpp_stanza_set_to(iq, "localhost");
    child(iq, "ping", "urn:xmpp:ping");
    xmpp_id_handler_add(c, on_pong, id, NULL);
    xmpp_send(c, iq);
    xmpp_stanza_release(iq);
    xmpp_free(ctx, id);
    sent++;
}

static void on_conn(xmpp_conn_t *c, xmpp_conn_event_t status, int error, xmpp_stream_error_t *se, void *u)
{
    (void)error, (void)se, (void)u;
    if (status != XMPP_CONN_CONNECT) {
        if (strncmp(W, "W6", 2))
            xmpp_stop(ctx);
        return;
    }
    if (!strncmp(W, "W6", 2)) {
        n = ++bound;
        if (bound == N)
            done(c);
        return;
    }
    xmpp_handler_add(c, on_message, NULL, "message", NULL, NULL);
    xmpp_handler_add(c, on_presence, NULL, "presence", NULL, NULL);
    if (!strcmp(W, "W3")) {
        xmpp_stanza_t *p = xmpp_presence_new(ctx);
        char to[256];
        snprintf(to, sizeof to, "%s/bench", getenv("XB_ROOM"));
        xmpp_stanza_set_to(p, to);
        child(p, "x", "http://jabber.org/protocol/muc");
        xmpp_send(c, p);
        xmpp_stanza_release(p);
        return;
    }
    say(c, "GO");
    if (!strcmp(W, "W2"))
        query(c);
    if (!strncmp(W, "W4", 2))
        while (sent < inflight)
            ping(c);
}

static xmpp_conn_t *dial(void)
{
    xmpp_conn_t *c = xmpp_conn_new(ctx);
    xmpp_conn_set_flags(c, XMPP_CONN_FLAG_DISABLE_TLS);
    xmpp_conn_set_jid(c, getenv("XB_JID"));
    xmpp_conn_set_pass(c, getenv("XB_PASS"));
    if (xmpp_connect_client(c, getenv("XB_HOST"), atoi(getenv("XB_PORT")), on_conn, NULL) != XMPP_EOK)
        exit(3);
    return c;
}

int main(void)
{
    xmpp_initialize();
    ctx = xmpp_ctx_new(NULL, NULL);
    W = getenv("XB_W");
    N = atol(getenv("XB_N"));
    inflight = atol(getenv("XB_INFLIGHT"));
    xmpp_ctx_set_timeout(ctx, 1);
    if (!strncmp(W, "W7", 2)) {
        for (long i = 0; i < N; i++) {
            xmpp_conn_t *c = dial();
            xmpp_run(ctx);
            xmpp_conn_release(c);
        }
        return 0;
    }
    if (!strncmp(W, "W6", 2)) {
        for (long i = 0; i < N; i++) { /* one after the other, as the Go peers do */
            dial();
            while (bound <= i)
                xmpp_run_once(ctx, 1);
        }
        xmpp_ctx_set_timeout(ctx, 1000);
    } else
        dial();
    xmpp_run(ctx);
    return 0;
}
