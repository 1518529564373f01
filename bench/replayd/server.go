package main

// server.go: the server end of a scripted c2s stream. It knows just enough XMPP
// to bring any client library to a bound session, and then runs the workload.

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

type event struct {
	kind string // go, done, join, bound, eof
	text string
	at   time.Time
	c    *client
}

type server struct {
	ln      net.Listener
	w       *workload
	mechs   []string
	delay   time.Duration // answer every stanza this much later (W7d: counts round trips)
	sasl2   bool
	sm      bool // offers stream management, and acknowledges every ackEvery stanzas
	tls     *tls.Config
	events  chan event
	mu      sync.Mutex
	nextRes int
	conns   []net.Conn
}

type out struct {
	due time.Time
	b   []byte
}

type client struct {
	s        *server
	c        net.Conn
	accepted time.Time
	authed   bool
	scram    [2]string // client-first-bare, server-first
	mech     string
	jid      string
	turns    int
	wrote    bool // something was written since the last read
	wmu      sync.Mutex
	q        chan out
	counting bool // W5: only count messages
	count    int
	tail     []byte
	sm       bool   // stream management is on
	h        uint32 // stanzas since
	acked    uint32 // of them, as told last
}

func (s *server) serve() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns = append(s.conns, c)
		s.mu.Unlock()
		cl := &client{s: s, c: c, accepted: time.Now()}
		if s.delay > 0 {
			cl.q = make(chan out, 1024)
			go cl.delayed()
		}
		go cl.loop()
	}
}

func (s *server) close() {
	s.ln.Close()
	s.mu.Lock()
	for _, c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
}

func (cl *client) delayed() {
	for o := range cl.q {
		time.Sleep(time.Until(o.due))
		cl.wmu.Lock()
		cl.wrote = true
		cl.c.Write(o.b)
		cl.wmu.Unlock()
	}
}

func (cl *client) send(b []byte) {
	if cl.q != nil {
		cl.q <- out{time.Now().Add(cl.s.delay), b}
		return
	}
	cl.wmu.Lock()
	cl.wrote = true
	cl.c.Write(b)
	cl.wmu.Unlock()
}
func (cl *client) sendf(f string, a ...any) { cl.send([]byte(fmt.Sprintf(f, a...))) }

func (cl *client) emit(kind, text string) {
	cl.s.events <- event{kind, text, time.Now(), cl}
}

