package server

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"tokenserver/token"
)

func TestCreate(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial(t)
	r := c.do("POST", "/token", `{"meta":{"user":"ann"}}`)
	if r.status != 200 || !isToken(r.body) {
		t.Fatalf("POST: %v, want a token", r)
	}
	want := map[string]string{
		"Content-Type":   "text/plain; charset=utf-8",
		"Content-Length": "32",
		"Cache-Control":  "no-store",
	}
	r.wantHeaders(t, want)
	if _, err := token.Parse([]byte(r.body)); err != nil {
		t.Errorf("POST answers %q, which is no token", r.body)
	}
	if again := c.do("POST", "/token", `{"meta":{"user":"ann"}}`); again.body == r.body {
		t.Errorf("two sessions got the same token")
	}
}

// wantHeaders checks that an answer has these headers, Date, and no others.
func (r reply) wantHeaders(t *testing.T, want map[string]string) {
	t.Helper()
	got := make(map[string]string)
	for name, values := range r.header {
		got[name] = strings.Join(values, " and ")
	}
	delete(got, "Date")
	if !maps.Equal(got, want) {
		t.Errorf("answer %d has headers %q, want %q", r.status, got, want)
	}
}

func TestExchange(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial(t)
	first := c.create(`{"user":"ann","n":1}`)
	tests := []struct{ body, meta string }{
		{`{"token":"TOKEN"}`, `{"user":"ann","n":1}`},
		{`{"token":"TOKEN","meta":null}`, `{"user":"ann","n":1}`},
		{`{"token":"TOKEN","meta":{}}`, `{"user":"ann","n":1}`},
		{`{"token":"TOKEN","meta":{"n":2,"x":[]}}`, `{"user":"ann","n":2,"x":[]}`},
		{`{"meta":{"x":{}},"token":"TOKEN"}`, `{"user":"ann","n":2,"x":{}}`},
	}
	tok := first
	for _, test := range tests {
		r := c.do("PUT", "/token", strings.ReplaceAll(test.body, "TOKEN", tok))
		next, _, ok := r.exchanged()
		if !ok {
			t.Fatalf("PUT %s: %v", test.body, r)
		}
		if want := `{"Ok":{"token":"` + next + `","meta":` + test.meta + `}}`; r.body != want {
			t.Errorf("PUT %s answers %s, want %s", test.body, r.body, want)
		}
		if next == tok || parse(t, next).ID != parse(t, tok).ID {
			t.Errorf("PUT %s: the new token has the nonce of the old one, or another id", test.body)
		}
		c.do("PUT", "/token", tokenBody(tok)).wantInvalidToken(t)
		tok = next
	}
	c.do("PUT", "/token", tokenBody(first)).wantInvalidToken(t)
}

// What an exchange unsets goes after the merge, and a patch may be that alone.
func TestUnset(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	tok := c.create(`{"user":"ann","n":1,"é":2}`)
	tests := []struct{ fields, meta string }{
		{`"unset":["n"]`, `{"user":"ann","é":2}`},
		{`"unset":null`, `{"user":"ann","é":2}`},
		{`"unset":[]`, `{"user":"ann","é":2}`},
		{`"unset" : [ "N" , "x" ] , "meta" : null`, `{"user":"ann","é":2}`},
		{`"meta":{"a":1,"b":2,"user":"bob"},"unset":["b","user","\u00E9"]`, `{"a":1}`},
		{`"\u0075nset":["a"],"Unset":1,"meta":{"c":{"d":1}}`, `{"c":{"d":1}}`},
		{`"unset":["d","c","c"]`, `{}`},
	}
	for _, test := range tests {
		r := c.do("PUT", "/token", `{`+test.fields+`,"token":"`+tok+`"}`)
		next, meta, ok := r.exchanged()
		if !ok || meta != test.meta {
			t.Fatalf("PUT with %s: %v, want metadata %s", test.fields, r, test.meta)
		}
		tok = next
	}
	if r := c.do("POST", "/token", `{"meta":{"a":1},"unset":1}`); !isToken(r.body) {
		t.Errorf("POST with a field that it does not use: %v", r)
	}
}

