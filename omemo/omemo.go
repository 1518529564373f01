package omemo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/omemo/ratchet"
	"mellium.im/xmpp/jid"
)

// Config has the settings of a [Manager].
type Config struct {
	// Store keeps the keys of this device: see [OpenFileStore]. It must not be nil. A
	// &[MemoryStore]{} is for tests: the account gets another device with each.
	Store Store
	// Mode is that of conversations for which SetMode was not called.
	Mode Mode
	// Policy says what is thought of keys that nobody has decided about.
	Policy Policy
	// Rooms tells who is in a room; a *muc.Client does. Without it rooms are not
	// encrypted: sending to one whose Mode is not Off fails.
	Rooms Rooms
	// Reveal reports whether somebody may learn that the user is there: only they get
	// answers without content that keep sessions in order, and only their servers are
	// asked for something that the user has not asked for. A roster's contacts are a
	// good choice: Reveal: contacts.Sees, with a roster.Roster. Those whom the user has
	// written to with encryption always may, and those who write in a room that the
	// user is in. It must not block.
	Reveal func(bare jid.JID) bool
	// OnlyV2 encrypts in version 2 only: devices that are in the list of version 1 alone
	// are passed over, as if the user did not trust them. Most clients know only that.
	OnlyV2 bool
	// Label is a name for this device, of less than 53 characters, that all the world
	// can read in version 2 of OMEMO. Some old clients cannot read a list with a
	// label in it; "" leaves it out.
	Label string
}

// Rooms tells who is in a room. A *muc.Client does.
type Rooms interface {
	// Members returns the real bare addresses of all who may read what is said in a
	// room, whether they are there or not: its owners, admins and members, and who is
	// in it besides. An error matches ErrAnonymous of this package, or is any other,
	// if the room does not tell.
	Members(ctx context.Context, room jid.JID) ([]jid.JID, error)
	// RealJID returns the real bare address of an occupant, by the address in the
	// room and the occupant id (XEP-0421), which may be ""; zero if it is not known.
	// It must not block.
	RealJID(occupant jid.JID, occupantID string) jid.JID
}

// Mode says what is done in a conversation.
type Mode uint8

// The modes. In none of them is a message that should be encrypted sent in clear.
const (
	// Off sends in clear. What comes encrypted is read.
	Off Mode = iota
	// On encrypts what is sent, or fails.
	On
	// Required does, and takes no message that came in clear: see [Rejected].
	Required
)

// String returns the name of the constant.
func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("Mode(%d)", m)
}

var modeNames = [...]string{"Off", "On", "Required"}

const bucketMode = "mode"

// A Manager encrypts and decrypts the messages of a session. Make one with [New]. Its
// methods may be called from any goroutine.
type Manager struct {
	s    confab.Session
	cfg  Config
	st   scoped
	addr jid.JID       // the own bare address
	id   atomic.Uint32 // of this device

	// mu guards all state of keys: whatever is read from the store and written back
	// is so with the lock held.
	mu      sync.Mutex
	self    self
	peers   map[string]*peer
	modes   map[string]Mode // by address, what SetMode has set
	plain   plain           // messages that were decrypted and not yet handled
	waiting waiting         // messages that wait for a session
	budget  budget          // of those who begin sessions

	rejected rejected // what was told of messages in clear
	catchup  catchup

	allPeers  bool // all that are stored are in peers
	strangers int  // that have sent their lists: see maxStrangers
	callers   int  // strangers who have begun sessions: see maxCallers

	removals removals

	jobMu sync.Mutex
	jobs  map[string]bool
	slots chan struct{}
}

// New puts encryption on a session, before it runs; in what order with others does not
// matter. It makes the keys of this device if the store has none.
func New(s confab.Session, cfg Config) (*Manager, error) {
	if cfg.Store == nil {
		return nil, errors.New("omemo: Config.Store is missing: OpenFileStore keeps the keys in a file; &MemoryStore{} is for tests")
	}
	if cfg.Mode > Required {
		return nil, fmt.Errorf("omemo: there is no mode %d", cfg.Mode)
	}
	if n := len([]rune(cfg.Label)); n >= maxLabel {
		return nil, fmt.Errorf("omemo: the label has %d characters; less than %d are possible", n, maxLabel)
	}
	m := &Manager{s: s, cfg: cfg, addr: s.LocalAddr().Bare(), peers: map[string]*peer{}, modes: map[string]Mode{},
		jobs: map[string]bool{}, slots: make(chan struct{}, jobsAtOnce)}
	if m.addr.Localpart() == "" {
		return nil, errors.New("omemo: encryption is for accounts that have an address before they sign in")
	}
	m.st = scoped{cfg.Store, m.addr.String() + "/omemo/"}
	if err := m.load(context.Background()); err != nil {
		return nil, err
	}
	s.Advertise(nsEME)
	m.follow()
	s.HandleMessage(confab.StageDecrypt, m.open)
	s.HandleMessage(confab.StageDeliver, m.delivered)
	s.HandleDraft(confab.StageDecrypt, m.seal)
	confab.On(s, func(_ context.Context, e handled) { m.forgetPlain(e) })
	s.OnUp(func(ctx context.Context, fresh bool) error {
		if !fresh {
			return nil
		}
		if err := m.announce(ctx); err != nil && ctx.Err() == nil {
			s.Emit(Failed{err})
		}
		return nil
	})
	return m, nil
}

