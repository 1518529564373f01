// Command withserver starts a server from package testbed, runs a command
// against it and ends the server. The command finds in its environment
//
//	CONFAB_TEST_SERVER    the server's name and version
//	CONFAB_TEST_DOMAIN    its domain, which resolves nowhere
//	CONFAB_TEST_ADDR      host:port for clients (STARTTLS)
//	CONFAB_TEST_DIRECT    host:port for clients (direct TLS)
//	CONFAB_TEST_WEBSOCKET the URL of the WebSocket endpoint
//	CONFAB_TEST_CA        a PEM file with the authority of its certificates
//	CONFAB_TEST_USER1     the address of an account, and so on up to USER4
//	CONFAB_TEST_PASS1     its password
//
// and as SSL_CERT_FILE the same authority, so that a Go program trusts it as it
// would trust any. "{NAME}" in an argument stands for CONFAB_TEST_NAME:
//
//	withserver prosody go run ./examples/tour -server {ADDR} -user {USER1} -password {PASS1}
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/confab-im/confab/internal/testbed"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: withserver embedded|prosody|ejabberd command [argument ...]")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "withserver:", err)
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() > 0 {
			os.Exit(exit.ExitCode())
		}
		os.Exit(1)
	}
}

func run(name string, command []string) error {
	s, err := testbed.Open(name)
	if err != nil {
		return err
	}
	defer s.Close()
	dir, err := os.MkdirTemp("", "confab-withserver-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, s.CAPEM, 0o600); err != nil {
		return err
	}
	vars := []string{
		"SERVER", s.Name + " " + s.Version,
		"DOMAIN", s.Domain,
		"ADDR", s.Addr,
		"DIRECT", s.DirectAddr,
		"WEBSOCKET", s.WebSocketURL,
		"CA", ca,
	}
	for i := 1; i <= 4; i++ {
		user := fmt.Sprintf("guest%d", i)
		password := fmt.Sprintf("password of %s", user)
		if err := s.AddAccount(s.Domain, user, password); err != nil {
			return err
		}
		vars = append(vars, fmt.Sprintf("USER%d", i), user+"@"+s.Domain, fmt.Sprintf("PASS%d", i), password)
	}
	env := append(os.Environ(), "SSL_CERT_FILE="+ca)
	var braces []string
	for i := 0; i < len(vars); i += 2 {
		env = append(env, "CONFAB_TEST_"+vars[i]+"="+vars[i+1])
		braces = append(braces, "{"+vars[i]+"}", vars[i+1])
	}
	fill := strings.NewReplacer(braces...)
	for i, arg := range command {
		command[i] = fill.Replace(arg)
	}

	// An interrupt from the terminal reaches the command too; the server is
	// ended when that has.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = env
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err = <-ended:
			if err != nil {
				fmt.Fprintf(os.Stderr, "the end of %s's log:\n%s", s.Name, s.Logs())
			}
			return err
		case sig := <-signals:
			cmd.Process.Signal(sig)
		}
	}
}
