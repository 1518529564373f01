package roster

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
)

// An Invitation asks whoever gets it to become a contact (XEP-0379), or to make an
// account (XEP-0401). It travels outside of XMPP, as a link or a QR code of
// [Invitation.URI].
type Invitation struct {
	// JID is who invites. With Register it is the account to be made, or only its
	// domain.
	JID jid.JID
	// Register says that it is an invitation to make an account.
	Register bool
	// Name is what the one who invites is called. It is a claim: show JID beside it.
	Name string
	// Token is the secret that shows that one was invited.
	Token string
	// Account says that an invitation to become a contact is also good for making an
	// account at the server of the one who invites.
	Account bool
	// Expires is until when it is good, zero if not known.
	Expires time.Time
	// LandingURL is a page for people without a client, or "".
	LandingURL string
}

// URI returns the invitation as an xmpp: link (XEP-0379 §3.1, XEP-0401 §4).
func (i Invitation) URI() string {
	var b strings.Builder
	b.WriteString("xmpp:" + url.PathEscape(i.JID.String()))
	if i.Register {
		b.WriteString("?register")
	} else {
		b.WriteString("?roster")
	}
	for _, p := range [...][2]string{{"preauth", i.Token}, {"name", i.Name}} {
		if p[1] != "" {
			b.WriteString(";" + p[0] + "=" + strings.ReplaceAll(url.QueryEscape(p[1]), "+", "%20"))
		}
	}
	if i.Account && !i.Register {
		b.WriteString(";ibr=y")
	}
	return b.String()
}

// ParseInvitation reads an xmpp: link with the action roster, subscribe or
// register, or the link to a landing page that has one behind its #.
func ParseInvitation(link string) (Invitation, error) {
	bad := func(why string) (Invitation, error) {
		return Invitation{}, fmt.Errorf("roster: %q is no invitation: %s", link, why)
	}
	scheme, rest, _ := strings.Cut(strings.TrimSpace(link), ":")
	var i Invitation
	switch strings.ToLower(scheme) {
	case "xmpp":
		rest, _, _ = strings.Cut(rest, "#")
	case "https":
		i.LandingURL = link
		var ok bool
		if _, rest, ok = strings.Cut(rest, "#"); !ok {
			return bad("there is nothing behind a #")
		}
	default:
		return bad("it does not begin with xmpp:")
	}
	if auth, ok := strings.CutPrefix(rest, "//"); ok { // xmpp://account/address?...
		if _, rest, ok = strings.Cut(auth, "/"); !ok {
			return bad("it names nobody")
		}
	}
	address, query, _ := strings.Cut(rest, "?")
	address, err := url.PathUnescape(address)
	if err != nil {
		return bad(err.Error())
	}
	if i.JID, err = jid.Parse(address); err != nil {
		return bad(err.Error())
	}
	i.JID = i.JID.Bare()
	parts := strings.FieldsFunc(query, func(r rune) bool { return r == ';' || r == '&' })
	if len(parts) == 0 {
		return bad("it says nothing to do")
	}
	switch parts[0] {
	case "roster", "subscribe":
	case "register":
		i.Register = true
	default:
		return bad("it is for something else")
	}
	for _, p := range parts[1:] {
		k, v, _ := strings.Cut(p, "=")
		if k == "name" {
			v = strings.ReplaceAll(v, "+", " ")
		}
		if v, err = url.PathUnescape(v); err != nil {
			return bad(err.Error())
		}
		switch k {
		case "preauth":
			i.Token = v
		case "name":
			i.Name = v
		case "ibr":
			i.Account = v == "y"
		}
	}
	return i, nil
}

// InviteOptions are the conditions of an invitation.
type InviteOptions struct {
	// Name is what this account's person is called.
	Name string
	// Lifetime is how long it is good; 0 stands for a week.
	Lifetime time.Duration
	// Uses is how many can use it; 0 stands for one.
	Uses int
	// For, if set, is the only one who can use it.
	For jid.JID
}

const (
	weekLong   = 7 * 24 * time.Hour
	maxInvites = 1024
	maxUses    = 1024
)

// Invite makes an invitation to become a contact. Whoever asks with it is accepted
// and asked back, whatever the policy is: the [Request] has Invited set. Only the
// client that made it knows it, after a restart of the program if there is a
// [Config.Store]. An invitation that the server knows is [RequestInvitation]'s.
func (r *Roster) Invite(ctx context.Context, o InviteOptions) (Invitation, error) {
	if o.Uses < 0 || o.Uses > maxUses || o.Lifetime < 0 {
		return Invitation{}, fmt.Errorf("roster: an invitation for %d uses and %v cannot be made", o.Uses, o.Lifetime)
	}
	if o.Lifetime == 0 {
		o.Lifetime = weekLong
	}
	i := Invitation{JID: r.s.LocalAddr().Bare(), Name: o.Name, Token: rand.Text(), Expires: time.Now().Add(o.Lifetime)}
	t := &issued{Expires: i.Expires, Uses: max(o.Uses, 1)}
	if !o.For.Equal(jid.JID{}) {
		t.For = key(o.For)
	}
	return i, r.invites.issue(ctx, i.Token, t)
}

// RevokeInvitation makes an invitation worthless that [Roster.Invite] has made.
func (r *Roster) RevokeInvitation(ctx context.Context, token string) error {
	return r.invites.revoke(ctx, token)
}

