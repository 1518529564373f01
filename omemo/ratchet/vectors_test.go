package ratchet

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The vectors are not part of this repository: see package internal/vectors.
func vectorFolder(t testing.TB) string {
	t.Helper()
	var tries []string
	if dir := os.Getenv("CONFAB_VECTORS"); dir != "" {
		tries = append(tries, filepath.Join(dir, "..", "omemo"))
	}
	dir, err := os.Getwd()
	require.NoError(t, err)
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		tries = append(tries, filepath.Join(dir, "shared", "vectors", "omemo"))
	}
	for _, try := range tries {
		if _, err := os.Stat(filepath.Join(try, "payloads.json")); err == nil {
			return try
		}
	}
	t.Skip("lacks: the OMEMO vectors (name the folder beside theirs in CONFAB_VECTORS)")
	return ""
}

// data is hexadecimal in JSON.
type data []byte

func (d *data) UnmarshalText(b []byte) (err error) {
	*d, err = hex.AppendDecode(nil, b)
	return err
}

func readVectors(t testing.TB, name string, v any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(vectorFolder(t), name))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, v))
}

type vectorParty struct {
	Identity struct {
		Seed        data `json:"ed25519_seed"`
		Curve       data `json:"curve25519_pub"`
		Wire        data
		Fingerprint string
	}
	SignedPreKey struct {
		ID        uint32
		Priv      data
		PubWire   data `json:"pub_wire"`
		Signature data `json:"signature_wire"`
	} `json:"signed_prekey"`
	PreKeys []struct {
		ID      uint32
		Priv    data
		PubWire data `json:"pub_wire"`
	}
}

type vectorState struct {
	OwnPriv data `json:"own_ratchet_priv"`
	Theirs  data `json:"remote_ratchet_pub"`
	Root    data `json:"root_key"`
	Sending *struct {
		N   uint32
		Key data
	}
	Receiving *struct {
		N   uint32
		Key data
	}
	PN      uint32 `json:"previous_sending_n"`
	Skipped []struct {
		N   uint32
		Key data
		Pub data `json:"ratchet_pub"`
	}
	SkippedCount int `json:"skipped_count"`
}

type vectorTo struct {
	Ephemeral data   `json:"x3dh_ephemeral_priv"`
	Ratchet   data   `json:"ratchet_priv"`
	PreKeyID  uint32 `json:"prekey_id"`
	Kex       bool
	Key       data
	N, PN     uint32
	Pub       data         `json:"ratchet_pub"`
	State     *vectorState `json:"state_after"`
}

type vectorStep struct {
	Op, By, Message, Expect, Note string
	From                          string
	KeyMaterial                   data   `json:"key_material"`
	Random                        []data `json:"content_random"`
	Payload, IV                   data
	Plaintext                     *string
	To                            json.RawMessage
	Key                           *data
	Kex                           *bool
	NewRatchet                    data         `json:"new_ratchet_priv"`
	NewSession                    bool         `json:"new_session"`
	Consumed                      uint32       `json:"prekey_consumed"`
	State                         *vectorState `json:"state_after"`
	PartyAfter                    *vectorParty `json:"party_after"`
}

type replayParty struct {
	vectorParty
	id      *Identity
	keys    map[uint32]*PreKey
	signed  []*PreKey
	records map[string]*Record
}

func (p *replayParty) PreKey(id uint32) *PreKey { return p.keys[id] }

func (p *replayParty) SignedPreKey(id uint32) *PreKey {
	for _, k := range p.signed {
		if k.id == id {
			return k
		}
	}
	return nil
}

func (p *replayParty) with(t *testing.T, v Version, vp vectorParty) {
	p.vectorParty = vp
	k, err := privateFrom([32]byte(vp.SignedPreKey.Priv))
	require.NoError(t, err)
	require.Equal(t, []byte(vp.SignedPreKey.PubWire), k.pub.Wire(v))
	p.signed = append([]*PreKey{{vp.SignedPreKey.ID, k}}, p.signed[:min(len(p.signed), 1)]...)
	p.keys = map[uint32]*PreKey{}
	for _, pk := range vp.PreKeys {
		k, err := privateFrom([32]byte(pk.Priv))
		require.NoError(t, err)
		require.Equal(t, []byte(pk.PubWire), k.pub.Wire(v))
		p.keys[pk.ID] = &PreKey{pk.ID, k}
	}
}

