package form

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"mellium.im/xmpp/jid"
)

// Marshal makes a form of questions from a struct, with the values that it holds, so
// that a form is declared once:
//
//	type Config struct {
//		_       struct{} `form:"urn:example:config" title:"Configure" instructions:"Please choose."`
//		Service string   `form:"service,required" label:"Service" options:"httpd=Web server,jabberd"`
//		Level   int      `form:"level" label:"Run level" min:"1" max:"5"`
//		Debug   bool     `form:"debug" label:"Log more"`
//		Admins  []jid.JID
//	}
//
// The tag form has the name of the field, and after it, separated by commas,
// "required" and a [FieldType] where the one that follows from the Go type does not
// fit; "-" leaves a field out. Without it the name is that of the Go field in lower
// case. Further tags are label, desc, options (value=label pairs; the label may be
// missing), and by XEP-0122 min, max, regex and open ("true": a list takes other
// values, too). On a field named _ the tag form is the form's FORM_TYPE, and title
// and instructions are those of the form.
//
// Fields may be string, bool, all sizes of int, uint and float, [jid.JID],
// [time.Time], anything with MarshalText and UnmarshalText, slices of these (which
// take several values), and pointers to them (nil is no value). A string that is
// text-multi holds lines. The value of a text-private field is not shown.
func Marshal(v any) (*Form, error) {
	rv := reflect.Indirect(reflect.ValueOf(v))
	if rv.Kind() != reflect.Struct {
		return nil, fmt.Errorf("form: Marshal takes a struct, not %T", v)
	}
	f := &Form{Type: Questions}
	for i := range rv.NumField() {
		sf := rv.Type().Field(i)
		if sf.Name == "_" {
			if about := sf.Tag.Get("form"); about != "" {
				f.Fields = append(f.Fields, Field{Var: FormType, Type: Hidden, Values: []string{about}})
			}
			f.Title = sf.Tag.Get("title")
			if s := sf.Tag.Get("instructions"); s != "" {
				f.Instructions = []string{s}
			}
			continue
		}
		fd, ok, err := declared(sf)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if fd.Type != TextPrivate {
			if fd.Values, err = values(rv.Field(i), fd.Type); err != nil {
				return nil, fmt.Errorf("form: field %s: %w", fd.Var, err)
			}
		}
		f.Fields = append(f.Fields, fd)
	}
	return f, nil
}

// Unmarshal reads a form that was filled in into the struct that v points to, which
// has the tags of [Marshal]. Fields that the form has not stay as they are. What is
// wrong is reported as with [Form.Check], by [FieldError]s joined with
// [errors.Join]; fields that are right are set nevertheless.
func Unmarshal(f *Form, v any) error {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Pointer || rv.IsNil() || rv.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("form: Unmarshal takes a pointer to a struct, not %T", v)
	}
	rv = rv.Elem()
	var errs []error
	for i := range rv.NumField() {
		fd, ok, err := declared(rv.Type().Field(i))
		if err != nil {
			return err
		}
		got := f.Field(fd.Var)
		if !ok || got == nil && !fd.Required {
			continue
		}
		if got != nil {
			fd.Values = got.Values
		}
		if err = fd.check(); err == nil {
			err = set(rv.Field(i), fd.Values, fd.Type)
		}
		if err != nil {
			errs = append(errs, &FieldError{Var: fd.Var, Label: fd.Label, Err: err})
		}
	}
	return errors.Join(errs...)
}

// declared makes the field that a struct's field declares. It is false for one that
// is none.
func declared(sf reflect.StructField) (fd Field, ok bool, err error) {
	tag := sf.Tag.Get("form")
	if sf.Name == "_" || !sf.IsExported() || tag == "-" {
		return fd, false, nil
	}
	parts := strings.Split(tag, ",")
	fd = Field{Var: parts[0], Label: sf.Tag.Get("label"), Desc: sf.Tag.Get("desc")}
	if fd.Var == "" {
		fd.Var = strings.ToLower(sf.Name)
	}
	for o := range strings.SplitSeq(sf.Tag.Get("options"), ",") {
		if value, label, _ := strings.Cut(o, "="); value != "" {
			fd.Options = append(fd.Options, Option{Label: label, Value: value})
		}
	}
	t, many := sf.Type, false
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Slice && !isText(t) {
		t, many = t.Elem(), true
	}
	datatype := ""
	if fd.Type, datatype, err = kind(t, many, len(fd.Options) > 0); err != nil {
		return fd, false, fmt.Errorf("form: %s: %w", sf.Name, err)
	}
	for _, p := range parts[1:] {
		switch FieldType(p) {
		case "required":
			fd.Required = true
		case Boolean, Fixed, Hidden, JIDMulti, JIDSingle, ListMulti, ListSingle, TextMulti, TextPrivate, TextSingle:
			fd.Type = FieldType(p)
		default:
			return fd, false, fmt.Errorf("form: %s: %q is no type of a field", sf.Name, p)
		}
	}
	val := Validation{Datatype: datatype, Min: sf.Tag.Get("min"), Max: sf.Tag.Get("max"), Regex: sf.Tag.Get("regex"), Open: sf.Tag.Get("open") == "true"}
	if val != (Validation{}) {
		fd.Validate = &val
	}
	return fd, true, nil
}

