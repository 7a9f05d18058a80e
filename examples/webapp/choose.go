package main

import (
	"encoding/json"
	"hash/fnv"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tokenserver/client/session"
)

// selection is the metadata of a session.
type selection struct {
	User    string `json:"user"`
	Year    int    `json:"year"`
	Month   int    `json:"month"`
	Unit    string `json:"unit"`
	Browser string `json:"browser,omitempty"`
}

// MonthName is that of the month.
func (s selection) MonthName() string { return time.Month(s.Month).String() }

var units = []string{"Sales", "Research", "Production", "Service"}

const (
	years     = 5 // that can be chosen, the last of which is this one
	maxFigure = 1000
)

func selectionOf(r *http.Request) (s selection) {
	json.Unmarshal(session.Meta(r.Context()), &s) // what does not fit stays empty
	return s
}

type choices struct {
	Years  []int
	Months []time.Month
	Units  []string
}

func currentChoices() choices {
	c := choices{Units: units}
	for i := range years {
		c.Years = append(c.Years, time.Now().Year()-i)
	}
	for m := time.January; m <= time.December; m++ {
		c.Months = append(c.Months, m)
	}
	return c
}

func (a *app) choose(w http.ResponseWriter, r *http.Request) {
	render(w, r, "choose", currentChoices())
}

// chosen puts a choice into the session. Three values make one patch, which goes with
// the answer.
func (a *app) chosen(w http.ResponseWriter, r *http.Request) {
	year, _ := strconv.Atoi(r.PostFormValue("year"))
	month, _ := strconv.Atoi(r.PostFormValue("month"))
	unit := r.PostFormValue("unit")
	if !slices.Contains(currentChoices().Years, year) || month < 1 || month > 12 || !slices.Contains(units, unit) {
		renderStatus(w, r, http.StatusUnprocessableEntity, "choose", currentChoices())
		return
	}
	for name, value := range map[string]any{"year": year, "month": month, "unit": unit} {
		if err := session.Set(r.Context(), name, value); err != nil {
			failed(w, r, err)
			return
		}
	}
	http.Redirect(w, r, "/report", http.StatusSeeOther)
}

// figure is a line of the report.
type figure struct {
	Name         string
	Value, Share int // Share is in percent of maxFigure
}

// report shows figures that are made up, the same for the same selection.
func (a *app) report(w http.ResponseWriter, r *http.Request) {
	s := selectionOf(r)
	var figures []figure
	for _, name := range []string{"Orders", "Revenue", "Costs", "Staff"} {
		h := fnv.New32a()
		h.Write([]byte(strings.Join([]string{name, s.Unit, strconv.Itoa(s.Year), strconv.Itoa(s.Month)}, "/")))
		value := int(h.Sum32() % maxFigure)
		figures = append(figures, figure{name, value, value * 100 / maxFigure})
	}
	render(w, r, "report", figures)
}

// browserOf names a browser by what it says of itself, for the list of devices. Those
// that say that they are others too come first.
func browserOf(r *http.Request) string {
	for _, b := range []struct{ mark, name string }{
		{"Edg/", "Edge"}, {"OPR/", "Opera"}, {"Firefox/", "Firefox"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}, {"curl/", "curl"},
	} {
		if strings.Contains(r.UserAgent(), b.mark) {
			return b.name
		}
	}
	return "another browser"
}