func (p *replayParty) bundle(t *testing.T, v Version) *Bundle {
	b := &Bundle{Version: v, SignedPreKeyID: p.SignedPreKeyID(), Signature: p.vectorParty.SignedPreKey.Signature}
	var err error
	b.Identity, err = ParseIdentityKey(v, p.Identity.Wire)
	require.NoError(t, err)
	b.SignedPreKey = p.signed[0].key.pub
	for _, k := range p.vectorParty.PreKeys {
		key, err := ParsePublicKey(v, k.PubWire)
		require.NoError(t, err)
		b.PreKeys = append(b.PreKeys, PublicPreKey{k.ID, key})
	}
	return b
}

func (p *replayParty) SignedPreKeyID() uint32 { return p.vectorParty.SignedPreKey.ID }

func (p *replayParty) record(v Version, peer string) *Record {
	if p.records[peer] == nil {
		p.records[peer] = NewRecord(v)
	}
	return p.records[peer]
}

// checkState compares the session that was used last with what the vectors say.
func checkState(t *testing.T, r *Record, want *vectorState) {
	t.Helper()
	if want == nil {
		return
	}
	s := r.sessions[0]
	require.Equal(t, []byte(want.OwnPriv), s.own.secret[:], "own ratchet key")
	require.Equal(t, []byte(want.Theirs), s.theirs[:], "their ratchet key")
	require.Equal(t, []byte(want.Root), s.root[:], "root")
	require.Equal(t, want.PN, s.pn)
	if want.Sending != nil {
		require.Equal(t, want.Sending.N, s.n)
		require.Equal(t, []byte(want.Sending.Key), s.sendKey[:])
	}
	require.Equal(t, want.Receiving != nil, s.hasRecv)
	if want.Receiving != nil {
		require.Equal(t, want.Receiving.N, s.nr)
		require.Equal(t, []byte(want.Receiving.Key), s.recvKey[:])
	}
	count := 0
	for _, k := range s.skipped {
		if !k.spare {
			count++
		}
	}
	require.Equal(t, want.SkippedCount, count, "keys of missing messages")
	for _, w := range want.Skipped {
		found := false
		for _, k := range s.skipped {
			found = found || k.n == w.N && bytes.Equal(k.key[:], w.Key)
		}
		require.True(t, found, "the key of message %d is not kept", w.N)
	}
}

// TestSessions replays recorded sessions of others: every encryption byte for byte, every
// decryption, every refusal without a trace.
func TestSessions(t *testing.T) {
	for _, v := range [...]Version{V1, V2} {
		folder := map[Version]string{V1: "old", V2: "two"}[v]
		files, err := filepath.Glob(filepath.Join(vectorFolder(t), folder, "*.json"))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, f := range files {
			name := folder + "/" + filepath.Base(f)
			t.Run(name, func(t *testing.T) { replay(t, v, name) })
		}
	}
}

