package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/bookmarks"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/muc"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/roster"
	"github.com/confab-im/confab/upload"
	"github.com/confab-im/confab/vcard"
	"mellium.im/xmpp/jid"
)

// person is somebody with an account.
type person struct {
	name, address, password string
	store                   client.MemoryStore
	secrets                 omemo.MemoryStore // a real program keeps its keys in a file
	net                     network

	c     *client.Client
	stop  context.CancelFunc
	done  chan struct{}
	err   error // why Run ended; read it after done
	ready chan confab.Ready

	roster *roster.Roster
	chats  *chat.Client
	cards  *vcard.Profiles
	muc    *muc.Client
	marks  *bookmarks.Bookmarks
	keys   *omemo.Manager
	files  *upload.Client

	archives *mam.Archives
	view     *chat.Timeline // of the conversation with the other one

	requests chan roster.Request
	inbox    chan *chat.Message
}

// signIn starts a client and waits until it is ready. Peer is the other one.
func (p *person) signIn(ctx context.Context, cfg client.Config, peer jid.JID) error {
	c, err := client.New(cfg)
	if err != nil {
		return err
	}
	p.c, p.ready, p.done = c, make(chan confab.Ready, 100), make(chan struct{})
	p.inbox, p.requests = make(chan *chat.Message, 10_000), make(chan roster.Request, 100)
	inbox, ready, requests := p.inbox, p.ready, p.requests

	if p.roster, err = roster.New(c, roster.Config{}); err != nil {
		return err
	}
	// Contacts may know that a message was received and read.
	p.chats = chat.New(c, chat.Config{Reveal: p.roster.Sees})
	p.cards = vcard.New(c, vcard.Config{})
	p.archives = mam.New(c, mam.Config{NoFollow: true})
	p.muc = muc.New(c, muc.Config{Archives: p.archives}) // what is missed comes out of the room's
	if p.marks, err = bookmarks.New(c, bookmarks.Config{}); err != nil {
		return err
	}
	if p.keys, err = omemo.New(c, omemo.Config{Store: &p.secrets, Rooms: p.muc, Reveal: p.roster.Sees}); err != nil {
		return err
	}
	p.files = upload.New(c, upload.Config{
		Transport:     c.HTTPTransport(),
		AllowLoopback: true, // the server is on this machine
		Sealed:        func(j jid.JID) bool { return p.keys.Mode(j) != omemo.Off },
	})
	p.view = chat.NewTimeline(peer, 0)
	p.view.Follow(c, nil)
	confab.On(c, func(_ context.Context, e confab.Ready) { ready <- e })
	confab.On(c, func(_ context.Context, e roster.Request) { requests <- e })
	confab.On(c, func(_ context.Context, m *chat.Message) { inbox <- m })
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

// next returns the next message of the other one.
func (p *person) next(ctx context.Context) (*chat.Message, error) {
	select {
	case m := <-p.inbox:
		return m, nil
	case <-p.done:
		return nil, fmt.Errorf("%s: %w", p.name, p.err)
	case <-ctx.Done():
		return nil, fmt.Errorf("%s waits for a message: %w", p.name, ctx.Err())
	}
}

// await waits for something to become true.
func await(ctx context.Context, what string, ok func() bool) error {
	for !ok() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
	}
	return nil
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
