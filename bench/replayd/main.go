// Command replayd is the server end of a scripted XMPP stream, the stopwatch
// around it, and the report writer.
//
//	replayd run -client NAME -cmd ./run -w W1 -run 1 -out results.jsonl
//	replayd omemo -client NAME -cmd ./run -run 1 -out results.jsonl
//	replayd report results.jsonl > report.md
//	replayd ratios|goals|plot results.jsonl
//	replayd serve -addr 127.0.0.1:5222 -w W1   (by hand; add -tls for STARTTLS)
package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

type workload struct {
	name, title string
	n, inflight int
	want        int // stanzas that the client must report
	blast       []byte
	mam         []mamItem
	sum         sums
}

var catalogue = []workload{
	{name: "W1", title: "W1 1:1 messages in", n: 100000},
	{name: "W2", title: "W2 MAM results, pages of 250", n: 50000},
	{name: "W3", title: "W3 MUC join: 5k presences + 10k messages", n: 15000},
	{name: "W4a", title: "W4a ping, 1 in flight", n: 20000, inflight: 1},
	{name: "W4b", title: "W4b ping, 64 in flight", n: 50000, inflight: 64},
	{name: "W5", title: "W5 messages out", n: 100000},
	{name: "W5sm", title: "W5sm messages out, each 50 acknowledged (XEP-0198)", n: 100000},
	{name: "W6", title: "W6 idle clients in one process", n: 1000},
	{name: "W6b", title: "W6b one idle client", n: 1},
	{name: "W7p", title: "W7p connect, PLAIN", n: 200},
	{name: "W7s", title: "W7s connect, SCRAM-SHA-1", n: 50},
	{name: "W7d", title: "W7d connect, PLAIN, 20 ms round trip", n: 10},
	{name: "W7d2", title: "W7d2 connect, PLAIN, 20 ms round trip, SASL2 and Bind2 offered too", n: 10},
}

func load(name string, n int) *workload {
	for _, w := range catalogue {
		if w.name != name {
			continue
		}
		if n > 0 {
			w.n = n
		}
		w.want = w.n
		switch name {
		case "W1":
			w.blast, w.sum = genChats(w.n)
		case "W2":
			w.mam, w.sum = genMAM(w.n)
		case "W3":
			w.blast, w.sum = genMUC(w.n/3, w.n-w.n/3)
		}
		return &w
	}
	log.Fatalf("no workload %q", name)
	return nil
}

// result is one line of results.jsonl.
type result struct {
	Client   string            `json:"client"`
	Work     string            `json:"work"`
	Run      int               `json:"run"`
	N        int               `json:"n"`
	OK       bool              `json:"ok"`
	Err      string            `json:"err,omitempty"`
	Wall     float64           `json:"wall_s"`
	CPU      float64           `json:"cpu_s"`
	Sys      float64           `json:"cpu_sys_s"`
	Server   float64           `json:"server_cpu_s"`
	Other    float64           `json:"other_cpu_s"` // CPU used by anything else on the machine in the window
	HWM      int64             `json:"rss_peak_kb"`
	RSS      int64             `json:"rss_kb"`
	PSS      int64             `json:"pss_kb"`
	Threads  int64             `json:"threads"`
	Turns    int               `json:"turns,omitempty"`
	Connect  float64           `json:"connect_ms,omitempty"` // W7: median accept to first stanza
	Mech     string            `json:"mech,omitempty"`
	Bytes    int               `json:"bytes"`
	Reported map[string]string `json:"reported,omitempty"`
	Time     string            `json:"time"`
}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: replayd run|omemo|report|ratios|goals|plot|serve")
	}
	cmd, args := os.Args[1], os.Args[2:]
	switch cmd {
	case "run":
		run(args)
	case "omemo":
		runOMEMO(args)
	case "report":
		report(args)
	case "ratios":
		var b strings.Builder
		rs := readResults(args[0])
		ratioTables(&b, rs)
		behind(&b, rs)
		fmt.Print(b.String())
	case "goals":
		var b strings.Builder
		goalTable(&b, readResults(args[0]))
		fmt.Print(b.String())
	case "plot":
		fmt.Print(plot(readResults(args[0])))
	case "serve":
		fs := flag.NewFlagSet("serve", flag.ExitOnError)
		addr, name := fs.String("addr", "127.0.0.1:5222", ""), fs.String("w", "W1", "")
		n, useTLS, sasl2 := fs.Int("n", 0, ""), fs.Bool("tls", false, ""), fs.Bool("sasl2", false, "")
		fs.Parse(args)
		s := start(load(*name, *n), *addr, *useTLS, *sasl2)
		log.Printf("listening on %s", s.ln.Addr())
		for e := range s.events {
			log.Printf("%s %s (turns %d)", e.kind, e.text, e.c.turns)
			s.play(e)
		}
	}
}

