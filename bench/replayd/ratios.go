package main

// ratios.go: confab beside each peer as ratios, the goals, and what both need.

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

const (
	ours  = "confab"
	limit = "limit-expat" // no library at all: not a peer
)

// measure is a cost, of which less is better.
type cost struct {
	name string // as in the table
	of   func(m matrix, client string, run int) float64
}

// slot is a row of the table. The first cost is the one in the plot.
type slot struct {
	work, title string
	costs       []cost
}

// matrix has the good results, by workload, client and run.
type matrix map[string]map[string]map[int]result

func newMatrix(rs []result) matrix {
	m := matrix{}
	for _, r := range rs {
		if !r.OK {
			continue
		}
		if m[r.Work] == nil {
			m[r.Work] = map[string]map[int]result{}
		}
		if m[r.Work][r.Client] == nil {
			m[r.Work][r.Client] = map[int]result{}
		}
		m[r.Work][r.Client][r.Run] = r
	}
	return m
}

// each makes a cost of what single results say.
func each(work, name string, f func(r result) float64) cost {
	return cost{name, func(m matrix, client string, run int) float64 {
		r, ok := m[work][client][run]
		if !ok {
			return math.NaN()
		}
		return f(r)
	}}
}

func perStanza(work string) []cost {
	return []cost{
		each(work, "CPU", func(r result) float64 { return r.CPU / float64(r.N) }),
		each(work, "wall", func(r result) float64 { return r.Wall / float64(r.N) }),
	}
}

func cpuOf(work string) cost {
	return each(work, "CPU", func(r result) float64 { return r.CPU / float64(r.N) })
}

var idleKB = cost{"memory", func(m matrix, client string, run int) float64 {
	many, ok := m["W6"][client][run]
	one, ok1 := m["W6b"][client][run]
	if !ok || !ok1 {
		return math.NaN()
	}
	return float64(many.RSS-one.RSS) / float64(many.N-1)
}}

func connectMS(work string) cost {
	return each(work, "wall", func(r result) float64 { return r.Connect })
}

var slots = []slot{
	{"W1", "messages in", perStanza("W1")},
	{"W2", "archive", perStanza("W2")},
	{"W3", "room join", perStanza("W3")},
	{"W4a", "pings, one by one", perStanza("W4a")},
	{"W4b", "pings, 64 at once", perStanza("W4b")},
	{"W5", "messages out", perStanza("W5")},
	{"W5sm", "messages out, acknowledged", perStanza("W5sm")},
	{"W6", "idle clients", []cost{idleKB}},
	{"W7p", "sign-in, PLAIN", []cost{cpuOf("W7p"), connectMS("W7p")}},
	{"W7s", "sign-in, SCRAM", []cost{cpuOf("W7s"), connectMS("W7s")}},
	{"W7d2", "sign-in, answers 20 ms late", []cost{connectMS("W7d2")}},
	{"O1b", "OMEMO 0.3 session begun", []cost{cpuOf("O1b")}},
	{"O1a", "OMEMO 0.3 session accepted", []cost{cpuOf("O1a")}},
	{"O1e", "OMEMO 0.3 message out", []cost{cpuOf("O1e")}},
	{"O1d", "OMEMO 0.3 message in", []cost{cpuOf("O1d")}},
	{"O2b", "OMEMO 2 session begun", []cost{cpuOf("O2b")}},
	{"O2a", "OMEMO 2 session accepted", []cost{cpuOf("O2a")}},
	{"O2e", "OMEMO 2 message out", []cost{cpuOf("O2e")}},
	{"O2d", "OMEMO 2 message in", []cost{cpuOf("O2d")}},
}

