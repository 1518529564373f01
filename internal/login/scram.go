package login

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1" // the hash that SCRAM-SHA-1 is made of
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/text/secure/precis"
	"mellium.im/sasl"
)

// Errors of an exchange that are found on our side. All of them mean that the
// other end is not the server it claims to be, or is broken.
var (
	ErrServer    = errors.New("the server could not prove that it knows the password")
	ErrDowngrade = errors.New("somebody has changed the list of mechanisms or channel bindings on the way (XEP-0474)")
	ErrChallenge = errors.New("the server sent a challenge that makes no sense")
)

// The bounds of the work that a server may ask for. Fewer rounds than RFC 5802
// demands would let a fake server guess the password from one attempt.
const (
	minIterations = 4096
	maxIterations = 10_000_000
)

var hashes = map[string]func() hash.Hash{
	"SCRAM-SHA-1":   sha1.New,
	"SCRAM-SHA-256": sha256.New,
	"SCRAM-SHA-512": sha512.New,
}

// Keys keeps what was derived from a password, which takes most of the time of
// a sign-in. It is safe for concurrent use. Its zero value is empty.
type Keys struct {
	mu sync.Mutex
	m  map[string]scramKeys
}

// maxKeys is how many are kept. Beyond that they are made again.
const maxKeys = 64

type scramKeys struct{ client, server []byte }

// derive returns the keys for a password and a salt.
func (k *Keys) derive(name string, h func() hash.Hash, password string, salt []byte, iterations int) (scramKeys, error) {
	// The password is in the key only as a hash, so that a new one gives a miss.
	sum := sha256.Sum256([]byte(password))
	id := fmt.Sprintf("%s\x00%d\x00%x\x00%x", name, iterations, salt, sum)
	if k != nil {
		k.mu.Lock()
		keys, ok := k.m[id]
		k.mu.Unlock()
		if ok {
			return keys, nil
		}
	}
	salted, err := pbkdf2.Key(h, password, salt, iterations, h().Size())
	if err != nil {
		return scramKeys{}, err
	}
	keys := scramKeys{mac(h, salted, "Client Key"), mac(h, salted, "Server Key")}
	if k != nil {
		k.mu.Lock()
		if k.m == nil || len(k.m) >= maxKeys {
			k.m = map[string]scramKeys{}
		}
		k.m[id] = keys
		k.mu.Unlock()
	}
	return keys, nil
}

func mac(h func() hash.Hash, key []byte, msgs ...string) []byte {
	m := hmac.New(h, key)
	for _, s := range msgs {
		m.Write([]byte(s))
	}
	return m.Sum(nil)
}

// binding says how an exchange is bound to its channel.
type binding struct {
	gs2  string // "n", "y" or "p=type"
	data []byte
}

type scramState struct {
	clientFirst string // bare
	signature   []byte
}

// scram makes a client mechanism. Offer is what the server says it can do, for
// the downgrade protection.
func scram(name string, b binding, offer Offer, keys *Keys) sasl.Mechanism {
	plain := strings.TrimSuffix(name, "-PLUS")
	h := hashes[plain]
	return sasl.Mechanism{
		Name: name,
		Start: func(n *sasl.Negotiator) (bool, []byte, any, error) {
			user, _, authzid := n.Credentials()
			username, err := prepareUser(string(user))
			if err != nil {
				return false, nil, nil, err
			}
			bare := "n=" + username + ",r=" + base64.RawStdEncoding.EncodeToString(n.Nonce())
			return true, []byte(header(b, authzid) + bare), scramState{clientFirst: bare}, nil
		},
		Next: func(n *sasl.Negotiator, challenge []byte, data any) (bool, []byte, any, error) {
			st, ok := data.(scramState)
			if !ok {
				return false, nil, nil, sasl.ErrInvalidState
			}
			if st.signature != nil {
				return false, nil, nil, st.verify(challenge)
			}
			resp, st, err := st.answer(n, plain, h, b, offer, keys, string(challenge))
			return true, resp, st, err
		},
	}
}