func start(w *workload, addr string, useTLS, sasl2 bool) *server {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		log.Fatal(err)
	}
	s := &server{ln: ln, w: w, sasl2: sasl2, mechs: []string{"SCRAM-SHA-1", "PLAIN", "ANONYMOUS"}, events: make(chan event, 4096)}
	switch w.name {
	case "W6", "W6b", "W7p":
		s.mechs = []string{"PLAIN"}
	case "W7d", "W7d2":
		s.mechs = []string{"PLAIN"}
		s.delay = 20 * time.Millisecond
		s.sasl2 = w.name == "W7d2"
	case "W7s":
		s.mechs = []string{"SCRAM-SHA-1"}
	case "W5sm":
		s.sm = true
	}
	if useTLS {
		s.tls = selfSigned()
	}
	go s.serve()
	return s
}

// play answers a trigger.
func (s *server) play(e event) {
	switch {
	case e.kind == "go" && s.w.name == "W1", e.kind == "join" && s.w.name == "W3":
		go e.c.send(s.w.blast)
	case e.kind == "go" && (strings.HasPrefix(s.w.name, "W5") || strings.HasPrefix(s.w.name, "W7")):
		e.c.send([]byte(end("chat")))
	}
}

func selfSigned() *tls.Config {
	k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &k.PublicKey, k)
	if err != nil {
		log.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: k}}}
}

// Stopwatch.

type clock struct {
	t                      time.Time
	child, sys, self, busy float64
}

func readClock(pid int) (c clock) {
	c.t = time.Now()
	var ts syscall.Timespec // CLOCK of another process: see clock_getcpuclockid(3)
	id := uintptr(^uint32(pid)<<3 | 2)
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(int32(id)), uintptr(unsafe.Pointer(&ts)), 0)
	c.child = float64(ts.Sec) + float64(ts.Nsec)/1e9
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		v, _ := strconv.ParseFloat(f[12], 64)
		c.sys = v / 100
	}
	var ru syscall.Rusage
	syscall.Getrusage(0, &ru)
	c.self = float64(ru.Utime.Sec+ru.Stime.Sec) + float64(ru.Utime.Usec+ru.Stime.Usec)/1e6
	if b, err := os.ReadFile("/proc/stat"); err == nil {
		line, _, _ := strings.Cut(string(b), "\n")
		for i, s := range strings.Fields(line)[1:9] {
			if v, _ := strconv.ParseFloat(s, 64); i != 3 && i != 4 {
				c.busy += v / 100
			}
		}
	}
	return
}

func procKB(pid int, file, key string) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	for _, l := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(l, key+":") {
			v, _ := strconv.ParseInt(strings.Fields(l)[1], 10, 64)
			return v
		}
	}
	return 0
}

func run(args []string) {
	fs := flag.NewFlagSet("run", flag.ExitOnError)
	name, cmdPath, wname := fs.String("client", "", ""), fs.String("cmd", "", ""), fs.String("w", "W1", "")
	n, nr, outf := fs.Int("n", 0, "override the number of stanzas"), fs.Int("run", 1, "run number"), fs.String("out", "", "append results here")
	limit := fs.Duration("timeout", 180*time.Second, "")
	useTLS, sasl2, verbose := fs.Bool("tls", false, ""), fs.Bool("sasl2", false, ""), fs.Bool("v", false, "")
	fs.Parse(args)
	w := load(*wname, *n)
	r := measure(w, *cmdPath, *limit, *useTLS, *sasl2, *verbose)
	r.Client, r.Work, r.Run, r.N, r.Time = *name, w.name, *nr, w.n, time.Now().UTC().Format(time.RFC3339)
	appendResult(*outf, r)
	if r.Turns > 0 && r.Reported != nil {
		r.Reported["turns"], r.Reported["ms"] = strconv.Itoa(r.Turns), fmt.Sprint(r.Connect)
	}
	fmt.Printf("%-14s %-4s run %d ok=%-5v wall %7.3fs cpu %7.3fs (sys %.2f) %9.0f/s rss %4d MB other %.2f %s %v\n", r.Client, r.Work, r.Run, r.OK,
		r.Wall, r.CPU, r.Sys, float64(r.N)/r.Wall, r.HWM/1024, r.Other/r.Wall, r.Err, r.Reported)
	if !r.OK {
		os.Exit(1)
	}
}

