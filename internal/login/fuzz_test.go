package login

import (
	"strconv"
	"strings"
	"testing"
)

// FuzzSCRAM plays a server that does not know the password: whatever it says,
// it is not believed. NONCE stands for the client's nonce.
func FuzzSCRAM(f *testing.F) {
	const good = "r=NONCEserver,s=QSXCR+Q6sek8bf92,i=4096"
	for _, s := range [][2]string{
		{good, "v=rmF9pqV8S7suAoZWja4dJRkFsKQ="}, {good, good}, {good, "e=other-error"}, {good + ",h=x", ""}, {"", ""},
		{"r=NONCE,s=AAAA,i=4096", "v="}, {"m=1," + good, "v=AAAA"}, {good + ",x=y", "v=AAAA,x=y"}, {"r=NONCEx,s=,i=4096", "v=A"},
	} {
		f.Add(s[0], s[1], true)
		f.Add(s[0], s[1], false)
	}
	var keys Keys
	f.Fuzz(func(t *testing.T, first, last string, early bool) {
		if _, i, ok := strings.Cut(first, ",i="); ok {
			i, _, _ = strings.Cut(i, ",")
			if n, err := strconv.Atoi(i); err == nil && n > 5000 && n <= maxIterations {
				return // honest work, but much of it
			}
		}
		x, err := Choose(Offer{Mechanisms: []string{"SCRAM-SHA-1"}}, creds, nil, &keys)
		if err != nil {
			t.Fatal(err)
		}
		msg, err := x.Start()
		if err != nil {
			t.Fatal(err)
		}
		_, nonce, _ := strings.Cut(string(msg), ",r=")
		first = strings.ReplaceAll(first, "NONCE", nonce)
		if early {
			if x.Success([]byte(first)) == nil {
				t.Errorf("success with %q was believed", first)
			}
			return
		}
		resp, err := x.Next([]byte(first))
		if err == nil {
			if !strings.HasPrefix(string(resp), "c=biws,r="+nonce) || strings.Contains(string(resp), creds.Password) {
				t.Errorf("%q was answered with %q", first, resp)
			}
			if _, err := x.Next([]byte(last)); err == nil {
				t.Errorf("the proof %q was believed", last)
			}
		} else if resp != nil {
			t.Errorf("%q with the error %v", resp, err)
		}
		if x.Success([]byte(last)) == nil || x.Success(nil) == nil {
			t.Errorf("success with %q was believed", last)
		}
	})
}

// FuzzChallenge sends arbitrary challenges to every mechanism.
func FuzzChallenge(f *testing.F) {
	f.Add([]byte("a"), []byte("b"), byte(0))
	f.Add([]byte{}, []byte{}, byte(1))
	f.Add([]byte(`{"status":"401"}`), []byte("\x01"), byte(2))
	f.Fuzz(func(t *testing.T, a, b []byte, which byte) {
		names := []string{"PLAIN", "EXTERNAL", "OAUTHBEARER", "ANONYMOUS", "SCRAM-SHA-512", "HT-SHA-256-NONE"}
		name := names[int(which)%len(names)]
		c := Credentials{User: "u", Password: "pencil", OAuth: "t"}
		o := Offer{Mechanisms: []string{name}}
		switch name {
		case "EXTERNAL":
			c.External = true
		case "ANONYMOUS":
			c.Anonymous = true
		case "HT-SHA-256-NONE":
			c.Token, c.TokenMechanism = "t", name
			o.Fast = []string{name}
		}
		x, err := Choose(o, c, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.Start(); err != nil {
			t.Fatal(err)
		}
		_, errA := x.Next(a)
		_, errB := x.Next(b)
		err = x.Success(b)
		if x.mutual && (errA == nil || errB == nil || err == nil) && !x.more && x.proven {
			t.Errorf("%s: %q, %q were believed", name, a, b)
		}
	})
}
