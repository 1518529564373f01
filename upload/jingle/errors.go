package jingle

import (
	"errors"
	"strings"
)

// What can go wrong, beside the errors of package upload ([upload.ErrCorrupt],
// [upload.ErrLimit], [upload.ErrChanged], [upload.ErrClear]), of the network and of ctx.
var (
	// ErrUnsupported says that the other client knows no file transfer.
	ErrUnsupported = errors.New("jingle: the other client takes no files this way")
	// ErrDeclined says that the other side does not want the file, or does not give it.
	ErrDeclined = errors.New("jingle: the other side has declined")
	// ErrCanceled says that the other side has given up, or has taken its offer back.
	ErrCanceled = errors.New("jingle: the other side has given up")
	// ErrGone says that the other client has signed off.
	ErrGone = errors.New("jingle: the other client is gone")
	// ErrConnect says that there is no way for the bytes, or that it has broken.
	ErrConnect = errors.New("jingle: no connection came about, or it has broken")
	// ErrStalled says that nothing moved for too long.
	ErrStalled = errors.New("jingle: nothing moved for too long")
	// ErrBusy says that too many transfers are under way.
	ErrBusy = errors.New("jingle: too many transfers at once")
	// ErrUsed says that an offer was accepted or declined before, or is no more.
	ErrUsed = errors.New("jingle: the offer was answered already")
)

// An EndError is why the other side has ended a transfer (XEP-0166 §7.4). It wraps
// [ErrDeclined], [ErrCanceled] or [ErrConnect] where that is what it means.
type EndError struct {
	// Reason is its condition, such as "decline", and Detail a more specific one, such as
	// "file-too-large" (XEP-0234 §11).
	Reason, Detail string
	// Text is what the other side says of it, for people.
	Text string
}

// Error implements error.
func (e *EndError) Error() string {
	var b strings.Builder
	b.WriteString("jingle: the other side has ended it: " + e.Reason)
	if e.Detail != "" {
		b.WriteString(", " + e.Detail)
	}
	if e.Text != "" {
		b.WriteString(" (" + e.Text + ")")
	}
	return b.String()
}

// Unwrap returns what it comes to.
func (e *EndError) Unwrap() error {
	switch e.Reason {
	case "decline", "busy":
		return ErrDeclined
	case "cancel", "expired", "gone", "timeout":
		return ErrCanceled
	case "connectivity-error", "failed-transport":
		return ErrConnect
	case "unsupported-applications", "unsupported-transports":
		return ErrUnsupported
	}
	return nil
}
