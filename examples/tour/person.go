package main

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
)

// person is somebody with an account.
type person struct {
	name, address, password string
	store                   client.MemoryStore
	net                     network

	c     *client.Client
	stop  context.CancelFunc
	done  chan struct{}
	err   error // why Run ended; read it after done
	ready chan confab.Ready

	inbox chan *confab.Message
}

// signIn starts a client and waits until it is ready.
func (p *person) signIn(ctx context.Context, cfg client.Config) error {
	c, err := client.New(cfg)
	if err != nil {
		return err
	}
	p.c, p.ready, p.done = c, make(chan confab.Ready, 100), make(chan struct{})
	p.inbox = make(chan *confab.Message, 10_000)
	inbox, ready := p.inbox, p.ready
	confab.On(c, func(_ context.Context, e confab.Ready) { ready <- e })
	confab.On(c, func(ctx context.Context, m *confab.Message) {
		if m.Source != confab.Live && m.Source != confab.Offline {
			return
		}
		answerReceipt(ctx, c, m)
		inbox <- m
	})
	confab.On(c, func(_ context.Context, e confab.Suspended) { say("%s lost the link", p.name) })
	var runCtx context.Context
	runCtx, p.stop = context.WithCancel(context.Background())
	done := p.done
	go func() {
		p.err = c.Run(runCtx)
		close(done)
	}()
	_, err = p.wait(ctx)
	return err
}

// wait returns when the client is ready, or when it has given up.
func (p *person) wait(ctx context.Context) (confab.Ready, error) {
	select {
	case e := <-p.ready:
		return e, nil
	case <-p.done:
		return confab.Ready{}, fmt.Errorf("%s: %w", p.name, p.err)
	case <-ctx.Done():
		return confab.Ready{}, fmt.Errorf("%s was not ready in time: %w", p.name, ctx.Err())
	}
}

// next returns the next message with a body.
func (p *person) next(ctx context.Context) (*confab.Message, error) {
	for {
		select {
		case m := <-p.inbox:
			if m.HasBody {
				return m, nil
			}
		case <-p.done:
			return nil, fmt.Errorf("%s: %w", p.name, p.err)
		case <-ctx.Done():
			return nil, fmt.Errorf("%s waits for a message: %w", p.name, ctx.Err())
		}
	}
}

// network is a network that can fail: it remembers its connections.
type network struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (n *network) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err == nil {
		n.mu.Lock()
		n.conns = append(n.conns, c)
		n.mu.Unlock()
	}
	return c, err
}

// cut breaks every connection at once, without a word to the other end.
func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
		_ = c.Close()
	}
	n.conns = nil
}
