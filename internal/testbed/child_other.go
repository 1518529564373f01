//go:build !unix

package testbed

import "errors"

type child struct {
	pid    int
	exited chan struct{}
	err    error
}

func startChild(dir, log string, env []string, command ...string) (*child, error) {
	return nil, errors.New("testbed: real servers run only on Unix")
}

func (c *child) stop(kill bool) {}