func parse(t *testing.T, text string) token.Token {
	t.Helper()
	tok, err := token.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestExchangeHeaders(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	r := c.do("PUT", "/token", tokenBody(c.create(`{}`)))
	r.wantHeaders(t, map[string]string{
		"Content-Type":   "application/json",
		"Content-Length": "61",
		"Cache-Control":  "no-store",
	})
}

// somewhere is a well-formed token of no session.
const somewhere = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

func TestDelete(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial(t)
	spent := c.create(`{}`)
	live, _ := c.exchange(spent, "")

	for _, tok := range []string{"", "x", marker, strings.Repeat("=", 32), somewhere, spent, live, live} {
		r := c.do("DELETE", "/token", tokenBody(tok))
		if r.status != 202 || r.body != "" {
			t.Errorf("DELETE of %q: %v, want 202 and no body", tok, r)
		}
		r.wantHeaders(t, map[string]string{"Content-Length": "0", "Cache-Control": "no-store"})
	}
	c.do("PUT", "/token", tokenBody(live)).wantInvalidToken(t)
	c.do("POST", "/token/validate", tokenBody(live)).wantInvalidToken(t)
}

func TestDeleteOfASpentTokenEndsNothing(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	spent := c.create(`{}`)
	live, _ := c.exchange(spent, "")
	c.do("DELETE", "/token", tokenBody(spent))
	c.exchange(live, "")
}

func TestValidate(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	tok := c.create(`{"user":"ann"}`)
	for range 3 { // it spends nothing
		r := c.do("POST", "/token/validate", tokenBody(tok))
		want := `{"Ok":{"meta":{"user":"ann"},"expires_in":7200}}`
		if r.status != 200 || r.contentType() != "application/json" || r.body != want {
			t.Errorf("validate: %v, want %s", r, want)
		}
	}
	c.exchange(tok, "")
	c.do("POST", "/token/validate", tokenBody(tok)).wantInvalidToken(t)
}

func TestEveryInvalidTokenGetsTheSameAnswer(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	spent := c.create(`{}`)
	deleted, _ := c.exchange(spent, "")
	c.do("DELETE", "/token", tokenBody(deleted))

	tokens := map[string]string{
		"unknown":      somewhere,
		"spent":        spent,
		"deleted":      deleted,
		"empty":        "",
		"short":        somewhere[1:],
		"long":         somewhere + "A",
		"padded":       somewhere[1:] + "=",
		"base64":       "+/" + somewhere[2:],
		"spaces":       strings.Repeat(" ", 32),
		"line feed":    somewhere[:30] + `\n\n`,
		"null byte":    somewhere[:31] + `\u0000`,
		"not ASCII":    strings.Repeat("é", 16),
		"marker":       marker,
		"huge":         strings.Repeat("A", 10000),
		"quote":        somewhere[1:] + `\"`,
		"as a number":  strings.Repeat("1", 32),
		"other letter": flipFirst(spent),
	}
	for _, path := range []string{"PUT /token", "POST /token/validate"} {
		method, path, _ := strings.Cut(path, " ")
		for _, name := range slices.Sorted(maps.Keys(tokens)) {
			r := c.do(method, path, tokenBody(tokens[name]))
			if r.body != invalidToken || r.status != 200 {
				t.Errorf("%s %s with a token that is %s: %v, want %s", method, path, name, r, invalidToken)
			}
			r.wantHeaders(t, map[string]string{
				"Content-Type":   "application/json",
				"Content-Length": "22",
				"Cache-Control":  "no-store",
			})
		}
	}
}

func flipFirst(tok string) string {
	if tok[0] == 'A' {
		return "B" + tok[1:]
	}
	return "A" + tok[1:]
}

// A session is found by its id, so that another nonce is what a thief would try.
func TestRightIDWithAnotherNonceIsInvalidAndHarmless(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	tok := c.create(`{}`)
	guess := string(parse(t, tok).Next().Append(nil))
	c.do("PUT", "/token", tokenBody(guess)).wantInvalidToken(t)
	c.do("POST", "/token/validate", tokenBody(guess)).wantInvalidToken(t)
	if r := c.do("DELETE", "/token", tokenBody(guess)); r.status != 202 {
		t.Errorf("DELETE: %v", r)
	}
	c.exchange(tok, "")
}

func TestSessionsAreApart(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	ann, bob := c.create(`{"user":"ann"}`), c.create(`{"user":"bob"}`)
	ann, _ = c.exchange(ann, `{"n":1}`)
	if _, meta := c.exchange(bob, ""); meta != `{"user":"bob"}` {
		t.Errorf("bob's metadata = %s", meta)
	}
	if _, meta := c.exchange(ann, ""); meta != `{"user":"ann","n":1}` {
		t.Errorf("ann's metadata = %s", meta)
	}
}
