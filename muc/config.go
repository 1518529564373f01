package muc

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
	"mellium.im/xmpp/stanza"
)

// Settings are a room's configuration: what all rooms have as fields, everything else
// in Form. Rooms of one service or another lack some: to change what a room does not
// have is an error.
type Settings struct {
	Name, Description, Lang string
	// Persistent rooms stay when the last occupant leaves; Public ones can be found.
	Persistent, Public bool
	// MembersOnly lets only members in, who may invite others with MembersInvite.
	// Moderated lets only those speak who were given voice.
	MembersOnly, MembersInvite, Moderated bool
	// NonAnonymous shows the occupants' addresses to everybody, not only to
	// moderators. Encryption needs that.
	NonAnonymous bool
	// AnyoneSetsSubject lets all occupants say what the room is about.
	AnyoneSetsSubject bool
	// Password is what one has to know to get in; "" is none.
	Password string
	// MaxUsers is how many may be there; 0 leaves it to the service.
	MaxUsers int
	// HistoryLength is how many messages are sent to who enters.
	HistoryLength int
	// Archived keeps what is said in an archive (XEP-0313); Logged publishes it.
	Archived, Logged bool
	// SlowMode is how many seconds must pass between two messages of one occupant
	// (XEP-0500).
	SlowMode int
	// ForwardMentions passes messages that name somebody who is not there on to them
	// (XEP-0452).
	ForwardMentions bool

	form *form.Form
}

// Form is the room's form, for settings that Settings does not have. What is changed
// in it is sent, but where a field of Settings says something else.
func (s *Settings) Form() *form.Form { return s.form }

// settings are the fields with their names in the form, without "muc#roomconfig_".
// Servers have different names for some.
func (s *Settings) settings() []setting {
	return []setting{
		{&s.Name, []string{"roomname"}},
		{&s.Description, []string{"roomdesc"}},
		{&s.Lang, []string{"lang"}},
		{&s.Persistent, []string{"persistentroom"}},
		{&s.Public, []string{"publicroom"}},
		{&s.MembersOnly, []string{"membersonly"}},
		{&s.MembersInvite, []string{"allowmemberinvites", "allowinvites"}},
		{&s.Moderated, []string{"moderatedroom"}},
		{&s.AnyoneSetsSubject, []string{"changesubject"}},
		{&s.Password, []string{"roomsecret"}},
		{&s.MaxUsers, []string{"maxusers"}},
		{&s.HistoryLength, []string{"historylength", "maxhistoryfetch"}},
		{&s.Archived, []string{"enablearchiving", "mam"}},
		{&s.Logged, []string{"enablelogging"}},
		{&s.SlowMode, []string{"slow_mode_duration"}},
		{&s.ForwardMentions, []string{"forwardmentions"}},
	}
}

type setting struct {
	value any // *string, *bool or *int
	names []string
}

const prefix = "muc#roomconfig_"

// field returns the field of the form, or nil.
func (st setting) field(f *form.Form) *form.Field {
	for _, n := range st.names {
		// Some have names of their own: muc#maxhistoryfetch, ejabberd's mam.
		for _, name := range [...]string{prefix + n, "muc#" + n, n} {
			if fd := f.Field(name); fd != nil {
				return fd
			}
		}
	}
	return nil
}

func readSettings(f *form.Form) *Settings {
	s := &Settings{form: f}
	for _, st := range s.settings() {
		fd := st.field(f)
		if fd == nil {
			continue
		}
		switch v := st.value.(type) {
		case *string:
			*v = f.Text(fd.Var)
		case *bool:
			*v, _ = f.Bool(fd.Var)
		case *int:
			*v, _ = strconv.Atoi(f.Get(fd.Var)) // "none" is 0
		}
	}
	s.NonAnonymous = f.Get(prefix+"whois") == "anyone"
	return s
}

// write puts what differs from before into the form.
func (s *Settings) write(before *Settings) error {
	olds := before.settings()
	for i, st := range s.settings() {
		text := ""
		switch v := st.value.(type) {
		case *string:
			if text = *v; text == *olds[i].value.(*string) {
				continue
			}
		case *bool:
			if *v == *olds[i].value.(*bool) {
				continue
			}
			if text = "0"; *v {
				text = "1"
			}
		case *int:
			if *v == *olds[i].value.(*int) {
				continue
			}
			if text = strconv.Itoa(*v); *v == 0 && st.names[0] == "maxusers" {
				text = "none"
			}
		}
		fd := st.field(s.form)
		if fd == nil {
			return fmt.Errorf("muc: the room has no setting %q", st.names[0])
		}
		if fd.Values = []string{text}; text == "none" && len(fd.Options) == 0 {
			fd.Values = []string{""}
		}
	}
	if s.Password != before.Password && s.form.Field(prefix+"passwordprotectedroom") != nil {
		s.form.SetBool(prefix+"passwordprotectedroom", s.Password != "")
	}
	if s.NonAnonymous != before.NonAnonymous {
		if s.form.Field(prefix+"whois") == nil {
			return errors.New(`muc: the room has no setting "whois"`)
		}
		if s.form.Set(prefix+"whois", "moderators"); s.NonAnonymous {
			s.form.Set(prefix+"whois", "anyone")
		}
	}
	return nil
}

// Settings reads the room's configuration. Only owners may.
func (r *Room) Settings(ctx context.Context) (*Settings, error) {
	var q confab.Element
	if err := r.do(ctx, stanza.GetIQ, confab.El(nsOwner, "query"), &q); err != nil {
		return nil, err
	}
	f := form.Find(&q, "")
	if f == nil {
		return nil, fmt.Errorf("muc: %s has no settings", r.key)
	}
	return readSettings(f), nil
}

// Configure changes the room's configuration: it reads it, has it edited, and sends it
// back with everything else as it was. Only owners may. Without any function it says
// that a new room is good as it is.
func (r *Room) Configure(ctx context.Context, edit ...func(*Settings)) error {
	if len(edit) == 0 {
		return r.submit(ctx, &form.Form{Type: form.Answers})
	}
	s, err := r.Settings(ctx)
	if err != nil {
		return err
	}
	before := *s
	for _, f := range edit {
		f(s)
	}
	if err := s.write(&before); err != nil {
		return err
	}
	return r.submit(ctx, answersTo(s.form))
}

func (r *Room) submit(ctx context.Context, f *form.Form) error {
	return r.do(ctx, stanza.SetIQ, confab.El(nsOwner, "query", f.Element()), nil)
}

// PrivateGroup are the settings of a group of people who know each other: only members
// get in, everybody sees the others' addresses, nobody else finds it, and it stays.
func PrivateGroup(name string) func(*Settings) {
	return func(s *Settings) {
		s.Name, s.Persistent, s.Public = name, true, false
		s.MembersOnly, s.NonAnonymous, s.Moderated = true, true, false
	}
}

// PublicChannel are the settings of a room for everybody: it can be found and stays,
// and only moderators see the addresses.
func PublicChannel(name string) func(*Settings) {
	return func(s *Settings) {
		s.Name, s.Persistent, s.Public = name, true, true
		s.MembersOnly, s.NonAnonymous, s.Moderated = false, false, false
	}
}
