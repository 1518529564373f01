package confabtest

import (
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/confab-im/confab"
)

const (
	nsUpload        = "urn:xmpp:http:upload:0"
	nsUploadPurpose = "urn:xmpp:http:upload:purpose:0"
	uploadPath      = "/upload/"
	nsForms         = "jabber:x:data"
)

// uploads is a service that keeps files for others to fetch (XEP-0363). Its web server is
// that of the server or, for those who come by [Server.Dial], one in memory.
type uploads struct {
	srv  *Server
	name string
	web  *memWeb

	mu    sync.Mutex
	dir   string // made with the first file
	slots map[string]*uploadSlot
}

type uploadSlot struct {
	size    int64
	typ     string
	token   string
	expires time.Time
	taken   bool
	file    string // once it is there
}

// uploadFeature is the component upload.<Domain>.
func uploadFeature(s *Server) {
	if !s.cfg.has(Uploads) {
		return
	}
	u := &uploads{srv: s, name: "upload." + s.cfg.Domain, slots: map[string]*uploadSlot{}}
	s.domains[u.name] = u
	s.uploads = u
}

// stanza implements domain.
func (u *uploads) stanza(s *Server, ss *session, from, to addr, e *confab.Element) {
	q := s.componentRequest(ss, from, e)
	if q == nil {
		return
	}
	switch {
	case q.typ == "get" && q.payload.Is(nsPing, "ping"):
		q.result(nil)
	case q.typ == "get" && q.payload.Is(nsInfo, "query"):
		p := nsUploadPurpose + "#"
		answer := info("store", "file", "HTTP File Upload", []string{nsInfo, nsPing, nsUpload, p + "message", p + "profile", p + "ephemeral", p + "permanent"})
		field := func(name, typ, value string) *confab.Element {
			return confab.El(nsForms, "field", confab.El(nsForms, "value").SetText(value)).Set("var", name).Set("type", typ)
		}
		q.result(answer.Add(confab.El(nsForms, "x", field("FORM_TYPE", "hidden", nsUpload),
			field("max-file-size", "", strconv.FormatInt(s.cfg.MaxFile, 10))).Set("type", "result")))
	case q.typ == "get" && q.payload.Is(nsItems, "query"):
		q.result(confab.El(nsItems, "query"))
	case q.typ == "get" && q.payload.Is(nsUpload, "request"):
		u.request(q)
	default:
		q.fail("cancel", "service-unavailable", "")
	}
}

// request gives a slot.
func (u *uploads) request(q *request) {
	name, typ := q.payload.Get("filename"), q.payload.Get("content-type")
	size, err := strconv.ParseInt(q.payload.Get("size"), 10, 64)
	switch {
	case name == "" || strings.Contains(name, "/") || err != nil || size <= 0:
		q.fail("modify", "bad-request", "")
		return
	case size > u.srv.cfg.MaxFile:
		e := q.reply("error", q.payload)
		no := stanzaError("modify", "not-acceptable", "File too large")
		no.Add(confab.El(nsUpload, "file-too-large", confab.El(nsUpload, "max-file-size").SetText(strconv.FormatInt(u.srv.cfg.MaxFile, 10))))
		q.send(e.Add(no))
		return
	}
	sl := &uploadSlot{size: size, typ: typ, token: rand.Text()}
	if e := q.payload.Child(nsUploadPurpose, "ephemeral"); e != nil {
		if sl.expires, err = time.Parse(time.RFC3339Nano, e.Get("expire-before")); err != nil {
			q.fail("modify", "bad-request", "expire-before")
			return
		}
	}
	key := rand.Text() + "/" + name
	u.mu.Lock()
	u.slots[key] = sl
	u.mu.Unlock()
	base := "https://" + u.name
	if a := u.srv.addrs[2]; a != "" { // the lock is held
		base = "https://" + a
	}
	address := base + (&url.URL{Path: uploadPath + key}).EscapedPath()
	q.result(confab.El(nsUpload, "slot",
		confab.El(nsUpload, "put", confab.El(nsUpload, "header").Set("name", "Authorization").SetText("Bearer "+sl.token)).Set("url", address),
		confab.El(nsUpload, "get").Set("url", address)))
}

