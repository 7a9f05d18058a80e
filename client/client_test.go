package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// operation is one kind of call, with what it sends and how it ends.
type operation struct {
	name    string
	request string // of its own
	item    string // of a batch; empty for one that travels alone
	call    func(ctx context.Context, c *Client) (string, error)
}

const someToken = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

var operations = []operation{
	{"create", `POST /token {"meta":{"a":1}}`, `{"create":{"meta":{"a":1}}}`, func(ctx context.Context, c *Client) (string, error) {
		return c.Create(ctx, NewSession{Meta: json.RawMessage(` {"a":1} `)})
	}},
	{
		"create with all", `POST /token {"meta":{},"subject":"a\"b","lifetime":"90000000000ns"}`,
		`{"create":{"meta":{},"subject":"a\"b","lifetime":"90000000000ns"}}`, func(ctx context.Context, c *Client) (string, error) {
			return c.Create(ctx, NewSession{Meta: json.RawMessage(`{}`), Subject: `a"b`, Lifetime: 90 * time.Second})
		},
	},
	{"exchange", `PUT /token {"token":"` + someToken + `"}`, `{"exchange":{"token":"` + someToken + `"}}`, func(ctx context.Context, c *Client) (string, error) {
		x, err := c.Exchange(ctx, someToken, Patch{})
		return fmt.Sprintf("%s %s %v", x.Token, x.Meta, x.Reused), err
	}},
	{
		"exchange with all", `PUT /token {"token":"` + someToken + `","meta":{"a":{"b":[1]}},"unset":["c","d\n"]}`,
		`{"exchange":{"token":"` + someToken + `","meta":{"a":{"b":[1]}},"unset":["c","d\n"]}}`, func(ctx context.Context, c *Client) (string, error) {
			x, err := c.Exchange(ctx, someToken, Patch{Meta: json.RawMessage(`{"a":{"b":[1]}}`), Unset: []string{"c", "d\n"}})
			return fmt.Sprintf("%s %s %v", x.Token, x.Meta, x.Reused), err
		},
	},
	{"validate", `POST /token/validate {"token":"` + someToken + `"}`, `{"validate":{"token":"` + someToken + `"}}`, func(ctx context.Context, c *Client) (string, error) {
		v, err := c.Validate(ctx, someToken)
		return fmt.Sprintf("%s %v", v.Meta, v.ExpiresIn), err
	}},
	{"delete", `DELETE /token {"token":"` + someToken + `"}`, `{"delete":{"token":"` + someToken + `"}}`, func(ctx context.Context, c *Client) (string, error) {
		return "", c.Delete(ctx, someToken)
	}},
	{"list", `POST /subject/sessions {"subject":"s"}`, "", func(ctx context.Context, c *Client) (string, error) {
		s, err := c.SubjectSessions(ctx, "s", Listing{})
		return fmt.Sprintf("%v", s), err
	}},
	{"list with all", `POST /subject/sessions {"subject":"s","limit":2,"after":"n"}`, "", func(ctx context.Context, c *Client) (string, error) {
		s, err := c.SubjectSessions(ctx, "s", Listing{Limit: 2, After: "n"})
		return fmt.Sprintf("%v", s), err
	}},
	{"end", `DELETE /subject {"subject":"s"}`, "", func(ctx context.Context, c *Client) (string, error) {
		n, err := c.EndSubject(ctx, "s", Ending{})
		return fmt.Sprint(n), err
	}},
	{"end one", `DELETE /subject {"subject":"s","session":"n"}`, "", func(ctx context.Context, c *Client) (string, error) {
		n, err := c.EndSubject(ctx, "s", Ending{Session: "n"})
		return fmt.Sprint(n), err
	}},
	{"end all but one", `DELETE /subject {"subject":"s","keep":"` + someToken + `"}`, "", func(ctx context.Context, c *Client) (string, error) {
		n, err := c.EndSubject(ctx, "s", Ending{Keep: someToken})
		return fmt.Sprint(n), err
	}},
}

func operationOf(name string) operation {
	return operations[slices.IndexFunc(operations, func(o operation) bool { return o.name == name })]
}