func measure(w *workload, path string, limit time.Duration, useTLS, sasl2, verbose bool) (r result) {
	s := start(w, "127.0.0.1:0", useTLS, sasl2)
	defer s.close()
	_, port, _ := net.SplitHostPort(s.ln.Addr().String())
	abs, _ := filepath.Abs(path)
	cmd := exec.Command(abs)
	cmd.Dir = filepath.Dir(abs)
	cmd.Env = append(os.Environ(), "XB_HOST=127.0.0.1", "XB_PORT="+port, "XB_ADDR=127.0.0.1:"+port, "XB_JID=bench@localhost",
		"XB_PASS=secret", "XB_W="+w.name, "XB_N="+strconv.Itoa(w.n), "XB_INFLIGHT="+strconv.Itoa(w.inflight), "XB_ROOM="+room)
	cmd.Stdout = os.Stderr
	cmd.Stderr = os.Stderr
	if !verbose {
		f, _ := os.CreateTemp("", "replayd-*.log")
		defer os.Remove(f.Name())
		defer f.Close()
		cmd.Stdout, cmd.Stderr = f, f
		defer func() {
			if b, _ := os.ReadFile(f.Name()); !r.OK && len(b) > 0 {
				r.Err += " | " + string(b[max(0, len(b)-400):])
			}
		}()
	}
	if err := cmd.Start(); err != nil {
		r.Err = err.Error()
		return
	}
	pid := cmd.Process.Pid
	gone := make(chan struct{})
	go func() { cmd.Wait(); close(gone) }()
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-gone:
		case <-time.After(2 * time.Second):
			cmd.Process.Kill()
			<-gone
		}
	}()
	timeout := time.After(limit)
	var t0, t1 clock
	var lat []float64
	bound, goes, managed := 0, 0, false
	w7 := strings.HasPrefix(w.name, "W7")
	if w7 || strings.HasPrefix(w.name, "W6") {
		t0 = readClock(pid)
	}
	text := ""
loop:
	for {
		select {
		case e := <-s.events:
			switch e.kind {
			case "bound":
				if bound++; bound == 1 && w7 {
					t0 = readClock(pid)
				}
			case "go", "join":
				goes++
				switch {
				case e.kind == "join" && w.name != "W3", e.kind == "go" && w.name == "W3":
					continue
				case w7:
					lat = append(lat, float64(e.at.Sub(e.c.accepted).Microseconds())/1000)
					r.Turns, r.Mech = e.c.turns, e.c.mech
					if goes == w.n {
						t1 = readClock(pid)
						break loop
					}
				default:
					t0 = readClock(pid)
				}
				s.play(e)
			case "done":
				t1 = readClock(pid)
				t1.t = e.at
				text = e.text
				r.Mech, managed = e.c.mech, e.c.sm
				break loop
			case "eof":
				if !w7 && goes > 0 && !strings.HasPrefix(w.name, "W6") {
					r.Err = "connection closed before DONE"
					return
				}
			}
		case <-gone:
			r.Err = "client exited before DONE"
			return
		case <-timeout:
			r.Err = "timeout"
			return
		}
	}
	r.HWM, r.Threads = procKB(pid, "status", "VmHWM"), procKB(pid, "status", "Threads")
	r.Wall, r.CPU, r.Sys = t1.t.Sub(t0.t).Seconds(), t1.child-t0.child, t1.sys-t0.sys
	r.Server = t1.self - t0.self
	r.Other = max(0, t1.busy-t0.busy-r.CPU-r.Server)
	r.Bytes = len(w.blast)
	for _, it := range w.mam {
		r.Bytes += len(it.head) + len(it.tail) + 2
	}
	r.Reported = map[string]string{}
	for _, kv := range strings.Fields(text) {
		if k, v, ok := strings.Cut(kv, "="); ok {
			r.Reported[k] = v
		}
	}
	if strings.HasPrefix(w.name, "W6") {
		time.Sleep(2 * time.Second)
		r.Threads = procKB(pid, "status", "Threads")
	}
	r.RSS, r.PSS = procKB(pid, "status", "VmRSS"), procKB(pid, "smaps_rollup", "Pss")
	r.OK = true
	if !w7 {
		got, _ := strconv.Atoi(r.Reported["n"])
		if got < w.want || got > w.want && !strings.HasPrefix(w.name, "W5") {
			r.OK, r.Err = false, fmt.Sprintf("client counted %d of %d", got, w.want)
		}
	} else {
		sort.Float64s(lat)
		r.Connect = lat[len(lat)/2]
	}
	if s.sm && !managed {
		r.OK, r.Err = false, "does not use stream management"
	}
	if w.sum.bytes > 0 {
		chk, _ := strconv.ParseInt(r.Reported["chk"], 10, 64)
		if off := w.sum.off(chk); off > 20 {
			r.OK, r.Err = false, fmt.Sprintf("%s check sum %d is none of %v", r.Err, chk, w.sum)
		} else if off > 0 { // seen: a character cut by a read boundary comes out as two
			r.Err = fmt.Sprintf("text damaged: check sum off by %d", off)
		}
	}
	return
}

func readResults(path string) (rs []result) {
	f, err := os.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var r result
		if json.Unmarshal(sc.Bytes(), &r) == nil {
			rs = append(rs, r)
		}
	}
	return
}
