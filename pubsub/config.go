package pubsub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
	"mellium.im/xmpp/stanza"
)

// AccessModel says who may read and subscribe to a node (XEP-0060 §4.5).
type AccessModel string

// The access models.
const (
	AccessOpen      AccessModel = "open"      // everybody
	AccessPresence  AccessModel = "presence"  // who may see the owner's presence
	AccessRoster    AccessModel = "roster"    // contacts in some groups, Config.Groups
	AccessAuthorize AccessModel = "authorize" // whom the owner lets in
	AccessWhitelist AccessModel = "whitelist" // whom the owner has named; on accounts: the owner only
)

// A Choice is yes, no, or left to the service.
type Choice uint8

// The choices.
const (
	Unset Choice = iota
	Yes
	No
)

// Max is, as Config.MaxItems, as many items as the service keeps.
const Max = -1

// Values of Config.SendLast.
const (
	Never      = "never"
	OnSub      = "on_sub"
	OnPresence = "on_sub_and_presence"
)

// A Config is what a node is like (XEP-0060 §16.4.4). What is zero is left as it
// is, or to the service.
type Config struct {
	Access AccessModel
	// Groups are the groups of the roster that AccessRoster lets in.
	Groups []string
	// MaxItems is how many items are kept; [Max] for as many as possible.
	MaxItems int
	// Persist says whether items are kept at all.
	Persist Choice
	// SendLast says when the last item is sent without being asked for: [Never],
	// [OnSub] or [OnPresence], which is what PEP does by itself.
	SendLast string
	// PublishModel says who may publish: "publishers", "subscribers" or "open".
	PublishModel string
	// Title and Description are for people. Type is the namespace of the payloads.
	Title, Description, Type string
	// Payloads says whether events carry the items' payloads, NotifyRetract and
	// NotifyDelete whether there are events when items or the node are removed.
	Payloads, NotifyRetract, NotifyDelete Choice

	// Form has all settings of the node, those unknown here, too. It is set by
	// [Service.Config] and not looked at otherwise.
	Form *form.Form
}

// Private is for what only the own account may read: XEP-0223, which keeps it, too.
// Set MaxItems for more than one item.
func Private() Config { return Config{Access: AccessWhitelist, Persist: Yes} }

// Open is for what everybody may read.
func Open() Config { return Config{Access: AccessOpen, Persist: Yes} }

// Contacts is for what contacts may read who may see the own presence.
func Contacts() Config { return Config{Access: AccessPresence, Persist: Yes} }

// zero reports whether nothing is demanded.
func (c Config) zero() bool { return len(c.fields()) == 0 }

func (c Config) check() error {
	if c.MaxItems < Max {
		return fmt.Errorf("pubsub: Config.MaxItems: %d", c.MaxItems)
	}
	return nil
}

const maxItems = "pubsub#max_items"

// fields returns the fields that are set.
func (c Config) fields() []form.Field {
	var fs []form.Field
	add := func(name string, values ...string) {
		if len(values) > 0 && values[0] != "" {
			fs = append(fs, form.Field{Var: "pubsub#" + name, Values: values})
		}
	}
	choice := func(name string, v Choice) {
		switch v {
		case Yes:
			add(name, "1")
		case No:
			add(name, "0")
		}
	}
	choice("persist_items", c.Persist)
	add("access_model", string(c.Access))
	add("roster_groups_allowed", c.Groups...)
	switch {
	case c.MaxItems == Max:
		add("max_items", "max")
	case c.MaxItems > 0:
		add("max_items", strconv.Itoa(c.MaxItems))
	}
	add("send_last_published_item", c.SendLast)
	add("publish_model", c.PublishModel)
	add("title", c.Title)
	add("description", c.Description)
	add("type", c.Type)
	choice("deliver_payloads", c.Payloads)
	choice("notify_retract", c.NotifyRetract)
	choice("notify_delete", c.NotifyDelete)
	return fs
}

// submission makes the answer to a form about what, #node_config or
// #publish-options.
func (c Config) submission(what string) *confab.Element {
	f := form.New(form.Answers, NS+what)
	f.Fields = append(f.Fields, c.fields()...)
	return f.Element()
}

