//go:build unix

package testbed

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// guard is the shell that stands between us and a server. It tells the server's
// process id and waits for it; a second one waits for our end of its standard
// input to close, which it does however we end, and then ends the server and
// removes its folder. Arguments: the folder, the log, the command.
const guard = `
dir=$1 log=$2
shift 2
exec 3<&0 </dev/null 4>&1 >>"$log" 2>&1
"$@" 3<&- 4>&- &
pid=$!
(
	exec 4>&-
	read -r _ <&3
	trap '' TERM
	kill -KILL $pid
	while kill -0 $pid; do sleep 0.05; done
	rm -rf "$dir"
) 2>/dev/null &
watch=$!
exec 3<&-
echo $pid >&4
exec 4>&-
wait $pid
rc=$?
kill $watch 2>/dev/null
exit $rc
`

// child is a server's process.
type child struct {
	pid    int
	alive  *os.File      // our end of the guard's standard input
	exited chan struct{} // closed when the process has ended and was reaped
	err    error         // how it ended, then
}

// startChild runs a command that ends when we do. dir is removed if we are
// killed; env is added to our own environment.
func startChild(dir, log string, env []string, command ...string) (*child, error) {
	stdin, alive, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	told, stdout, err := os.Pipe()
	if err != nil {
		alive.Close()
		return nil, err
	}
	defer told.Close()

	cmd := exec.Command("sh", append([]string{"-c", guard, "guard", dir, log}, command...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout = stdin, stdout
	// A ^C at the terminal is for us; we end the server then.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	stdout.Close()
	if err != nil {
		alive.Close()
		return nil, err
	}
	c := &child{alive: alive, exited: make(chan struct{})}
	line, err := bufio.NewReader(told).ReadString('\n')
	go func() {
		c.err = cmd.Wait()
		alive.Close()
		close(c.exited)
	}()
	if err == nil {
		c.pid, err = strconv.Atoi(strings.TrimSpace(line))
	}
	if err != nil {
		alive.Close()
		<-c.exited
		return nil, fmt.Errorf("the guard told no process id: %w (%v)", err, c.err)
	}
	return c, nil
}

// stop ends the process: at once, or by asking it to first. It returns when the
// process is gone.
func (c *child) stop(kill bool) {
	if !kill {
		syscall.Kill(c.pid, syscall.SIGTERM)
		select {
		case <-c.exited:
			return
		case <-time.After(20 * time.Second):
		}
	}
	select {
	case <-c.exited: // its id may be another's by now
	default:
		syscall.Kill(c.pid, syscall.SIGKILL)
		<-c.exited
	}
}
