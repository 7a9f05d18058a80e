package session

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"tokenserver/client"
)

// wayBack is the parameter of the login page with the way back.
const wayBack = "next"

// maxWayBack is the length in bytes beyond which a way back is left out.
const maxWayBack = 2048

// WayBack returns where the browser was going when it was sent to the login page: a
// path on this host, with its query, from the parameter next of the URL or the form. It
// is / if there is none or it could lead elsewhere.
func WayBack(r *http.Request) string {
	if back := r.FormValue(wayBack); isLocal(back) {
		return back
	}
	return "/"
}

// isLocal says whether a browser that is sent to a reference stays on this host. A
// browser takes \ for /, and drops control characters.
func isLocal(ref string) bool {
	if len(ref) == 0 || len(ref) > maxWayBack || ref[0] != '/' || strings.HasPrefix(ref, "//") {
		return false
	}
	for i := range len(ref) {
		if c := ref[i]; c <= ' ' || c == '\\' || c > '~' {
			return false
		}
	}
	u, err := url.Parse(ref)
	return err == nil && u.Scheme == "" && u.Host == "" && u.User == nil
}

// loginURL returns the login page's, with the way back to a request that can be
// repeated.
func (m *Manager) loginURL(r *http.Request) string {
	back := r.RequestURI // which StripPrefix leaves as it is
	if !isLocal(back) {
		back = r.URL.RequestURI()
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead || back == "/" || !isLocal(back) {
		return m.LoginPath
	}
	separator := "?"
	if strings.Contains(m.LoginPath, "?") {
		separator = "&"
	}
	return m.LoginPath + separator + wayBack + "=" + url.QueryEscape(back)
}

// pathOf returns the path of a reference to a page.
func pathOf(ref string) string {
	path, _, _ := strings.Cut(ref, "?")
	return path
}

// invalid is the default of Manager.Invalid.
func (m *Manager) invalid(w http.ResponseWriter, r *http.Request) {
	if scripted(r) {
		refuse(w, http.StatusUnauthorized, "InvalidToken", "Log in.")
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, m.loginURL(r), http.StatusSeeOther)
}

// retryAfter is how many seconds a browser is told to wait when sessions are not to be
// had.
const retryAfter = 2

// unavailable is the default of Manager.Unavailable.
func unavailable(w http.ResponseWriter, r *http.Request, err error) {
	status, code, message := http.StatusServiceUnavailable, "SessionUnavailable", "Sessions are not available just now. You are still logged in: try again in a moment."
	if errors.Is(err, client.ErrMetaTooLarge) || errors.Is(err, client.ErrInvalidRequest) {
		status, code, message = http.StatusInternalServerError, "SessionNotSaved", "What you have changed could not be saved."
	} else {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	if scripted(r) {
		refuse(w, status, code, message)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, message, status)
}

// refuse answers with an error in the form of the token server's.
func refuse(w http.ResponseWriter, status int, code, message string) {
	body, _ := json.Marshal(struct { // of strings: no error
		Err     string
		Message string `json:"message"`
	}{code, message})
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(body)
}
