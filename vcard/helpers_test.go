package vcard_test

import (
	"encoding/base64"
	"strings"
)

// base64Lines writes data as old clients do, with line feeds.
func base64Lines(data []byte) string {
	s := base64.StdEncoding.EncodeToString(data)
	var b strings.Builder
	for len(s) > 76 {
		b.WriteString(s[:76] + "\n")
		s = s[76:]
	}
	b.WriteString(s)
	return b.String()
}
