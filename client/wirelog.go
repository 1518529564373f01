package client

import (
	"strings"
	"time"

	"github.com/confab-im/confab"
)

// A WireEvent is one element as it went over the wire. Passwords, proofs and
// tokens are replaced by "…".
type WireEvent struct {
	Time time.Time
	// Out is true for what was sent.
	Out bool
	// XML is the element.
	XML string
}

// wireLog calls Config.Wire. A nil one does nothing.
type wireLog struct{ f func(WireEvent) }

func newWireLog(f func(WireEvent)) *wireLog {
	if f == nil {
		return nil
	}
	return &wireLog{f}
}

func (w *wireLog) text(out bool, xml string) {
	if w != nil && xml != "" {
		w.f(WireEvent{time.Now(), out, xml})
	}
}

func (w *wireLog) element(out bool, el *confab.Element) {
	if w != nil {
		w.text(out, redact(el).String())
	}
}

// redact returns el without what must not be in a log.
func redact(el *confab.Element) *confab.Element {
	if !hasSecret(el) {
		return el
	}
	el = el.Clone()
	cut(el)
	return el
}

// secretNames are the elements whose text is secret, by namespace; an empty
// local name stands for all in it.
var secretNames = map[string][]string{
	nsSASL:                   {""},
	nsSASL2:                  {"initial-response", "response", "challenge", "additional-data", "data"},
	"jabber:iq:register":     {"password"},
	"jabber:iq:auth":         {"password", "digest"},
	"urn:xmpp:http:upload:0": {"header"},
}

// secretAttrs are attributes that are secret.
var secretAttrs = map[string]string{nsFast: "token", "urn:xmpp:pars:0": "token"}

func isSecret(el *confab.Element) bool {
	for _, n := range secretNames[el.Name.Space] {
		if (n == "" || n == el.Name.Local) && strings.TrimSpace(el.Text) != "" {
			return el.Name.Local != "mechanism"
		}
	}
	a := secretAttrs[el.Name.Space]
	return a != "" && el.Get(a) != ""
}

func hasSecret(el *confab.Element) bool {
	if isSecret(el) {
		return true
	}
	for _, c := range el.Children {
		if hasSecret(c) {
			return true
		}
	}
	return false
}

func cut(el *confab.Element) {
	if isSecret(el) {
		if a := secretAttrs[el.Name.Space]; a != "" && el.Get(a) != "" {
			el.Set(a, "…")
		} else {
			el.Text = "…"
		}
	}
	for _, c := range el.Children {
		cut(c)
	}
}
