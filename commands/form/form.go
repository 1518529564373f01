package form

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
)

// NS is the namespace of data forms, which is also the feature that says that an
// entity understands them.
const NS = "jabber:x:data"

// FormType is the name of the hidden field that says what a form is about
// (XEP-0068).
const FormType = "FORM_TYPE"

const (
	nsMedia    = "urn:xmpp:media-element"
	nsValidate = "http://jabber.org/protocol/xdata-validate"
)

// Type says what a form is for (XEP-0004 §3.1).
type Type string

// The types of forms.
const (
	Questions Type = "form"   // to be filled in
	Answers   Type = "submit" // filled in
	Cancelled Type = "cancel" // the person does not want to
	Result    Type = "result" // data
)

// FieldType says what a field takes (XEP-0004 §3.3).
type FieldType string

// The types of fields.
const (
	Boolean     FieldType = "boolean"
	Fixed       FieldType = "fixed"
	Hidden      FieldType = "hidden"
	JIDMulti    FieldType = "jid-multi"
	JIDSingle   FieldType = "jid-single"
	ListMulti   FieldType = "list-multi"
	ListSingle  FieldType = "list-single"
	TextMulti   FieldType = "text-multi"
	TextPrivate FieldType = "text-private"
	TextSingle  FieldType = "text-single"
)

// A Form is a data form.
type Form struct {
	Type         Type
	Title        string
	Instructions []string
	Fields       []Field
	// Reported are the columns and Items the rows of a table of results
	// (XEP-0004 §3.4).
	Reported []Field
	Items    [][]Field
}

// A Field is one question, or one answer.
type Field struct {
	Var   string
	Type  FieldType // text-single where a form leaves it out; may be empty in answers
	Label string
	Desc  string
	// Required says that the form cannot be submitted without a value.
	Required bool
	Values   []string
	Options  []Option
	// Media are what to show with the question (XEP-0221), in alternatives.
	Media []Media
	// Validate says which values are taken (XEP-0122), if not nil.
	Validate *Validation
}

// An Option is a value that a list offers.
type Option struct{ Label, Value string }

// Media is a picture, sound or film that belongs to a question. Width and Height
// are in pixels, 0 if not told.
type Media struct {
	Width, Height int
	URIs          []MediaURI
}

// A MediaURI is one place of a Media. Its URI may be cid:, for data inside the
// stanza (XEP-0231).
type MediaURI struct{ Type, URI string }

// New makes a form of this type that is about formType, which may be empty.
func New(t Type, formType string) *Form {
	f := &Form{Type: t}
	if formType != "" {
		f.Fields = []Field{{Var: FormType, Type: Hidden, Values: []string{formType}}}
	}
	return f
}

// Find returns the form about formType among the children of el, or nil if there
// is none. An empty formType finds the first form of any kind. Forms that cannot
// be parsed are passed over.
func Find(el *confab.Element, formType string) *Form {
	for x := range el.All(NS, "x") {
		if f, err := Parse(x); err == nil && (formType == "" || f.About() == formType) {
			return f
		}
	}
	return nil
}

// About returns what the form says it is about, its FORM_TYPE, or "".
func (f *Form) About() string { return f.Get(FormType) }

// Field returns the field with this name, or nil. It may be changed.
func (f *Form) Field(name string) *Field {
	if f == nil {
		return nil
	}
	for i := range f.Fields {
		if f.Fields[i].Var == name {
			return &f.Fields[i]
		}
	}
	return nil
}

