package drill

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// chart is a drawing with a title.
type chart struct {
	Title, Note string
	SVG         template.HTML
}

// The size of a drawing, in its own units, and of the margins for the words on its axes.
const (
	chartWidth, chartHeight         = 900.0, 220.0
	marginLeft, marginTop           = 56.0, 24.0
	marginRight, marginBottom       = 12.0, 26.0
	plotWidth                       = chartWidth - marginLeft - marginRight
	plotHeight                      = chartHeight - marginTop - marginBottom
	bucket                          = 250 * time.Millisecond // of the lines over time
	fewestForHundredth, slowestRank = 20, 0.99
)

// charts draws what was measured.
func charts(r *Report) []chart {
	s := series(r.calls)
	if len(s) == 0 {
		return nil
	}
	var rate, failed, median, slow []float64
	for _, b := range s {
		rate = append(rate, float64(len(b.took))/bucket.Seconds())
		failed = append(failed, float64(b.failed)/bucket.Seconds())
		median = append(median, quantile(b.took, 0.5))
		slow = append(slow, quantile(b.took, slowestRank))
	}
	all := []chart{
		{Title: "Writes", Note: "acknowledged per second; dashed: attempts of any kind that found a site away or unavailable",
			SVG: lines(r, []line{{"a", rate}, {"b", failed}}, "/s")},
		{Title: "Latency of writes", Note: "ms, one attempt at one site: median; dashed: the slowest of a hundred",
			SVG: lines(r, []line{{"a", median}, {"b", slow}}, " ms")},
	}
	if svg := bars(r); svg != "" {
		all = append(all, chart{Title: "Recovery", Note: "until a write that began after the loss was acknowledged, for each partition; " +
			"filled: a lost site led it (or it is not known who did)", SVG: svg})
	}
	return all
}

// moment is what happened in one bucket of time.
type moment struct {
	took   []time.Duration // of acknowledged writes, sorted
	failed int
}

func series(calls []call) []moment {
	var s []moment
	for _, c := range calls {
		i := int((c.Began + c.Took) / bucket)
		for len(s) <= i {
			s = append(s, moment{})
		}
		switch {
		case !c.ok():
			s[i].failed++
		case c.Kind == "write" && c.Status < 300:
			s[i].took = append(s[i].took, c.Took)
		}
	}
	for _, m := range s {
		slices.Sort(m.took)
	}
	return s
}

// quantile is of sorted durations, in ms; NaN if there are none.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return float64(sorted[int(q*float64(len(sorted)-1)+0.5)]) / float64(time.Millisecond)
}

// line is one line of a drawing; its class gives the colour.
type line struct {
	class  string
	values []float64
}

// lines draws values over time, with the faults as bands.
func lines(r *Report, all []line, unit string) template.HTML {
	n, top := 0, 1.0
	for _, l := range all {
		n = max(n, len(l.values))
		for _, v := range l.values {
			if !math.IsNaN(v) {
				top = max(top, v)
			}
		}
	}
	top = nice(top)
	x := func(t time.Duration) float64 {
		return marginLeft + plotWidth*float64(t)/float64(bucket)/float64(max(n, 1))
	}
	var b strings.Builder
	open(&b)
	for i, in := range r.Incidents {
		fmt.Fprintf(&b, `<rect class="lost" x="%.1f" y="%g" width="%.1f" height="%g"><title>%s</title></rect>`,
			x(in.At), marginTop, max(1, x(in.Healed)-x(in.At)), plotHeight, template.HTMLEscapeString(in.Name))
		fmt.Fprintf(&b, `<rect class="back" x="%.1f" y="%g" width="%.1f" height="%g"/>`,
			x(in.Healed), marginTop, max(1, x(in.Settled)-x(in.Healed)), plotHeight)
		fmt.Fprintf(&b, `<text x="%.1f" y="%g">%d</text>`, x(in.At), marginTop-6, i+1)
	}
	grid(&b, top, unit)
	seconds := float64(n) * bucket.Seconds()
	for s := 0.0; s <= seconds; s += nice(seconds / 8) {
		fmt.Fprintf(&b, `<text class="mid" x="%.1f" y="%g">%.3g s</text>`, x(time.Duration(s*float64(time.Second))), chartHeight-8, s)
	}
	for _, l := range all {
		fmt.Fprintf(&b, `<path class="%s" d="%s"/>`, l.class, path(l.values, x, top))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) //nolint:gosec // made of numbers and escaped names
}

func path(values []float64, x func(time.Duration) float64, top float64) string {
	var d strings.Builder
	pen := "M"
	for i, v := range values {
		if math.IsNaN(v) {
			pen = "M"
			continue
		}
		fmt.Fprintf(&d, "%s%.1f %.1f", pen, x(time.Duration(i)*bucket+bucket/2), marginTop+plotHeight*(1-v/top))
		pen = "L"
	}
	return d.String()
}

// bars draws how long each partition was away in each incident.
func bars(r *Report) template.HTML {
	var rows []*Incident
	top := 1.0
	for _, in := range r.Incidents {
		if in.minority {
			rows = append(rows, in)
			for _, p := range in.Partitions {
				top = max(top, float64(p.Back)/float64(time.Millisecond))
			}
		}
	}
	if len(rows) == 0 {
		return ""
	}
	top = nice(top)
	var b strings.Builder
	open(&b)
	grid(&b, top, " ms")
	wide := plotWidth / float64(len(rows))
	for i, in := range rows {
		each := wide * 0.8 / float64(len(in.Partitions))
		for j, p := range in.Partitions {
			height := max(1, plotHeight*float64(p.Back)/float64(time.Millisecond)/top)
			class := "bar"
			if p.Known && !p.Led {
				class = "bar spared"
			}
			fmt.Fprintf(&b, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>partition %d: %v</title></rect>`, class,
				marginLeft+wide*(float64(i)+0.1)+each*float64(j), marginTop+plotHeight-height, each*0.85, height, p.Partition, short(p.Back))
		}
		fmt.Fprintf(&b, `<text class="mid" x="%.1f" y="%g">%d</text>`, marginLeft+wide*(float64(i)+0.5), chartHeight-8, 1+slices.Index(r.Incidents, in))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) //nolint:gosec // made of numbers
}

func open(b *strings.Builder) {
	fmt.Fprintf(b, `<svg viewBox="0 0 %g %g" role="img">`, chartWidth, chartHeight)
}

// grid draws four lines and what they stand for.
func grid(b *strings.Builder, top float64, unit string) {
	for i := range 5 {
		y := marginTop + plotHeight*(1-float64(i)/4)
		fmt.Fprintf(b, `<line x1="%g" x2="%g" y1="%.1f" y2="%[3]g"/><text class="end" x="%g" y="%.1f">%s%s</text>`,
			marginLeft, chartWidth-marginRight, y, marginLeft-6, y+4, strconv.FormatFloat(top*float64(i)/4, 'f', -1, 64), unit)
	}
}

// nice is the next number upwards of the kind 1, 2, 4 or 8 times a power of ten: its quarters are short to write.
func nice(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 4, 8} {
		if v <= m*power {
			return m * power
		}
	}
	return 10 * power
}
