// Command tour shows what confab does, step by step: two accounts sign in, become
// contacts, talk, look at each other's profiles, send each other files, lose their network in the middle of
// a thousand messages and lose nothing.
//
//	go run ./examples/tour            on a server in this process
//	go run ./examples/tour -v         with all that goes over the wire
//	go run ./examples/tour -server host:port -user a@example.org -password … \
//	    -user2 b@example.org -password2 …          on a real server
//
// It ends with a summary, and with status 1 if a step failed.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/register"
)

func main() {
	var o options
	flag.StringVar(&o.server, "server", "", "host:port of a real server (default: a server in this process)")
	flag.StringVar(&o.user, "user", "", "address of the first account on it")
	flag.StringVar(&o.password, "password", "", "its password")
	flag.StringVar(&o.user2, "user2", "", "address of the second account")
	flag.StringVar(&o.password2, "password2", "", "its password")
	flag.StringVar(&o.ca, "ca", "", "file with the certificate of a private authority (PEM)")
	flag.IntVar(&o.messages, "messages", 1000, "how many messages to send while the network is cut")
	flag.DurationVar(&o.patience, "patience", 45*time.Second, "how long a step may take")
	flag.BoolVar(&o.verbose, "v", false, "show what goes over the wire")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "\ntour:", err)
		stop()
		os.Exit(1)
	}
}

type options struct {
	server, user, password, user2, password2, ca string
	messages                                     int
	patience                                     time.Duration
	verbose                                      bool
	before                                       func(*tour, string) // for tests
}

// tour is what the steps share.
type tour struct {
	options
	srv        *confabtest.Server // nil with a real server
	roots      *x509.CertPool
	alice, bob *person
	lines      []string // of the summary
}

// step is one chapter. It returns what it found, for the summary.
type step struct {
	name string
	run  func(context.Context) (string, error)
}

func run(ctx context.Context, o options) error {
	t := &tour{options: o, alice: &person{name: "Alice"}, bob: &person{name: "Bob"}}
	defer t.clear()
	steps := []step{
		{"server", t.where},
		{"registration", t.register},
		{"sign-in", t.signIn},
		{"contacts", t.contacts},
		{"messages", t.talk},
		{"profile", t.profiles},
		{"room", t.rooms},
		{"encryption", t.secrets},
		{"files", t.files},
		{"network cut", t.cut},
		{"history", t.history},
		{"restart", t.restart},
		{"sign-off", t.signOff},
	}
	for i, s := range steps {
		fmt.Printf("\n%d. %s\n", i+1, strings.ToUpper(s.name[:1])+s.name[1:])
		if o.before != nil {
			o.before(t, s.name)
		}
		sctx, cancel := context.WithTimeout(ctx, t.patience)
		found, err := s.run(sctx)
		cancel()
		if err != nil {
			t.lines = append(t.lines, fmt.Sprintf("  FAILED  %-13s %v", s.name, err))
			for _, s := range steps[i+1:] {
				t.lines = append(t.lines, fmt.Sprintf("  not run %-13s", s.name))
			}
			t.summary()
			return fmt.Errorf("step %d (%s) failed: %w", i+1, s.name, err)
		}
		t.lines = append(t.lines, fmt.Sprintf("  ok      %-13s %s", s.name, found))
	}
	t.summary()
	return nil
}

func (t *tour) summary() { fmt.Printf("\nSummary\n%s\n", strings.Join(t.lines, "\n")) }

// say prints one line of a step.
func say(format string, args ...any) { fmt.Printf("   "+format+"\n", args...) }

// where finds out where the tour goes.
func (t *tour) where(ctx context.Context) (string, error) {
	if t.server != "" {
		if t.user == "" || t.user2 == "" {
			return "", errors.New("a real server needs two accounts: -user, -password, -user2 and -password2")
		}
		if t.ca != "" {
			pem, err := os.ReadFile(t.ca)
			if err != nil {
				return "", err
			}
			if t.roots = x509.NewCertPool(); !t.roots.AppendCertsFromPEM(pem) {
				return "", fmt.Errorf("%s has no certificate", t.ca)
			}
		}
		say("using the server at %s", t.server)
		return t.server, nil
	}
	t.srv = confabtest.NewServer(confabtest.Config{Domain: "tour.test"})
	if err := t.srv.Start(); err != nil {
		return "", err
	}
	t.server, t.roots = t.srv.Addr(), t.srv.CA()
	say("a server for the domain tour.test is running in this process, at %s", t.server)
	return "in this process", ctx.Err()
}

// register makes two accounts.
func (t *tour) register(ctx context.Context) (string, error) {
	if t.srv == nil {
		t.alice.address, t.alice.password = t.user, t.password
		t.bob.address, t.bob.password = t.user2, t.password2
		say("%s and %s have their accounts already", t.user, t.user2)
		return "accounts were given", nil
	}
	for _, p := range []*person{t.alice, t.bob} {
		user := strings.ToLower(p.name)
		p.address, p.password = user+"@tour.test", "the password of "+user
		g, err := client.OpenGuest(ctx, t.config(p))
		if err != nil {
			return "", err
		}
		defer g.Close()
		f, err := register.Fetch(ctx, g)
		if err != nil {
			return "", err
		}
		f.Set("username", user).Set("password", p.password)
		if _, err := register.Submit(ctx, g, f); err != nil {
			return "", err
		}
		say("%s registered the account %s, on an encrypted stream", p.name, p.address)
	}
	return "two accounts", nil
}

// config is what a person needs to sign in: an address and a password. The rest
// is there because the server is on this machine, and for the show.
func (t *tour) config(p *person) client.Config {
	cfg := client.Config{
		Address:    p.address,
		Password:   p.password,
		Server:     t.server,
		TLS:        &tls.Config{RootCAs: t.roots},
		Store:      &p.store,
		Dial:       p.net.dial,
		BackoffMin: 50 * time.Millisecond,
	}
	if t.verbose {
		cfg.Wire = func(e client.WireEvent) {
			dir := "<-"
			if e.Out {
				dir = "->"
			}
			fmt.Printf("      %-5s %s %s\n", p.name, dir, e.XML)
		}
	}
	return cfg
}

// clear ends what is still running.
func (t *tour) clear() {
	for _, p := range []*person{t.alice, t.bob} {
		if p.stop != nil {
			p.stop()
			<-p.done
		}
	}
	if t.srv != nil {
		t.srv.Close()
	}
}
