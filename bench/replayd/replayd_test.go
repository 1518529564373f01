package main

import (
	"math"
	"strings"
	"testing"
)

// made makes the results of n rounds, in which the machine gets slower and slower.
func made(n int) (rs []result) {
	for run := 1; run <= n; run++ {
		slow := float64(run)
		for client, cpu := range map[string]float64{ours: 1, "fast": 0.5, "mellium": 8, limit: 0.9} {
			rs = append(rs, result{Client: client, Work: "W1", Run: run, N: 1000, OK: true, CPU: cpu * slow, Wall: 2 * cpu * slow, HWM: 30 << 10})
		}
		rs = append(rs, result{Client: "broken", Work: "W1", Run: run, N: 1000, CPU: 1, Wall: 1})
	}
	return
}

func TestRatio(t *testing.T) {
	m := newMatrix(made(3))
	c := perStanza("W1")[0]
	for peer, want := range map[string]float64{"fast": 0.5, "mellium": 8} {
		if got := ratio(m, c, peer, ours); math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: %v, not %v", peer, got, want)
		}
	}
	for _, peer := range []string{"broken", "absent"} {
		if got := ratio(m, c, peer, ours); !math.IsNaN(got) {
			t.Errorf("%s has a ratio: %v", peer, got)
		}
	}
}

func TestTables(t *testing.T) {
	var b strings.Builder
	ratioTables(&b, made(3))
	behind(&b, made(3))
	goalTable(&b, made(3))
	s := b.String()
	for _, want := range []string{"**0.50** (0.50)", "8 (8)", "CPU of fast at 0.50", "| W1: CPU, times less than mellium | ≥ 7 | 8.00 | met |",
		"| W1: peak RSS in MB | ≤ 25 | 30.00 | **not met** |", "| W1: rate, times bare expat | ≥ 1.1 | 0.90 | **not met** |", "not measured"} {
		if !strings.Contains(s, want) {
			t.Errorf("no %q in\n%s", want, s)
		}
	}
	if strings.Contains(s, limit) {
		t.Errorf("bare expat is no peer:\n%s", s)
	}
}

func TestPlot(t *testing.T) {
	s := plot(made(2))
	if strings.Count(s, "class='ahead'") != 1 || strings.Count(s, "class='behind'") != 1 || strings.Contains(s, "NaN") {
		t.Error(s)
	}
	if place(1) >= place(2) || place(1e9) > panelW {
		t.Error("the scale is not one")
	}
}