func replay(t *testing.T, v Version, name string) {
	var doc struct {
		Parties map[string]json.RawMessage
		Steps   []vectorStep
	}
	readVectors(t, name, &doc)
	parties := map[string]*replayParty{}
	for n, raw := range doc.Parties {
		p := &replayParty{records: map[string]*Record{}}
		var vp vectorParty
		require.NoError(t, json.Unmarshal(raw, &vp))
		if len(vp.Identity.Seed) == 0 { // its private keys are not known
			continue
		}
		var err error
		p.id, err = IdentityFromSeed(vp.Identity.Seed)
		require.NoError(t, err)
		p.with(t, v, vp)
		require.Equal(t, []byte(vp.Identity.Wire), p.id.Key().Wire(v))
		require.Equal(t, vp.Identity.Fingerprint, p.id.Key().Hex())
		b := p.bundle(t, v)
		require.NoError(t, b.Verify())
		b.Signature = append([]byte(nil), b.Signature...)
		b.Signature[7] ^= 1
		require.ErrorIs(t, b.Verify(), ErrSignature)
		parties[n] = p
	}
	type sent struct {
		by  string
		key map[string]vectorTo
	}
	messages := map[string]sent{}
	steps := 0
	for i, st := range doc.Steps {
		at := st.Op + " " + st.Message + " " + st.Note
		switch st.Op {
		case "rotate_signed_prekey":
			parties[st.By].with(t, v, *st.PartyAfter)
		case "received":
			var to map[string]vectorTo
			if json.Unmarshal(st.To, &to) != nil {
				var one string
				require.NoError(t, json.Unmarshal(st.To, &one))
				to = map[string]vectorTo{one: {}}
			}
			messages[st.Message] = sent{st.From, to}
		case "encrypt":
			var to map[string]vectorTo
			require.NoError(t, json.Unmarshal(st.To, &to))
			messages[st.Message] = sent{st.By, to}
			self := parties[st.By]
			checkPayload(t, v, &st)
			for peer, w := range to {
				rec := self.record(v, peer)
				if len(w.Ephemeral) > 0 {
					src := io.MultiReader(bytes.NewReader(w.Ephemeral), bytes.NewReader(w.Ratchet))
					b := &Bundle{}
					if parties[peer] != nil {
						b = parties[peer].bundle(t, v)
					}
					require.NoError(t, rec.Start(src, self.id, 0, b, w.PreKeyID), at)
				}
				for rec.sessions[0].n < w.N { // some are not recorded
					_, err := rec.Encrypt([]byte("x"))
					require.NoError(t, err)
				}
				got, err := rec.Encrypt(st.KeyMaterial)
				require.NoError(t, err, at)
				require.Equal(t, hex.EncodeToString(w.Key), hex.EncodeToString(got.Data), "step %d, %s for %s", i, at, peer)
				require.Equal(t, w.Kex, got.KeyExchange)
				checkState(t, rec, w.State)
				steps++
			}
		case "decrypt":
			m := messages[st.Message]
			self := parties[st.By]
			key, kex := m.key[st.By].Key, m.key[st.By].Kex
			if st.Key != nil {
				key = *st.Key
			}
			if st.Kex != nil {
				kex = *st.Kex
			}
			rec := self.record(v, m.by)
			before, err := rec.AppendBinary(nil)
			require.NoError(t, err)
			src := io.MultiReader(bytes.NewReader(st.NewRatchet), rand.Reader)
			got, err := rec.Decrypt(src, self.id, self, key, kex)
			if err != nil {
				after, _ := rec.AppendBinary(nil)
				require.Equal(t, before, after, "a failure leaves a trace: %s", at)
			}
			expect := st.Expect
			if expect == "implementation-defined" {
				expect = "ok" // what a good implementation does
				if strings.Contains(st.Note, "dropped if at most 1000 keys are stored") {
					expect = "failed"
				}
			}
			switch expect {
			case "ok":
				require.NoError(t, err, "step %d, %s", i, at)
				if st.KeyMaterial != nil {
					require.Equal(t, []byte(st.KeyMaterial), got.Plain, at)
				}
				if st.Expect == "ok" {
					require.Equal(t, st.NewSession, got.NewSession, "%s", at)
					checkState(t, rec, st.State)
				}
				if got.NewSession {
					if st.Consumed != 0 {
						require.Equal(t, st.Consumed, got.PreKeyID)
					}
					delete(self.keys, got.PreKeyID)
				}
			case "duplicate":
				require.ErrorIs(t, err, ErrDuplicate, at)
			case "failed":
				require.Error(t, err, at)
			default:
				require.Error(t, err, "step %d, %s", i, at)
				require.NotErrorIs(t, err, ErrDuplicate, at)
			}
			// What is stored is what is used.
			b, err := rec.AppendBinary(nil)
			require.NoError(t, err)
			again := NewRecord(v)
			require.NoError(t, again.UnmarshalBinary(b))
			b2, _ := again.AppendBinary(nil)
			require.Equal(t, b, b2)
			self.records[m.by] = again
			steps++
		default:
			t.Fatalf("unknown step %q", st.Op)
		}
	}
	require.NotZero(t, steps)
}

// checkPayload encrypts the payload of a step with its random bytes.
func checkPayload(t *testing.T, v Version, st *vectorStep) {
	t.Helper()
	if st.Plaintext == nil {
		return
	}
	src := bytes.NewReader(bytes.Join([][]byte{st.Random[0], last(st.Random[1:])}, nil))
	if v == V2 {
		key, payload, err := SealV2(src, []byte(*st.Plaintext))
		require.NoError(t, err)
		require.Equal(t, []byte(st.KeyMaterial), key)
		require.Equal(t, []byte(st.Payload), payload)
		return
	}
	key, iv, payload, err := SealV1(src, []byte(*st.Plaintext))
	require.NoError(t, err)
	require.Equal(t, []byte(st.KeyMaterial), key)
	require.Equal(t, []byte(st.IV), iv)
	require.Equal(t, []byte(st.Payload), payload)
}

func last(d []data) []byte {
	if len(d) == 0 {
		return nil
	}
	return d[0]
}

