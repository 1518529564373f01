package stream

import (
	"errors"
	"fmt"

	"github.com/confab-im/confab"
)

// ErrEnd is returned by [Reader.Next] when the peer has closed the stream with
// its end tag.
var ErrEnd = errors.New("stream: closed by the peer")

var (
	errNotOpen = errors.New("stream: Next before Open")
	errOpen    = errors.New("stream: Open twice without Restart")
	errCount   = errors.New("stream: the connection returned an impossible count from Read")
)

// A Kind tells apart the reasons for a [SyntaxError].
type Kind uint8

// The kinds of syntax errors.
const (
	// Malformed is markup that is not well formed, such as an end tag that does
	// not match, or text where none may be.
	Malformed Kind = iota
	// BadName is something that is not a name.
	BadName
	// BadChar is a character that XML does not allow, be it literal or by
	// reference.
	BadChar
	// BadReference is a '&' that does not begin a reference.
	BadReference
	// BadNamespace is a prefix that was not declared, or a declaration that is
	// not allowed.
	BadNamespace
	// Duplicate is a second attribute of the same name.
	Duplicate
	// Restricted is legal XML that XMPP forbids: a comment, a processing
	// instruction, a document type, or a reference to an entity.
	Restricted
	// BadEncoding is what is not UTF-8, or declares not to be.
	BadEncoding
)

// A SyntaxError says what is not well formed in a stream, or is forbidden there.
type SyntaxError struct {
	// Offset is where in the stream, in bytes from the first one that the Reader
	// read. Inside values it is the beginning of the value.
	Offset int64
	// Kind is the kind of error.
	Kind Kind
	// Msg is the error in words.
	Msg string
}

// Error implements error.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("stream: %s at byte %d", e.Msg, e.Offset)
}

// Condition returns the stream error that RFC 6120 §4.9.3 has for this.
func (e *SyntaxError) Condition() string {
	switch e.Kind {
	case Restricted:
		return "restricted-xml"
	case BadEncoding:
		return "unsupported-encoding"
	}
	return "not-well-formed"
}

// A LimitError is returned for what is over one of the [Limits].
type LimitError struct {
	// Offset is where in the stream the stanza begins.
	Offset int64
	// What is the name of the field of Limits.
	What string
	// Limit is its value.
	Limit int
	// Stanza is the stanza's start tag, as an element without children. It is nil
	// if even that is over a limit.
	Stanza *confab.Element
}

// Error implements error.
func (e *LimitError) Error() string {
	return fmt.Sprintf("stream: stanza at byte %d is over %s, %d", e.Offset, e.What, e.Limit)
}

// Condition returns the stream error that RFC 6120 §4.9.3 has for this.
func (e *LimitError) Condition() string { return "policy-violation" }
