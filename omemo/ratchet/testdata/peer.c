/* An OMEMO device on libomemo-c, for confab's tests, driven by lines on stdin. "3" is the
 * namespace eu.siacs.conversations.axolotl, "4" is urn:xmpp:omemo:2.
 *   cc -O2 -o peer peer.c $(pkg-config --cflags --libs libomemo-c) -lcrypto
 * Commands (bytes in hex): init VER REGID N | bundle NAME DEV IK SPKID SPK SIG PKID PK | enc NAME DEV PLAIN
 *   | dec NAME DEV pre|msg DATA | addpk ID | bench ITERATIONS.   Answers: one line, "ok ..." or "err CODE". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <signal_protocol.h>
#include <key_helper.h>
#include <session_builder.h>
#include <session_cipher.h>
#include <session_pre_key.h>
#include <protocol.h>
#include <curve.h>

struct ent { char key[96]; uint8_t *d; size_t n; struct ent *next; };
struct dev { struct ent *tab; ratchet_identity_key_pair *id; uint32_t reg; session_signed_pre_key *spk; signal_protocol_store_context *st; int ver; };
static signal_context *ctx;

static struct ent *get(struct dev *v, const char *k) { for (struct ent *e = v->tab; e; e = e->next) if (!strcmp(e->key, k)) return e; return 0; }
static void put(struct dev *v, const char *k, const uint8_t *d, size_t n) {
    struct ent *e = get(v, k);
    if (!e) { e = calloc(1, sizeof *e); snprintf(e->key, sizeof e->key, "%s", k); e->next = v->tab; v->tab = e; } else free(e->d);
    e->d = malloc(n ? n : 1); memcpy(e->d, d, n); e->n = n;
}
static int del(struct dev *v, const char *k) { for (struct ent **p = &v->tab; *p; p = &(*p)->next) if (!strcmp((*p)->key, k)) { struct ent *e = *p; *p = e->next; free(e->d); free(e); return 1; } return 0; }
static void akey(char *o, const signal_protocol_address *a) { snprintf(o, 96, "S%.*s/%d", (int)a->name_len, a->name, a->device_id); }
static void ikey(char *o, char t, uint32_t id) { snprintf(o, 96, "%c%u", t, id); }

static int c_rand(uint8_t *d, size_t n, void *u) { return RAND_bytes(d, n) == 1 ? 0 : -1; }
static int h_init(void **c, const uint8_t *k, size_t n, void *u) { *c = HMAC_CTX_new(); return HMAC_Init_ex(*c, k, n, EVP_sha256(), 0) ? 0 : -1; }
static int h_up(void *c, const uint8_t *d, size_t n, void *u) { return HMAC_Update(c, d, n) ? 0 : -1; }
static int h_fin(void *c, signal_buffer **o, void *u) { uint8_t b[64]; unsigned n; HMAC_Final(c, b, &n); *o = signal_buffer_create(b, n); return 0; }
static void h_cl(void *c, void *u) { HMAC_CTX_free(c); }
static int s_init(void **c, void *u) { *c = EVP_MD_CTX_new(); return EVP_DigestInit_ex(*c, EVP_sha512(), 0) ? 0 : -1; }
static int s_up(void *c, const uint8_t *d, size_t n, void *u) { return EVP_DigestUpdate(c, d, n) ? 0 : -1; }
static int s_fin(void *c, signal_buffer **o, void *u) { uint8_t b[64]; unsigned n; EVP_DigestFinal_ex(c, b, &n); *o = signal_buffer_create(b, n); EVP_DigestInit_ex(c, EVP_sha512(), 0); return 0; }
static void s_cl(void *c, void *u) { EVP_MD_CTX_free(c); }
static int aes(int enc, signal_buffer **o, int mode, const uint8_t *k, size_t kn, const uint8_t *iv, size_t ivn, const uint8_t *in, size_t n, void *u) {
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new(); uint8_t *b = malloc(n + 32); int l = 0, l2 = 0, r = -1;
    const EVP_CIPHER *t = mode == SG_CIPHER_AES_CBC_PKCS5 ? EVP_aes_256_cbc() : EVP_aes_256_ctr();
    if (EVP_CipherInit_ex(c, t, 0, k, iv, enc) && EVP_CipherUpdate(c, b, &l, in, n) && EVP_CipherFinal_ex(c, b + l, &l2)) { *o = signal_buffer_create(b, l + l2); r = 0; }
    EVP_CIPHER_CTX_free(c); free(b); return r;
}
static int c_enc(signal_buffer **o, int m, const uint8_t *k, size_t kn, const uint8_t *iv, size_t ivn, const uint8_t *p, size_t n, void *u) { return aes(1, o, m, k, kn, iv, ivn, p, n, u); }
static int c_dec(signal_buffer **o, int m, const uint8_t *k, size_t kn, const uint8_t *iv, size_t ivn, const uint8_t *p, size_t n, void *u) { return aes(0, o, m, k, kn, iv, ivn, p, n, u); }

static int ss_load(signal_buffer **r, signal_buffer **ur, const signal_protocol_address *a, void *u) { char k[96]; akey(k, a); struct ent *e = get(u, k); if (!e) return 0; *r = signal_buffer_create(e->d, e->n); return 1; }
static int ss_sub(signal_int_list **l, const char *n, size_t nl, void *u) { return 0; }
static int ss_store(const signal_protocol_address *a, uint8_t *r, size_t n, uint8_t *ur, size_t un, void *u) { char k[96]; akey(k, a); put(u, k, r, n); return 0; }
static int ss_has(const signal_protocol_address *a, void *u) { char k[96]; akey(k, a); return get(u, k) != 0; }
static int ss_del(const signal_protocol_address *a, void *u) { char k[96]; akey(k, a); return del(u, k); }
static int ss_dall(const char *n, size_t nl, void *u) { return 0; }
#define KSTORE(P, C) \
 static int P##_load(signal_buffer **r, uint32_t id, void *u) { char k[96]; ikey(k, C, id); struct ent *e = get(u, k); if (!e) return SG_ERR_INVALID_KEY_ID; *r = signal_buffer_create(e->d, e->n); return SG_SUCCESS; } \
 static int P##_store(uint32_t id, uint8_t *d, size_t n, void *u) { char k[96]; ikey(k, C, id); put(u, k, d, n); return 0; } \
 static int P##_has(uint32_t id, void *u) { char k[96]; ikey(k, C, id); return get(u, k) != 0; } \
 static int P##_del(uint32_t id, void *u) { char k[96]; ikey(k, C, id); del(u, k); return 0; }
KSTORE(pk, 'P') KSTORE(sp, 'Q')
static int id_pair(signal_buffer **pub, signal_buffer **prv, void *u) {
    struct dev *v = u; ec_public_key_serialize(pub, ratchet_identity_key_pair_get_public(v->id)); ec_private_key_serialize(prv, ratchet_identity_key_pair_get_private(v->id)); return 0; }
static int id_reg(void *u, uint32_t *r) { *r = ((struct dev *)u)->reg; return 0; }
static int id_save(const signal_protocol_address *a, uint8_t *d, size_t n, void *u) { return 0; }
static int id_trust(const signal_protocol_address *a, uint8_t *d, size_t n, void *u) { return 1; }
static void nop(void *u) {}

static void hex(const uint8_t *d, size_t n) { for (size_t i = 0; i < n; i++) printf("%02x", d[i]); }
static size_t unhex(const char *s, uint8_t *o) { size_t n = strlen(s) / 2; for (size_t i = 0; i < n; i++) sscanf(s + 2 * i, "%2hhx", o + i); return n; }
static void hexpub(struct dev *v, ec_public_key *k, int ident) {       /* a public key in this version's network form */
    signal_buffer *b = 0;
    if (v->ver == 4) b = ident ? ec_public_key_get_ed(k) : ec_public_key_get_mont(k);
    if (!b) ec_public_key_serialize(&b, k);
    hex(signal_buffer_data(b), signal_buffer_len(b)); signal_buffer_free(b);
}
static ec_public_key *inpub(struct dev *v, const char *s, int ident) {
    uint8_t b[64]; size_t n = unhex(s, b); ec_public_key *k = 0;
    if (v->ver == 4 && !ident) { curve_decode_point_mont(&k, b, n, ctx); return k; }
    curve_decode_point(&k, b, n, ctx); return k;
}
static void addpk(struct dev *v, uint32_t id, int print) {
    ec_key_pair *kp; session_pre_key *p; curve_generate_key_pair(ctx, &kp); session_pre_key_create(&p, id, kp);
    signal_protocol_pre_key_store_key(v->st, p);
    if (print) { printf(" %u ", id); hexpub(v, ec_key_pair_get_public(kp), 0); }
    SIGNAL_UNREF(kp); SIGNAL_UNREF(p);
}
static struct dev *newdev(int ver, uint32_t reg, int n, int print) {
    struct dev *v = calloc(1, sizeof *v); v->ver = ver; v->reg = reg;
    signal_protocol_session_store s = {ss_load, ss_sub, ss_store, ss_has, ss_del, ss_dall, nop, v};
    signal_protocol_pre_key_store p = {pk_load, pk_store, pk_has, pk_del, nop, v};
    signal_protocol_signed_pre_key_store q = {sp_load, sp_store, sp_has, sp_del, nop, v};
    signal_protocol_identity_key_store i = {id_pair, id_reg, id_save, id_trust, nop, v};
    signal_protocol_store_context_create(&v->st, ctx);
    signal_protocol_store_context_set_session_store(v->st, &s); signal_protocol_store_context_set_pre_key_store(v->st, &p);
    signal_protocol_store_context_set_signed_pre_key_store(v->st, &q); signal_protocol_store_context_set_identity_key_store(v->st, &i);
    signal_protocol_key_helper_generate_identity_key_pair(&v->id, ctx);
    signal_protocol_key_helper_generate_signed_pre_key(&v->spk, v->id, 7, time(0), ctx);
    signal_protocol_signed_pre_key_store_key(v->st, v->spk);
    if (print) {
        const uint8_t *sig = session_signed_pre_key_get_signature(v->spk);
        if (ver == 4) sig = session_signed_pre_key_get_signature_omemo(v->spk);
        printf("ok ik "); hexpub(v, ratchet_identity_key_pair_get_public(v->id), 1);
        printf(" spk 7 "); hexpub(v, ec_key_pair_get_public(session_signed_pre_key_get_key_pair(v->spk)), 0);
        printf(" sig "); hex(sig, 64); printf(" pks");
    }
    for (int k = 1; k <= n; k++) addpk(v, k, print);
    if (print) printf("\n");
    return v;
}
static session_cipher *cipher(struct dev *v, const signal_protocol_address *a) {
    session_cipher *c = 0; session_cipher_create(&c, v->st, a, ctx);
    session_cipher_set_version(c, v->ver);
    return c;
}
static int bundle(struct dev *v, const signal_protocol_address *a, ec_public_key *ik, uint32_t spkid, ec_public_key *spk, const uint8_t *sig, uint32_t pkid, ec_public_key *pk) {
    session_pre_key_bundle *b = 0; session_builder *sb = 0; int r;
    if (!ik || !spk || !pk) return -9999;
    session_pre_key_bundle_create(&b, a->device_id, a->device_id, pkid, pk, spkid, spk, sig, 64, ik);
    session_builder_create(&sb, v->st, a, ctx);
    session_builder_set_version(sb, v->ver);
    r = session_builder_process_pre_key_bundle(sb, b); session_builder_free(sb); SIGNAL_UNREF(b); return r;
}
static int enc(struct dev *v, const signal_protocol_address *a, const uint8_t *p, size_t n, ciphertext_message **m) { session_cipher *c = cipher(v, a); int r = session_cipher_encrypt(c, p, n, m); session_cipher_free(c); return r; }
static int dec(struct dev *v, const signal_protocol_address *a, int pre, const uint8_t *d, size_t n, signal_buffer **o) {
    session_cipher *c = cipher(v, a); int r;
    if (pre) { pre_key_signal_message *m = 0;
        if (v->ver == 4) r = pre_key_signal_message_deserialize_omemo(&m, d, n, v->reg, ctx); else
        r = pre_key_signal_message_deserialize(&m, d, n, ctx);
        if (r >= 0) r = session_cipher_decrypt_pre_key_signal_message(c, m, 0, o);
        SIGNAL_UNREF(m);
    } else { signal_message *m = 0;
        if (v->ver == 4) r = signal_message_deserialize_omemo(&m, d, n, ctx); else
        r = signal_message_deserialize(&m, d, n, ctx);
        if (r >= 0) r = session_cipher_decrypt_signal_message(c, m, 0, o);
        SIGNAL_UNREF(m);
    }
    session_cipher_free(c); return r;
}
static double now(void) { struct timespec t; clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static void bench(int ver, int n) {
    struct dev *a = newdev(ver, 11, 1, 0), *b = newdev(ver, 22, 1, 0); signal_protocol_address A = {"a", 1, 11}, B = {"b", 1, 22};
    uint8_t p[48] = {1}; size_t pn = ver == 4 ? 48 : 32; ciphertext_message *m; signal_buffer *o, *s; double t, ti = 0, tr = 0, te = 0, td = 0, tp = 0;
    const uint8_t *sig = session_signed_pre_key_get_signature(b->spk);
    if (ver == 4) sig = session_signed_pre_key_get_signature_omemo(b->spk);
    int setups = n / 10;
    for (int i = 0; i < setups; i++) {          /* fresh session each: bundle -> encrypt -> passive decrypt */
        session_pre_key *pk; addpk(b, 1, 0); signal_protocol_pre_key_load_key(b->st, &pk, 1); del(a, "Sb/22"); del(b, "Sa/11");
        t = now(); bundle(a, &B, ratchet_identity_key_pair_get_public(b->id), 7, ec_key_pair_get_public(session_signed_pre_key_get_key_pair(b->spk)), sig, 1, ec_key_pair_get_public(session_pre_key_get_key_pair(pk)));
        enc(a, &B, p, pn, &m); ti += now() - t; s = ciphertext_message_get_serialized(m);
        t = now(); if (dec(b, &A, 1, signal_buffer_data(s), signal_buffer_len(s), &o) < 0) exit(1); tr += now() - t;
        signal_buffer_free(o); SIGNAL_UNREF(m); SIGNAL_UNREF(pk);
    }
    enc(b, &A, p, pn, &m); s = ciphertext_message_get_serialized(m); dec(a, &B, 0, signal_buffer_data(s), signal_buffer_len(s), &o);
    for (int i = 0; i < n; i++) {               /* one direction: symmetric steps only */
        t = now(); enc(a, &B, p, pn, &m); te += now() - t; s = ciphertext_message_get_serialized(m);
        t = now(); if (dec(b, &A, 0, signal_buffer_data(s), signal_buffer_len(s), &o) < 0) exit(2); td += now() - t; signal_buffer_free(o); SIGNAL_UNREF(m);
    }
    t = now();
    for (int i = 0; i < n; i++) {               /* ping-pong: a DH step in every decrypt; 1 = one message enc+dec */
        struct dev *x = i & 1 ? a : b, *y = i & 1 ? b : a; signal_protocol_address *X = i & 1 ? &A : &B, *Y = i & 1 ? &B : &A;
        enc(x, Y, p, pn, &m); s = ciphertext_message_get_serialized(m); if (dec(y, X, 0, signal_buffer_data(s), signal_buffer_len(s), &o) < 0) exit(3); signal_buffer_free(o); SIGNAL_UNREF(m);
    }
    tp = now() - t;
    printf("ok ver %d: setup active %.0f/s, passive %.0f/s; chain encrypt %.0f/s, decrypt %.0f/s; ping-pong enc+dec %.0f/s\n", ver, setups / ti, setups / tr, n / te, n / td, n / tp);
    for (int i = 0; i < 4; i++) printf("RESULT O%d%c %d %.9f\n", ver - 2, "baed"[i], i < 2 ? setups : n, (double[]){ti, tr, te, td}[i]); /* for bench/ */
}
int main(void) {
    static char line[1 << 20]; static uint8_t buf[1 << 19], buf2[128]; struct dev *v = 0;
    signal_crypto_provider cp = {c_rand, h_init, h_up, h_fin, h_cl, s_init, s_up, s_fin, s_cl, c_enc, c_dec, 0};
    signal_context_create(&ctx, 0); signal_context_set_crypto_provider(ctx, &cp);
    while (fgets(line, sizeof line, stdin)) {
        char *w[12] = {0}; int n = 0, r = -1; for (char *t = strtok(line, " \r\n"); t && n < 12; t = strtok(0, " \r\n")) w[n++] = t;
        if (!n) continue;
        if (!strcmp(w[0], "init")) { v = newdev(atoi(w[1]), atoi(w[2]), atoi(w[3]), 1); fflush(stdout); continue; }
        if (!strcmp(w[0], "bench")) { bench(3, atoi(w[1]));
            bench(4, atoi(w[1]));
            fflush(stdout); continue; }
        if (!strcmp(w[0], "addpk")) { printf("ok"); addpk(v, atoi(w[1]), 1); printf("\n"); fflush(stdout); continue; }
        signal_protocol_address a = {w[1], strlen(w[1]), atoi(w[2])};
        if (!strcmp(w[0], "bundle")) { unhex(w[6], buf2); r = bundle(v, &a, inpub(v, w[3], 1), atoi(w[4]), inpub(v, w[5], 0), buf2, atoi(w[7]), inpub(v, w[8], 0)); if (r >= 0) printf("ok\n"); }
        else if (!strcmp(w[0], "enc")) { ciphertext_message *m = 0; r = enc(v, &a, buf, unhex(w[3], buf), &m);
            if (r >= 0) { signal_buffer *s = ciphertext_message_get_serialized(m); printf("ok %s ", ciphertext_message_get_type(m) == CIPHERTEXT_PREKEY_TYPE ? "pre" : "msg"); hex(signal_buffer_data(s), signal_buffer_len(s)); printf("\n"); SIGNAL_UNREF(m); } }
        else if (!strcmp(w[0], "dec")) { signal_buffer *o = 0; r = dec(v, &a, !strcmp(w[3], "pre"), buf, unhex(w[4], buf), &o);
            if (r >= 0) { printf("ok "); hex(signal_buffer_data(o), signal_buffer_len(o)); printf("\n"); signal_buffer_free(o); } }
        if (r < 0) printf("err %d\n", r);
        fflush(stdout);
    }
}
