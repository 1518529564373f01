package testbed

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// What the ports of a server are for, counted from the first of its block.
const (
	portLock = iota // held by this process while the block is in use
	portC2S
	portDirect
	portHTTP
	portHTTPS
	portComponent
	portProxy
	portSTUN
	portBlock
)

// ports is a block of free ports. They lie below those that systems hand out
// for outgoing connections, so nothing takes one while a server restarts, and
// the listener on the first keeps other test binaries off the block.
type ports struct {
	base int
	lock net.Listener
}

func reservePorts() (*ports, error) {
	for range 200 {
		base := 10240 + rand.IntN(1250)*16
		lock, err := net.Listen("tcp", addr(base+portLock))
		if err != nil {
			continue
		}
		p := &ports{base: base, lock: lock}
		if p.free() {
			return p, nil
		}
		p.release()
	}
	return nil, errors.New("testbed: found no free block of ports")
}

func (p *ports) free() bool {
	for i := portLock + 1; i < portBlock; i++ {
		l, err := net.Listen("tcp", p.addr(i))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

func (p *ports) addr(i int) string { return addr(p.base + i) }

func (p *ports) port(i int) string { return fmt.Sprint(p.base + i) }

func (p *ports) release() { p.lock.Close() }

func addr(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
