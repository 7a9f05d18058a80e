package main

import (
	"embed"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"tokenserver/client"
	"tokenserver/client/session"
)

//go:embed static
var static embed.FS

// app is the web application. All that it knows of its users travels in the metadata of
// their tokens, but for copies.
type app struct {
	tokens *client.Client
	// copies has what thieves have, by the names of users: the page on copied cookies
	// plays one.
	mu     sync.Mutex
	copies map[string]cookieCopy // guarded by mu
}

// maxCopies bounds the copies that are kept. Beyond it, all are forgotten.
const maxCopies = 1000

type cookieCopy struct {
	token string
	at    time.Time
}

func newApp(tokens *client.Client) http.Handler {
	a := &app{tokens: tokens, copies: make(map[string]cookieCopy)}
	sessions := &session.Manager{
		Client:      tokens,
		Cookie:      session.Cookie{Insecure: true},
		Invalid:     refused,
		Unavailable: unavailable,
	}
	pages := http.NewServeMux()
	pages.HandleFunc("GET /{$}", a.overview)
	pages.HandleFunc("GET /choose", a.choose)
	pages.HandleFunc("POST /choose", a.chosen)
	pages.HandleFunc("GET /report", a.report)
	pages.HandleFunc("GET /parallel", a.parallel)
	pages.HandleFunc("GET /api/selection", a.selection)
	pages.HandleFunc("GET /copy", a.copyPage)
	pages.HandleFunc("POST /copy", a.keepCopy)
	pages.HandleFunc("POST /copy/use", a.useCopy)
	pages.HandleFunc("GET /devices", a.devices)
	pages.HandleFunc("POST /devices/end", a.endDevice)
	pages.HandleFunc("POST /devices/others", a.endOthers)
	pages.HandleFunc("POST /logout", a.logout)
	pages.HandleFunc("POST /logout/everywhere", a.logoutEverywhere)

	mux := http.NewServeMux()
	mux.Handle("GET /static/", http.FileServerFS(static))
	mux.Handle("GET /login", sessions.Optional(http.HandlerFunc(a.loginPage)))
	mux.Handle("POST /login", sessions.Optional(http.HandlerFunc(a.login)))
	mux.Handle("/", sessions.Handler(pages))
	return secured(mux)
}

// secured has browsers load nothing from elsewhere, and run no script of a page.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// refused sends those to the login page who have no session. Who came with a cookie is
// told that it was refused.
func refused(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.Header.Get("Accept"), "text/html") {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		w.Write([]byte(`{"Err":"InvalidToken"}`))
		return
	}
	target := loginURL(r)
	if _, err := r.Cookie("token"); err == nil {
		target += "&refused=1"
	}
	http.Redirect(w, r, target, http.StatusSeeOther)
}

// unavailable is not a login: the user keeps their cookie, and tries again.
func unavailable(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("Retry-After", "1")
	renderStatus(w, r, http.StatusServiceUnavailable, "unavailable", nil)
}

// failed answers a request whose call of the token server failed.
func failed(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, client.ErrInvalidToken) || errors.Is(err, session.ErrNoSession) {
		refused(w, r)
		return
	}
	unavailable(w, r, err)
}

func (a *app) loginPage(w http.ResponseWriter, r *http.Request) {
	if session.Active(r.Context()) {
		http.Redirect(w, r, session.WayBack(r), http.StatusSeeOther)
		return
	}
	render(w, r, "login", loginForm{Next: session.WayBack(r), Refused: r.URL.Query().Has("refused")})
}

type loginForm struct {
	Next    string
	Refused bool
	Problem string
}

const maxName = 40 // characters of a user's name

// login takes any name, since this is a demonstration. A real application looks at a
// password here.
func (a *app) login(w http.ResponseWriter, r *http.Request) {
	user := strings.TrimSpace(r.PostFormValue("user"))
	if n := len([]rune(user)); n == 0 || n > maxName {
		renderStatus(w, r, http.StatusUnprocessableEntity, "login", loginForm{Next: session.WayBack(r), Problem: "Please type a name, of up to 40 letters."})
		return
	}
	now := time.Now()
	meta, err := json.Marshal(selection{User: user, Year: now.Year(), Month: int(now.Month()), Unit: units[0], Browser: browserOf(r)})
	if err == nil {
		err = session.Login(r.Context(), client.NewSession{Subject: user, Meta: meta})
	}
	if err != nil {
		failed(w, r, err)
		return
	}
	http.Redirect(w, r, session.WayBack(r), http.StatusSeeOther)
}

func (a *app) logout(w http.ResponseWriter, r *http.Request) {
	if err := session.Destroy(r.Context()); err != nil {
		failed(w, r, err)
		return
	}
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

func (a *app) logoutEverywhere(w http.ResponseWriter, r *http.Request) {
	if _, err := session.LogoutEverywhere(r.Context()); err != nil {
		failed(w, r, err)
		return
	}
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

func (a *app) overview(w http.ResponseWriter, r *http.Request) { render(w, r, "overview", nil) }

func (a *app) parallel(w http.ResponseWriter, r *http.Request) { render(w, r, "parallel", nil) }

// selection is for scripts, which ask for it several times at once.
func (a *app) selection(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(session.Meta(r.Context()))
}

func (a *app) devices(w http.ResponseWriter, r *http.Request) {
	all, err := session.Devices(r.Context())
	if err != nil {
		failed(w, r, err)
		return
	}
	devices := make([]device, len(all))
	for i, d := range all {
		var s selection
		json.Unmarshal(d.Meta, &s) // what does not fit stays empty
		devices[i] = device{d, s.Browser}
	}
	render(w, r, "devices", devices)
}

type device struct {
	session.Device
	Browser string
}

func (a *app) endDevice(w http.ResponseWriter, r *http.Request) {
	if err := session.End(r.Context(), r.PostFormValue("session")); err != nil {
		failed(w, r, err)
		return
	}
	http.Redirect(w, r, "/devices", http.StatusSeeOther)
}

func (a *app) endOthers(w http.ResponseWriter, r *http.Request) {
	if _, err := session.LogoutOthers(r.Context()); err != nil {
		failed(w, r, err)
		return
	}
	http.Redirect(w, r, "/devices", http.StatusSeeOther)
}