func TestPayloads(t *testing.T) {
	var doc struct {
		V2 []struct {
			Plaintext, Key, HMAC, Payload data
		} `json:"omemo2"`
		V1 []struct {
			Plaintext   data
			KeyMaterial data `json:"key_material"`
			IV, Payload data
		} `json:"axolotl"`
		Reject []struct {
			Protocol, Why          string
			Key, HMAC, Payload, IV data
			KeyMaterial            data `json:"key_material"`
		}
	}
	readVectors(t, "payloads.json", &doc)
	require.NotEmpty(t, doc.V2)
	for _, c := range doc.V2 {
		key, payload, err := SealV2(bytes.NewReader(c.Key), c.Plaintext)
		require.NoError(t, err)
		require.Equal(t, []byte(c.Payload), payload)
		require.Equal(t, append(append([]byte{}, c.Key...), c.HMAC...), key)
		got, err := OpenV2(key, payload)
		require.NoError(t, err)
		require.Equal(t, []byte(c.Plaintext), got)
	}
	require.NotEmpty(t, doc.V1)
	for _, c := range doc.V1 {
		got, err := OpenV1(c.KeyMaterial, c.IV, c.Payload)
		require.NoError(t, err)
		require.Equal(t, string(c.Plaintext), string(got))
	}
	require.NotEmpty(t, doc.Reject)
	for _, c := range doc.Reject {
		var err error
		if c.Protocol == V2.Namespace() {
			_, err = OpenV2(append(append([]byte{}, c.Key...), c.HMAC...), c.Payload)
		} else {
			_, err = OpenV1(c.KeyMaterial, c.IV, c.Payload)
		}
		require.Error(t, err, c.Why)
	}
}

func TestIdentityKeys(t *testing.T) {
	var doc struct {
		Keys []struct {
			Seed      data `json:"ed25519_seed"`
			Priv      data `json:"curve25519_priv"`
			Curve     data `json:"curve25519_pub"`
			Ed        data `json:"ed25519_pub"`
			Sign0     data `json:"ed25519_pub_sign0"`
			Sign1     data `json:"ed25519_pub_sign1"`
			Message   data
			Legacy    data `json:"legacy_wire_signature"`
			Signature data `json:"seed_signature_rfc8032"`
		}
		X25519 []struct{ Priv, Pub, Shared data }
	}
	readVectors(t, "identity-keys.json", &doc)
	require.NotEmpty(t, doc.Keys)
	for _, c := range doc.Keys {
		id, err := IdentityFromSeed(c.Seed)
		require.NoError(t, err)
		k := id.Key()
		require.Equal(t, []byte(c.Curve), k.curve[:])
		require.Equal(t, []byte(c.Ed), k.Wire(V2))
		require.Equal(t, append([]byte{5}, c.Curve...), k.Wire(V1))
		require.Equal(t, []byte(c.Priv), id.dh.secret[:])
		require.Equal(t, []byte(c.Signature), id.Sign(c.Message))
		require.True(t, k.verify(V1, c.Message, c.Legacy))
		require.True(t, k.verify(V1, c.Message, id.signature(V1, c.Message)))
		require.False(t, k.verify(V1, append([]byte{1}, c.Message...), c.Legacy))
		for sign, want := range [...]data{c.Sign0, c.Sign1} {
			ed, ok := toEdwards(k.curve, byte(sign))
			require.True(t, ok)
			require.Equal(t, []byte(want), ed[:])
		}
		v1, err := ParseIdentityKey(V1, k.Wire(V1))
		require.NoError(t, err)
		require.True(t, v1.Same(k))
		require.True(t, v1.OnlyV1())
		text, err := k.MarshalText()
		require.NoError(t, err)
		var back IdentityKey
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, k, back)
		fp, err := ParseFingerprint(k.Fingerprint())
		require.NoError(t, err)
		require.True(t, fp.Same(k))
	}
	for _, c := range doc.X25519 {
		p, err := privateFrom([32]byte(c.Priv))
		require.NoError(t, err)
		got, err := p.dh(PublicKey(c.Pub))
		require.NoError(t, err)
		require.Equal(t, []byte(c.Shared), got)
	}
	_, err := ParseIdentityKey(V2, bytes.Repeat([]byte{2}, 32))
	if err == nil { // y = 2 repeated may be on the curve; then one that is not
		_, err = ParseIdentityKey(V2, append(bytes.Repeat([]byte{0}, 31), 0x02))
	}
	require.ErrorIs(t, errors.Join(err, ErrMalformed), ErrMalformed)
}