// Get returns the first value of a field, or "".
func (f *Form) Get(name string) string {
	if v := f.Values(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

// Text returns all values of a field as lines of one text.
func (f *Form) Text(name string) string { return strings.Join(f.Values(name), "\n") }

// Values returns all values of a field.
func (f *Form) Values(name string) []string {
	if fd := f.Field(name); fd != nil {
		return fd.Values
	}
	return nil
}

// Bool returns the value of a field as true or false, and whether it has one of
// the two.
func (f *Form) Bool(name string) (value, ok bool) {
	switch f.Get(name) {
	case "1", "true":
		return true, true
	case "0", "false":
		return false, true
	}
	return false, false
}

// Set gives a field its values, and adds it if there is none. It returns f.
func (f *Form) Set(name string, values ...string) *Form {
	if fd := f.Field(name); fd != nil {
		fd.Values = slices.Clone(values)
		return f
	}
	f.Fields = append(f.Fields, Field{Var: name, Values: slices.Clone(values)})
	return f
}

// SetBool gives a field the value true or false. It returns f.
func (f *Form) SetBool(name string, value bool) *Form {
	if value {
		return f.Set(name, "1")
	}
	return f.Set(name, "0")
}

// A FieldError says which field of a form is wrong.
type FieldError struct {
	Var, Label string
	// Err is [ErrRequired] or says what is wrong with the value.
	Err error
}

// Error implements error.
func (e *FieldError) Error() string {
	name := e.Var
	if e.Label != "" {
		name = fmt.Sprintf("%s (%s)", e.Label, e.Var)
	}
	return fmt.Sprintf("form: field %s: %v", name, e.Err)
}

// Unwrap returns Err.
func (e *FieldError) Unwrap() error { return e.Err }

// ErrRequired says that a field that must have a value has none.
var ErrRequired = errors.New("a value is required")

// Check reports everything that is wrong with the values, field by field, as
// [FieldError]s joined with [errors.Join]: what is required and not there, a list's
// value that is not offered, an address that is none, more values than one.
func (f *Form) Check() error {
	var errs []error
	for i := range f.Fields {
		fd := &f.Fields[i]
		if err := fd.check(); err != nil {
			errs = append(errs, &FieldError{Var: fd.Var, Label: fd.Label, Err: err})
		}
	}
	return errors.Join(errs...)
}

func (fd *Field) check() error {
	if fd.Type == Fixed || fd.Type == Hidden && !fd.Required {
		return nil
	}
	if len(fd.Values) == 0 || len(fd.Values) == 1 && fd.Values[0] == "" && fd.Type != Boolean {
		if fd.Required {
			return ErrRequired
		}
		return nil
	}
	switch fd.Type {
	case ListMulti, JIDMulti, TextMulti:
	default:
		if len(fd.Values) > 1 {
			return errors.New("only one value is taken")
		}
	}
	open := fd.Validate != nil && (fd.Validate.Open || fd.Validate.Regex != "" || fd.Validate.Min != "" || fd.Validate.Max != "")
	for _, v := range fd.Values {
		switch fd.Type {
		case Boolean:
			if v != "0" && v != "1" && v != "true" && v != "false" {
				return fmt.Errorf("%q is neither true nor false", v)
			}
		case JIDSingle, JIDMulti:
			if _, err := jid.Parse(v); err != nil {
				return fmt.Errorf("%q is no address: %w", v, err)
			}
		case ListSingle, ListMulti:
			if !open && len(fd.Options) > 0 && !slices.ContainsFunc(fd.Options, func(o Option) bool { return o.Value == v }) {
				return fmt.Errorf("%q is not among the values offered", v)
			}
		}
		if fd.Validate != nil {
			if err := fd.Validate.check(v); err != nil {
				return err
			}
		}
	}
	if v := fd.Validate; v != nil && fd.Type == ListMulti && (v.AtLeast > len(fd.Values) || v.AtMost > 0 && v.AtMost < len(fd.Values)) {
		return fmt.Errorf("%d values are chosen, not %d to %d", len(fd.Values), v.AtLeast, v.AtMost)
	}
	return nil
}

// Submit checks the values and makes the answer to the form: its fields with their
// names and values, without fixed texts. Fields that are unknown to the program
// keep the values that the form had.
func (f *Form) Submit() (*Form, error) {
	if err := f.Check(); err != nil {
		return nil, err
	}
	a := &Form{Type: Answers}
	for _, fd := range f.Fields {
		if fd.Type == Fixed || fd.Var == "" {
			continue
		}
		a.Fields = append(a.Fields, Field{Var: fd.Var, Type: fd.Type, Values: slices.Clone(fd.Values)})
	}
	return a, nil
}
