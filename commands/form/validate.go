package form

import (
	"fmt"
	"math/big"
	"regexp"
	"time"

	"github.com/confab-im/confab"
)

// Validation says which values a field takes (XEP-0122).
type Validation struct {
	// Datatype is the kind of the values, such as "xs:integer"; xs:string if empty.
	Datatype string
	// Open says that a list takes values beside those offered.
	Open bool
	// Min and Max bound the values; empty means no bound.
	Min, Max string
	// Regex is what a whole value has to match.
	Regex string
	// AtLeast and AtMost bound how many values of a list may be chosen; 0 for
	// AtMost means any number.
	AtLeast, AtMost int
}

func parseValidation(el *confab.Element) *Validation {
	v := &Validation{Datatype: el.Get("datatype")}
	for _, c := range el.Children {
		if c.Name.Space != nsValidate {
			continue
		}
		switch c.Name.Local {
		case "open":
			v.Open = true
		case "range":
			v.Min, v.Max = c.Get("min"), c.Get("max")
		case "regex":
			v.Regex = c.Text
		case "list-range":
			v.AtLeast, v.AtMost = count(c.Get("min")), count(c.Get("max"))
		}
	}
	return v
}

func (v *Validation) element() *confab.Element {
	el := confab.El(nsValidate, "validate").Set("datatype", v.Datatype)
	switch {
	case v.Regex != "":
		el.Add(confab.El(nsValidate, "regex").SetText(v.Regex))
	case v.Min != "" || v.Max != "":
		el.Add(confab.El(nsValidate, "range").Set("min", v.Min).Set("max", v.Max))
	case v.Open:
		el.Add(confab.El(nsValidate, "open"))
	}
	if v.AtLeast > 0 || v.AtMost > 0 {
		lr := confab.El(nsValidate, "list-range")
		if v.AtLeast > 0 {
			lr.Set("min", fmt.Sprint(v.AtLeast))
		}
		if v.AtMost > 0 {
			lr.Set("max", fmt.Sprint(v.AtMost))
		}
		el.Add(lr)
	}
	return el
}

// check looks at one value. What a program does not understand, such as a pattern
// that is none, is left to the other side, which checks anyhow.
func (v *Validation) check(s string) error {
	if v.Regex != "" && len(v.Regex) < 1024 {
		// Go's expressions take linear time, so a hostile one cannot stop us.
		if re, err := regexp.Compile("^(?:" + v.Regex + ")$"); err == nil && !re.MatchString(s) {
			return fmt.Errorf("%q does not match %s", s, v.Regex)
		}
	}
	cmp, known := order(v.Datatype)
	if !known {
		return nil
	}
	if _, err := cmp(s, s); err != nil {
		return fmt.Errorf("%q is no %s", s, v.Datatype)
	}
	if c, err := cmp(s, v.Min); v.Min != "" && err == nil && c < 0 {
		return fmt.Errorf("%q is less than %s", s, v.Min)
	}
	if c, err := cmp(s, v.Max); v.Max != "" && err == nil && c > 0 {
		return fmt.Errorf("%q is more than %s", s, v.Max)
	}
	return nil
}

// order returns how values of a datatype are compared.
func order(datatype string) (func(a, b string) (int, error), bool) {
	switch datatype {
	case "xs:byte", "xs:short", "xs:int", "xs:long", "xs:integer", "xs:nonNegativeInteger", "xs:positiveInteger",
		"xs:unsignedByte", "xs:unsignedShort", "xs:unsignedInt", "xs:unsignedLong":
		return func(a, b string) (int, error) { return compare(a, b, integer) }, true
	case "xs:decimal", "xs:double", "xs:float":
		return func(a, b string) (int, error) { return compare(a, b, number) }, true
	case "xs:dateTime":
		return func(a, b string) (int, error) { return compareTimes(a, b, dateTimes) }, true
	case "xs:date":
		return func(a, b string) (int, error) { return compareTimes(a, b, dates) }, true
	}
	return nil, false
}

var (
	integer = regexp.MustCompile(`^[+-]?[0-9]{1,64}$`)
	number  = regexp.MustCompile(`^[+-]?([0-9]{1,64}(\.[0-9]{0,64})?|\.[0-9]{1,64})([eE][+-]?[0-9]{1,3})?$`)
)

func compare(a, b string, syntax *regexp.Regexp) (int, error) {
	if !syntax.MatchString(a) || !syntax.MatchString(b) {
		return 0, fmt.Errorf("not a number")
	}
	x, ok := new(big.Rat).SetString(a)
	y, ok2 := new(big.Rat).SetString(b)
	if !ok || !ok2 {
		return 0, fmt.Errorf("not a number")
	}
	return x.Cmp(y), nil
}

// The ways to write times: XML Schema lets the zone out.
var (
	dateTimes = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"}
	dates     = []string{time.DateOnly, time.DateOnly + "Z07:00"}
)

func compareTimes(a, b string, layouts []string) (int, error) {
	x, err := parseTime(a, layouts)
	if err != nil {
		return 0, err
	}
	y, err := parseTime(b, layouts)
	if err != nil {
		return 0, err
	}
	return x.Compare(y), nil
}

func parseTime(s string, layouts []string) (t time.Time, err error) {
	for _, l := range layouts {
		if t, err = time.Parse(l, s); err == nil {
			break
		}
	}
	return t, err
}
