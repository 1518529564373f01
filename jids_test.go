package confab

import (
	"strings"
	"testing"
)

// Resources are for their servers to judge; the rest of an address is not.
func TestYoungResources(t *testing.T) {
	var c jidCache
	for s, want := range map[string]string{
		"Room@x.test/\U0001FAE9": "room@x.test/\U0001FAE9", "room@x.test/a\u200db/c": "room@x.test/a\u200db/c",
		"room@x.test/a\nb": "", "room@x.test/\xff": "", "room@x.test/\u200d" + strings.Repeat("a", 1022): "",
		"ro om@x.test/\u200d": "", "\U0001FAE9@x.test/a": "", "room@x.test/": "", "/\u200d": "",
	} {
		j, err := c.parse(s)
		if (err == nil) != (want != "") || err == nil && j.String() != want {
			t.Errorf("%q: %q, %v", s, j, err)
		}
		if err != nil {
			continue
		}
		if k, err := c.parse(want); err != nil || !k.Equal(j) {
			t.Errorf("%q: %v is another address, %v", want, k, err)
		}
	}
}
