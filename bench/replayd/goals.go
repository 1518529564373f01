package main

import (
	"fmt"
	"math"
	"strings"
)

// goal is one that must be met: value is to be at least, or at most, want.
type goal struct {
	text  string
	want  float64
	most  bool
	value func(m matrix) float64
}

// faster is how many times faster, or cheaper, confab is than the peer.
func faster(work, peer string, wall bool) func(matrix) float64 {
	return func(m matrix) float64 {
		c := perStanza(work)[0]
		if wall {
			c = perStanza(work)[1]
		}
		return ratio(m, c, peer, ours)
	}
}

func mine(c cost) func(matrix) float64 {
	return func(m matrix) float64 { return typical(m, c, ours) }
}

func peakMB(work string) func(matrix) float64 {
	return mine(each(work, "", func(r result) float64 { return float64(r.HWM) / 1024 }))
}

func turns(work string) func(matrix) float64 {
	return mine(each(work, "", func(r result) float64 { return float64(r.Turns) }))
}

var goals = []goal{
	{"W1: rate, times libstrophe", 3, false, faster("W1", "libstrophe", true)},
	{"W1: rate, times bare expat", 1.1, false, faster("W1", limit, true)},
	{"W1: CPU, times less than mellium", 7, false, faster("W1", "mellium", false)},
	{"W1: peak RSS in MB", 25, true, peakMB("W1")},
	{"W2: rate, times libstrophe", 2.5, false, faster("W2", "libstrophe", true)},
	{"W3: rate, times libstrophe", 2.5, false, faster("W3", "libstrophe", true)},
	{"W3: rate, times gloox", 8, false, faster("W3", "gloox", true)},
	{"W3: rate, times QXmpp", 8, false, faster("W3", "qxmpp", true)},
	{"W4a: CPU, mellium's to ours", 1, false, faster("W4a", "mellium", false)},
	{"W4b: rate, times mellium", 1.5, false, faster("W4b", "mellium", true)},
	{"W5: rate, times libstrophe", 3, false, faster("W5", "libstrophe", true)},
	{"W5: CPU, times less than mellium", 15, false, faster("W5", "mellium", false)},
	{"W5: peak RSS in MB", 20, true, peakMB("W5")},
	{"W5sm: rate, of that of W5", 0.5, false, func(m matrix) float64 {
		return typical(m, perStanza("W5")[1], ours) / typical(m, perStanza("W5sm")[1], ours)
	}},
	{"W6: KB for an idle client", 28, true, mine(idleKB)},
	{"W6: goroutines for an idle client", 3, true, mine(each("W6", "", func(r result) float64 {
		var n int
		if _, err := fmt.Sscan(r.Reported["goroutines"], &n); err != nil {
			return math.NaN()
		}
		return float64(n) / float64(r.N)
	}))},
	{"W7p: round trips, PLAIN", 4, true, turns("W7p")},
	{"W7s: round trips, SCRAM", 5, true, turns("W7s")},
	{"W7d2: round trips with SASL2 and Bind 2", 2, true, turns("W7d2")},
	{"W7d2: time, of mellium's", 0.55, true, func(m matrix) float64 {
		return 1 / ratio(m, connectMS("W7d2"), "mellium", ours)
	}},
	{"W7s: CPU, mellium's to ours", 1, false, func(m matrix) float64 { return ratio(m, cpuOf("W7s"), "mellium", ours) }},
}

// goalTable says which of the goals this run met.
func goalTable(b *strings.Builder, rs []result) {
	m := newMatrix(rs)
	b.WriteString("\n| goal | must | this run | |\n|---|---|---|---|\n")
	for _, g := range goals {
		x := g.value(m)
		sign, verdict := "≥", "**not met**"
		if g.most {
			sign = "≤"
		}
		switch {
		case math.IsNaN(x):
			verdict = "not measured"
		case g.most && x <= g.want, !g.most && x >= g.want:
			verdict = "met"
		}
		fmt.Fprintf(b, "| %s | %s %g | %.2f | %s |\n", g.text, sign, g.want, x, verdict)
	}
}
