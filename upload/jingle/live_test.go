package jingle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/upload"
	"github.com/confab-im/confab/upload/jingle"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// nowhere is a dialer that reaches nobody, so that the bytes go in stanzas.
func nowhere(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("the network is down")
}

// TestFallBack has one of the two, or both, reach no proxy.
func TestFallBack(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		for i, c := range [][2]jingle.Config{
			{{Dial: nowhere}, {Dial: nowhere}}, {{}, {Dial: nowhere}}, {{Dial: nowhere}, {BlockSize: 1000}},
		} {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				romeo, juliet := pair(t, s, c[0], c[1])
				data := random(50_000)
				done := sending(romeo, juliet, upload.FromBytes("x.bin", data))
				var got bytes.Buffer
				require.NoError(t, juliet.offers.Next(t, nil).Accept(juliet.ctx, &got))
				require.NoError(t, <-done)
				require.True(t, bytes.Equal(data, got.Bytes()))
			})
		}
	})
}

// TestRefusals has files refused, offers taken back, and transfers given up.
func TestRefusals(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		romeo, juliet := pair(t, s, jingle.Config{}, jingle.Config{})
		src := upload.FromBytes("x.bin", random(100_000))

		done := sending(romeo, juliet, src)
		require.NoError(t, juliet.offers.Next(t, nil).Decline(juliet.ctx))
		require.ErrorIs(t, <-done, jingle.ErrDeclined)

		// Too large.
		done = sending(romeo, juliet, src)
		dir := t.TempDir()
		path := filepath.Join(dir, "x")
		require.ErrorIs(t, juliet.offers.Next(t, nil).Save(juliet.ctx, path, jingle.Limit(99_999)), upload.ErrLimit)
		var end *jingle.EndError
		require.ErrorAs(t, <-done, &end)
		require.Equal(t, "file-too-large", end.Detail)

		// Taken back.
		ctx, cancel := context.WithCancelCause(romeo.ctx)
		result := make(chan error, 1)
		go func() { result <- romeo.files.Send(ctx, juliet.LocalAddr(), src) }()
		o := juliet.offers.Next(t, nil)
		why := errors.New("romeo changes his mind")
		cancel(why)
		require.ErrorIs(t, <-result, why)
		<-o.Done()
		err := o.Save(juliet.ctx, path)
		require.ErrorIs(t, err, jingle.ErrUsed)
		require.ErrorIs(t, err, jingle.ErrCanceled)

		// Given up in the middle by who takes it: by its context, and by its disk.
		for _, opts := range [][]jingle.Option{nil, {jingle.InBand()}} {
			done = sending(romeo, juliet, src, opts...)
			ctx, cancel := context.WithCancel(juliet.ctx)
			err = juliet.offers.Next(t, nil).Save(ctx, path, jingle.Progress(func(n, _ int64) {
				if n >= 0 {
					cancel()
				}
			}))
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, <-done, jingle.ErrCanceled)
			done = sending(romeo, juliet, src, opts...)
			full := errors.New("the disk is full")
			require.ErrorIs(t, juliet.offers.Next(t, nil).Accept(juliet.ctx, writer(func([]byte) (int, error) { return 0, full })), full)
			require.ErrorIs(t, <-done, jingle.ErrCanceled)
		}
		empty(t, dir)

		// The file is another than it was.
		short := src
		opened := 0
		short.Open = func() (io.ReadCloser, error) {
			if opened++; opened == 1 {
				return src.Open()
			}
			return io.NopCloser(bytes.NewReader(make([]byte, 1000))), nil
		}
		done = sending(romeo, juliet, short)
		require.Error(t, juliet.offers.Next(t, nil).Save(juliet.ctx, path))
		require.ErrorIs(t, <-done, upload.ErrChanged)
		opened = 0
		short.Open = func() (io.ReadCloser, error) {
			if opened++; opened == 1 {
				return src.Open()
			}
			return io.NopCloser(bytes.NewReader(make([]byte, 100_000))), nil
		}
		done = sending(romeo, juliet, short)
		require.ErrorIs(t, juliet.offers.Next(t, nil).Save(juliet.ctx, path), upload.ErrCorrupt)
		require.ErrorAs(t, <-done, &end)
		empty(t, dir)

		// Nobody is there, or cannot.
		_, pw := s.Account(t)
		_ = pw
		other, pw2 := s.Account(t)
		plain := testclient.Up(t, testclient.Config(s, other, pw2))
		require.ErrorIs(t, romeo.files.Send(romeo.ctx, plain.LocalAddr(), src), jingle.ErrUnsupported)
		require.Error(t, romeo.files.Send(romeo.ctx, jid.MustParse(other+"/nobody"), src))
		require.ErrorContains(t, romeo.files.Send(romeo.ctx, jid.MustParse(other), src), "full address")
	})
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// TestResume breaks transfers off and goes on.
func TestResume(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		romeo, juliet := pair(t, s, jingle.Config{}, jingle.Config{})
		data := random(300_000)
		src := upload.FromBytes("x.bin", data)
		path := filepath.Join(t.TempDir(), "x")
		read := func(name string) []byte {
			b, err := os.ReadFile(name)
			require.NoError(t, err)
			return b
		}
		for _, opts := range [][]jingle.Option{nil, {jingle.InBand()}} {
			ctx, cancel := context.WithCancel(juliet.ctx)
			done := sending(romeo, juliet, src, opts...)
			require.Error(t, juliet.offers.Next(t, nil).Save(ctx, path, jingle.Resumable(), jingle.Progress(func(n, _ int64) {
				if n > 0 {
					cancel()
				}
			})))
			require.Error(t, <-done)
			part := read(path + ".part")
			require.NotEmpty(t, part)
			require.True(t, bytes.Equal(part, data[:len(part)]))

			first := int64(-1)
			done = sending(romeo, juliet, src, append(opts, jingle.Progress(func(n, _ int64) {
				if first < 0 {
					first = n
				}
			}))...)
			require.NoError(t, juliet.offers.Next(t, nil).Save(juliet.ctx, path, jingle.Resumable()))
			require.NoError(t, <-done)
			require.GreaterOrEqual(t, first, int64(len(part)))
			require.True(t, bytes.Equal(data, read(path)))
			require.NoFileExists(t, path+".part")

			// What was kept is of another file.
			require.NoError(t, os.WriteFile(path+".part", make([]byte, 100_000), 0o600))
			done = sending(romeo, juliet, src, opts...)
			require.ErrorIs(t, juliet.offers.Next(t, nil).Save(juliet.ctx, path, jingle.Resumable()), upload.ErrCorrupt)
			require.Error(t, <-done)
			require.NoFileExists(t, path+".part")

			// Whoever takes it, or sends it, says where to begin.
			var b bytes.Buffer
			done = sending(romeo, juliet, src, opts...)
			require.NoError(t, juliet.offers.Next(t, nil).Accept(juliet.ctx, &b, jingle.From(200_000)))
			require.NoError(t, <-done)
			require.True(t, bytes.Equal(data[200_000:], b.Bytes()))
			b.Reset()
			done = sending(romeo, juliet, src, append(opts, jingle.From(250_000))...)
			o := juliet.offers.Next(t, nil)
			require.Equal(t, int64(250_000), o.Offset)
			require.NoError(t, o.Accept(juliet.ctx, &b))
			require.NoError(t, <-done)
			require.True(t, bytes.Equal(data[250_000:], b.Bytes()))
		}
	})
}

