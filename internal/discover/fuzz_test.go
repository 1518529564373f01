package discover

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"testing"
)

// FuzzSRV cuts records out of raw bytes: whatever a name server says, the
// targets are few, ordered and clean.
func FuzzSRV(f *testing.F) {
	f.Add([]byte("\x00\x05\x00\x0a\x14\x66x.example.com.\n\x00\x01\x00\x00\x14\x67.\n"), []byte("\xff\xff\xff\xff\xff\xff.\n"), uint64(1))
	f.Add([]byte{}, []byte("\n\n\n"), uint64(2))
	f.Fuzz(func(t *testing.T, xmpps, xmpp []byte, seed uint64) {
		all := append(
			readSRV("xmpps-client", true, cutRecords(xmpps), nil).targets,
			readSRV("xmpp-client", false, cutRecords(xmpp), errServfail).targets...)
		known := map[Target]bool{}
		for _, target := range all {
			known[target] = true
		}
		got := order(all, rand.New(rand.NewPCG(seed, 0)).IntN)
		if len(got) != min(len(known), maxTargets) {
			t.Fatalf("%d targets became %d", len(known), len(got))
		}
		for i, target := range got {
			if !known[target] {
				t.Errorf("target %v out of nothing or twice", target)
			}
			delete(known, target)
			if i > 0 && target.Priority < got[i-1].Priority {
				t.Errorf("priority %d after %d", target.Priority, got[i-1].Priority)
			}
			if host, port, err := net.SplitHostPort(target.Addr()); err != nil || host != target.Host || port == "0" {
				t.Errorf("bad address %q", target.Addr())
			}
		}
	})
}

func cutRecords(data []byte) []*net.SRV {
	var records []*net.SRV
	for line := range strings.SplitSeq(string(data), "\n") {
		if len(line) < 6 {
			records = append(records, nil)
			continue
		}
		n := func(i int) uint16 { return uint16(line[i])<<8 | uint16(line[i+1]) }
		records = append(records, &net.SRV{Priority: n(0), Weight: n(2), Port: n(4), Target: line[6:]})
	}
	return records
}

func FuzzHostMeta(f *testing.F) {
	f.Add([]byte(jrd("wss://example.com/ws")))
	f.Add([]byte(xrd("wss://example.com/ws")))
	f.Add([]byte(`{"links":[{"rel":5},null,{"rel":"urn:xmpp:alt-connections:websocket","href":"ws://x"}]}`))
	f.Add([]byte(`<XRD><Link rel='urn:xmpp:alt-connections:websocket' href='wss://[::1%25x]:0'/></XRD>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, parse := range []func([]byte) ([]Target, error){parseJRD, parseXRD} {
			targets, err := parse(body)
			if err != nil && targets != nil || len(targets) > maxWebSockets {
				t.Errorf("%d targets, error %v", len(targets), err)
			}
			for _, target := range targets {
				checkWebSocket(t, target)
			}
		}
	})
}

func checkWebSocket(t *testing.T, target Target) {
	u, err := url.Parse(target.URL)
	if err != nil || u.Scheme != "wss" || u.User != nil || target.Port == 0 {
		t.Fatalf("bad target %+v: %v", target, err)
	}
	if host, err := ASCII(u.Hostname()); err != nil || host != target.Host {
		t.Fatalf("host %q of %q, want %q: %v", host, target.URL, target.Host, err)
	}
	again, err := webSocketTarget(target.URL, target.Source)
	again.Priority = target.Priority
	if err != nil || again != target {
		t.Fatalf("%+v became %+v, %v", target, again, err)
	}
}

func FuzzOverride(f *testing.F) {
	for _, s := range []string{"h.example", "h.example:443", "[::1]:1", "fe80::1%eth0", "xmpps://bücher.example", "wss://h.example/ws"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		targets, err := parseOverride(s)
		if (err == nil) != (len(targets) > 0) || err != nil && !errors.Is(err, ErrOverride) {
			t.Fatalf("%d targets, error %v", len(targets), err)
		}
		for _, target := range targets {
			if target.URL != "" {
				checkWebSocket(t, target)
			} else if host, err := ASCII(target.Host); err != nil || host != target.Host || target.Port == 0 {
				t.Fatalf("bad target %+v", target)
			}
		}
	})
}