// ServeHTTP implements [http.Handler].
func (u *uploads) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := strings.TrimPrefix(r.URL.Path, uploadPath)
	u.mu.Lock()
	sl := u.slots[key]
	var file string
	if sl != nil && (sl.expires.IsZero() || time.Now().Before(sl.expires)) {
		file = sl.file
	}
	u.mu.Unlock()
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none';")
	switch {
	case sl == nil:
		http.NotFound(w, r)
	case r.Method == http.MethodPut:
		u.put(w, r, sl)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		http.Error(w, "not allowed", http.StatusMethodNotAllowed)
	case file == "":
		http.NotFound(w, r)
	default:
		f, err := os.Open(file)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		defer f.Close()
		if sl.typ != "" {
			w.Header().Set("Content-Type", sl.typ)
		}
		w.Header().Set("ETag", strconv.Quote(filepath.Base(file)))
		http.ServeContent(w, r, "", time.Time{}, f)
	}
}

// put takes a file for a slot.
func (u *uploads) put(w http.ResponseWriter, r *http.Request, sl *uploadSlot) {
	status, err := u.take(r, sl)
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

func (u *uploads) take(r *http.Request, sl *uploadSlot) (status int, err error) {
	u.mu.Lock()
	free := !sl.taken
	switch {
	case subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+sl.token)) != 1:
		status, err = http.StatusForbidden, errors.New("the token is wrong")
	case !free:
		status, err = http.StatusConflict, errors.New("the slot was used")
	case r.ContentLength != sl.size:
		status, err = http.StatusBadRequest, fmt.Errorf("the slot is for %d bytes", sl.size)
	case sl.typ != "" && r.Header.Get("Content-Type") != sl.typ:
		status, err = http.StatusBadRequest, errors.New("the slot is for another type")
	default:
		sl.taken = true
		if u.dir == "" {
			u.dir, err = os.MkdirTemp("", "confabtest-upload-")
		}
		status = http.StatusInternalServerError
	}
	dir := u.dir
	u.mu.Unlock()
	if err != nil {
		return status, err
	}
	f, err := os.CreateTemp(dir, "file-")
	if err != nil {
		return http.StatusInternalServerError, err
	}
	n, err := io.Copy(f, r.Body)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil && n != sl.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return http.StatusInternalServerError, err
	}
	u.mu.Lock()
	sl.file = f.Name()
	u.mu.Unlock()
	return 0, nil
}

// forget removes the files, at the end.
func (u *uploads) forget() {
	u.mu.Lock()
	dir := u.dir
	u.dir, u.slots = "", map[string]*uploadSlot{}
	u.mu.Unlock()
	if dir != "" {
		_ = os.RemoveAll(dir)
	}
}

// memWeb is a web server for connections in memory.
type memWeb struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	srv   *http.Server
}

func (m *memWeb) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}

func (m *memWeb) Close() error {
	m.once.Do(func() { close(m.done) })
	return nil
}

func (m *memWeb) Addr() net.Addr { return memAddr("server") }

// dialWeb connects to the web server in memory if this is its address. The connection
// counts as encrypted, as all by Dial do.
func (s *Server) dialWeb(address string) (net.Conn, bool) {
	s.lock()
	u := s.uploads
	mine := u != nil && !s.closed && !s.halted && (address == u.name+":443" || address != "" && address == s.addrs[2])
	if !mine {
		s.unlock()
		return nil, false
	}
	if u.web == nil {
		mux := http.NewServeMux()
		mux.Handle(uploadPath, u)
		m := &memWeb{conns: make(chan net.Conn), done: make(chan struct{})}
		m.srv = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
		u.web = m
		s.wg.Go(func() { _ = m.srv.Serve(m) })
	}
	m := u.web
	s.unlock()
	cl, sv := newPipe()
	select {
	case m.conns <- sv:
	case <-m.done:
		return nil, false
	}
	leaf := s.certs().server.Leaf
	return &secureConn{cl, tls.ConnectionState{
		Version: tls.VersionTLS13, HandshakeComplete: true, NegotiatedProtocol: "http/1.1", ServerName: u.name,
		PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf, s.certs().ca}},
	}}, true
}

// stopWeb ends the web server in memory.
func (u *uploads) stopWeb() {
	u.srv.lock()
	m := u.web
	u.web = nil
	u.srv.unlock()
	if m != nil {
		_ = m.Close()
		_ = m.srv.Close()
	}
}
