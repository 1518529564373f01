package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/upload"
	"mellium.im/xmpp/jid"
)

var fileCommands = []command{
	{"send", "PATH", "send a file", (*app).sendFile},
	{"save", "[#N] [PATH]", "save the last file, or that of a message", (*app).saveFile},
}

// fileLine says what a file is.
func fileLine(f chat.File, number int) string {
	about := []string{cmp.Or(safeName(f.Name), "without a name")}
	if f.Type != "" {
		about = append(about, safeName(f.Type))
	}
	if f.Size > 0 {
		about = append(about, size(f.Size))
	}
	if f.Desc != "" {
		about = append(about, safeLine(f.Desc, 200))
	}
	return fmt.Sprintf("[file: %s] /save #%d", strings.Join(about, ", "), number)
}

func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 1<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// home replaces a ~ at the beginning of a path.
func home(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if dir, err := os.UserHomeDir(); err == nil {
			return filepath.Join(dir, rest)
		}
	}
	return path
}

// aside runs what lasts as long as a transfer does.
func (a *app) aside(where jid.JID, f func(ctx context.Context) error) error {
	a.wg.Go(func() {
		if err := f(a.ctx); err != nil && a.ctx.Err() == nil {
			a.fail(where, err)
		}
	})
	return nil
}

func (a *app) sendFile(_ context.Context, here jid.JID, path string) error {
	room, err := a.room(here)
	if err != nil {
		return err
	}
	src, err := upload.FromFile(home(path))
	if err != nil {
		return err
	}
	var to upload.Conversation = a.chats.With(here)
	if room != nil {
		to = room
	}
	a.say(here, "Sending %s, %s", src.Name, size(src.Size))
	return a.aside(here, func(ctx context.Context) error {
		_, _, err := a.files.Share(ctx, to, src, upload.WithThumbnail())
		return err
	})
}

func (a *app) saveFile(ctx context.Context, here jid.JID, arg string) error {
	n, path := numbered(arg)
	e, err := a.target(ctx, here, n, withFiles)
	if err != nil {
		return err
	}
	if e.Retracted || !withFiles(e) {
		return errors.New("there is no file in that message")
	}
	return a.aside(here, func(ctx context.Context) error {
		for _, f := range e.Current.Files {
			to, err := a.free(f, home(path))
			if err != nil {
				return err
			}
			if err := a.files.Save(ctx, f, to); err != nil {
				return err
			}
			a.say(here, "Saved as %s", to)
		}
		return nil
	})
}

// free finds a path for a file at which there is none: what others have sent replaces
// nothing of the user's.
func (a *app) free(f chat.File, path string) (string, error) {
	if path == "" {
		path = a.downloads
	}
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		path = filepath.Join(path, cmp.Or(f.Name, "file"))
	}
	ext := filepath.Ext(path)
	base := strings.TrimSuffix(path, ext)
	for i := range 1000 {
		if i > 0 {
			path = fmt.Sprintf("%s-%d%s", base, i, ext)
		}
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
	}
	return "", errors.New("too many files have that name")
}
