//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package omemo

import "os"

func lock(*os.File) error { return nil }

// Folders cannot be flushed everywhere.
func syncDir(*os.File) error { return nil }