func TestRequests(t *testing.T) {
	for _, o := range operations {
		f := newFake("1")
		f.before = func(*http.Request) error { return &answerWith{422, `{"Err":"InvalidRequest","message":"x"}`} }
		inBubble(t, Config{}, func(b *bubble) {
			if _, err := o.call(b.Context(), b.client); !errors.Is(err, ErrInvalidRequest) {
				b.Errorf("%s: error = %v, want ErrInvalidRequest", o.name, err)
			}
			if want := []string{o.request}; !slices.Equal(f.requests, want) {
				b.Errorf("%s: requests = %q, want %q", o.name, f.requests, want)
			}
		}, f)
	}
}

// TestAnswers: what a call makes of an answer, alone and as an item of a batch.
func TestAnswers(t *testing.T) {
	const long = `{"a":"\"}\\","b":[{},[1,2.50,true]],"c":null}`
	for _, c := range []struct {
		operation string
		status    int
		answer    string // alone
		item      string // empty: the same
		want      string
		err       error
	}{
		{"create", 200, someToken, `{"Ok":{"token":"` + someToken + `"}}`, someToken, nil},
		{"exchange", 200, `{"Ok":{"token":"n","meta":` + long + `}}`, "", "n " + long + " false", nil},
		{"exchange", 200, `{"Ok":{"x":[1],"meta":{},"token":"n"},"y":"z"}`, "", "n {} false", nil},
		{"validate", 200, `{"Ok":{"meta":` + long + `,"expires_in":61}}`, "", long + " 1m1s", nil},
		{"delete", 202, ``, `{"Ok":{}}`, "", nil},
		{"exchange", 200, `{"Err":"InvalidToken"}`, "", "", ErrInvalidToken},
		{"validate", 200, `{"Err":"InvalidToken"}`, "", "", ErrInvalidToken},
		{"exchange", 413, `{"Err":"MetaTooLarge","message":"m"}`, "", "", ErrMetaTooLarge},
		{"create", 507, `{"Err":"StoreFull","message":"m"}`, "", "", ErrStoreFull},
		{"exchange", 401, `{"Err":"Unauthorized","message":"m"}`, "", "", ErrUnauthorized},
		{"exchange", 403, `{"Err":"Forbidden","message":"m"}`, "", "", ErrUnauthorized},
		{"exchange", 422, `{"Err":"InvalidRequest","message":"m"}`, "", "", ErrInvalidRequest},
		{"exchange", 503, `{"Err":"StoreUnavailable","message":"m"}`, "", "", ErrOutcomeUnknown},
		{"exchange", 503, `{"Err":"StoreUnavailable","message":"m","done":false}`, "", "", ErrUnavailable},
		{"exchange", 500, `{"Err":"InternalServerError","message":"m"}`, "", "", ErrOutcomeUnknown},
		{"create", 503, `{"Err":"StoreUnavailable","message":"m"}`, "", "", ErrOutcomeUnknown},
		{"delete", 503, `{"Err":"StoreUnavailable","message":"m"}`, "", "", ErrOutcomeUnknown},
		{"validate", 503, `{"Err":"StoreUnavailable","message":"m"}`, "", "", ErrUnavailable},
		{"exchange", 200, `{"Ok":{"token":"n"}}`, "", "", ErrOutcomeUnknown},
		{"exchange", 200, `{"Ok":{"token":"n","meta":{"a":1}`, "", "", ErrOutcomeUnknown},
		{"exchange", 200, `{}`, "", "", ErrOutcomeUnknown},
		{"exchange", 200, `<html>`, "", "", ErrOutcomeUnknown},
		{"create", 200, `<html>`, "", "", ErrOutcomeUnknown},
	} {
		o := operationOf(c.operation)
		t.Run(c.operation+" alone "+c.answer, func(t *testing.T) {
			f := newFake("1")
			f.before = func(*http.Request) error { return &answerWith{c.status, c.answer} }
			inBubble(t, Config{}, func(b *bubble) { checkOutcome(b, o, c.want, c.err) }, f)
		})
		t.Run(c.operation+" in a batch "+c.answer, func(t *testing.T) {
			f := newFake("1")
			item := c.item
			if item == "" {
				item = c.answer
			}
			f.before = func(r *http.Request) error {
				if r.URL.Path == "/token/batch" {
					return &answerWith{200, `{"Ok":[{"Err":"InvalidToken"},` + item + `]}`}
				}
				return &answerWith{c.status, c.answer}
			}
			inBubble(t, Config{MaxInFlight: 1}, func(b *bubble) {
				hold := b.hold(f)
				var wg sync.WaitGroup
				wg.Go(func() { b.client.Validate(b.Context(), someToken) })
				synctest.Wait()
				wg.Go(func() { checkOutcome(b, o, c.want, c.err) })
				synctest.Wait()
				hold()
				wg.Wait()
			}, f)
		})
	}
}

