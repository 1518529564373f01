// Command gotest runs go test with the arguments it is given and prints what go
// test prints without -v; then it lists the tests that were skipped, and why.
// Besides what fails go test, it fails on a skip whose reason does not start
// with "lacks:", which is how package testbed says that a server has not what
// the test needs.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	cmd := exec.Command("go", append([]string{"test", "-json"}, os.Args[1:]...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(2)
	}
	r := newReport(os.Stdout)
	readErr := r.read(out)
	err = cmd.Wait()
	wrong := r.summary()
	switch {
	case readErr != nil:
		fmt.Fprintln(os.Stderr, "gotest:", readErr)
		os.Exit(2)
	case err != nil || wrong > 0:
		os.Exit(1)
	}
}

// event is a line of go test -json.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

type test struct{ pkg, name string }

type skip struct {
	test
	reason string
}

type report struct {
	w      io.Writer
	output map[test][]string
	passed int
	failed []test
	skips  []skip
}

func newReport(w io.Writer) *report {
	return &report{w: w, output: map[test][]string{}}
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) == nil && e.Action != "" {
				r.add(e)
			} else {
				io.WriteString(r.w, line)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) add(e event) {
	t := test{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		io.WriteString(r.w, e.Output)
	case "output":
		switch {
		case e.Test != "":
			r.output[t] = append(r.output[t], e.Output)
		case e.Output != "PASS\n":
			io.WriteString(r.w, e.Output)
		}
	case "pass":
		if e.Test != "" {
			r.passed++
		}
		delete(r.output, t)
	case "skip":
		if e.Test != "" {
			r.skips = append(r.skips, skip{t, reason(r.output[t])})
		}
		delete(r.output, t)
	case "fail":
		if e.Test != "" {
			r.failed = append(r.failed, t)
		}
		r.print(t)
	}
}

// print shows what a failed test has printed. When a package fails without a
// word about a test, as at a crash or the time limit, it is shown too.
func (r *report) print(t test) {
	var of []test
	for o := range r.output {
		if o == t || o.pkg == t.pkg && t.name == "" {
			of = append(of, o)
		}
	}
	slices.SortFunc(of, func(a, b test) int { return strings.Compare(a.name, b.name) })
	for _, o := range of {
		for _, line := range r.output[o] {
			if !strings.HasPrefix(line, "=== ") {
				io.WriteString(r.w, line)
			}
		}
		delete(r.output, o)
	}
}

// reason finds in a skipped test's output what it gave as the reason: the last
// line before the closing one, without the place in the source.
func reason(lines []string) string {
	text := ""
	for _, line := range lines {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "=== ") || strings.HasPrefix(trimmed, "--- ") {
			continue
		}
		if _, after, ok := strings.Cut(trimmed, ".go:"); ok {
			if _, after, ok = strings.Cut(after, ": "); ok {
				trimmed = after
			}
		}
		text = trimmed
	}
	return text
}

// summary prints the skips, grouped by reason, and the failures. It returns the
// number of skips that are not allowed.
func (r *report) summary() (wrong int) {
	byReason := map[string][]string{}
	for _, s := range r.skips {
		reason := s.reason
		if !strings.HasPrefix(reason, "lacks:") {
			wrong++
			reason = "NOT ALLOWED: " + reason
		}
		pkg := s.pkg[strings.LastIndexByte(s.pkg, '/')+1:]
		byReason[reason] = append(byReason[reason], pkg+"."+s.name)
	}
	fmt.Fprintf(r.w, "\n%d tests passed, %d failed, %d skipped\n", r.passed, len(r.failed), len(r.skips))
	reasons := make([]string, 0, len(byReason))
	for reason := range byReason {
		reasons = append(reasons, reason)
	}
	slices.Sort(reasons)
	for _, reason := range reasons {
		names := byReason[reason]
		slices.Sort(names)
		fmt.Fprintf(r.w, "skipped, %s\n", reason)
		for _, name := range names {
			fmt.Fprintf(r.w, "\t%s\n", name)
		}
	}
	for _, t := range r.failed {
		fmt.Fprintf(r.w, "FAILED: %s %s\n", t.pkg, t.name)
	}
	if wrong > 0 {
		fmt.Fprintf(r.w, "FAILED: %d tests were skipped for another reason than what a server lacks\n", wrong)
	}
	return wrong
}
