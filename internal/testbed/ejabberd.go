package testbed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// openEjabberd starts the ejabberd that the system's package installed. Its
// node runs without Erlang's distribution, so it needs no epmd and no name, and
// any number of them run side by side. ejabberdctl would want all of that, and
// the user ejabberd besides.
func openEjabberd() (*Server, error) {
	install, err := findEjabberd()
	if err != nil {
		return nil, fmt.Errorf("testbed: ejabberd: %w", err)
	}
	const domain = "ejabberd.test"
	s := &Server{
		Name: Ejabberd, Version: install.version, Domain: domain,
		PlainDomain: domain, AnonDomain: "anon." + domain, CaptchaDomain: "captcha." + domain,
		Rooms: "conference." + domain, Upload: "upload." + domain, Proxy: "proxy." + domain,
		PubSub: "pubsub." + domain, Search: "vjud." + domain,
	}
	p, err := newProcess(s, s.CaptchaDomain, s.Rooms, s.Upload, s.Proxy, s.PubSub, s.Search)
	if err != nil {
		return nil, err
	}
	s.WebSocketURL = "wss://localhost:" + p.ports.port(portHTTPS) + "/ws"
	s.BOSHURL = s.HTTPSBase + "/bosh"
	e := &ejabberd{process: p, api: "http://" + p.ports.addr(portHTTP) + "/api/"}
	s.backend = e

	config := filepath.Join(p.dir, "ejabberd.yml")
	p.command = []string{
		install.erl, "-noinput", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none",
		"-mnesia", "dir", fmt.Sprintf("%q", filepath.Join(p.dir, "mnesia")),
		"-eval", makeTables, "-ejabberd", "quiet", "true", "-s", "ejabberd",
	}
	p.env = []string{
		"ERL_LIBS=" + install.libs,
		"EJABBERD_CONFIG_PATH=" + config,
		"EJABBERD_LOG_PATH=" + p.logFile,
		"ERL_CRASH_DUMP_SECONDS=0", // no dump
		"HOME=" + p.dir,
		"CONFAB_SQLITE=" + filepath.Join(p.dir, "ejabberd.db"),
	}
	p.ready = func() error {
		if err := p.streamReady(domain); err != nil {
			return err
		}
		return e.call("status", struct{}{})
	}
	if err := copyFiles(p.dir, "captcha.sh"); err != nil {
		p.close()
		return nil, err
	}
	if err := os.Chmod(filepath.Join(p.dir, "captcha.sh"), 0o700); err != nil {
		p.close()
		return nil, err
	}
	if err := writeEjabberdConfig(config, p, domain, install.version); err != nil {
		p.close()
		return nil, err
	}
	if err := p.start(); err != nil {
		p.close()
		return nil, err
	}
	return s, nil
}

// makeTables runs in the node before ejabberd: the archive is kept in SQLite,
// and ejabberd 23.01 makes no tables there by itself. Without the pragmas each
// statement, and later each message, would wait for the disk.
const makeTables = `
File = os:getenv("CONFAB_SQLITE"),
case filelib:is_file(File) of
	true -> ok;
	false ->
		{ok, Schema} = file:read_file(filename:join(code:priv_dir(ejabberd), "sql/lite.sql")),
		{ok, _} = sqlite3:open(confab_schema, [{file, File}]),
		Script = [<<"PRAGMA synchronous=OFF; PRAGMA journal_mode=WAL; BEGIN;">>, Schema, <<"COMMIT;">>],
		sqlite3:sql_exec_script_timeout(confab_schema, iolist_to_binary(Script), 60000),
		sqlite3:close(confab_schema)
end.`

type ejabberdInstall struct {
	erl, libs, version string
}

// findEjabberd looks into ejabberdctl for where the package keeps things.
func findEjabberd() (ejabberdInstall, error) {
	system, _ := exec.LookPath("ejabberdctl")
	script, err := firstFile(system, "/usr/sbin/ejabberdctl")
	if err != nil {
		return ejabberdInstall{}, err
	}
	text, err := os.ReadFile(script)
	if err != nil {
		return ejabberdInstall{}, err
	}
	setting := func(name string) string {
		m := regexp.MustCompile(`(?m)^` + name + `=['"]?([^'"\n]+)`).FindSubmatch(text)
		if m == nil {
			return ""
		}
		return string(m[1])
	}
	i := ejabberdInstall{erl: setting("ERL"), libs: setting("ERL_LIBS")}
	if i.erl == "" || i.libs == "" {
		return i, fmt.Errorf("%s does not say where erl and the libraries are", script)
	}
	for lib := range strings.SplitSeq(i.libs, ":") {
		apps, _ := filepath.Glob(filepath.Join(lib, "ejabberd-*", "ebin", "ejabberd.app"))
		for _, app := range apps {
			data, _ := os.ReadFile(app)
			if m := regexp.MustCompile(`\{vsn,\s*"([^"]+)"`).FindSubmatch(data); m != nil {
				i.version = string(m[1])
			}
		}
	}
	if i.version == "" {
		return i, fmt.Errorf("no ejabberd in %s", i.libs)
	}
	return i, nil
}

// newerLine is a line of the configuration for versions from the marked one on.
var newerLine = regexp.MustCompile(`(?m)^#>=([0-9.]+) (.*)\n`)

func writeEjabberdConfig(path string, p *process, domain, version string) error {
	text, err := files.ReadFile("files/ejabberd.yml")
	if err != nil {
		return err
	}
	text = newerLine.ReplaceAllFunc(text, func(line []byte) []byte {
		m := newerLine.FindSubmatch(line)
		if atLeast(version, string(m[1])) {
			return append(m[2], '\n')
		}
		return nil
	})
	filled := strings.NewReplacer(
		"@DIR@", p.dir, "@DOMAIN@", domain, "@LOGLEVEL@", logLevel(),
		"@C2S@", p.ports.port(portC2S), "@DIRECT@", p.ports.port(portDirect),
		"@HTTP@", p.ports.port(portHTTP), "@HTTPS@", p.ports.port(portHTTPS),
		"@COMPONENT@", p.ports.port(portComponent), "@PROXY@", p.ports.port(portProxy),
		"@STUN@", p.ports.port(portSTUN),
	).Replace(string(text))
	return os.WriteFile(path, []byte(filled), 0o600)
}

type ejabberd struct {
	*process
	api string
}

func (e *ejabberd) addAccount(domain, user, password string) error {
	err := e.call("register", map[string]string{"host": domain, "user": user, "password": password})
	if errors.Is(err, errConflict) {
		return e.call("change_password", map[string]string{"host": domain, "user": user, "newpass": password})
	}
	return err
}

var (
	errConflict = errors.New("409 Conflict")
	apiClient   = &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true},
	}
)

// call runs a command of ejabberd's HTTP API.
func (e *ejabberd) call(command string, args any) error {
	body, err := json.Marshal(args)
	if err != nil {
		return err
	}
	resp, err := apiClient.Post(e.api+command, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusConflict:
		return errConflict
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s: %s", command, resp.Status, answer)
	}
	return nil
}
