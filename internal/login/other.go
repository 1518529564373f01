package login

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"mellium.im/sasl"
)

// hashedToken makes a mechanism of the family that FAST uses
// (draft-schmaus-kitten-sasl-ht). The token is the password.
func hashedToken(name string, data []byte) sasl.Mechanism {
	return sasl.Mechanism{
		Name: name,
		Start: func(n *sasl.Negotiator) (bool, []byte, any, error) {
			user, token, _ := n.Credentials()
			sum := mac(sha256.New, token, "Initiator", string(data))
			msg := append(append([]byte(nil), user...), 0)
			return true, append(msg, sum...), nil, nil
		},
		Next: func(n *sasl.Negotiator, challenge []byte, _ any) (bool, []byte, any, error) {
			_, token, _ := n.Credentials()
			if !hmac.Equal(challenge, mac(sha256.New, token, "Responder", string(data))) {
				return false, nil, nil, ErrServer
			}
			return false, nil, nil, nil
		},
	}
}

// oauthBearer is OAUTHBEARER (RFC 7628). The token is the password.
var oauthBearer = sasl.Mechanism{
	Name: "OAUTHBEARER",
	Start: func(n *sasl.Negotiator) (bool, []byte, any, error) {
		user, token, _ := n.Credentials()
		if strings.ContainsAny(string(token), "\x01\x00\r\n") {
			return false, nil, nil, errors.New("the token has characters that no token has")
		}
		return true, []byte("n,a=" + saslName.Replace(string(user)) + ",\x01auth=Bearer " + string(token) + "\x01\x01"), nil, nil
	},
	Next: func(_ *sasl.Negotiator, challenge []byte, _ any) (bool, []byte, any, error) {
		if len(challenge) == 0 {
			return false, nil, nil, nil
		}
		// The server says why it fails; this answer makes it do so.
		return true, []byte{1}, nil, nil
	},
}

// anonymous is ANONYMOUS (RFC 4505) without a trace, which is an empty initial
// response; mellium's has none at all, so servers would have to ask for it.
var anonymous = sasl.Mechanism{
	Name: "ANONYMOUS",
	Start: func(*sasl.Negotiator) (bool, []byte, any, error) {
		return false, []byte{}, nil, nil
	},
	Next: func(*sasl.Negotiator, []byte, any) (bool, []byte, any, error) {
		return false, nil, nil, sasl.ErrTooManySteps
	},
}

// external is EXTERNAL (RFC 4422 appendix A, XEP-0178).
var external = sasl.Mechanism{
	Name: "EXTERNAL",
	Start: func(n *sasl.Negotiator) (bool, []byte, any, error) {
		_, _, authzid := n.Credentials()
		return false, authzid, nil, nil
	},
	Next: func(*sasl.Negotiator, []byte, any) (bool, []byte, any, error) {
		return false, nil, nil, sasl.ErrTooManySteps
	},
}

// An Exchange is one attempt to sign in with one mechanism.
type Exchange struct {
	// Mechanism is its name.
	Mechanism string
	n         *sasl.Negotiator
	mutual    bool // the server has to prove something as well
	more      bool
	proven    bool
}

func newExchange(m sasl.Mechanism, user, password, authzid string, mutual bool) *Exchange {
	return &Exchange{Mechanism: m.Name, mutual: mutual, n: sasl.NewClient(m, sasl.Credentials(func() (u, p, i []byte) {
		return []byte(user), []byte(password), []byte(authzid)
	}))}
}

// Start returns the initial response.
func (e *Exchange) Start() ([]byte, error) {
	more, resp, err := e.n.Step(nil)
	e.more = more
	return resp, e.wrap(err)
}

// Next answers a challenge.
func (e *Exchange) Next(challenge []byte) ([]byte, error) {
	if !e.more {
		return nil, e.wrap(ErrChallenge)
	}
	more, resp, err := e.n.Step(challenge)
	if err != nil {
		e.more = false
		return nil, e.wrap(err)
	}
	e.more = more
	if !more && e.mutual {
		e.proven = true
	}
	return resp, nil
}

// Success takes what came with the server's word of success, and returns an
// error if the server has not proven to be the right one.
func (e *Exchange) Success(data []byte) error {
	if !e.mutual || e.proven {
		return nil
	}
	if !e.more || len(data) == 0 {
		return e.wrap(ErrServer)
	}
	more, _, err := e.n.Step(data)
	e.more = false
	if err != nil {
		return e.wrap(err)
	}
	if more {
		return e.wrap(ErrServer) // that was a challenge, which proves nothing
	}
	e.proven = true
	return nil
}

func (e *Exchange) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("login: %s: %w", e.Mechanism, err)
}
