package confab_test

import (
	"context"
	"encoding/xml"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/stanza"
)

func TestHandleNode(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		f := func(context.Context, *confab.IQ) (any, error) { return nil, nil }
		if err := s.HandleNode("", f); err == nil {
			t.Error("a node without a name was taken")
		}
		if s.drv.Node("n") != nil {
			t.Error("there is a node already")
		}
		if err := s.HandleNode("n", f); err != nil {
			t.Error(err)
		}
		if s.drv.Node("n") == nil || s.drv.Node("m") != nil {
			t.Error("the nodes are wrong")
		}
		if err := s.HandleNode("n", f); !errors.Is(err, confab.ErrTaken) {
			t.Errorf("got %v", err)
		}
	})
}

// Who returns ErrAnswered answers when it likes.
func TestErrAnswered(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		err := s.HandleIQ(stanza.SetIQ, xml.Name{Space: "urn:x", Local: "slow"}, func(context.Context, *confab.IQ) (any, error) {
			return nil, confab.ErrAnswered
		})
		if err != nil {
			t.Fatal(err)
		}
		s.deliver(request("set", "1", confab.El("urn:x", "slow")))
		synctest.Wait()
		if out := s.link.sent(); len(out) != 0 {
			t.Errorf("sent %v", out)
		}
	})
}