var (
	jidType  = reflect.TypeFor[jid.JID]()
	timeType = reflect.TypeFor[time.Time]()
)

func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// kind returns the type of field, and the datatype of its values, for a Go type.
func kind(t reflect.Type, many, list bool) (FieldType, string, error) {
	text := TextSingle
	switch {
	case list && many:
		text = ListMulti
	case list:
		text = ListSingle
	case many:
		text = TextMulti
	}
	switch {
	case t == jidType && list:
		return text, "", nil
	case t == jidType && many:
		return JIDMulti, "", nil
	case t == jidType:
		return JIDSingle, "", nil
	case t == timeType:
		return text, "xs:dateTime", nil
	case isText(t), t.Kind() == reflect.String:
		return text, "", nil
	}
	switch t.Kind() {
	case reflect.Bool:
		if !many {
			return Boolean, "", nil
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return text, "xs:integer", nil
	case reflect.Float32, reflect.Float64:
		return text, "xs:decimal", nil
	}
	return "", "", fmt.Errorf("a %s cannot be a field", t)
}

// values returns the values of a field as a form has them.
func values(v reflect.Value, t FieldType) ([]string, error) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil, nil
		}
		v = v.Elem()
	}
	if v.Kind() == reflect.Slice && !isText(v.Type()) {
		var all []string
		for i := range v.Len() {
			s, err := value(v.Index(i))
			if err != nil {
				return nil, err
			}
			all = append(all, s)
		}
		return all, nil
	}
	s, err := value(v)
	switch {
	case err != nil, s == "" && t != Fixed:
		return nil, err
	case t == TextMulti || t == Fixed:
		return strings.Split(s, "\n"), nil
	}
	return []string{s}, nil
}

func value(v reflect.Value) (string, error) {
	switch x := v.Interface().(type) {
	case jid.JID:
		return x.String(), nil
	case time.Time:
		if x.IsZero() {
			return "", nil
		}
		return x.UTC().Format(time.RFC3339Nano), nil
	case encoding.TextMarshaler:
		b, err := x.MarshalText()
		return string(b), err
	}
	switch {
	case v.Kind() == reflect.String:
		return v.String(), nil
	case v.Kind() == reflect.Bool:
		if v.Bool() {
			return "1", nil
		}
		return "0", nil
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10), nil
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10), nil
	case v.CanFloat():
		return strconv.FormatFloat(v.Float(), 'f', -1, v.Type().Bits()), nil
	}
	return "", fmt.Errorf("a %s cannot be a field", v.Type())
}

// set gives a field of a struct the values of a form.
func set(v reflect.Value, vals []string, t FieldType) error {
	if len(vals) == 1 && vals[0] == "" {
		vals = nil
	}
	if v.Kind() == reflect.Pointer {
		if len(vals) == 0 {
			v.SetZero()
			return nil
		}
		p := reflect.New(v.Type().Elem())
		if err := set(p.Elem(), vals, t); err != nil {
			return err
		}
		v.Set(p)
		return nil
	}
	if v.Kind() == reflect.Slice && !isText(v.Type()) {
		list := reflect.MakeSlice(v.Type(), len(vals), len(vals))
		for i, s := range vals {
			if err := setOne(list.Index(i), s); err != nil {
				return err
			}
		}
		v.Set(list)
		return nil
	}
	if len(vals) == 0 {
		v.SetZero()
		return nil
	}
	return setOne(v, strings.Join(vals, "\n"))
}

func setOne(v reflect.Value, s string) error {
	switch p := v.Addr().Interface().(type) {
	case *jid.JID:
		j, err := jid.Parse(s)
		if err == nil {
			*p = j
		}
		return err
	case *time.Time:
		x, err := parseTime(s, dateTimes)
		if err == nil {
			*p = x
		}
		return err
	case encoding.TextUnmarshaler:
		return p.UnmarshalText([]byte(s))
	}
	var err error
	switch {
	case v.Kind() == reflect.String:
		v.SetString(s)
	case v.Kind() == reflect.Bool:
		v.SetBool(s == "1" || s == "true")
	case v.CanInt():
		var n int64
		if n, err = strconv.ParseInt(strings.TrimPrefix(s, "+"), 10, v.Type().Bits()); err == nil {
			v.SetInt(n)
		}
	case v.CanUint():
		var n uint64
		if n, err = strconv.ParseUint(strings.TrimPrefix(s, "+"), 10, v.Type().Bits()); err == nil {
			v.SetUint(n)
		}
	case v.CanFloat():
		var n float64
		if n, err = strconv.ParseFloat(s, v.Type().Bits()); err == nil {
			v.SetFloat(n)
		}
	default:
		err = fmt.Errorf("a %s cannot be a field", v.Type())
	}
	return err
}
