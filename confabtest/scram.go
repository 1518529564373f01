package confabtest

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1" // the hash that SCRAM-SHA-1 is made of
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"slices"
	"strings"
	"sync"

	"golang.org/x/text/secure/precis"
)

var hashes = map[string]func() hash.Hash{
	"SCRAM-SHA-1":   sha1.New,
	"SCRAM-SHA-256": sha256.New,
	"SCRAM-SHA-512": sha512.New,
}

// scram is the server's side of SCRAM (RFC 5802).
type scram struct {
	c       *Conn
	hash    func() hash.Hash
	offered []string
	name    string // of the mechanism, less -PLUS
	plus    bool
	state   int

	username    string
	gs2         string
	binding     string // type
	authzid     string
	clientFirst string // bare
	serverFirst string
	nonce       string
	keys        scramKeys
	known       bool // there is such a user
}

type scramKeys struct{ stored, server, salt []byte }

func newSCRAM(c *Conn, name string, offered []string) mechanism {
	base, plus := strings.CutSuffix(name, "-PLUS")
	if hashes[base] == nil {
		return nil
	}
	return &scram{c: c, hash: hashes[base], name: base, plus: plus, offered: offered}
}

func (m *scram) user() string { return m.username }

func (m *scram) step(resp []byte) ([]byte, bool, *failure) {
	if resp == nil {
		return []byte{}, false, nil
	}
	m.state++
	switch m.state {
	case 1:
		say, f := m.first(string(resp))
		return say, false, f
	case 2:
		say, f := m.final(string(resp))
		return say, f == nil, f
	}
	return nil, false, failed("malformed-request", "")
}

func (m *scram) first(msg string) ([]byte, *failure) {
	malformed := failed("malformed-request", "")
	parts := strings.SplitN(msg, ",", 3)
	if len(parts) != 3 {
		return nil, malformed
	}
	flag, id, bare := parts[0], parts[1], parts[2]
	m.gs2 = flag + "," + id + ","
	m.clientFirst = bare
	if typ, ok := strings.CutPrefix(flag, "p="); ok {
		m.binding = typ
	} else if flag != "n" && flag != "y" {
		return nil, malformed
	}
	switch {
	case m.plus != (m.binding != ""):
		return nil, malformed
	case m.plus && !slices.Contains(m.c.bindings(), m.binding):
		return nil, failed("malformed-request", "unsupported channel binding")
	case flag == "y" && slices.ContainsFunc(m.offered, func(n string) bool { return strings.HasSuffix(n, "-PLUS") }):
		// The client believes that we cannot bind channels, so somebody has
		// removed our offer (RFC 5802 §6).
		return nil, failed("not-authorized", "channel binding was offered")
	}
	if id != "" {
		a, ok := strings.CutPrefix(id, "a=")
		if m.authzid, ok = saslNameIf(a, ok); !ok {
			return nil, malformed
		}
	}
	attrs := strings.Split(bare, ",")
	if len(attrs) < 2 || !strings.HasPrefix(attrs[0], "n=") || !strings.HasPrefix(attrs[1], "r=") {
		return nil, malformed // also for m=, which must be understood
	}
	name, ok := saslName(attrs[0][2:])
	nonce := attrs[1][2:]
	if !ok || nonce == "" {
		return nil, malformed
	}
	var f *failure
	if m.username, f = m.c.userName(name); f != nil {
		return nil, f
	}
	var err error
	if m.keys, m.known, err = m.c.srv.scramKeys(addr{m.username, m.c.host, ""}, m.name, m.hash); err != nil {
		return nil, failed("temporary-auth-failure", err.Error())
	}
	m.nonce = nonce + newID() + newID()
	m.serverFirst = fmt.Sprintf("r=%s,s=%s,i=%d", m.nonce, base64.StdEncoding.EncodeToString(m.keys.salt), m.c.srv.cfg.Iterations)
	if m.c.srv.cfg.has(DowngradeProtection) {
		m.serverFirst += ",h=" + m.offer()
	}
	return []byte(m.serverFirst), nil
}

