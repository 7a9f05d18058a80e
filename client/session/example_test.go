package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	"tokenserver/client"
	"tokenserver/client/session"
	"tokenserver/client/session/sessiontest"
)

// show has a handler answer a request of a browser that is logged in, and prints the
// status of the answer. A program serves the handler.
func show(m *session.Manager, h http.Handler, method, target string) {
	r := httptest.NewRequest(method, "https://shop.example"+target, nil)
	begin := client.NewSession{Meta: json.RawMessage(`{"user":"ada","year":2026,"subject":"ada"}`), Subject: "ada"}
	token, _ := m.Client.Create(context.Background(), begin) // as Login does
	m.Cookie.Add(r, token)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	fmt.Println(rec.Code, http.StatusText(rec.Code))
}

func Example() {
	// In a program: client.New(client.Config{Addresses: []string{"127.0.0.1:3666"}})
	var tokens session.Client = sessiontest.New(sessiontest.Config{})
	m := &session.Manager{Client: tokens}

	mux := http.NewServeMux()
	mux.Handle("/login", m.Optional(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost { // and the password is right
			err := session.Login(r.Context(), client.NewSession{Subject: "ada", Meta: json.RawMessage(`{"year":2026}`)})
			if err != nil {
				http.Error(w, "Try again in a moment.", http.StatusServiceUnavailable)
				return
			}
		}
		if session.Active(r.Context()) {
			http.Redirect(w, r, session.WayBack(r), http.StatusSeeOther)
			return
		}
		fmt.Fprint(w, "a form")
	})))
	mux.Handle("/", m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		year, _ := session.Get[int](r.Context(), "year")
		session.Set(r.Context(), "year", year+1)
		fmt.Fprintln(w, "The year is", year)
	})))

	// A browser that is not logged in.
	rec := httptest.NewRecorder()
	mux.ServeHTTP(rec, httptest.NewRequest("GET", "https://shop.example/sales?unit=3", nil))
	fmt.Println(rec.Code, rec.Header().Get("Location"))
	// It logs in, and goes on.
	rec = httptest.NewRecorder()
	mux.ServeHTTP(rec, httptest.NewRequest("POST", "https://shop.example/login?next=/sales", nil))
	fmt.Println(rec.Code, rec.Header().Get("Location"))
	r := httptest.NewRequest("GET", "https://shop.example/sales", nil)
	r.AddCookie(rec.Result().Cookies()[0])
	rec = httptest.NewRecorder()
	mux.ServeHTTP(rec, r)
	fmt.Print(rec.Code, " ", rec.Body)
	// Output:
	// 303 /login?next=%2Fsales%3Funit%3D3
	// 303 /sales
	// 200 The year is 2026
}

func ExampleManager() {
	m := &session.Manager{
		Client:      sessiontest.New(sessiontest.Config{}),
		Mode:        session.Navigations,
		Cookie:      session.Cookie{MaxAge: 4 * 24 * time.Hour},
		Invalid:     func(w http.ResponseWriter, r *http.Request) { http.Error(w, "Who are you?", http.StatusUnauthorized) },
		CrossOrigin: http.NewCrossOriginProtection(),
	}
	rec := httptest.NewRecorder()
	m.Handler(http.NotFoundHandler()).ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	fmt.Print(rec.Code, " ", rec.Body)
	// Output: 401 Who are you?
}

func ExampleGet() {
	m := &session.Manager{Client: sessiontest.New(sessiontest.Config{})}
	show(m, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		year, ok := session.Get[int](r.Context(), "year")
		fmt.Println(year, ok)
	})), "GET", "/")
	// Output:
	// 2026 true
	// 200 OK
}

func ExampleSet() {
	m := &session.Manager{Client: sessiontest.New(sessiontest.Config{})}
	show(m, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session.Set(r.Context(), "units", []string{"Sales", "Research"})
		session.Unset(r.Context(), "year")
		fmt.Println(string(session.Meta(r.Context())))
		w.WriteHeader(http.StatusNoContent)
	})), "POST", "/units")
	// Output:
	// {"user":"ada","subject":"ada","units":["Sales","Research"]}
	// 204 No Content
}

func ExampleRenew() {
	m := &session.Manager{Client: sessiontest.New(sessiontest.Config{MaxMeta: 1 << 10})}
	show(m, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session.Set(r.Context(), "cart", make([]int, 1000))
		if err := session.Renew(r.Context()); errors.Is(err, client.ErrMetaTooLarge) {
			session.Revert(r.Context())
			http.Error(w, "There is no room for that in your cart.", http.StatusRequestEntityTooLarge)
		}
	})), "POST", "/cart")
	// Output: 413 Request Entity Too Large
}

func ExampleDestroy() {
	m := &session.Manager{Client: sessiontest.New(sessiontest.Config{})}
	show(m, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := session.Destroy(r.Context()); err != nil {
			http.Error(w, "You are still logged in. Try again in a moment.", http.StatusServiceUnavailable)
			return
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})), "POST", "/logout")
	// Output: 303 See Other
}

func ExampleDevices() {
	m := &session.Manager{Client: sessiontest.New(sessiontest.Config{})}
	show(m, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		devices, err := session.Devices(r.Context())
		for _, d := range devices {
			fmt.Println(d.Current, string(d.Meta))
			if d.Current {
				continue
			}
			if err := session.End(r.Context(), d.Name); err != nil {
				log.Print(err)
			}
		}
		fmt.Println(err)
	})), "GET", "/devices")
	// Output:
	// true {"user":"ada","year":2026,"subject":"ada"}
	// <nil>
	// 200 OK
}

func ExampleLogoutOthers() {
	m := &session.Manager{Client: sessiontest.New(sessiontest.Config{})}
	show(m, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The password is a new one.
		fmt.Println(session.LogoutOthers(r.Context()))
	})), "POST", "/password")
	// Output:
	// 0 <nil>
	// 200 OK
}

func ExampleLogoutEverywhere() {
	m := &session.Manager{Client: sessiontest.New(sessiontest.Config{})}
	show(m, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(session.LogoutEverywhere(r.Context()))
	})), "POST", "/logout-everywhere")
	// Output:
	// 1 <nil>
	// 200 OK
}

func ExampleCSRFToken() {
	m := &session.Manager{Client: sessiontest.New(sessiontest.Config{})}
	show(m, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		form := fmt.Sprintf(`<input type="hidden" name="%s" value="%s">`, session.CSRFField, session.CSRFToken(r.Context()))
		fmt.Println(len(form) > 0)
		if r.Method == http.MethodPost && session.CheckCSRF(r) != nil {
			http.Error(w, "Load the page again.", http.StatusForbidden)
		}
	})), "POST", "/units")
	// Output:
	// true
	// 403 Forbidden
}

func ExampleHeader() {
	m := &session.Manager{Client: sessiontest.New(sessiontest.Config{})}
	show(m, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, err := session.Header(r.Context())
		if err != nil {
			http.Error(w, "Try again in a moment.", http.StatusServiceUnavailable)
			return
		}
		// upgrader.Upgrade(w, r, h)
		fmt.Println(len(h["Set-Cookie"]))
	})), "GET", "/socket")
	// Output:
	// 1
	// 200 OK
}

func ExampleWayBack() {
	for _, next := range []string{"/sales?unit=3", "//evil.example", "/%5Cevil.example"} {
		r := httptest.NewRequest("GET", "/login?next="+url.QueryEscape(next), nil)
		fmt.Println(session.WayBack(r))
	}
	// Output:
	// /sales?unit=3
	// /
	// /%5Cevil.example
}