// own is the own bare address.
func (m *Manager) own() jid.JID { return m.addr }

// SetMode says what is done in a conversation, with somebody or in a room, by the bare
// address. It is kept in the store. To encrypt for somebody who has opted out is
// possible again after it.
func (m *Manager) SetMode(ctx context.Context, addr jid.JID, mode Mode) error {
	if mode > Required {
		return fmt.Errorf("omemo: there is no mode %d", mode)
	}
	if addr.String() == "" {
		return errors.New("omemo: SetMode needs an address")
	}
	addr = addr.Bare()
	if _, err := m.changePeer(ctx, addr, func(tx Tx, p *peer) (bool, error) {
		was := *p
		p.OptOut, p.Known = false, p.Known || mode != Off
		return p.OptOut != was.OptOut || p.Known != was.Known, tx.Put(bucketMode, addr.String(), []byte{byte(mode)})
	}); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.modes[addr.String()] = mode
	return nil
}

// Mode returns what is done in a conversation.
func (m *Manager) Mode(addr jid.JID) Mode {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mode(addr.Bare())
}

func (m *Manager) mode(addr jid.JID) Mode {
	if mode, ok := m.modes[addr.String()]; ok {
		return mode
	}
	return m.cfg.Mode
}

// A Device is one of somebody's devices, or of the user's.
type Device struct {
	// Addr is the bare address of the account, ID the device's id.
	Addr jid.JID
	ID   uint32
	// Key is the identity key; it is zero if nobody has seen one yet.
	Key ratchet.IdentityKey
	// Trust is what the user thinks of the key.
	Trust Trust
	// Label is the name that the device gives itself, or "". Its key vouches for it.
	Label string
	// V1 and V2 say in which lists of the account the device is, and so which
	// versions of OMEMO it speaks. A device in no list is not written to.
	V1, V2 bool
	// Self says that it is this device.
	Self bool
}

// Own returns this device. Its key is verified, of course.
func (m *Manager) Own() Device {
	return Device{Addr: m.addr, ID: m.id.Load(), Key: m.self.identity.Key(), Trust: Verified, Label: m.cfg.Label, V1: true, V2: true, Self: true}
}

