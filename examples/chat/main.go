// Command chat is a chat client for the terminal.
//
//	chat juliet@example.org
//
// The password is read from the environment variable PASSWORD, or asked for. What was said
// is kept in a file, by default in the user's configuration folder. /help tells what can
// be done.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/store"
	"golang.org/x/term"
	"mellium.im/xmpp/jid"
)

// settings are what the program is started with.
type settings struct {
	folder    string // for the files of accounts
	downloads string // for what others have sent
	server    string // "" finds it
	logFile   string
	local     bool // the server is on this machine
}

func main() {
	var s settings
	flag.StringVar(&s.folder, "data", "", "the folder for what is kept (default: in the user's configuration folder)")
	flag.StringVar(&s.downloads, "downloads", ".", "the folder where files are saved")
	flag.StringVar(&s.server, "server", "", "host:port to connect to, in place of what DNS says")
	flag.StringVar(&s.logFile, "log", "", "a file for what happens to the connection")
	flag.BoolVar(&s.local, "local", false, "exchange files with a server on this machine")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: chat [flags] [juliet@example.org]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(s, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", safeLine(err.Error(), 500))
		os.Exit(1)
	}
}

func run(s settings, args []string) error {
	if len(args) > 1 {
		return errors.New("one address, please; the password does not belong on the command line")
	}
	account, password, err := credentials(args)
	if err != nil {
		return err
	}
	file, err := s.file(account)
	if err != nil {
		return err
	}
	db, err := store.Open(file)
	if err != nil {
		return err
	}
	defer db.Close()
	cfg := client.Config{Address: account.String(), Password: password, Server: s.server, Store: db}
	cfg.Software = client.Software{Name: "confab chat", Type: "console"}
	if s.logFile != "" {
		f, err := os.OpenFile(s.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		cfg.Log = slog.New(slog.NewTextHandler(f, nil))
	}
	a, err := newApp(cfg, db, s)
	if err != nil {
		return err
	}
	ui := newScreen(a)
	a.show = ui.show
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	a.start(ctx)
	err = ui.run()
	a.end()
	if err == nil {
		err = a.failure()
	}
	return err
}

// file is where an account's data is. Addresses have characters that no file name has.
func (s settings) file(account jid.JID) (string, error) {
	if s.folder == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return "", err
		}
		s.folder = filepath.Join(dir, "confab-chat")
	}
	if err := os.MkdirAll(s.folder, 0o700); err != nil {
		return "", err
	}
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, account.Bare().String())
	return filepath.Join(s.folder, name+".db"), nil
}

// credentials finds out who signs in. A password on the command line could be read by
// everybody on the machine.
func credentials(args []string) (jid.JID, string, error) {
	address := ""
	if len(args) == 1 {
		address = args[0]
	}
	in := bufio.NewReader(os.Stdin)
	if address == "" {
		fmt.Print("Address: ")
		line, err := in.ReadString('\n')
		if err != nil {
			return jid.JID{}, "", err
		}
		address = strings.TrimSpace(line)
	}
	account, err := jid.Parse(address)
	if err != nil {
		return jid.JID{}, "", fmt.Errorf("%q is no address: %w", address, err)
	}
	if account.Localpart() == "" {
		return jid.JID{}, "", fmt.Errorf("%s is no address of a person: juliet@example.org would be", account)
	}
	password, ok := os.LookupEnv("PASSWORD")
	if !ok {
		fmt.Printf("Password for %s: ", account.Bare())
		typed, err := term.ReadPassword(int(os.Stdin.Fd()))
		fmt.Println()
		if err != nil {
			return jid.JID{}, "", err
		}
		password = string(typed)
	}
	return account, password, nil
}
