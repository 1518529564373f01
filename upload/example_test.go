package upload_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/upload"
	"mellium.im/xmpp/jid"
)

// A file is sent in clear, and then encrypted, without a difference in how.
func Example() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	sign := func(user string) (*client.Client, *chat.Client, *upload.Client, *omemo.Manager) {
		c, err := client.New(client.Config{Address: srv.AddAccount(user, "pw"), Password: "pw", Dial: srv.Dial})
		if err != nil {
			panic(err)
		}
		chats := chat.New(c, chat.Config{})
		keys, err := omemo.New(c, omemo.Config{Store: &omemo.MemoryStore{}})
		if err != nil {
			panic(err)
		}
		files := upload.New(c, upload.Config{
			Transport: c.HTTPTransport(),
			Sealed:    func(j jid.JID) bool { return keys.Mode(j) != omemo.Off },
		})
		ready := make(chan struct{}, 10)
		confab.On(c, func(context.Context, confab.Ready) { ready <- struct{}{} })
		go c.Run(ctx)
		<-ready
		return c, chats, files, keys
	}
	_, chats, files, keys := sign("romeo")
	juliet, _, hers, _ := sign("juliet")
	saved := make(chan string, 10)
	confab.On(juliet, func(ctx context.Context, m *chat.Message) {
		for _, f := range m.Files {
			path := filepath.Join(dir, f.Name)
			if err := hers.Save(ctx, f, path, upload.Limit(1<<20)); err != nil {
				panic(err)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				panic(err)
			}
			saved <- fmt.Sprintf("%s, %s, encrypted: %t: %s", f.Name, f.Type, f.Sources[0].Cipher != "", text)
		}
	})

	to := jid.MustParse("juliet@confab.test")
	for _, mode := range []omemo.Mode{omemo.Off, omemo.On} {
		if err := keys.SetMode(ctx, to, mode); err != nil {
			panic(err)
		}
		if _, _, err := files.Share(ctx, chats.With(to), upload.FromBytes("letter.txt", []byte("My dearest"))); err != nil {
			panic(err)
		}
		fmt.Println(<-saved)
	}
	// Output:
	// letter.txt, text/plain, encrypted: false: My dearest
	// letter.txt, text/plain, encrypted: true: My dearest
}
