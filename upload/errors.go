package upload

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"mellium.im/xmpp/jid"
)

// What can go wrong, beside errors of the network.
var (
	// ErrNoService says that the own server has no upload service, or one that does
	// not take this kind of file.
	ErrNoService = errors.New("upload: the server has no upload service")
	// ErrSlot says that the service has answered with a slot that cannot be used
	// safely; the error tells why.
	ErrSlot = errors.New("upload: the service has given a slot that cannot be used")
	// ErrURL refuses an address that files are not fetched from.
	ErrURL = errors.New("upload: no file is fetched from this address")
	// ErrCorrupt says that what came is not the file that was shared: its hash, its tag
	// or its size is another. Nothing of it was kept.
	ErrCorrupt = errors.New("upload: this is not the file that was shared")
	// ErrLimit says that a file is larger than the caller takes.
	ErrLimit = errors.New("upload: the file is larger than is wanted")
	// ErrType says that a file is of a kind that the caller does not take.
	ErrType = errors.New("upload: the file is of a type that is not wanted")
	// ErrClear stops a message that has the key of a file and would go out in clear.
	ErrClear = errors.New("upload: the key of an encrypted file must not be sent in clear: turn encryption on for this conversation")
	// ErrChanged says that a file has changed while it was read.
	ErrChanged = errors.New("upload: the file has changed while it was uploaded")
)

// A TooLargeError says that a file is larger than the service takes.
type TooLargeError struct {
	// Size is that of the file, Max the most that is taken; 0 if the service does not
	// tell.
	Size, Max int64
	Service   jid.JID
}

// Error implements error.
func (e *TooLargeError) Error() string {
	if e.Max == 0 {
		return fmt.Sprintf("upload: %s takes no file of %d bytes", e.Service, e.Size)
	}
	return fmt.Sprintf("upload: %s takes files of up to %d bytes; this one has %d", e.Service, e.Max, e.Size)
}

// A WaitError says that the service takes no file now, because of a quota.
type WaitError struct {
	// Until is when to try again.
	Until time.Time
	Err   error
}

// Error implements error.
func (e *WaitError) Error() string {
	return fmt.Sprintf("upload: not before %s: %v", e.Until.UTC().Format(time.RFC3339), e.Err)
}

// Unwrap returns Err.
func (e *WaitError) Unwrap() error { return e.Err }

// A StatusError is an answer of a web server other than that all is well.
type StatusError struct {
	// Method is PUT or GET, Host who has answered, Code the status.
	Method, Host string
	Code         int
}

// Error implements error.
func (e *StatusError) Error() string {
	return fmt.Sprintf("upload: %s answered the %s with status %d", e.Host, e.Method, e.Code)
}

// failure is what is left of an error of the network when all addresses are taken out of
// its text: they are secrets of those who share the file, and may have a key.
type failure struct {
	what string
	err  error // to compare with; its text is not used
}

func (f *failure) Error() string   { return f.what }
func (f *failure) Unwrap() []error { return unlinked(f.err) }

// unlinked returns what can be compared with, without those whose text has an address.
func unlinked(err error) []error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	if err == nil || errors.As(err, &ue) {
		return nil
	}
	return []error{err}
}

// clean makes an error of an HTTP request one that has no address.
func clean(doing, host string, err error) error {
	if err == nil {
		return nil
	}
	inner := err
	var ue *url.Error
	for errors.As(inner, &ue) && ue.Err != nil {
		inner = ue.Err
	}
	text := inner.Error()
	if strings.Contains(text, "://") || strings.Contains(text, "#") {
		text = "it failed"
	}
	return &failure{what: fmt.Sprintf("upload: %s %s: %s", doing, host, text), err: inner}
}