// AcceptInvitation does what an invitation to become a contact asks for: the one
// who invites becomes a contact under the invitation's name, is asked with its
// token, and will be accepted when asking back.
func (r *Roster) AcceptInvitation(ctx context.Context, i Invitation, opts ...Option) error {
	if i.Register {
		return errors.New("roster: this invitation is for making an account")
	}
	if i.JID.Equal(jid.JID{}) || i.JID.Equal(r.s.LocalAddr().Bare()) {
		return errors.New("roster: an invitation by nobody else")
	}
	if _, is := r.Contact(i.JID); !is {
		if err := r.Add(ctx, i.JID, i.Name); err != nil {
			return err
		}
	}
	if r.canPreApprove() {
		if err := r.PreApprove(ctx, i.JID); err != nil {
			return err
		}
	} else if err := r.invites.expect(ctx, key(i.JID)); err != nil {
		return err
	}
	if i.Token != "" {
		opts = append(slices.Clip(opts), WithToken(i.Token))
	}
	return r.Subscribe(ctx, i.JID, opts...)
}

// invites are the invitations that were given out, and those that were accepted.
type invites struct {
	s     confab.Session
	store Store

	mu sync.Mutex
	// Issued is by the hash of the token, so that the store holds no secrets.
	Issued map[string]*issued `json:"issued"`
	// Expected are those who will ask back, and until when.
	Expected map[string]time.Time `json:"expected"`

	writing sync.Mutex // held while the store is written
}

type issued struct {
	Expires time.Time `json:"expires"`
	Uses    int       `json:"uses"`
	For     string    `json:"for,omitempty"`
	By      []string  `json:"by,omitempty"` // who has used it
}

func (v *invites) init(s confab.Session, store Store) {
	v.s, v.store = s, store
	v.Issued, v.Expected = map[string]*issued{}, map[string]time.Time{}
}

func (v *invites) storeKey() string { return key(v.s.LocalAddr()) + "/invitations" }

func hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// recall reads what an earlier run of the program has given out.
func (v *invites) recall(ctx context.Context) error {
	if v.store == nil {
		return nil
	}
	b, err := v.store.Get(ctx, v.storeKey())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("roster: Config.Store: %w", err)
	}
	var old invites
	if err := json.Unmarshal(b, &old); err != nil {
		return fmt.Errorf("roster: Config.Store: %w", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for k, t := range old.Issued {
		if v.Issued[k] == nil && t != nil {
			v.Issued[k] = t
		}
	}
	for k, t := range old.Expected {
		if v.Expected[k].Before(t) {
			v.Expected[k] = t
		}
	}
	v.expire()
	return nil
}

// expire forgets what is over. The lock is held.
func (v *invites) expire() {
	now := time.Now()
	for k, t := range v.Issued {
		if now.After(t.Expires) {
			delete(v.Issued, k)
		}
	}
	for k, t := range v.Expected {
		if now.After(t) {
			delete(v.Expected, k)
		}
	}
}

// save writes it all.
func (v *invites) save(ctx context.Context) error {
	if v.store == nil {
		return nil
	}
	v.writing.Lock()
	defer v.writing.Unlock()
	v.mu.Lock()
	b, err := json.Marshal(v)
	v.mu.Unlock()
	if err == nil {
		err = v.store.Put(ctx, v.storeKey(), b)
	}
	if err != nil {
		return fmt.Errorf("roster: Config.Store: %w", err)
	}
	return nil
}

func (v *invites) issue(ctx context.Context, token string, t *issued) error {
	v.mu.Lock()
	v.expire()
	if len(v.Issued) >= maxInvites {
		v.mu.Unlock()
		return fmt.Errorf("roster: %d invitations are out already", maxInvites)
	}
	v.Issued[hash(token)] = t
	v.mu.Unlock()
	return v.save(ctx)
}

func (v *invites) revoke(ctx context.Context, token string) error {
	v.mu.Lock()
	delete(v.Issued, hash(token))
	v.mu.Unlock()
	return v.save(ctx)
}

func (v *invites) expect(ctx context.Context, k string) error {
	v.mu.Lock()
	v.expire()
	if len(v.Expected) >= maxInvites {
		v.mu.Unlock()
		return fmt.Errorf("roster: %d others are expected already", maxInvites)
	}
	v.Expected[k] = time.Now().Add(weekLong)
	v.mu.Unlock()
	return v.save(ctx)
}

// redeem reports whether a token is good for who shows it, now and, should the
// request come again, later.
func (v *invites) redeem(token, by string) bool {
	if token == "" || len(token) > 1024 {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	t := v.Issued[hash(token)]
	switch {
	case t == nil || time.Now().After(t.Expires) || t.For != "" && t.For != by:
		return false
	case slices.Contains(t.By, by):
		return true
	case len(t.By) >= t.Uses:
		return false
	}
	t.By = append(t.By, by)
	if v.store != nil {
		v.s.Go(func(ctx context.Context) {
			if err := v.save(context.WithoutCancel(ctx)); err != nil {
				v.s.Emit(confab.HandlerError{Err: err})
			}
		})
	}
	return true
}

// expects reports whether somebody was to ask back.
func (v *invites) expects(k string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	until, ok := v.Expected[k]
	return ok && time.Now().Before(until)
}
