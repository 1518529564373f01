package client

import (
	"io"
	"sync"
)

// streamWriter writes to a connection that carries one stream of bytes.
type streamWriter struct{ io.Writer }

// scratch has buffers to put together what is then copied or written.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

func keepScratch(b *[]byte) {
	if cap(*b) <= 2*chunkSize {
		scratch.Put(b)
	}
}

func (w streamWriter) writeStanzas(control, buf []byte, _ int32, _ []entry, tail []byte) error {
	if len(control) > 0 || len(tail) > 0 {
		all := scratch.Get().(*[]byte)
		defer keepScratch(all)
		*all = append(append(append((*all)[:0], control...), buf...), tail...)
		buf = *all
	}
	if len(buf) == 0 {
		return nil
	}
	_, err := w.Write(buf)
	return err
}