// TestRequest asks for files.
func TestRequest(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		romeo, juliet := pair(t, s, jingle.Config{}, jingle.Config{})
		data := random(100_000)
		want := jingle.File{Hashes: map[string]string{"sha-256": sha(data)}}
		for _, opts := range [][]jingle.Option{nil, {jingle.InBand()}, {jingle.From(60_000)}} {
			var b bytes.Buffer
			done := make(chan error, 1)
			go func() { done <- juliet.files.Request(juliet.ctx, romeo.LocalAddr(), want, &b, opts...) }()
			r := romeo.requests.Next(t, nil)
			require.Equal(t, want.Hashes, r.Hashes)
			require.True(t, r.From.Equal(juliet.LocalAddr()))
			require.NoError(t, r.Send(romeo.ctx, upload.FromBytes("x.bin", data)))
			require.NoError(t, <-done)
			require.True(t, bytes.Equal(data[r.Offset:], b.Bytes()))
		}
		done := make(chan error, 1)
		go func() { done <- juliet.files.Request(juliet.ctx, romeo.LocalAddr(), want, io.Discard) }()
		require.NoError(t, romeo.requests.Next(t, nil).Decline(romeo.ctx))
		err := <-done
		require.ErrorIs(t, err, jingle.ErrDeclined)
		require.ErrorContains(t, err, "file-not-available")
		go func() { done <- juliet.files.Request(juliet.ctx, romeo.LocalAddr(), want, io.Discard) }()
		require.ErrorIs(t, romeo.requests.Next(t, nil).Send(romeo.ctx, upload.FromBytes("y.bin", random(100_000))), upload.ErrChanged)
		require.Error(t, <-done)
	})
}

