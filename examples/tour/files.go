package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"

	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/upload"
)

// files has Alice send a picture, and then something that only Bob may see.
func (t *tour) files(ctx context.Context) (string, error) {
	bob := t.bob.c.LocalAddr().Bare()
	services, err := t.alice.files.Services(ctx)
	if errors.Is(err, upload.ErrNoService) {
		say("this server takes no files")
		return "no upload service on this server", nil
	}
	if err != nil {
		return "", err
	}
	say("%s takes files of up to %d MiB", services[0].JID, services[0].MaxSize>>20)
	dir, err := os.MkdirTemp("", "tour-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)

	m := image.NewRGBA(image.Rect(0, 0, 640, 360))
	for y := range 360 {
		for x := range 640 {
			m.SetRGBA(x, y, color.RGBA{uint8(x / 3), uint8(y / 2), 160, 255})
		}
	}
	var picture bytes.Buffer
	if err := png.Encode(&picture, m); err != nil {
		return "", err
	}
	letter := []byte(strings.Repeat("For Bob's eyes only. ", 20_000))
	for _, c := range []struct {
		name string
		data []byte
		mode omemo.Mode
	}{{"sunset.png", picture.Bytes(), omemo.Off}, {"letter.txt", letter, omemo.Required}} {
		if err := t.alice.keys.SetMode(ctx, bob, c.mode); err != nil {
			return "", err
		}
		_, sent, err := t.alice.files.Share(ctx, t.alice.chats.With(bob), upload.FromBytes(c.name, c.data), upload.WithThumbnail())
		if err != nil {
			return "", fmt.Errorf("sharing %s: %w", c.name, err)
		}
		say("Alice shares %s (%s)", sent.Name, sent.Type)
		got, err := t.bob.next(ctx)
		if err != nil {
			return "", err
		}
		if len(got.Files) != 1 || got.Files[0].Name != c.name {
			return "", fmt.Errorf("got %q with %d files", got.Text, len(got.Files))
		}
		f := got.Files[0]
		sealed := got.Seal != nil && f.Sources[0].Cipher == chat.AES256GCM
		if sealed != (c.mode != omemo.Off) {
			return "", fmt.Errorf("encrypted is %t", sealed)
		}
		path := filepath.Join(dir, f.Name)
		if err := t.bob.files.Save(ctx, f, path, upload.Limit(1<<20)); err != nil {
			return "", fmt.Errorf("fetching %s: %w", f.Name, err)
		}
		saved, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(saved, c.data) {
			return "", fmt.Errorf("%s is not what was sent: %w", f.Name, err)
		}
		switch {
		case sealed:
			raw, err := t.bob.files.Fetch(ctx, chat.File{Sources: []chat.FileSource{{URL: f.Sources[0].URL}}})
			if err != nil || bytes.Contains(raw, []byte("Bob")) {
				return "", fmt.Errorf("what the server has can be read, or not at all: %w", err)
			}
			say("Bob has its %d bytes, decrypted and checked; the server has %q...", len(saved), raw[:12])
		default:
			say("Bob sees that it has %d x %d pixels, sees a thumbnail, fetches it and checks it", f.Width, f.Height)
		}
	}
	if err := t.alice.keys.SetMode(ctx, bob, omemo.Off); err != nil {
		return "", err
	}
	return "a picture in clear, a letter encrypted, both checked", nil
}