// parseConfig reads what is known from a form.
func parseConfig(f *form.Form) Config {
	get := func(name string) string { return f.Get("pubsub#" + name) }
	choice := func(name string) Choice {
		switch v, ok := f.Bool("pubsub#" + name); {
		case !ok:
			return Unset
		case v:
			return Yes
		}
		return No
	}
	c := Config{
		Access: AccessModel(get("access_model")), Groups: slices.Clone(f.Values("pubsub#roster_groups_allowed")),
		Persist: choice("persist_items"), SendLast: get("send_last_published_item"), PublishModel: get("publish_model"),
		Title: get("title"), Description: get("description"), Type: get("type"),
		Payloads: choice("deliver_payloads"), NotifyRetract: choice("notify_retract"), NotifyDelete: choice("notify_delete"),
		Form: f,
	}
	if v := get("max_items"); v == "max" {
		c.MaxItems = Max
	} else if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		c.MaxItems = int(n)
	}
	return c
}

// Config returns the settings of a node that one owns (XEP-0060 §8.2).
func (s Service) Config(ctx context.Context, node string) (Config, error) {
	if err := need(node); err != nil {
		return Config{}, err
	}
	res, err := s.pubsub(ctx, stanza.GetIQ, NSOwner, child("configure", "node", node))
	if err != nil {
		return Config{}, err
	}
	f := form.Find(res.Child(NSOwner, "configure"), "")
	if f == nil {
		return Config{}, errors.New("pubsub: the service sent no form to configure the node")
	}
	return parseConfig(f), nil
}

// Default returns the settings that new nodes have (XEP-0060 §8.3).
func (s Service) Default(ctx context.Context) (Config, error) {
	res, err := s.pubsub(ctx, stanza.GetIQ, NSOwner, child("default"))
	if err != nil {
		return Config{}, err
	}
	f := form.Find(res.Child(NSOwner, "default"), "")
	if f == nil {
		return Config{}, errors.New("pubsub: the service sent no form with defaults")
	}
	return parseConfig(f), nil
}

// Metadata returns what a node tells of itself to everybody who may read it: its
// title, what it is about, and more in Config.Form (XEP-0060 §5.4).
func (s Service) Metadata(ctx context.Context, node string) (Config, error) {
	if err := need(node); err != nil {
		return Config{}, err
	}
	res, err := s.ask(ctx, stanza.GetIQ, confab.El(nsInfo, "query").Set("node", node))
	if err != nil {
		return Config{}, err
	}
	if f := form.Find(res.Child(nsInfo, "query"), NS+"#meta-data"); f != nil {
		return parseConfig(f), nil
	}
	return Config{}, nil
}

// Configure changes the settings of a node that one owns: those that are set in c.
// All others keep their values (XEP-0060 §8.2). It sends nothing if the node is like
// that already.
func (s Service) Configure(ctx context.Context, node string, c Config) error {
	if err := c.check(); err != nil {
		return err
	}
	now, err := s.Config(ctx, node)
	if err != nil {
		return err
	}
	return s.change(ctx, node, now, c)
}

// change makes a node that is like now into one like c.
func (s Service) change(ctx context.Context, node string, now, c Config) error {
	f, changed := now.Form, false
	for _, fd := range c.fields() {
		have := f.Field(fd.Var)
		switch {
		case have == nil && fd.Var == "pubsub#access_model":
			return fmt.Errorf("%w: it does not say who may read the node %q", ErrUnsupported, node)
		case have == nil, slices.Equal(have.Values, fd.Values), now.keeps(c) && fd.Var == maxItems, sameBool(have, fd):
		default:
			have.Values, changed = fd.Values, true
		}
	}
	if !changed {
		return nil
	}
	err := s.ConfigureForm(ctx, node, f)
	if err != nil && c.MaxItems == Max && badValue(err) {
		err = s.fewer(func(n string) error { return s.ConfigureForm(ctx, node, f.Set(maxItems, n)) })
	}
	return err
}