// offer is the hash of what was offered (XEP-0474).
func (m *scram) offer() string {
	list := slices.Clone(m.offered)
	slices.Sort(list)
	h := m.hash()
	h.Write([]byte(strings.Join(list, "\x1e")))
	if b := slices.Clone(m.c.bindings()); len(b) > 0 {
		slices.Sort(b)
		h.Write([]byte("\x1f" + strings.Join(b, "\x1e")))
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

func (m *scram) final(msg string) ([]byte, *failure) {
	malformed := failed("malformed-request", "")
	without, proof64, ok := cutLast(msg, ",p=")
	attrs := strings.Split(without, ",")
	if !ok || len(attrs) < 2 || !strings.HasPrefix(attrs[0], "c=") || !strings.HasPrefix(attrs[1], "r=") {
		return nil, malformed
	}
	proof, err := base64.StdEncoding.DecodeString(proof64)
	if err != nil || len(proof) != len(m.keys.stored) {
		return nil, malformed
	}
	want := []byte(m.gs2)
	if m.plus {
		data, ok := m.c.bindingData(m.binding)
		if !ok {
			return nil, malformed
		}
		want = append(want, data...)
	}
	if attrs[0][2:] != base64.StdEncoding.EncodeToString(want) {
		return nil, failed("not-authorized", "the channel binding does not match")
	}
	if attrs[1][2:] != m.nonce {
		return nil, failed("not-authorized", "the nonce does not match")
	}
	message := m.clientFirst + "," + m.serverFirst + "," + without
	signature := sum(m.hash, m.keys.stored, message)
	for i := range proof {
		proof[i] ^= signature[i] // the client's key
	}
	h := m.hash()
	h.Write(proof)
	if !hmac.Equal(h.Sum(nil), m.keys.stored) || !m.known {
		return nil, failed("not-authorized", "")
	}
	if f := m.c.authzid(m.authzid, m.username); f != nil {
		return nil, f
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(sum(m.hash, m.keys.server, message))), nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// saslName undoes the escaping of names.
func saslName(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '=':
			b.WriteByte(s[i])
		case strings.HasPrefix(s[i:], "=2C"):
			b.WriteByte(',')
			i += 2
		case strings.HasPrefix(s[i:], "=3D"):
			b.WriteByte('=')
			i += 2
		default:
			return "", false
		}
	}
	return b.String(), s != ""
}

func saslNameIf(s string, ok bool) (string, bool) {
	if !ok {
		return "", false
	}
	return saslName(s)
}

func sum(h func() hash.Hash, key []byte, msg string) []byte {
	m := hmac.New(h, key)
	m.Write([]byte(msg))
	return m.Sum(nil)
}

// prepare is SASLprep's successor for passwords.
func prepare(password string) string {
	if p, err := precis.OpaqueString.String(password); err == nil {
		return p
	}
	return password
}

// scramKeys returns the keys of an account, or ones that no password fits.
func (s *Server) scramKeys(a addr, name string, h func() hash.Hash) (scramKeys, bool, error) {
	s.lock()
	acc := s.accounts[a]
	known := acc != nil && !acc.temporary
	password := ""
	if known {
		password = prepare(acc.password)
	}
	s.unlock()
	salt := sum(sha256.New, processSeed(), a.String())[:16]
	if !known {
		zero := make([]byte, h().Size())
		return scramKeys{zero, zero, salt}, false, nil
	}
	k, err := derive(name, h, password, salt, s.cfg.Iterations)
	return k, true, err
}

// Keys are kept for the whole process, and salts are always the same for an
// address, since tests start many servers with the same accounts.
var (
	processSeed = sync.OnceValue(func() []byte { return []byte(newID() + newID()) })
	derivedMu   sync.Mutex
	derived     = map[string]scramKeys{}
)

func derive(name string, h func() hash.Hash, password string, salt []byte, iterations int) (scramKeys, error) {
	id := fmt.Sprintf("%s %d %x %s", name, iterations, salt, password)
	derivedMu.Lock()
	k, ok := derived[id]
	derivedMu.Unlock()
	if ok {
		return k, nil
	}
	salted, err := pbkdf2.Key(h, password, salt, iterations, h().Size())
	if err != nil {
		return scramKeys{}, err
	}
	stored := h()
	stored.Write(sum(h, salted, "Client Key"))
	k = scramKeys{stored.Sum(nil), sum(h, salted, "Server Key"), salt}
	derivedMu.Lock()
	defer derivedMu.Unlock()
	if len(derived) >= 1000 {
		clear(derived)
	}
	derived[id] = k
	return k, nil
}