// Devices returns what is known of the devices of an account, sorted by id. It asks
// nobody: lists and keys are fetched with [Manager.FetchKeys], or when the first message
// is sent.
func (m *Manager) Devices(ctx context.Context, addr jid.JID) ([]Device, error) {
	addr = addr.Bare()
	m.mu.Lock()
	defer m.mu.Unlock()
	var ds []Device
	err := m.st.view(ctx, func(tx Tx) error {
		p, err := m.peer(tx, addr)
		if err != nil {
			return err
		}
		for _, d := range p.Devices {
			if addr.Equal(m.addr) && d.ID == m.id.Load() {
				continue
			}
			v, err := m.describe(tx, addr, d)
			if err != nil {
				return err
			}
			ds = append(ds, v)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if addr.Equal(m.addr) {
		ds = append(ds, m.Own())
	}
	slices.SortFunc(ds, func(a, b Device) int { return int(int64(a.ID) - int64(b.ID)) })
	return ds, nil
}

// describe makes a Device of what is stored.
func (m *Manager) describe(tx Tx, addr jid.JID, d *device) (Device, error) {
	v := Device{Addr: addr, ID: d.ID, Key: d.Key, V1: d.V1, V2: d.V2}
	if d.Label != "" {
		if sig, err := unbase64(d.LabelSig); err == nil && d.Key.Verify([]byte(d.Label), sig) {
			v.Label = d.Label
		}
	}
	var err error
	if !d.Key.IsZero() {
		v.Trust, _, err = trustOf(tx, addr, d.Key)
	}
	return v, err
}

// FetchKeys asks for the devices of an account and for those of their keys that were
// never seen, so that [Manager.Devices] has fingerprints to compare. Devices whose keys
// cannot be had are passed over.
func (m *Manager) FetchKeys(ctx context.Context, addr jid.JID) error {
	addr = addr.Bare()
	if err := m.Refresh(ctx, addr); err != nil {
		return err
	}
	ds, err := m.Devices(ctx, addr)
	if err != nil {
		return err
	}
	var unknown []target
	for _, d := range ds {
		v, ok := (&device{V1: d.V1, V2: d.V2}).version()
		if d.Key.IsZero() && ok && !d.Self {
			unknown = append(unknown, target{addr: addr, id: d.ID, v: v})
		}
	}
	m.fetchBundles(ctx, unknown)
	for i := range unknown {
		if t := &unknown[i]; t.bundle != nil {
			if err := m.meetDevice(ctx, t.addr, t.id, t.bundle.Identity); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// meetDevice notes the key of a device, and tells if it is new.
func (m *Manager) meetDevice(ctx context.Context, addr jid.JID, id uint32, k ratchet.IdentityKey) error {
	var news []any
	_, err := m.changePeer(ctx, addr, func(tx Tx, p *peer) (bool, error) {
		_, changed, err := m.note(tx, addr, p, id, k, &news)
		return changed, err
	})
	if err == nil {
		m.tell(news)
	}
	return err
}

// note notes the key of a device in a transaction, and returns what is thought of it.
// Events for the user are added to news.
func (m *Manager) note(tx Tx, addr jid.JID, p *peer, id uint32, k ratchet.IdentityKey, news *[]any) (Trust, bool, error) {
	t, met, err := m.meet(tx, addr, k)
	if err != nil {
		return t, false, err
	}
	d, gone := p.add(id)
	if gone != nil {
		if err := forget(tx, addr, gone); err != nil {
			return t, false, err
		}
	}
	other := !d.Key.Same(k)
	if (met || t == Blind && !d.had(k)) && other && !d.Key.IsZero() && t != Undecided {
		// Another key for a device that had one is never trusted by itself, not even if it
		// was met as that of another device.
		t = Undecided
		if err := setTrust(tx, addr, k, t); err != nil {
			return t, false, err
		}
	}
	changed := d.Key != k && (other || !k.OnlyV1())
	if changed {
		if other {
			d.remember()
			if err := forgetKey(tx, addr, p, d); err != nil {
				return t, false, err
			}
		}
		d.Key = k
		if err := setTrust(tx, addr, k, t); err != nil { // with all that is known of the key
			return t, false, err
		}
	}
	if met || other {
		v, err := m.describe(tx, addr, d)
		if err != nil {
			return t, changed, err
		}
		*news = append(*news, NewKey{v})
	}
	return t, changed, nil
}

// tell hands events to the user.
func (m *Manager) tell(events []any) {
	for _, e := range events {
		m.s.Emit(e)
	}
}

// URI returns the address of this account with the fingerprint of this device, for a
// code that others scan to verify it.
func (m *Manager) URI() string { return URI(m.addr, m.Own()) }

// URI returns the xmpp: URI that has the fingerprints of somebody's devices, as other
// clients make and read it.
func URI(addr jid.JID, ds ...Device) string {
	var b strings.Builder
	b.WriteString("xmpp:" + addr.Bare().String())
	sep := "?"
	for _, d := range ds {
		if d.Key.IsZero() {
			continue
		}
		fmt.Fprintf(&b, "%somemo-sid-%d=%s", sep, d.ID, d.Key.Hex())
		sep = ";"
	}
	return b.String()
}

// Verify takes such a URI, from a code that was scanned or another way nobody could
// have tampered with, and verifies the keys in it. It returns whose they are.
func (m *Manager) Verify(ctx context.Context, uri string) (jid.JID, error) {
	rest, ok := strings.CutPrefix(uri, "xmpp:")
	rest, query, _ := strings.Cut(rest, "?")
	addr, err := jid.Parse(rest)
	if !ok || err != nil {
		return jid.JID{}, fmt.Errorf("omemo: %q is no address of an account", rest)
	}
	addr = addr.Bare()
	var keys []ratchet.IdentityKey
	for part := range strings.SplitSeq(query, ";") {
		name, value, _ := strings.Cut(part, "=")
		sid, ok := strings.CutPrefix(name, "omemo-sid-")
		if !ok {
			continue
		}
		_, ok = deviceID(sid)
		k, err := ParseFingerprint(value)
		if !ok || err != nil {
			return addr, errors.New("omemo: the URI has a fingerprint that is none")
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return addr, errors.New("omemo: the URI has no fingerprint")
	}
	for _, k := range keys {
		if addr.Equal(m.addr) && k.Same(m.self.identity.Key()) {
			continue
		}
		if err := m.SetTrust(ctx, addr, k, Verified); err != nil {
			return addr, err
		}
	}
	return addr, nil
}

// week and month are for what is kept so long.
const (
	day   = 24 * time.Hour
	month = 30 * day
)