// fewer tries numbers on services that do not know "max", until one is taken.
func (s Service) fewer(try func(n string) error) (err error) {
	for _, n := range []string{"10000", "1000", "256", "100", "20"} {
		if err = try(n); err == nil || !badValue(err) {
			return err
		}
	}
	return err
}

// badValue reports whether a service may have refused a value in a form.
func badValue(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Stanza.Condition {
	case stanza.BadRequest, stanza.NotAcceptable, stanza.NotAllowed, stanza.ResourceConstraint,
		stanza.FeatureNotImplemented, stanza.UndefinedCondition, stanza.InternalServerError:
		return true
	case stanza.Conflict:
		return e.Condition != ""
	}
	return false
}

// keeps reports whether a node keeps as many items as c demands.
func (c Config) keeps(want Config) bool {
	switch {
	case want.MaxItems == 0, c.MaxItems == Max:
		return true
	case want.MaxItems == Max:
		return c.MaxItems >= 256 // some know no "max"; it is not the number that PEP begins with
	}
	return c.MaxItems == want.MaxItems
}

func sameBool(have *form.Field, want form.Field) bool {
	norm := func(v []string) string {
		if len(v) != 1 {
			return ""
		}
		switch v[0] {
		case "1", "true":
			return "1"
		case "0", "false":
			return "0"
		}
		return ""
	}
	return norm(have.Values) != "" && norm(have.Values) == norm(want.Values)
}

// ConfigureForm sends a form with the settings of a node: the Form of what
// [Service.Config] returned, with other values.
func (s Service) ConfigureForm(ctx context.Context, node string, f *form.Form) error {
	if err := need(node); err != nil {
		return err
	}
	a := &form.Form{Type: form.Answers}
	for _, fd := range f.Fields {
		if fd.Type != form.Fixed && fd.Var != "" {
			a.Fields = append(a.Fields, form.Field{Var: fd.Var, Type: fd.Type, Values: fd.Values})
		}
	}
	_, err := s.pubsub(ctx, stanza.SetIQ, NSOwner, child("configure", "node", node).Add(a.Element()))
	return err
}

// Create makes a node with these settings; a zero Config is the service's default.
// With an empty name the service makes one up. It returns the name. If there is a
// node of the name, the error is [ErrExists] (XEP-0060 §8.1).
func (s Service) Create(ctx context.Context, node string, c Config) (string, error) {
	if err := c.check(); err != nil {
		return "", err
	}
	name, err := s.create(ctx, node, c)
	if err != nil && c.MaxItems == Max && badValue(err) {
		err = s.fewer(func(n string) error {
			c.MaxItems, _ = strconv.Atoi(n)
			name, err = s.create(ctx, node, c)
			return err
		})
	}
	return name, err
}

func (s Service) create(ctx context.Context, node string, c Config) (string, error) {
	kids := []*confab.Element{child("create", "node", node)}
	if !c.zero() {
		kids = append(kids, child("configure").Add(c.submission("#node_config")))
	}
	res, err := s.pubsub(ctx, stanza.SetIQ, NS, kids...)
	if err != nil {
		return "", err
	}
	if made := res.Child(NS, "create").Get("node"); made != "" && node == "" {
		return made, nil
	}
	if node == "" {
		return "", errors.New("pubsub: the service does not say how it has called the node")
	}
	return node, nil
}

// Delete deletes a node with all that is in it. Redirect, if not empty, is the URI
// of the node that takes its place (XEP-0060 §8.4).
func (s Service) Delete(ctx context.Context, node, redirect string) error {
	if err := need(node); err != nil {
		return err
	}
	el := child("delete", "node", node)
	if redirect != "" {
		el.Add(child("redirect", "uri", redirect))
	}
	_, err := s.pubsub(ctx, stanza.SetIQ, NSOwner, el)
	return err
}

// Purge deletes all items of a node (XEP-0060 §8.5).
func (s Service) Purge(ctx context.Context, node string) error {
	if err := need(node); err != nil {
		return err
	}
	_, err := s.pubsub(ctx, stanza.SetIQ, NSOwner, child("purge", "node", node))
	return err
}
