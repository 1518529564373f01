// Package vectors reads the examples of the XEPs for tests. They are not part of
// this repository: the folder is named by CONFAB_VECTORS, or is shared/vectors/xeps
// beside the checkout. Where it is absent the tests that need it are skipped.
package vectors

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/confab-im/confab"
)

// An Example is one of those that a XEP numbers.
type Example struct {
	Number  int    `json:"example"`
	Caption string `json:"caption"`
	XML     string `json:"xml"`
}

// Examples returns those of a XEP, named by four digits such as "0308". It skips
// the test if the folder is absent.
func Examples(tb testing.TB, xep string) []Example {
	tb.Helper()
	dir := folder()
	if dir == "" {
		tb.Skip("lacks: the XEPs' examples (name their folder in CONFAB_VECTORS)")
	}
	b, err := os.ReadFile(filepath.Join(dir, xep+".json"))
	if err != nil {
		tb.Fatal(err)
	}
	var doc struct{ Examples []Example }
	if err := json.Unmarshal(b, &doc); err != nil {
		tb.Fatal(err)
	}
	return doc.Examples
}

// Elements returns the elements of one example, stanzas in jabber:client.
func Elements(tb testing.TB, xep string, number int) []*confab.Element {
	tb.Helper()
	for _, e := range Examples(tb, xep) {
		if e.Number == number {
			els, err := e.Elements()
			if err != nil {
				tb.Fatalf("XEP-%s, example %d: %v", xep, number, err)
			}
			return els
		}
	}
	tb.Fatalf("XEP-%s has no example %d", xep, number)
	return nil
}

// Elements parses the example. Some in the XEPs leave things out ("...") and are
// not well-formed: those give an error.
func (e Example) Elements() ([]*confab.Element, error) {
	d := xml.NewDecoder(strings.NewReader("<stream xmlns='jabber:client'>" + e.XML + "</stream>"))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	root := confab.El("", "root")
	for {
		tok, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			el, err := confab.ReadElement(prefixed{tok, d, new(bool)})
			if err != nil {
				return nil, err
			}
			root.Add(el)
		case xml.EndElement:
			if _, err := d.Token(); !errors.Is(err, io.EOF) {
				return nil, errors.New("more than one document")
			}
			return root.Children, nil
		}
	}
}

// prefixed gives back a token that was read.
type prefixed struct {
	first xml.StartElement
	rest  xml.TokenReader
	given *bool
}

func (p prefixed) Token() (xml.Token, error) {
	if !*p.given {
		*p.given = true
		return p.first, nil
	}
	return p.rest.Token()
}

func folder() string {
	if dir := os.Getenv("CONFAB_VECTORS"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		try := filepath.Join(dir, "shared", "vectors", "xeps")
		if _, err := os.Stat(try); err == nil {
			return try
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}