// loop reads, cuts the input into stream tags and whole stanzas, and answers.
func (cl *client) loop() {
	defer cl.emit("eof", "")
	buf := make([]byte, 0, 1<<18)
	start, pos, depth := 0, 0, 0
	for {
		if start > 0 {
			buf = append(buf[:0], buf[start:]...)
			pos -= start
			start = 0
		}
		if cap(buf)-len(buf) < 1<<16 {
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
		n, err := cl.c.Read(buf[len(buf):cap(buf)])
		if n <= 0 || err != nil {
			return
		}
		cl.wmu.Lock()
		if cl.wrote {
			cl.turns++
			cl.wrote = false
		}
		cl.wmu.Unlock()
		if cl.counting {
			cl.countMessages(buf[len(buf) : len(buf)+n])
			continue
		}
		buf = buf[:len(buf)+n]
		for {
			i := bytes.IndexByte(buf[pos:], '<')
			if i < 0 {
				if depth == 0 {
					start, pos = len(buf), len(buf)
				}
				break
			}
			tag := pos + i
			e := tagEnd(buf, tag)
			if e < 0 {
				pos = tag
				break
			}
			pos = e
			t := buf[tag:e]
			switch {
			case t[1] == '?':
			case bytes.HasPrefix(t, []byte("<stream:stream")):
				start = pos
				cl.header()
				continue
			case bytes.HasPrefix(t, []byte("</stream:stream")):
				cl.send([]byte("</stream:stream>"))
				time.Sleep(cl.s.delay + cl.s.delay/4)
				cl.c.Close()
				return
			case t[1] == '/':
				depth--
			case t[len(t)-2] == '/':
			default:
				depth++
			}
			if depth == 0 && t[1] != '?' {
				from := start
				if j := bytes.IndexByte(buf[start:], '<'); j > 0 {
					from += j
				}
				st := buf[from:pos]
				start = pos
				cl.stanza(st)
				if cl.counting {
					rest := buf[pos:]
					start, pos = len(buf), len(buf)
					cl.countMessages(rest)
					break
				}
			}
		}
	}
}

func tagEnd(b []byte, i int) int {
	q := byte(0)
	for ; i < len(b); i++ {
		switch c := b[i]; {
		case q != 0:
			if c == q {
				q = 0
			}
		case c == '"' || c == '\'':
			q = c
		case c == '>':
			return i + 1
		}
	}
	return -1
}

var (
	endMsg  = []byte("</message>")
	request = []byte("<r xmlns=") // no message of W5 has it
)

// ackEvery is how many stanzas are acknowledged at once, unless asked sooner.
const ackEvery = 50

func (cl *client) countMessages(b []byte) {
	// What was cut by the read before is put together again. Neither string is
	// found twice: the tail is too short for a whole one.
	k := min(len(endMsg)-1, len(b))
	joint := append(append([]byte{}, cl.tail...), b[:k]...)
	n := bytes.Count(joint, endMsg) + bytes.Count(b, endMsg)
	cl.count += n
	if cl.sm {
		asked := bytes.Contains(joint, request) || bytes.Contains(b, request)
		cl.h += uint32(n)
		cl.acks(asked)
	}
	cl.tail = append(cl.tail, b...)
	if k := len(cl.tail) - (len(endMsg) - 1); k > 0 {
		cl.tail = append(cl.tail[:0], cl.tail[k:]...)
	}
	if cl.count >= cl.s.w.n {
		cl.emit("done", fmt.Sprintf("n=%d", cl.count))
		cl.counting = false
	}
}

// acks acknowledges every ackEvery stanzas of those that came, one by one, and
// all of them if the client asked.
func (cl *client) acks(asked bool) {
	var b []byte
	for cl.h-cl.acked >= ackEvery {
		cl.acked += ackEvery
		b = fmt.Appendf(b, "<a xmlns='urn:xmpp:sm:3' h='%d'/>", cl.acked)
	}
	if asked {
		cl.acked = cl.h
		b = fmt.Appendf(b, "<a xmlns='urn:xmpp:sm:3' h='%d'/>", cl.acked)
	}
	if len(b) > 0 {
		cl.send(b)
	}
}

func (cl *client) header() {
	h := "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='" +
		strconv.FormatInt(time.Now().UnixNano(), 36) + "' from='localhost' version='1.0' xml:lang='en'><stream:features>"
	_, isTLS := cl.c.(*tls.Conn)
	switch {
	case !cl.authed:
		if cl.s.tls != nil && !isTLS {
			h += "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
		}
		h += "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>"
		ms := ""
		for _, m := range cl.s.mechs {
			ms += "<mechanism>" + m + "</mechanism>"
		}
		h += ms + "</mechanisms>"
		if cl.s.sasl2 {
			h += "<authentication xmlns='urn:xmpp:sasl:2'>" + ms +
				"<inline><bind xmlns='urn:xmpp:bind:0'><inline><feature var='urn:xmpp:carbons:2'/></inline></bind></inline></authentication>"
		}
	default:
		h += "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>"
		if cl.s.sm {
			h += "<sm xmlns='urn:xmpp:sm:3'/>"
		}
	}
	cl.send([]byte(h + "</stream:features>"))
}

func attr(tag []byte, name string) string {
	for _, q := range []string{"'", `"`} {
		if i := bytes.Index(tag, []byte(" "+name+"="+q)); i >= 0 {
			v := tag[i+len(name)+3:]
			if j := bytes.IndexByte(v, q[0]); j >= 0 {
				return string(v[:j])
			}
		}
	}
	return ""
}

func between(b []byte, l, r string) (string, bool) {
	i := bytes.Index(b, []byte(l))
	if i < 0 {
		return "", false
	}
	b = b[i+len(l):]
	j := bytes.Index(b, []byte(r))
	if j < 0 {
		return "", false
	}
	return string(b[:j]), true
}

func has(b []byte, s string) bool { return bytes.Contains(b, []byte(s)) }

var initial = regexp.MustCompile(`<(initial-response)[^>]*>([^<]*)<`)

func (cl *client) stanza(st []byte) {
	tag := st[:tagEnd(st, 0)]
	name := string(bytes.TrimRight(bytes.SplitN(tag[1:], []byte(" "), 2)[0], "/>"))
	if cl.sm && (name == "iq" || name == "presence" || name == "message") {
		cl.h++
		cl.acks(false)
	}
	switch name {
	case "enable":
		cl.sm, cl.h, cl.acked = true, 0, 0
		cl.send([]byte("<enabled xmlns='urn:xmpp:sm:3' id='sm' resume='true'/>"))
	case "r":
		cl.acks(true)
	case "starttls":
		cl.c.Write([]byte("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"))
		cl.c = tls.Server(cl.c, cl.s.tls)
	case "auth", "response", "authenticate":
		cl.auth(name, tag, st)
	case "iq":
		cl.iq(tag, st)
	case "presence":
		if to := attr(tag, "to"); strings.HasPrefix(to, room) && attr(tag, "type") == "" {
			cl.emit("join", to)
		}
	case "message":
		switch body, _ := between(st, "<body>", "</body>"); {
		case body == "GO":
			if strings.HasPrefix(cl.s.w.name, "W5") {
				cl.counting = true
			}
			cl.emit("go", "")
		case strings.HasPrefix(body, "DONE "):
			cl.emit("done", body[5:])
		}
	}
}

func (cl *client) auth(name string, tag, st []byte) {
	v2 := name == "authenticate"
	ns := "urn:ietf:params:xml:ns:xmpp-sasl"
	if name != "response" {
		cl.mech = attr(tag, "mechanism")
	}
	if v2 || has(tag, "urn:xmpp:sasl:2") {
		ns, v2 = "urn:xmpp:sasl:2", true
	}
	data, _ := between(st, ">", "<")
	if name == "authenticate" {
		data = ""
		if m := initial.FindSubmatch(st); m != nil {
			data = string(m[2])
		}
	}
	raw, _ := base64.StdEncoding.DecodeString(data)
	final := ""
	if strings.HasPrefix(cl.mech, "SCRAM") {
		const pass, iter = "secret", 4096
		salt := []byte("0123456789abcdef")
		if name != "response" {
			parts := strings.SplitN(string(raw), ",", 3)
			bare := parts[len(parts)-1]
			_, nonce, _ := strings.Cut(bare, "r=")
			first := "r=" + nonce + "srvnonce,s=" + base64.StdEncoding.EncodeToString(salt) + ",i=" + strconv.Itoa(iter)
			cl.scram = [2]string{bare, first}
			cl.sendf("<challenge xmlns='%s'>%s</challenge>", ns, base64.StdEncoding.EncodeToString([]byte(first)))
			return
		}
		salted, _ := pbkdf2.Key(sha1.New, pass, salt, iter, 20)
		mac := func(k []byte, m string) []byte { h := hmac.New(sha1.New, k); h.Write([]byte(m)); return h.Sum(nil) }
		noProof, _, _ := strings.Cut(string(raw), ",p=")
		sig := mac(mac(salted, "Server Key"), cl.scram[0]+","+cl.scram[1]+","+noProof)
		final = base64.StdEncoding.EncodeToString([]byte("v=" + base64.StdEncoding.EncodeToString(sig)))
	}
	cl.authed = true
	if !v2 {
		cl.sendf("<success xmlns='%s'>%s</success>", ns, final)
		return
	}
	cl.bind("sasl2")
	add := ""
	if final != "" {
		add = "<additional-data>" + final + "</additional-data>"
	}
	cl.sendf("<success xmlns='%s'>%s<authorization-identifier>%s</authorization-identifier><bound xmlns='urn:xmpp:bind:0'/></success><stream:features/>",
		ns, add, cl.jid)
}

func (cl *client) bind(res string) {
	if res == "" {
		cl.s.mu.Lock()
		cl.s.nextRes++
		res = "r" + strconv.Itoa(cl.s.nextRes)
		cl.s.mu.Unlock()
	}
	cl.jid = "bench@localhost/" + res
	cl.emit("bound", cl.jid)
}

func (cl *client) iq(tag, st []byte) {
	typ, id, to := attr(tag, "type"), attr(tag, "id"), attr(tag, "to")
	if typ != "get" && typ != "set" {
		return
	}
	from := ""
	if to != "" {
		from = " from='" + to + "'"
	}
	payload := ""
	switch {
	case has(st, "urn:ietf:params:xml:ns:xmpp-bind"):
		res, _ := between(st, "<resource>", "</resource>")
		cl.bind(res)
		payload = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>" + cl.jid + "</jid></bind>"
	case has(st, "jabber:iq:roster"):
		payload = "<query xmlns='jabber:iq:roster'/>"
	case has(st, "disco#info"):
		payload = "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='server' type='im'/><feature var='http://jabber.org/protocol/disco#info'/></query>"
	case has(st, "urn:xmpp:mam:2") && cl.s.w.mam != nil:
		cl.mam(st, id, from)
		return
	}
	toAttr := ""
	if cl.jid != "" {
		toAttr = " to='" + cl.jid + "'"
	}
	cl.send([]byte("<iq type='result' id='" + id + "'" + from + toAttr + ">" + payload + "</iq>"))
}

func (cl *client) mam(st []byte, id, from string) {
	items := cl.s.w.mam
	q := attr(st, "queryid")
	size := 250
	if m, ok := between(st, "<max>", "</max>"); ok {
		size, _ = strconv.Atoi(m)
	}
	i := 0
	if a, ok := between(st, "<after>", "</after>"); ok && len(a) >= 8 {
		i, _ = strconv.Atoi(a[:8])
		i++
	}
	j := min(i+size, len(items))
	b := make([]byte, 0, (j-i)*1000+500)
	for _, it := range items[i:j] {
		b = append(append(append(b, it.head...), q...), it.tail...)
	}
	complete := ""
	if j == len(items) {
		complete = " complete='true'"
	}
	set := "<count>" + strconv.Itoa(len(items)) + "</count>"
	if j > i {
		set = "<first index='" + strconv.Itoa(i) + "'>" + items[i].id + "</first><last>" + items[j-1].id + "</last>" + set
	}
	b = append(b, "<iq type='result' id='"+id+"'"+from+" to='"+cl.jid+"'><fin xmlns='urn:xmpp:mam:2'"+complete+
		"><set xmlns='http://jabber.org/protocol/rsm'>"+set+"</set></fin></iq>"...)
	cl.send(b)
}
