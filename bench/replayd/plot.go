package main

// plot.go: the ratios as a drawing, a panel for each workload.

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

const (
	panelW, barH, labelW, columns = 300, 15, 108, 4
	plotMin, plotMax              = 0.25, 512.0
)

// place is where a ratio lies on the logarithmic scale of a panel.
func place(x float64) float64 {
	x = max(plotMin, min(plotMax, x))
	return labelW + (panelW-labelW-44)*math.Log(x/plotMin)/math.Log(plotMax/plotMin)
}

func plot(rs []result) string {
	m := newMatrix(rs)
	var b, body strings.Builder
	x, y, rowH := 0, 46, 0
	col := 0
	for _, s := range slots {
		type bar struct {
			name string
			v    float64
		}
		var bars []bar
		for _, p := range peersOf(rs, s.work[:1]) {
			if v := ratio(m, s.costs[0], p, ours); !math.IsNaN(v) {
				bars = append(bars, bar{p, v})
			}
		}
		if len(bars) == 0 {
			continue
		}
		slices.SortStableFunc(bars, func(a, b bar) int {
			if a.v < b.v {
				return -1
			} else if a.v > b.v {
				return 1
			}
			return 0
		})
		if s.work[0] == 'O' && !strings.Contains(body.String(), "OMEMO") && col != 0 || col == columns {
			x, y, rowH, col = 0, y+rowH, 0, 0
		}
		h := 24 + barH*len(bars) + 14
		rowH = max(rowH, h)
		fmt.Fprintf(&body, "<g transform='translate(%d,%d)'>\n<text x='%d' y='12' class='t'>%s <tspan class='u'>%s</tspan></text>\n",
			x+10, y, 4, s.title, s.costs[0].name)
		for _, t := range []float64{1, 10, 100} {
			class := "g"
			if t == 1 {
				class = "one"
			}
			fmt.Fprintf(&body, "<line x1='%.1f' x2='%.1f' y1='20' y2='%d' class='%s'/>", place(t), place(t), 24+barH*len(bars), class)
		}
		for i, r := range bars {
			from, to, class := place(1), place(r.v), "ahead"
			if r.v < 0.995 {
				from, to, class = to, from, "behind"
			}
			top := 24 + i*barH
			fmt.Fprintf(&body, "\n<text x='%d' y='%d' class='n'>%s</text><rect x='%.1f' y='%d' width='%.1f' height='%d' class='%s'/><text x='%.1f' y='%d' class='v'>%s</text>",
				labelW-22, top+10, r.name, from, top, max(1, to-from), barH-4, class, max(from, to)+4, top+10, times(r.v))
		}
		body.WriteString("\n</g>\n")
		x += panelW
		col++
	}
	w, h := columns*panelW+20, y+rowH+4
	fmt.Fprintf(&b, `<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' viewBox='0 0 %d %d' font-family='sans-serif'>
<style>.t{font-size:13px;font-weight:bold;fill:#222}.u{font-weight:normal;fill:#777}.n{font-size:11px;fill:#333;text-anchor:end}.v{font-size:10px;fill:#333}
.g{stroke:#ddd}.one{stroke:#444}.ahead{fill:#3b78b5}.behind{fill:#d9822b}.h{font-size:15px;fill:#222}</style>
<rect width='100%%' height='100%%' fill='#fff'/>
<text x='14' y='26' class='h'>How many times more than confab each peer needs (logarithmic; lines at 1, 10 and 100; orange: it needs less)</text>
%s</svg>
`, w, h, w, h, body.String())
	return b.String()
}