// TestGone signs the sender off while its file waits to be accepted.
func TestGone(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		for _, known := range []bool{true, false} {
			romeo, juliet := pair(t, s, jingle.Config{}, jingle.Config{})
			if known {
				require.NoError(t, romeo.SendElement(romeo.ctx, confab.El(confab.NSClient, "presence").Set("to", juliet.LocalAddr().String())))
			}
			done := sending(romeo, juliet, upload.FromBytes("x", random(1000)))
			o := juliet.offers.Next(t, nil)
			require.NoError(t, romeo.Close(romeo.ctx))
			require.Error(t, <-done)
			if known {
				<-o.Done()
				require.ErrorIs(t, o.Accept(juliet.ctx, io.Discard), jingle.ErrGone)
			} else {
				require.Error(t, o.Accept(juliet.ctx, io.Discard)) // nobody answers
			}
		}
	})
}

// TestBytestreams opens bytestreams without Jingle.
func TestBytestreams(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		direct := jingle.Config{Reach: jingle.Direct, Addresses: []string{"127.0.0.1"}, Listen: "127.0.0.1:0", Bytestreams: true}
		for _, c := range []struct {
			cfg  jingle.Config
			opts []jingle.Option
		}{{jingle.Config{Bytestreams: true}, nil}, {jingle.Config{Bytestreams: true}, []jingle.Option{jingle.InBand()}}, {direct, nil}} {
			romeo, juliet := pair(t, s, c.cfg, c.cfg)
			type result struct {
				rw  io.ReadWriteCloser
				err error
			}
			open := func() chan result {
				done := make(chan result, 1)
				go func() {
					rw, err := romeo.files.Open(romeo.ctx, juliet.LocalAddr(), c.opts...)
					done <- result{rw, err}
				}()
				return done
			}
			done := open()
			require.NoError(t, juliet.streams.Next(t, nil).Decline(juliet.ctx))
			require.ErrorIs(t, (<-done).err, jingle.ErrDeclined)

			done = open()
			b := juliet.streams.Next(t, nil)
			require.Equal(t, len(c.opts) > 0, b.InBand)
			hers, err := b.Accept(juliet.ctx)
			require.NoError(t, err)
			his := <-done
			require.NoError(t, his.err)
			for range 3 {
				for _, way := range [][2]io.ReadWriter{{hers, his.rw}, {his.rw, hers}} {
					data, got := random(20_000), make([]byte, 20_000)
					wrote := make(chan error, 1)
					go func() {
						_, err := way[0].Write(data)
						wrote <- err
					}()
					_, err := io.ReadFull(way[1], got)
					require.NoError(t, err)
					require.NoError(t, <-wrote)
					require.True(t, bytes.Equal(data, got))
				}
			}
			require.NoError(t, his.rw.Close())
			n, err := hers.Read(make([]byte, 1))
			require.Zero(t, n)
			require.ErrorIs(t, err, io.EOF)
			require.NoError(t, hers.Close())
		}
		// Who takes none is not bothered.
		romeo, juliet := pair(t, s, jingle.Config{}, jingle.Config{})
		_, err := romeo.files.Open(romeo.ctx, juliet.LocalAddr())
		require.ErrorIs(t, err, jingle.ErrDeclined)
		_, err = romeo.files.Open(romeo.ctx, juliet.LocalAddr(), jingle.InBand())
		require.ErrorIs(t, err, jingle.ErrDeclined)
		require.Empty(t, juliet.streams.Take())
	})
}
