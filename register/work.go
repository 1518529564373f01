package register

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"mellium.im/xmpp/jid"
)

// fieldWork is the field for work that a machine does, so that many accounts are dear
// (XEP-0158 §4.2).
const fieldWork = "SHA-256"

// maxBits bounds the work that is done for a server: some minutes for 28 bits.
const maxBits = 28

// Work answers the question whose answer takes the processor some seconds, if the form has
// it; it is no error if not. Where a form offers a choice of questions, it stands in for
// one that a person would have to answer.
func (f *Form) Work(ctx context.Context, server jid.JID) error {
	fd := f.Field(fieldWork)
	if fd == nil {
		return nil
	}
	want, err := strconv.ParseUint(strings.TrimSpace(fd.Label), 16, 64)
	if err != nil || want == 0 {
		return fmt.Errorf("register: the server asks for work that makes no sense: %.40q", fd.Label)
	}
	bits := 64 - leading(want)
	if bits > maxBits {
		return fmt.Errorf("register: the server asks for work of %d bits, more than %d: answer another question", bits, maxBits)
	}
	mask := uint64(1)<<bits - 1
	buf := []byte(server.String())
	n := len(buf)
	for i := uint64(0); ; i++ {
		if i%(1<<14) == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		buf = strconv.AppendUint(buf[:n], i, 16)
		sum := sha256.Sum256(buf)
		if binary.BigEndian.Uint64(sum[24:])&mask == want {
			f.Set(fieldWork, string(buf))
			return nil
		}
	}
}

func leading(x uint64) (n int) {
	for ; x&(1<<63) == 0; x <<= 1 {
		n++
	}
	return n
}

// enough reports whether as many questions are answered as the form asks for
// (XEP-0158 §3.3).
func (f *Form) enough() error {
	want, err := strconv.Atoi(f.Get("answers"))
	if err != nil {
		return nil
	}
	n := 0
	var open []string
	for _, fd := range f.Fields {
		switch {
		case fd.Type == "hidden" || fd.Type == "fixed" || fd.Var == "":
		case f.Get(fd.Var) != "":
			n++
		default:
			open = append(open, fd.Var)
		}
	}
	if n < want {
		return errors.New("register: the form asks for " + strconv.Itoa(want) + " answers and has " + strconv.Itoa(n) + ": answer one more of " + strings.Join(open, ", "))
	}
	return nil
}
