package main

import (
	"errors"
	"net/http"
	"time"

	"tokenserver/client"
)

// The pages on copied cookies play a thief who has copied the cookie of a request.

func (a *app) copyPage(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	c, ok := a.copies[selectionOf(r).User]
	a.mu.Unlock()
	if !ok {
		render(w, r, "copy", nil)
		return
	}
	render(w, r, "copy", c.at)
}

// keepCopy keeps the token that this request came with. It is spent already.
func (a *app) keepCopy(w http.ResponseWriter, r *http.Request) {
	cookie, err := r.Cookie("token")
	if err != nil {
		failed(w, r, client.ErrInvalidToken)
		return
	}
	a.mu.Lock()
	if len(a.copies) >= maxCopies {
		clear(a.copies)
	}
	a.copies[selectionOf(r).User] = cookieCopy{cookie.Value, time.Now()}
	a.mu.Unlock()
	http.Redirect(w, r, "/copy", http.StatusSeeOther)
}

type theft struct {
	Refused, Reused bool
	Age             time.Duration
}

// useCopy does what the thief would: it exchanges the copied token.
func (a *app) useCopy(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	c, ok := a.copies[selectionOf(r).User]
	delete(a.copies, selectionOf(r).User)
	a.mu.Unlock()
	if !ok {
		http.Redirect(w, r, "/copy", http.StatusSeeOther)
		return
	}
	got, err := a.tokens.Exchange(r.Context(), c.token, client.Patch{})
	refused := errors.Is(err, client.ErrInvalidToken)
	if err != nil && !refused {
		failed(w, r, err)
		return
	}
	render(w, r, "theft", theft{Refused: refused, Reused: got.Reused, Age: time.Since(c.at).Round(time.Second)})
}
