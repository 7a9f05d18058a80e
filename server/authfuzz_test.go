package server

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tokenserver/shard"
)

// authMeta are the members of the session that FuzzAuth asks for, and their values as
// headers.
var authMeta = map[string]string{"user": "ann", "n": "1.0", "a:b": "%20x%25", "é +": "%C3%A9", "": `{"a":[]}`}

// FuzzAuth sends queries and Cookie headers, in which TOKEN stands for a session's token,
// and compares the answer with what net/url and net/http make of them.
func FuzzAuth(f *testing.F) {
	for _, seed := range [][2]string{
		{"", "token=TOKEN"}, {"", "token=x; __Host-token=TOKEN"}, {"cookie=sid", "a=b; sid=TOKEN"}, {"cookie=", "=TOKEN"},
		{"header=user:X-User&header=n:X-N", `token="TOKEN"`}, {"header=a:b:X-A&header=:X-Empty&header=%C3%A9+%2b:X-E", "token=TOKEN;token=x"},
		{"header=user:Content-Length", "token=TOKEN"}, {"header=user:X-U&header=n:x-u", "token=TOKEN"}, {"a%zz=%", "token=TOKEN"},
		{"&&=&a;b=c&%68eader=user:X-%55", " token\t=TOKEN ; token=; ;;"}, {"cookie=a%20b&header=user", "token=TOKEN=;token"},
	} {
		f.Add(seed[0], seed[1])
	}
	d := newDirect(Config{Store: newStore(f, shard.Config{Shards: 1})})
	tok := d.do(f, "POST", "/token", `{"meta":{"user":"ann","n":1.0,"a:b":" x%","\u00e9 +":"\u00e9","":{"a":[]}}}`).body
	f.Fuzz(func(t *testing.T, query, cookies string) {
		if !isQuery(query) || !isCookieText(cookies) {
			t.Skip() // is no request
		}
		cookies = strings.ReplaceAll(cookies, "TOKEN", tok)
		if err := d.handle([]byte(requestText("GET", "/auth?"+query, "", "Cookie: "+cookies))); err != nil {
			t.Skip() // fasthttp refuses it
		}
		got := replyOf(&d.ctx)
		headers, names, ok := oracleOfQuery(query)
		switch valid, sure := oracleOfCookies(cookies, names, tok); {
		case !ok:
			got.wantError(t, 422, "InvalidRequest")
		case sure && valid:
			if headers["Cache-Control"] = "no-store"; got.status != 204 {
				t.Errorf("%q with %q: %v, want 204", query, cookies, got)
			}
			delete(got.header, "Content-Type") // not sent without a body
			got.wantHeaders(t, headers)
		case sure:
			got.wantNoSession(t, query+" with "+cookies)
		case got.status != 204 && got.status != 401:
			t.Errorf("%q with %q: %v, want 204 or 401", query, cookies, got)
		}
	})
}

var (
	isQuery      = regexp.MustCompile(`^[!-"$-~]*$`).MatchString // # begins what is no query
	isCookieText = regexp.MustCompile(`^[\t -~]*$`).MatchString
	headerSpec   = regexp.MustCompile(`(?s)^(.*):([A-Za-z][A-Za-z0-9-]*)$`)
	cookieName   = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
	takenName    = regexp.MustCompile(`(?i)^(age|allow|alt-svc|cache-control|clear-site-data|connection|cookie|date|etag|expect|expires|host|keep-alive|` +
		`last-modified|link|location|pragma|refresh|retry-after|server|set-cookie|store-id|strict-transport-security|te|token-reused|trailer|` +
		`transfer-encoding|upgrade|vary|via|www-authenticate|x-token|(access-control|content|proxy|sec|x-accel)-.*)$`)
)

// oracleOfQuery returns the headers that a query asks for, with their values, and the
// names of the cookies that count.
func oracleOfQuery(query string) (headers map[string]string, cookies []string, ok bool) {
	values, err := url.ParseQuery(strings.ReplaceAll(query, ";", "%3B"))
	if err != nil {
		return nil, nil, false
	}
	cookies = values["cookie"]
	if len(cookies) > 1 || len(cookies) == 1 && !cookieName.MatchString(cookies[0]) {
		return nil, nil, false
	}
	if len(cookies) == 0 {
		cookies = []string{"__Host-token", "token"}
	}
	headers = make(map[string]string)
	var names []string
	for _, spec := range values["header"] {
		parts := headerSpec.FindStringSubmatch(spec)
		if parts == nil || takenName.MatchString(parts[2]) || slices.Contains(names, strings.ToLower(parts[2])) {
			return nil, nil, false
		}
		names = append(names, strings.ToLower(parts[2]))
		if value, there := authMeta[parts[1]]; there {
			headers[http.CanonicalHeaderKey(parts[2])] = value
		}
	}
	return headers, cookies, len(names) <= maxAuthHeaders
}

// oracleOfCookies says whether the cookies have the token where it is looked for. It is
// not sure of values that net/http drops.
func oracleOfCookies(text string, names []string, tok string) (valid, sure bool) {
	r := http.Request{Header: http.Header{"Cookie": {text}}}
	given := 0
	for pair := range strings.SplitSeq(text, ";") {
		name, _, _ := strings.Cut(pair, "=")
		if slices.Contains(names, strings.Trim(name, " \t")) {
			given++
		}
	}
	for _, name := range names {
		given -= len(r.CookiesNamed(name))
	}
	for _, name := range names {
		for _, c := range r.CookiesNamed(name) {
			if c.Value != "" {
				return c.Value == tok, given == 0
			}
		}
	}
	return false, given == 0
}