// ratio is the median over the rounds of how much more the peer needed than
// confab did in the same round. It is NaN if there was no such round.
func ratio(m matrix, c cost, peer string, over string) float64 {
	var v []float64
	for run := 1; run <= 100; run++ {
		if x := c.of(m, peer, run) / c.of(m, over, run); !math.IsNaN(x) && !math.IsInf(x, 0) && x > 0 {
			v = append(v, x)
		}
	}
	if len(v) == 0 {
		return math.NaN()
	}
	return median(v)
}

// typical is the median of a cost over the rounds.
func typical(m matrix, c cost, client string) float64 {
	var v []float64
	for run := 1; run <= 100; run++ {
		if x := c.of(m, client, run); !math.IsNaN(x) {
			v = append(v, x)
		}
	}
	if len(v) == 0 {
		return math.NaN()
	}
	return median(v)
}

func times(x float64) string {
	switch {
	case math.IsNaN(x):
		return "–"
	case x >= 9.95:
		return fmt.Sprintf("%.0f", x)
	case x >= 0.995:
		return fmt.Sprintf("%.2g", math.Round(x*100)/100)
	}
	return fmt.Sprintf("%.2f", x)
}

// peersOf lists who took part in the workloads that have the prefix, in order.
func peersOf(rs []result, prefix string) (peers []string) {
	for _, r := range rs {
		if strings.HasPrefix(r.Work, prefix) && r.Client != ours && r.Client != limit && !slices.Contains(peers, r.Client) {
			peers = append(peers, r.Client)
		}
	}
	return
}

func roundsOf(m matrix, work string) int { return len(m[work][ours]) }

// ratioTables writes confab beside its peers.
func ratioTables(b *strings.Builder, rs []result) {
	m := newMatrix(rs)
	for _, prefix := range []string{"W", "O"} {
		peers := peersOf(rs, prefix)
		if len(peers) == 0 {
			continue
		}
		fmt.Fprintf(b, "\n| | rounds | confab | %s |\n|---|---|---|%s\n", strings.Join(peers, " | "), strings.Repeat("---|", len(peers)))
		for _, s := range slots {
			if !strings.HasPrefix(s.work, prefix) || len(m[s.work]) == 0 {
				continue
			}
			fmt.Fprintf(b, "| %s (%s) | %d | %s |", s.title, s.costs[0].name, roundsOf(m, s.work), absolute(m, s))
			for _, p := range peers {
				x := ratio(m, s.costs[0], p, ours)
				cell := times(x)
				if x < 0.995 {
					cell = "**" + cell + "**"
				}
				if len(s.costs) > 1 && !math.IsNaN(x) {
					cell += " (" + times(ratio(m, s.costs[1], p, ours)) + ")"
				}
				fmt.Fprintf(b, " %s |", cell)
			}
			b.WriteString("\n")
		}
	}
}

// absolute is what confab itself did, in the unit of the slot.
func absolute(m matrix, s slot) string {
	x := typical(m, s.costs[0], ours)
	switch {
	case math.IsNaN(x):
		return "–"
	case s.work == "W6":
		return fmt.Sprintf("%.1f KB", x)
	case s.work == "W7d2":
		return fmt.Sprintf("%.0f ms", x)
	case strings.HasPrefix(s.work, "W7"):
		return fmt.Sprintf("%.2f ms", 1e3*x)
	}
	return fmt.Sprintf("%.1f µs", 1e6*x)
}

// behind lists where a peer needed less than confab.
func behind(b *strings.Builder, rs []result) {
	m := newMatrix(rs)
	n := 0
	b.WriteString("\nBehind a peer: ")
	for _, s := range slots {
		for _, p := range peersOf(rs, s.work[:1]) {
			for _, c := range s.costs {
				if x := ratio(m, c, p, ours); x < 0.995 {
					if n++; n > 1 {
						b.WriteString("; ")
					}
					fmt.Fprintf(b, "%s: %s of %s at %s", s.title, c.name, p, times(x))
				}
			}
		}
	}
	if n == 0 {
		b.WriteString("nowhere")
	}
	b.WriteString(".\n")
}