func header(b binding, authzid []byte) string {
	a := ""
	if len(authzid) > 0 {
		a = "a=" + saslName.Replace(string(authzid))
	}
	return b.gs2 + "," + a + ","
}

var saslName = strings.NewReplacer("=", "=3D", ",", "=2C")

func prepareUser(user string) (string, error) {
	p, err := precis.UsernameCasePreserved.String(user)
	if err != nil {
		// What the server has accepted as a JID is its business.
		p = user
	}
	if strings.ContainsRune(p, 0) {
		return "", errors.New("the user name has a NUL in it")
	}
	return saslName.Replace(p), nil
}

// answer reads the server's first message and makes the client's last.
func (st scramState) answer(n *sasl.Negotiator, name string, h func() hash.Hash, b binding, offer Offer, keys *Keys, first string) ([]byte, scramState, error) {
	own := strings.TrimPrefix(st.clientFirst[strings.Index(st.clientFirst, ",r="):], ",r=")
	fields := strings.Split(first, ",")
	if len(fields) < 3 || !strings.HasPrefix(fields[0], "r=") || !strings.HasPrefix(fields[1], "s=") || !strings.HasPrefix(fields[2], "i=") {
		// An m= attribute in front means an extension that must be understood.
		return nil, st, ErrChallenge
	}
	nonce := fields[0][2:]
	if !strings.HasPrefix(nonce, own) || len(nonce) == len(own) || len(nonce) > 1024 {
		return nil, st, fmt.Errorf("%w: it does not continue our nonce", ErrChallenge)
	}
	salt, err := base64.StdEncoding.DecodeString(fields[1][2:])
	if err != nil || len(salt) == 0 {
		return nil, st, fmt.Errorf("%w: bad salt", ErrChallenge)
	}
	iterations, err := strconv.Atoi(fields[2][2:])
	if err != nil || iterations < minIterations || iterations > maxIterations {
		return nil, st, fmt.Errorf("%w: %q rounds, but %d to %d are sane", ErrChallenge, fields[2][2:], minIterations, maxIterations)
	}
	for _, f := range fields[3:] {
		if v, ok := strings.CutPrefix(f, "h="); ok {
			if v != offer.hash(h) {
				return nil, st, ErrDowngrade
			}
		}
	}
	_, password, authzid := n.Credentials()
	prepared, err := precis.OpaqueString.String(string(password))
	if err != nil {
		prepared = string(password)
	}
	k, err := keys.derive(name, h, prepared, salt, iterations)
	if err != nil {
		return nil, st, err
	}
	c := base64.StdEncoding.EncodeToString(append([]byte(header(b, authzid)), b.data...))
	last := "c=" + c + ",r=" + nonce
	message := st.clientFirst + "," + first + "," + last
	stored := h()
	stored.Write(k.client)
	proof := mac(h, stored.Sum(nil), message)
	for i := range proof {
		proof[i] ^= k.client[i]
	}
	st.signature = mac(h, k.server, message)
	return []byte(last + ",p=" + base64.StdEncoding.EncodeToString(proof)), st, nil
}

// verify checks the server's last message.
func (st scramState) verify(last []byte) error {
	v, _, _ := bytes.Cut(last, []byte(","))
	if e, ok := bytes.CutPrefix(v, []byte("e=")); ok {
		return fmt.Errorf("the server says %q", e)
	}
	sig, ok := bytes.CutPrefix(v, []byte("v="))
	if !ok {
		return ErrServer
	}
	got, err := base64.StdEncoding.DecodeString(string(sig))
	if err != nil || !hmac.Equal(got, st.signature) {
		return ErrServer
	}
	return nil
}

// hash is the value of XEP-0474's attribute h for what was offered.
func (o Offer) hash(h func() hash.Hash) string {
	s := strings.Join(slices.Sorted(slices.Values(o.Mechanisms)), "\x1e")
	if o.Bindings != nil {
		s += "\x1f" + strings.Join(slices.Sorted(slices.Values(o.Bindings)), "\x1e")
	}
	d := h()
	d.Write([]byte(s))
	return base64.StdEncoding.EncodeToString(d.Sum(nil))
}
