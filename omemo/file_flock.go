//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package omemo

import (
	"os"
	"syscall"
)

// lock makes sure that no other program has the file.
func lock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

func syncDir(d *os.File) error { return d.Sync() }
