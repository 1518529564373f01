package testbed

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// openProsody starts Prosody: the one that CONFAB_PROSODY names, or that which
// internal/ci/install.sh has unpacked, or the system's.
func openProsody() (*Server, error) {
	script, err := findProsody()
	if err != nil {
		return nil, fmt.Errorf("testbed: prosody: %w", err)
	}
	version, err := prosodyVersion(script)
	if err != nil {
		return nil, fmt.Errorf("testbed: prosody: %w", err)
	}
	const domain = "prosody.test"
	s := &Server{
		Name: Prosody, Version: version, Domain: domain,
		PlainDomain: "plain." + domain, AnonDomain: "anon." + domain,
		Rooms: "rooms." + domain, Upload: "share." + domain, Proxy: "proxy." + domain,
		PubSub: "pubsub." + domain, Search: "search." + domain,
	}
	p, err := newProcess(s, s.PlainDomain, s.Rooms, s.Upload, s.Proxy, s.PubSub, s.Search)
	if err != nil {
		return nil, err
	}
	s.WebSocketURL = "wss://localhost:" + p.ports.port(portHTTPS) + "/xmpp-websocket"
	s.BOSHURL = s.HTTPSBase + "/http-bind"

	config := filepath.Join(p.dir, "prosody.cfg.lua")
	gen := "0.12"
	if atLeast(version, "13") {
		gen = "13"
	}
	p.command = []string{script, "-F", "--config", config}
	p.env = []string{
		"XT_DIR=" + p.dir, "XT_DOMAIN=" + domain, "XT_GEN=" + gen, "XT_LOGLEVEL=" + logLevel(),
		"XT_C2S=" + p.ports.port(portC2S), "XT_DIRECT=" + p.ports.port(portDirect),
		"XT_HTTP=" + p.ports.port(portHTTP), "XT_HTTPS=" + p.ports.port(portHTTPS),
		"XT_COMPONENT=" + p.ports.port(portComponent), "XT_PROXY=" + p.ports.port(portProxy),
		"XT_STUN=" + p.ports.port(portSTUN),
	}
	p.ready = func() error { return p.streamReady(domain) }
	s.backend = &prosody{process: p}
	if err := copyFiles(p.dir, "prosody.cfg.lua", "mod_test_host_meta.lua"); err != nil {
		p.close()
		return nil, err
	}
	if err := p.start(); err != nil {
		p.close()
		return nil, err
	}
	return s, nil
}

func findProsody() (string, error) {
	if script := os.Getenv("CONFAB_PROSODY"); script != "" {
		return firstFile(script)
	}
	var unpacked string
	if cache, err := cacheDir(); err == nil {
		unpacked = filepath.Join(cache, "confab", "prosody13", "usr", "bin", "prosody")
	}
	system, _ := exec.LookPath("prosody")
	return firstFile(unpacked, system)
}

// cacheDir is where internal/ci/install.sh keeps things, on every system.
func cacheDir() (string, error) {
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".cache"), err
}

// prosodyVersion reads the file prosody.version, which lies with the source
// that the script names. (The script's option --version starts the server.)
func prosodyVersion(script string) (string, error) {
	text, err := os.ReadFile(script)
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte("CFG_SOURCEDIR=")); ok {
			dir := strings.Trim(string(value), "';\" \n")
			version, err := os.ReadFile(filepath.Join(dir, "prosody.version"))
			return strings.TrimSpace(string(version)), err
		}
	}
	return "", fmt.Errorf("%s names no CFG_SOURCEDIR", script)
}

type prosody struct{ *process }

// addAccount writes the file that Prosody keeps an account in, which it reads
// at each sign-in. It hashes the password itself where it keeps hashes.
func (p *prosody) addAccount(domain, user, password string) error {
	dir := filepath.Join(p.dir, "data", prosodyPath(domain), "accounts")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	name := filepath.Join(dir, prosodyPath(user)+".dat")
	text := "return {\n\t[\"password\"] = " + luaString(password) + ";\n};\n"
	if err := os.WriteFile(name+".new", []byte(text), 0o640); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// prosodyPath writes a name as Prosody's data store does.
func prosodyPath(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

func luaString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			fmt.Fprintf(&b, "\\%03d", c)
		} else {
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// copyFiles writes embedded files to dir.
func copyFiles(dir string, names ...string) error {
	for _, name := range names {
		data, err := files.ReadFile("files/" + name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// streamReady reports whether all ports take connections and a stream to domain
// is offered STARTTLS.
func (p *process) streamReady(domain string) error {
	if err := p.listening(); err != nil {
		return err
	}
	c, err := net.DialTimeout("tcp", p.ports.addr(portC2S), patience)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(c, streamHeader, domain); err != nil {
		return err
	}
	r := bufio.NewReader(c)
	for {
		tag, err := r.ReadString('>')
		if err != nil {
			return err
		}
		if strings.HasPrefix(tag, "<starttls") {
			return nil
		}
	}
}

const streamHeader = `<?xml version='1.0'?><stream:stream to='%s' version='1.0' ` +
	`xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>`
