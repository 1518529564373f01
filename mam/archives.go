package mam

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// A Store keeps what is known of archives between runs of the program. A client.Store
// is one.
type Store interface {
	// Get returns what is kept under a key; an error matching fs.ErrNotExist if
	// there is nothing.
	Get(ctx context.Context, key string) ([]byte, error)
	Put(ctx context.Context, key string, value []byte) error
	Delete(ctx context.Context, key string) error
}

// Config has the settings of [Archives]. The zero value is good for a program that
// runs on.
type Config struct {
	// Store keeps the cursors and the gaps; in memory if nil, so that what was
	// missed while the program did not run is not read.
	Store Store
	// NoFollow does not catch up with the own archive.
	NoFollow bool
	// First bounds the very first catching up, when no cursor is known: so many
	// messages, the newest, or those of such an age. If both are 0 nothing is read,
	// and following begins now.
	First    int
	FirstAge time.Duration
	// Limit bounds each later catching up; beyond it a [Gap] is left. 0 stands for no
	// limit.
	Limit int
	// Wait is how long catching up may hold up Ready; it goes on beside it then. 0
	// stands for 10 seconds, a negative value for not at all.
	Wait time.Duration
}

// Archives reads message archives. Make one with [New]. Its methods may be called from
// any goroutine.
type Archives struct {
	s   confab.Session
	cfg Config

	mu      sync.Mutex
	queries map[string]*incoming
	over    []string             // of queries, those that nobody waits for
	follow  map[string]*follower // by archive
}

// New puts archives on a session, before it runs.
func New(s confab.Session, cfg Config) *Archives {
	if cfg.Wait == 0 {
		cfg.Wait = 10 * time.Second
	}
	if cfg.Store == nil {
		cfg.Store = &memory{}
	}
	a := &Archives{s: s, cfg: cfg, queries: map[string]*incoming{}, follow: map[string]*follower{}}
	s.HandleMessage(confab.StageUnwrap, a.collect)
	a.watch()
	return a
}

// Metadata is what an archive says of itself (XEP-0313 §5.2): its oldest and its
// newest message. The ids are "" if it is empty.
type Metadata struct {
	First, Last           string
	FirstStamp, LastStamp time.Time
}

// Metadata asks an archive, the own one if it is zero. It must announce [NSExtended].
func (a *Archives) Metadata(ctx context.Context, archive jid.JID) (Metadata, error) {
	var el confab.Element
	if err := confab.Do(ctx, a.s, stanza.IQ{Type: stanza.GetIQ, To: archive}, confab.El(NS, "metadata"), &el); err != nil {
		return Metadata{}, err
	}
	var m Metadata
	for _, p := range [...]struct {
		name string
		id   *string
		at   *time.Time
	}{{"start", &m.First, &m.FirstStamp}, {"end", &m.Last, &m.LastStamp}} {
		c := el.Child(NS, p.name)
		if c == nil {
			continue
		}
		t, err := time.Parse(time.RFC3339Nano, c.Get("timestamp"))
		if err != nil {
			return Metadata{}, fmt.Errorf("mam: the archive's <%s/>: %w", p.name, err)
		}
		*p.id, *p.at = c.Get("id"), t.UTC()
	}
	return m, nil
}

// A Keep says whether messages are archived.
type Keep string

// The values of Keep.
const (
	Always   Keep = "always"
	Never    Keep = "never"
	Contacts Keep = "roster" // those of contacts
)

// Preferences say what the own archive keeps (XEP-0441).
type Preferences struct {
	Default Keep
	// Always and Never are exceptions from Default.
	Always, Never []jid.JID
}

// Preferences asks what the own archive keeps.
func (a *Archives) Preferences(ctx context.Context) (Preferences, error) {
	return a.prefs(ctx, stanza.GetIQ, confab.El(NS, "prefs"))
}

// SetPreferences says what the own archive shall keep, and returns what it will.
func (a *Archives) SetPreferences(ctx context.Context, p Preferences) (Preferences, error) {
	switch p.Default {
	case Always, Never, Contacts:
	default:
		return Preferences{}, fmt.Errorf("mam: Preferences.Default cannot be %q", p.Default)
	}
	list := func(name string, js []jid.JID) *confab.Element {
		el := confab.El(NS, name)
		for _, j := range js {
			el.Add(confab.El(NS, "jid").SetText(j.String()))
		}
		return el
	}
	return a.prefs(ctx, stanza.SetIQ, confab.El(NS, "prefs", list("always", p.Always), list("never", p.Never)).Set("default", string(p.Default)))
}

func (a *Archives) prefs(ctx context.Context, typ stanza.IQType, el *confab.Element) (Preferences, error) {
	var res confab.Element
	if err := confab.Do(ctx, a.s, stanza.IQ{Type: typ}, el, &res); err != nil {
		return Preferences{}, err
	}
	p := Preferences{Default: Keep(res.Get("default"))}
	for _, l := range [...]struct {
		name string
		js   *[]jid.JID
	}{{"always", &p.Always}, {"never", &p.Never}} {
		for c := range res.Child(NS, l.name).All(NS, "jid") {
			if j, err := jid.Parse(c.Text); err == nil && len(*l.js) < 10_000 {
				*l.js = append(*l.js, j)
			}
		}
	}
	return p, nil
}