func checkOutcome(b *bubble, o operation, want string, wantErr error) {
	got, err := o.call(b.Context(), b.client)
	if !errors.Is(err, wantErr) || wantErr == nil && err != nil {
		b.Errorf("%s: error = %v, want %v", o.name, err, wantErr)
	}
	if err == nil && got != want {
		b.Errorf("%s = %q, want %q", o.name, got, want)
	}
}

// TestRefusedBeforeItIsSent: what could say something else in a batch does not leave.
func TestRefusedBeforeItIsSent(t *testing.T) {
	f := newFake("1")
	inBubble(t, Config{}, func(b *bubble) {
		c, ctx := b.client, b.Context()
		_, err1 := c.Create(ctx, NewSession{Meta: json.RawMessage(`{}}},{"delete":{"token":"x"}`)})
		_, err2 := c.Create(ctx, NewSession{Meta: json.RawMessage(`[]`)})
		_, err3 := c.Create(ctx, NewSession{})
		_, err4 := c.Create(ctx, NewSession{Meta: json.RawMessage(`{}`), Subject: "\xff"})
		_, err5 := c.EndSubject(ctx, "s", Ending{Session: "a", Keep: someToken})
		for i, err := range []error{err1, err2, err3, err4, err5} {
			if !errors.Is(err, ErrInvalidRequest) {
				b.Errorf("case %d: error = %v, want ErrInvalidRequest", i+1, err)
			}
		}
		for _, token := range []string{"", `a"},"b":{"`, "ä", strings.Repeat("a", maxToken+1)} {
			_, err1 := c.Exchange(ctx, token, Patch{})
			_, err2 := c.Validate(ctx, token)
			_, err3 := c.EndSubject(ctx, "s", Ending{Keep: token + "!"})
			if err1 != ErrInvalidToken || err2 != ErrInvalidToken || err3 != ErrInvalidToken {
				b.Errorf("token %.10q: errors = %v, %v, %v, want ErrInvalidToken", token, err1, err2, err3)
			}
			if err := c.Delete(ctx, token); err != nil {
				b.Errorf("Delete(%.10q) = %v, want no error", token, err)
			}
		}
		if len(f.requests) > 0 {
			b.Errorf("requests = %q, want none", f.requests)
		}
	}, f)
}

func TestClose(t *testing.T) {
	f := newFake("1")
	inBubble(t, Config{MaxInFlight: 1}, func(b *bubble) {
		release := b.hold(f)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := b.client.Validate(b.Context(), someToken); !errors.Is(err, ErrClosed) {
					b.Errorf("a call that waits at Close = %v, want ErrClosed", err)
				}
			})
		}
		synctest.Wait()
		b.client.Close()
		release()
		wg.Wait()
		for _, o := range operations {
			if _, err := o.call(b.Context(), b.client); !errors.Is(err, ErrClosed) {
				b.Errorf("%s after Close = %v, want ErrClosed", o.name, err)
			}
		}
		if err := b.client.Ready(b.Context()); !errors.Is(err, ErrClosed) {
			b.Errorf("Ready after Close = %v, want ErrClosed", err)
		}
	}, f)
}

func TestNewRefusesAddresses(t *testing.T) {
	for _, address := range []string{"", "ftp://a", "http://", "http://a/b", "http://a?b", "http://u:p@a", "unix:", "a b"} {
		if c, err := New(Config{Addresses: []string{address}}); err == nil {
			c.Close()
			t.Errorf("address %q is accepted", address)
		}
	}
	for _, address := range []string{"a", "a:1", "http://a", "https://a:1/", "[::1]:1", "unix:/run/a.sock"} {
		c, err := New(Config{Addresses: []string{address}})
		if err != nil {
			t.Errorf("address %q: %v", address, err)
			continue
		}
		c.Close()
	}
	if _, err := New(Config{}); err == nil {
		t.Error("no addresses are accepted")
	}
}
