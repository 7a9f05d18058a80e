package sessiontest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"tokenserver/client"
	"tokenserver/client/session"
	"tokenserver/client/session/sessiontest"
)

// Example is a test of a web server, whose handler is app.
func Example() {
	app := func(tokens session.Client) (*session.Manager, http.Handler) {
		m := &session.Manager{Client: tokens}
		return m, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			year, _ := session.Get[int](r.Context(), "year")
			fmt.Fprint(w, "The year is ", year)
		}))
	}
	test := func(t *testing.T) {
		tokens := sessiontest.New(sessiontest.Config{})
		m, h := app(tokens)
		r := httptest.NewRequest("GET", "/", nil)
		sessiontest.LogIn(t, m, r, client.NewSession{Meta: json.RawMessage(`{"year":2026}`)})
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if got, want := rec.Body.String(), "The year is 2026"; got != want {
			t.Errorf("body = %q, want %q", got, want)
		}
		tokens.Fail(client.ErrUnavailable)
		rec = httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code != http.StatusServiceUnavailable {
			t.Errorf("without a token server: %d, want 503", rec.Code)
		}
	}
	fmt.Println(testing.RunTests(func(_, _ string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "TestApp", F: test}}))
	// Output: true
}
