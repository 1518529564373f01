package upload_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/upload"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// transfer is what a process of its own is to do, and what it found.
type transfer struct {
	Address, Password, Server, CA, In, Out string
	Encrypt                                bool

	Up, Down float64 // seconds
	Peak     int64   // bytes that were resident at most
	Err      string
}

// TestLargeFile moves a large file up and down, plain and encrypted, in a process of its
// own, which must not need more than 64 MiB; and has curl do the same with the same
// server. With CONFAB_GIB=1 the file has 1 GiB, and half of curl's speed is required;
// without, it is too short for that.
func TestLargeFile(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("lacks: /proc/self/status")
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("lacks: curl")
	}
	large := int64(100 << 20)
	full := os.Getenv("CONFAB_GIB") != ""
	if full {
		large = 1 << 30
	}
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		dir := t.TempDir()
		size := large
		if s.Name == testbed.Prosody {
			size /= 16 // it takes its time, curl's as well
		}
		in := filepath.Join(dir, "large.bin")
		f, err := os.Create(in)
		require.NoError(t, err)
		sum := sha256.New()
		_, err = io.CopyN(io.MultiWriter(f, sum), rand.NewChaCha8([32]byte{1}), size)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		want := sum.Sum(nil)
		ca := filepath.Join(dir, "ca.pem")
		require.NoError(t, os.WriteFile(ca, s.CAPEM, 0o600))
		p := signIn(t, testclient.Config(s, a, pw), upload.Config{})
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		up, down := p.curl(t, ctx, s, ca, in, filepath.Join(dir, "curl"), size)
		for _, encrypt := range []bool{false, true} {
			do := transfer{Address: a, Password: pw, Server: s.Addr, CA: ca, In: in, Out: filepath.Join(dir, "out"), Encrypt: encrypt}
			b, err := json.Marshal(do)
			require.NoError(t, err)
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), "CONFAB_GIB_CHILD="+string(b))
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, os.Stderr
			require.NoError(t, cmd.Run(), out.String())
			require.NoError(t, json.Unmarshal(out.Bytes(), &do))
			require.Empty(t, do.Err)
			t.Logf("%s, %d MiB, encrypted: %-5t of curl's speed: %.2f up, %.2f down; at most %d MiB resident (curl: %.2fs up, %.2fs down)",
				s.Name, size>>20, encrypt, up/do.Up, down/do.Down, do.Peak>>20, up, down)
			require.LessOrEqual(t, do.Peak, int64(64<<20)*memoryFactor)
			if full {
				require.GreaterOrEqual(t, up/do.Up, 0.5, "upload")
				require.GreaterOrEqual(t, down/do.Down, 0.5, "download")
			}
			got, err := os.Open(do.Out)
			require.NoError(t, err)
			sum := sha256.New()
			_, err = io.Copy(sum, got)
			require.NoError(t, err)
			require.NoError(t, got.Close())
			require.Equal(t, want, sum.Sum(nil))
			require.NoError(t, os.Remove(do.Out))
		}
	})
}

// curl moves the file with curl, and returns how long it took, in seconds.
func (p *person) curl(t *testing.T, ctx context.Context, s *testbed.Server, ca, in, out string, size int64) (up, down float64) {
	t.Helper()
	const ns = "urn:xmpp:http:upload:0"
	req := confab.El(ns, "request").Set("filename", "large.bin").Set("size", strconv.FormatInt(size, 10)).Set("content-type", "application/octet-stream")
	var slot confab.Element
	require.NoError(t, confab.Do(ctx, p, stanza.IQ{Type: stanza.GetIQ, To: jid.MustParse(s.Upload)}, req, &slot))
	args := []string{"-T", in, "-H", "Content-Type: application/octet-stream", "-H", "Expect:"}
	for h := range slot.Child(ns, "put").All(ns, "header") {
		args = append(args, "-H", h.Get("name")+": "+h.Text)
	}
	run := func(args ...string) float64 {
		cmd := exec.CommandContext(ctx, "curl", append([]string{"--cacert", ca, "-sS", "--fail", "-w", "%{time_total}"}, args...)...)
		cmd.Stderr = os.Stderr
		b, err := cmd.Output()
		require.NoError(t, err)
		text := string(b)
		seconds, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		require.NoError(t, err, text)
		return seconds
	}
	up = run(append(args, "-o", "/dev/null", slot.Child(ns, "put").Get("url"))...)
	down = run("-o", out, slot.Child(ns, "get").Get("url"))
	require.NoError(t, os.Remove(out))
	return up, down
}

// gibChild is the other process.
func gibChild() int {
	var do transfer
	err := json.Unmarshal([]byte(os.Getenv("CONFAB_GIB_CHILD")), &do)
	if err == nil {
		err = do.run()
	}
	if err != nil {
		do.Err = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(do); err != nil {
		return 1
	}
	return 0
}

func (do *transfer) run() error {
	pem, err := os.ReadFile(do.CA)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	c, err := client.New(client.Config{Address: do.Address, Password: do.Password, Server: "xmpp://" + do.Server, TLS: &tls.Config{RootCAs: roots}})
	if err != nil {
		return err
	}
	files := upload.New(c, upload.Config{Transport: c.HTTPTransport(), AllowLoopback: true})
	ready := make(chan struct{}, 10)
	confab.On(c, func(context.Context, confab.Ready) { ready <- struct{}{} })
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Minute)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		return err
	}
	if _, err := files.Services(ctx); err != nil {
		return err
	}
	src, err := upload.FromFile(do.In)
	if err != nil {
		return err
	}
	var opts []upload.Option
	if do.Encrypt {
		opts = append(opts, upload.Encrypted())
	}
	start := time.Now()
	f, err := files.Upload(ctx, src, opts...)
	if err != nil {
		return err
	}
	do.Up = time.Since(start).Seconds()
	start = time.Now()
	if err := files.Save(ctx, f, do.Out, upload.Limit(2<<30)); err != nil {
		return err
	}
	do.Down = time.Since(start).Seconds()
	do.Peak, err = peak()
	return err
}

// peak is how much memory the process has had at most.
func peak() (int64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			var kib int64
			_, err := fmt.Sscan(rest, &kib)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no VmHWM")
}
