package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"tokenserver/client/session"
)

//go:embed pages
var pageFiles embed.FS

// pages has a template a page, each within the frame.
var pages = parsePages("login", "overview", "choose", "report", "parallel", "copy", "theft", "devices", "unavailable")

func parsePages(names ...string) map[string]*template.Template {
	all := make(map[string]*template.Template)
	for _, name := range names {
		all[name] = template.Must(template.ParseFS(pageFiles, "pages/frame.html", "pages/"+name+".html"))
	}
	return all
}

// page is what each page shows, beside what is its own.
type page struct {
	Name     string
	Path     string
	LoggedIn bool
	Selected selection
	Meta     string // indented
	Renewed  time.Time
	Data     any
}

func render(w http.ResponseWriter, r *http.Request, name string, data any) {
	renderStatus(w, r, http.StatusOK, name, data)
}

func renderStatus(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	p := page{Name: name, Path: r.URL.Path, Renewed: time.Now(), Data: data}
	if p.LoggedIn = session.Active(r.Context()); p.LoggedIn {
		p.Selected = selectionOf(r)
		p.Meta = indented(session.Meta(r.Context()))
	}
	var body bytes.Buffer
	if err := pages[name].ExecuteTemplate(&body, "frame.html", p); err != nil {
		slog.Error("page", "page", name, "error", err)
		http.Error(w, "Internal Server Error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(body.Bytes())
}

func indented(meta json.RawMessage) string {
	var b bytes.Buffer
	if json.Indent(&b, meta, "", "  ") != nil {
		return string(meta)
	}
	return b.String()
}

// loginURL returns the login page with the way back to a page. A form has none.
func loginURL(r *http.Request) string {
	next := "/"
	if r.Method == http.MethodGet {
		next = r.URL.RequestURI()
	}
	return "/login?" + url.Values{"next": {next}}.Encode()
}
