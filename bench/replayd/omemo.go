package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// runOMEMO runs a program that measures its own cryptography and prints lines
// "RESULT workload count seconds-of-CPU".
func runOMEMO(args []string) {
	fs := flag.NewFlagSet("omemo", flag.ExitOnError)
	name, path := fs.String("client", "", ""), fs.String("cmd", "", "")
	n, nr, outf := fs.Int("n", 4000, "messages; a tenth as many sessions"), fs.Int("run", 1, "run number"), fs.String("out", "", "append results here")
	fs.Parse(args)
	abs, err := filepath.Abs(*path)
	if err != nil {
		log.Fatal(err)
	}
	cmd := exec.Command(abs)
	cmd.Dir, cmd.Stderr = filepath.Dir(abs), os.Stderr
	cmd.Env = append(os.Environ(), "XB_N="+strconv.Itoa(*n))
	out, err := cmd.Output()
	if err != nil {
		log.Fatalf("%s: %v", *name, err)
	}
	got := 0
	for _, l := range strings.Split(string(out), "\n") {
		f := strings.Fields(l)
		if len(f) != 4 || f[0] != "RESULT" {
			continue
		}
		r := result{Client: *name, Work: f[1], Run: *nr, OK: true, Time: time.Now().UTC().Format(time.RFC3339)}
		if r.N, err = strconv.Atoi(f[2]); err != nil {
			log.Fatal(err)
		}
		if r.CPU, err = strconv.ParseFloat(f[3], 64); err != nil {
			log.Fatal(err)
		}
		appendResult(*outf, r)
		fmt.Printf("%-14s %-4s run %d %.1f µs each\n", r.Client, r.Work, r.Run, 1e6*r.CPU/float64(r.N))
		got++
	}
	if got != 8 {
		log.Fatalf("%s: %d results of 8", *name, got)
	}
}

// appendResult adds a line to the file of results.
func appendResult(path string, r result) {
	if path == "" {
		return
	}
	b, err := json.Marshal(r)
	if err != nil {
		log.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	fmt.Fprintf(f, "%s\n", b)
}
