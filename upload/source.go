package upload

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// A Source is a file that is to be uploaded. [FromFile] and [FromBytes] make one.
type Source struct {
	// Name is its name without a folder, for the one who gets it.
	Name string
	// Type is the media type; if it is "", it is found out.
	Type string
	// Size is the number of bytes.
	Size int64
	// Date is when it was changed last; zero if that is not to be told.
	Date time.Time
	// Open gives the bytes. It is called again for each attempt. What it returns is
	// read for what is in it if it can seek.
	Open func() (io.ReadCloser, error)
}

// FromFile makes a source of a file on disk. It tells its name, not when it was changed.
func FromFile(path string) (Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Source{}, err
	}
	if !info.Mode().IsRegular() {
		return Source{}, fmt.Errorf("upload: %s is no regular file", path)
	}
	return Source{
		Name: filepath.Base(path), Size: info.Size(),
		Open: func() (io.ReadCloser, error) { return os.Open(path) },
	}, nil
}

// FromBytes makes a source of what is in memory.
func FromBytes(name string, data []byte) Source {
	return Source{Name: name, Size: int64(len(data)), Open: func() (io.ReadCloser, error) {
		return seekable{bytes.NewReader(data)}, nil
	}}
}

type seekable struct{ *bytes.Reader }

func (seekable) Close() error { return nil }

func (s Source) check() error {
	switch {
	case s.Open == nil:
		return errors.New("upload: Source.Open is missing")
	case s.Name == "":
		return errors.New("upload: Source.Name is missing")
	case s.Size <= 0:
		return errors.New("upload: only a file with at least one byte can be uploaded (XEP-0363)")
	}
	return nil
}
