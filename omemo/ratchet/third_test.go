package ratchet

import (
	"bytes"
	"crypto/rand"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// oneSource has the prekeys of a test.
type oneSource struct{ pre, signed *PreKey }

func (s oneSource) PreKey(id uint32) *PreKey {
	if s.pre == nil || s.pre.id != id {
		return nil
	}
	return s.pre
}

func (s oneSource) SignedPreKey(id uint32) *PreKey {
	if s.signed == nil || s.signed.id != id {
		return nil
	}
	return s.signed
}

func preKeyOf(t *testing.T, id uint32, secret []byte) *PreKey {
	t.Helper()
	k, err := privateFrom([32]byte(secret))
	require.NoError(t, err)
	return &PreKey{id, k}
}

// ofScalar is an identity of which only the X25519 scalar is known: enough for V1.
func ofScalar(t *testing.T, secret []byte) *Identity {
	t.Helper()
	k, err := privateFrom([32]byte(secret))
	require.NoError(t, err)
	return &Identity{dh: k, pub: IdentityKey{curve: k.pub}}
}

// TestThirdParty has what other projects have published.
func TestThirdParty(t *testing.T) {
	var doc struct {
		Sessions struct {
			Tests []struct {
				Name  string
				Steps []struct {
					Op             string
					Type           int
					BaseKey        data `json:"ourBaseKey"`
					Ephemeral      data `json:"ourEphemeralKey"`
					NewEphemeral   data `json:"newEphemeralKey"`
					Identity       data `json:"ourIdentityKey"`
					PreKey         data `json:"ourPreKey"`
					SignedPreKey   data `json:"ourSignedPreKey"`
					PreKeyID       uint32
					SignedPreKeyID uint32
					RegistrationID uint32
					GetKeys        *struct {
						IdentityKey data
						Devices     []struct {
							PreKey struct {
								KeyID     uint32
								PublicKey data
							}
							SignedPreKey struct {
								KeyID                uint32
								PublicKey, Signature data
							}
						}
					}
					Message, Plaintext data
					Expected           data `json:"expectedCiphertext"`
				}
			}
		} `json:"axolotl_sessions"`
		Kex2  map[string]any `json:"omemo2_kex"`
		Gajim struct {
			Identity     data `json:"receiver_identity_priv"`
			SignedPreKey struct {
				ID   uint32
				Priv data
			} `json:"signed_prekey"`
			PreKey struct {
				ID   uint32
				Priv data
			}
			Key         data
			KeyMaterial data `json:"key_material"`
		} `json:"axolotl_kex_from_gajim"`
		Chain struct {
			Key  data `json:"chain_key"`
			Next data `json:"next_chain_key"`
			V1   struct {
				Enc  data `json:"enc_key"`
				Auth data `json:"auth_key"`
			} `json:"axolotl"`
			V2 struct {
				Enc  data `json:"enc_key"`
				Auth data `json:"auth_key"`
			} `json:"omemo2"`
		} `json:"chain_key"`
		XEdDSA struct {
			V1 []struct {
				Pub                data `json:"curve25519_pub"`
				Message, Signature data
			} `json:"axolotl_verify"`
			V2 []struct {
				Pub                data `json:"ed25519_pub"`
				Message, Signature data
			} `json:"omemo2_verify"`
		}
		Payload struct {
			KeyMaterial data `json:"key_material"`
			Payload     data
			Plain       string `json:"plaintext_utf8"`
		} `json:"omemo2_payload"`
	}
	readVectors(t, "third-party.json", &doc)
	require.NotEmpty(t, doc.Sessions.Tests)
	for _, test := range doc.Sessions.Tests {
		t.Run(test.Name, func(t *testing.T) {
			rec := NewRecord(V1)
			var self *Identity
			var keys oneSource
			received := false
			for i, st := range test.Steps {
				if st.Identity != nil {
					self = ofScalar(t, st.Identity)
				}
				if st.PreKey != nil {
					keys = oneSource{preKeyOf(t, st.PreKeyID, st.PreKey), preKeyOf(t, st.SignedPreKeyID, st.SignedPreKey)}
				}
				switch st.Op {
				case "sendMessage":
					if g := st.GetKeys; g != nil {
						d := g.Devices[0]
						b := &Bundle{Version: V1, SignedPreKeyID: d.SignedPreKey.KeyID, Signature: d.SignedPreKey.Signature}
						var err error
						b.Identity, err = ParseIdentityKey(V1, g.IdentityKey)
						require.NoError(t, err)
						b.SignedPreKey, err = ParsePublicKey(V1, d.SignedPreKey.PublicKey)
						require.NoError(t, err)
						pk, err := ParsePublicKey(V1, d.PreKey.PublicKey)
						require.NoError(t, err)
						b.PreKeys = []PublicPreKey{{d.PreKey.KeyID, pk}}
						require.NoError(t, b.Verify())
						src := io.MultiReader(bytes.NewReader(st.BaseKey), bytes.NewReader(st.Ephemeral))
						require.NoError(t, rec.Start(src, self, st.RegistrationID, b, d.PreKey.KeyID))
					}
					s := rec.sessions[0]
					if s.initiator && received && s.pn > 0 {
						c := *s
						c.pn-- // libsignal writes one less
						rec.set(0, &c)
					}
					got, err := rec.Encrypt(st.Plaintext)
					require.NoError(t, err)
					require.Equal(t, []byte(st.Expected), got.Data, "step %d", i)
				case "receiveMessage":
					src := io.MultiReader(bytes.NewReader(st.NewEphemeral), rand.Reader)
					got, err := rec.Decrypt(src, self, keys, st.Message, st.Type == 3)
					require.NoError(t, err, "step %d", i)
					require.Equal(t, []byte(st.Plaintext), got.Plain)
					received = true
				default:
					t.Fatal(st.Op)
				}
			}
		})
	}
	t.Run("libomemo-c key exchange", func(t *testing.T) {
		k := func(name string) []byte {
			var d data
			require.NoError(t, d.UnmarshalText([]byte(doc.Kex2[name].(string))))
			return d
		}
		self := ofScalar(t, k("bobIdentityPriv"))
		self.pub.known = true
		copy(self.pub.ed[:], k("bobIdentityPubEd"))
		require.Equal(t, k("bobIdentityPub"), self.pub.Wire(V1))
		keys := oneSource{preKeyOf(t, uint32(doc.Kex2["preKeyId"].(float64)), k("bobPreKeyPriv")),
			preKeyOf(t, uint32(doc.Kex2["signedPreKeyId"].(float64)), k("bobSignedPreKeyPriv"))}
		require.True(t, self.pub.Verify(keys.signed.key.pub.Wire(V2), k("bobSignedPreKeySignature")))
		rec := NewRecord(V2)
		for _, n := range []string{"1", "2"} {
			got, err := rec.Decrypt(rand.Reader, self, keys, k("ciphertext"+n), true)
			require.NoError(t, err)
			require.Equal(t, k("plaintext"+n), got.Plain)
		}
	})
	t.Run("Gajim", func(t *testing.T) {
		g := doc.Gajim
		keys := oneSource{preKeyOf(t, g.PreKey.ID, g.PreKey.Priv), preKeyOf(t, g.SignedPreKey.ID, g.SignedPreKey.Priv)}
		for _, says := range []bool{true, LooksLikeKeyExchange(g.Key)} {
			require.True(t, says)
			got, err := NewRecord(V1).Decrypt(rand.Reader, ofScalar(t, g.Identity), keys, g.Key, says)
			require.NoError(t, err)
			require.Equal(t, []byte(g.KeyMaterial), got.Plain)
		}
	})
	chain := [32]byte(doc.Chain.Key)
	key := chainStep(&chain)
	require.Equal(t, []byte(doc.Chain.Next), chain[:])
	k1, k2 := expand(V1, &key), expand(V2, &key)
	require.Equal(t, append(append([]byte{}, doc.Chain.V1.Enc...), doc.Chain.V1.Auth...), k1[:64])
	require.Equal(t, append(append([]byte{}, doc.Chain.V2.Enc...), doc.Chain.V2.Auth...), k2[:64])
	for _, c := range doc.XEdDSA.V1 {
		require.True(t, IdentityKey{curve: PublicKey(c.Pub)}.verify(V1, c.Message, c.Signature))
	}
	for _, c := range doc.XEdDSA.V2 {
		id, err := ParseIdentityKey(V2, c.Pub)
		require.NoError(t, err)
		require.True(t, id.Verify(c.Message, c.Signature))
	}
	got, err := OpenV2(doc.Payload.KeyMaterial, doc.Payload.Payload)
	require.NoError(t, err)
	require.Equal(t, doc.Payload.Plain, string(got))
}
