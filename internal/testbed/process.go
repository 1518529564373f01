package testbed

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed files
var files embed.FS

// patience is how long a server may take to start: far longer than it does, for
// machines that are busy.
const patience = 60 * time.Second

// process is a backend that runs a child process in a folder of its own.
type process struct {
	name    string
	dir     string
	ports   *ports
	env     []string
	command []string
	ready   func() error // nil when the server is up
	logFile string       // the server's log
	console string       // what it and its guard print

	mu     sync.Mutex
	child  *child
	closed bool
}

// newProcess makes the folder, the certificates and the block of ports that s
// lives on, and fills in what both servers have alike.
func newProcess(s *Server, components ...string) (*process, error) {
	dir, err := os.MkdirTemp("", "confab-"+s.Name+"-")
	if err != nil {
		return nil, err
	}
	p := &process{
		name: s.Name, dir: dir,
		logFile: filepath.Join(dir, "server.log"), console: filepath.Join(dir, "console.log"),
	}
	if p.ports, err = reservePorts(); err != nil {
		p.close()
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(dir, "tls"), 0o700); err != nil {
		p.close()
		return nil, err
	}
	names := append([]string{s.Domain, s.AnonDomain}, components...)
	if s.CA, s.CAPEM, err = writeCerts(filepath.Join(dir, "tls"), names); err != nil {
		p.close()
		return nil, err
	}
	s.Addr = p.ports.addr(portC2S)
	s.DirectAddr = p.ports.addr(portDirect)
	s.HTTPSBase = "https://localhost:" + p.ports.port(portHTTPS)
	s.Absent = "bot." + s.Domain
	return p, nil
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.child != nil {
		return fmt.Errorf("testbed: %s is closed or running already", p.name)
	}
	c, err := startChild(p.dir, p.console, p.env, p.command...)
	if err != nil {
		return fmt.Errorf("testbed: %s: %w", p.name, err)
	}
	if err := p.await(c); err != nil {
		c.stop(true)
		return fmt.Errorf("testbed: %s did not start: %w\n%s", p.name, err, p.logs())
	}
	p.child = c
	return nil
}

func (p *process) await(c *child) error {
	deadline := time.Now().Add(patience)
	for {
		err := p.ready()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready after %v: %w", patience, err)
		}
		select {
		case <-c.exited:
			return fmt.Errorf("it ended: %v", c.err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (p *process) stop(kill bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.child == nil {
		return fmt.Errorf("testbed: %s is not running", p.name)
	}
	p.child.stop(kill)
	p.child = nil
	return nil
}

func (p *process) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	if p.child != nil {
		p.child.stop(true)
		p.child = nil
	}
	if p.ports != nil {
		p.ports.release()
	}
	if os.Getenv("CONFAB_KEEP") == "" {
		os.RemoveAll(p.dir)
	}
}

func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.child == nil {
		return 0
	}
	return p.child.pid
}

func (p *process) logs() string { return tail(p.logFile, 60) + tail(p.console, 20) }

// tail returns the last lines of a file that may not be there.
func tail(path string, most int) string {
	data, _ := os.ReadFile(path)
	lines := slices.Collect(bytes.Lines(data))
	return string(bytes.Join(lines[max(0, len(lines)-most):], nil))
}

// listening reports whether all client ports take connections.
func (p *process) listening() error {
	for _, i := range []int{portC2S, portDirect, portHTTPS} {
		c, err := net.Dial("tcp", p.ports.addr(i))
		if err != nil {
			return err
		}
		c.Close()
	}
	return nil
}

// logLevel is the level that the servers log at.
func logLevel() string {
	if level := os.Getenv("CONFAB_SERVER_LOG"); level != "" {
		return level
	}
	return "info"
}

// atLeast compares dotted version numbers: "13.0.1" is at least "13". What
// follows a number, as in "23.01-1", does not count.
func atLeast(version, least string) bool {
	for want := range strings.SplitSeq(least, ".") {
		var have string
		have, version, _ = strings.Cut(version, ".")
		if i := strings.IndexFunc(have, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
			have, version = have[:i], ""
		}
		h, _ := strconv.Atoi(have)
		w, _ := strconv.Atoi(want)
		if h != w {
			return h > w
		}
	}
	return true
}

// firstFile returns the first of the paths that there is.
func firstFile(paths ...string) (string, error) {
	for _, path := range paths {
		if info, err := os.Stat(path); path != "" && err == nil && !info.IsDir() {
			return path, nil
		}
	}
	return "", errors.New("found none of " + strings.Join(paths, ", "))
}
