package console

import (
	"bytes"
	"fmt"
	"math"
	"net/http"

	"tokenserver/admin/sampler"
)

// page is what page.html shows.
type page struct {
	Sample *sampler.Sample
	Text   map[string]string
	Time   string
	Gauges []gauge
	Counts []securityRow
	Purges []string // ids of their texts

	Bars, Steps           []bar
	BarsWidth, StepsWidth int
	BarWidth, StepWidth   float64

	Actions, Profiles bool
	Levels            []string
}

// gauge is a bar of how full something is.
type gauge struct {
	ID, Label, Class, Full string
	Percent                float64
}

type securityRow struct{ ID, Label, Meaning string }

// bar is one of some bars that stand side by side.
type bar struct {
	X, Y, Height float64
	Class        string
}

// fewestBars is for how many bars there is room at least: a single one is no wall.
const fewestBars = 16

// barWidths are what is filled of the room of a bar.
const (
	narrowBar = 0.8
	wideBar   = 0.92
)

func (c *Console) newPage(s *sampler.Sample) page {
	p := page{Sample: s, Text: Texts(s), Time: clockTime(s.Time), Levels: logLevels, BarWidth: narrowBar, StepWidth: wideBar}
	add := func(id, label string, g *sampler.Gauge) {
		if g != nil {
			p.Gauges = append(p.Gauges, newGauge(id, label, g, p.Text[id+".full"]))
		}
	}
	add("sessions", "Sessions", s.Capacity.Sessions)
	add("memory", "Memory reserved for sessions", s.Capacity.Memory)
	add("disk", "Disk", s.Capacity.Disk)
	add("connections", "Connections", &s.Capacity.Connections)
	for _, x := range counts(&s.Security) {
		p.Counts = append(p.Counts, securityRow{x.id, x.label, x.meaning})
	}
	if s.Shards != nil {
		p.BarsWidth = max(len(s.Shards.Sessions), fewestBars)
		p.Bars = newBars(s.Shards.Sessions, func(i int) string { return waitClass(s.Shards.LockWait[i] / float64(s.Shards.PerBar)) })
	}
	if s.Expiring != nil {
		p.StepsWidth = stepsShown
		p.Steps = newBars(s.Expiring.Sessions, func(int) string { return "w1" })
		for i := range purgesShown {
			p.Purges = append(p.Purges, fmt.Sprintf("purge.%d", i))
		}
	}
	if c.cfg.Actions != nil {
		p.Actions, p.Profiles = true, !c.cfg.Actions.NoProfiles
	}
	return p
}

func newGauge(id, label string, g *sampler.Gauge, full string) gauge {
	out := gauge{ID: id, Label: label, Class: "calm", Full: full}
	if g.Limit == 0 {
		return out
	}
	out.Percent = min(math.Round(1000*float64(g.Used)/float64(g.Limit))/10, 100)
	switch {
	case out.Percent >= 95:
		out.Class = "over"
	case out.Percent >= 80:
		out.Class = "near"
	}
	return out
}

// newBars returns bars whose highest is 100 high.
func newBars[T int64 | float64](values []T, class func(i int) string) []bar {
	most := T(1)
	for _, v := range values {
		most = max(most, v)
	}
	bars := make([]bar, len(values))
	for i, v := range values {
		height := math.Round(1000*float64(v)/float64(most)) / 10
		bars[i] = bar{X: float64(i), Y: math.Round(10*(100-height)) / 10, Height: height, Class: class(i)}
	}
	return bars
}

// waitClass returns the class of a shard that spends a part of the time waiting.
func waitClass(part float64) string {
	switch {
	case part < 0.001:
		return "w0"
	case part < 0.01:
		return "w1"
	case part < 0.1:
		return "w2"
	}
	return "w3"
}

func (c *Console) handlePage(w http.ResponseWriter, _ *http.Request) {
	var text bytes.Buffer
	if err := templates.ExecuteTemplate(&text, "page.html", c.newPage(c.cfg.Sampler.Latest())); err != nil {
		panic(err)
	}
	setHeaders(w, "text/html; charset=utf-8")
	w.Write(text.Bytes())
}
