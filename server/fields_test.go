package server

import (
	"fmt"
	"strings"
	"testing"
)

func TestInvalidRequest(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial(t)
	tok := c.createFor("ann", `{"a":1}`)
	noObject := []string{`[]`, `[{"meta":{}}]`, `["` + tok + `"]`, `"` + marker + `"`, `""`, `1`, `-0`, `null`, `true`, `false`}
	withoutToken := append([]string{
		`{}`, `{"":1}`, `{"Token":"TOKEN"}`, `{"TOKEN":"TOKEN"}`, `{"toKen":"TOKEN"}`, `{"token ":"TOKEN"}`,
		`{"to\u212Aen":"TOKEN"}`, `{"x":{"token":"TOKEN"}}`,
		`{"token":null}`, `{"token":1}`, `{"token":true}`, `{"token":{}}`, `{"token":["TOKEN"]}`, `{"token":{"token":"TOKEN"}}`,
		`{"token":"TOKEN","token":"TOKEN"}`, `{"token":"` + marker + `","token":"TOKEN"}`, `{"token":null,"token":"TOKEN"}`,
		`{"token":"TOKEN","token":null}`, `{"token":"TOKEN","t\u006Fken":"TOKEN"}`, `{"\u0074oken":"TOKEN","\u0074\u006fken":"TOKEN"}`,
	}, noObject...)
	withoutSubject := append([]string{
		`{}`, `{"Subject":"ann"}`, `{"SUBJECT":"ann"}`, `{"subject ":"ann"}`, `{"\u017fubject":"ann"}`, `{"x":{"subject":"ann"}}`,
		`{"meta":{"subject":"ann"}}`, `{"subject":{"subject":"ann"}}`, tokenBody(tok),
		`{"subject":"ann","subject":"ann"}`, `{"subject":"ann","s\u0075bject":"ann"}`, `{"\u0073ubject":"ann","subject":"` + marker + `"}`,
		`{"subject":null,"subject":"ann"}`, `{"subject":"ann","subject":null}`, `{"subject":"ann","x":1,"subject":1}`,
	}, noObject...)
	withoutSubject = append(withoutSubject, `{"subject":null}`)
	for _, subject := range badSubjects {
		withoutSubject = append(withoutSubject, `{"subject":`+subject+`}`)
	}
	tests := map[string][]string{
		"POST /token": append([]string{
			`{}`, `{"meta":null}`, `{"meta":[]}`, `{"meta":[{}]}`, `{"meta":"` + marker + `"}`, `{"meta":"{}"}`,
			`{"meta":1}`, `{"meta":true}`, `{"Meta":{}}`, `{"META":{}}`, `{"meta ":{}}`, `{" meta":{}}`, `{"met\u0430":{}}`,
			`{"x":{"meta":{}}}`, `{"meta":{},"meta":{}}`, `{"meta":{},"m\u0065ta":{}}`, `{"\u006deta":{},"meta":{}}`,
			`{"meta":null,"meta":{}}`, `{"meta":{},"meta":null}`, `{"meta":{},"x":1,"meta":{}}`, tokenBody(tok),
		}, noObject...),
		"PUT /token": append([]string{
			`{"meta":{}}`, `{"token":"TOKEN","meta":[]}`, `{"token":"TOKEN","meta":"` + marker + `"}`, `{"token":"TOKEN","meta":0}`,
			`{"token":"TOKEN","meta":false}`, `{"token":"TOKEN","meta":{},"meta":{}}`, `{"token":"TOKEN","meta":null,"meta":{}}`,
			`{"token":"TOKEN","unset":"a"}`, `{"token":"TOKEN","unset":{}}`, `{"token":"TOKEN","unset":1}`, `{"token":"TOKEN","unset":true}`,
			`{"token":"TOKEN","unset":[1]}`, `{"token":"TOKEN","unset":["a",null]}`, `{"token":"TOKEN","unset":[["a"]]}`,
			`{"token":"TOKEN","unset":["a",{}]}`, `{"token":"TOKEN","unset":[],"unset":["a"]}`, `{"unset":null,"token":"TOKEN","unset":[]}`,
			`{"unset":["a"]}`, `{"token":"TOKEN","meta":[],"unset":["a"]}`, `{"token":"` + marker + `","unset":0}`,
			`{"token":"TOKEN","meta":null,"meta":null}`, `{"meta":{},"token":"TOKEN","met\u0061":{}}`,
		}, withoutToken...),
		"DELETE /token":        withoutToken,
		"POST /token/validate": withoutToken,

		"DELETE /subject": append([]string{
			`{"subject":"ann","session":1}`, `{"subject":"ann","session":["x"]}`, `{"subject":"ann","session":{}}`, `{"subject":"ann","session":true}`,
			`{"subject":"ann","keep":1}`, `{"subject":"ann","keep":["TOKEN"]}`, `{"subject":"ann","keep":{"token":"TOKEN"}}`, `{"subject":"ann","keep":false}`,
			`{"subject":"ann","session":"x","keep":"TOKEN"}`, `{"keep":"` + marker + `","subject":"ann","session":""}`,
			`{"subject":"ann","session":"x","session":"x"}`, `{"subject":"ann","keep":"TOKEN","k\u0065ep":"TOKEN"}`,
			`{"subject":"ann","session":null,"session":"x"}`, `{"subject":"ann","keep":null,"keep":null}`,
			`{"session":"x"}`, `{"keep":"TOKEN"}`, `{"subject":"","keep":"TOKEN"}`, `{"subject":1,"session":"x"}`,
		}, withoutSubject...),
		"POST /subject/sessions": append([]string{
			`{"subject":"ann","limit":0}`, `{"subject":"ann","limit":-1}`, `{"subject":"ann","limit":1001}`, `{"subject":"ann","limit":1.0}`,
			`{"subject":"ann","limit":1e2}`, `{"subject":"ann","limit":"10"}`, `{"subject":"ann","limit":true}`, `{"subject":"ann","limit":[1]}`,
			`{"subject":"ann","limit":99999999999999999999999999}`, `{"subject":"ann","limit":-0}`, `{"subject":"ann","limit":{}}`,
			`{"subject":"ann","limit":1,"limit":1}`, `{"subject":"ann","limit":null,"limit":1}`,
			`{"subject":"ann","after":1}`, `{"subject":"ann","after":["x"]}`, `{"subject":"ann","after":{}}`, `{"subject":"ann","after":false}`,
			`{"subject":"ann","after":""}`, `{"subject":"ann","after":"` + marker + `"}`, `{"subject":"ann","after":"TOKEN"}`,
			`{"subject":"ann","after":null,"after":null}`, `{"limit":1}`, `{"after":"x"}`,
		}, withoutSubject...),
	}
	for target, bodies := range tests {
		method, path, _ := strings.Cut(target, " ")
		for _, body := range bodies {
			r := c.do(method, path, strings.ReplaceAll(body, "TOKEN", tok))
			if r.status != 422 || r.code() != "InvalidRequest" {
				t.Errorf("%s of %s: %v, want 422 InvalidRequest", target, body, r)
			}
		}
	}
	if _, meta := c.exchange(tok, ""); meta != `{"a":1}` {
		t.Errorf("metadata after all = %s, want it unchanged", meta)
	}
	s.wantWorking(t)
}

// An optional field that is null is as if it were not there.
func TestNullFields(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	r := c.do("POST", "/token", `{"subject":null,"meta":{"a":1},"lifetime":null}`)
	if !isToken(r.body) {
		t.Fatalf("POST with fields that are null: %v, want a token", r)
	}
	next, meta, ok := c.do("PUT", "/token", `{"unset":null,"token":"`+r.body+`","meta":null}`).exchanged()
	if !ok || meta != `{"a":1}` {
		t.Fatalf("PUT with fields that are null: metadata %s, %v", meta, ok)
	}
	if r := c.do("POST", "/token/validate", tokenBody(next)); !strings.HasSuffix(r.body, `"expires_in":7200}}`) {
		t.Errorf("validate: %v, want the lifetime that sessions have", r)
	}
}

// The message of a 422 names the field and what it needs, and has nothing of the
// request in it.
func TestInvalidRequestNamesTheField(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	const (
		noObject = "The body must be a JSON object."
		tok      = `"token" must be a string.`
		meta     = `"meta" must be an object.`
		unset    = `"unset" must be an array of strings.`
		subject  = `"subject" must be a string of 1 to 256 bytes.`
		life     = `"lifetime" must be a duration from 1min to 96h.`
		limit    = `"limit" must be a whole number from 1 to 1000.`
		after    = `"after" must be the name of a session of this subject that lives; start again without it.`
	)
	tests := []struct{ target, body, want string }{
		{"POST /token", `["x"]`, noObject},
		{"PUT /token", `null`, noObject},
		{"DELETE /subject", `"x"`, noObject},
		{"POST /token", `{"token":"x"}`, meta},
		{"POST /token", `{"meta":null}`, meta},
		{"PUT /token", `{"token":"` + somewhere + `","meta":"x"}`, meta},
		{"PUT /token", `{"meta":{}}`, tok},
		{"PUT /token", `{"token":null}`, tok},
		{"DELETE /token", `{"token":5}`, tok},
		{"POST /token/validate", `{}`, tok},
		{"PUT /token", `{"token":"x","token":"y"}`, `"token" is given twice.`},
		{"POST /token", `{"meta":{},"m\u0065ta":{}}`, `"meta" is given twice.`},
		{"PUT /token", `{"token":"x","unset":["x",5]}`, unset},
		{"POST /token", `{"meta":{},"subject":""}`, subject},
		{"DELETE /subject", `{}`, subject},
		{"POST /subject/sessions", `{"subject":5}`, subject},
		{"POST /token", `{"meta":{},"lifetime":"30s"}`, life},
		{"POST /token", `{"meta":{},"lifetime":"97h"}`, life},
		{"POST /token", `{"meta":{},"lifetime":5}`, life},
		{"POST /subject/sessions", `{"subject":"x","limit":1001}`, limit},
		{"POST /subject/sessions", `{"subject":"x","after":5}`, after},
		{"POST /subject/sessions", `{"subject":"x","after":"x"}`, after},
		{"POST /subject/sessions", `{"subject":"x","after":"AAAABBBBCCCCDDDD"}`, after},
		{"DELETE /subject", `{"subject":"x","session":5}`, `"session" must be a string.`},
		{"DELETE /subject", `{"subject":"x","keep":5}`, `"keep" must be a string.`},
		{"DELETE /subject", `{"subject":"x","keep":"x","session":"x"}`, `"session" and "keep" can't be given both.`},
	}
	for _, test := range tests {
		method, path, _ := strings.Cut(test.target, " ")
		r := c.do(method, path, strings.ReplaceAll(test.body, `"x"`, `"`+marker+`"`))
		r.wantError(t, 422, "InvalidRequest")
		if want := fmt.Sprintf(`{"Err":"InvalidRequest","message":%q}`, test.want); r.body != want {
			t.Errorf("%s of %s: %s, want %s", test.target, test.body, r.body, want)
		}
	}
}

// Fields that a request does not use may be anything, any number of times.
func TestIgnoredFields(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	create := []string{
		`{"token":1,"token":2,"meta":{"a":1}}`,
		`{"meta":{"a":1},"Meta":[],"META":null,"token":"` + marker + `"}`,
		`{"x":{"meta":null},"x":[{"meta":[]}],"meta":{"a":1},"":{}}`,
	}
	for _, body := range create {
		r := c.do("POST", "/token", body)
		if !isToken(r.body) {
			t.Errorf("POST of %s: %v, want a token", body, r)
			continue
		}
		if _, meta := c.exchange(r.body, ""); meta != `{"a":1}` {
			t.Errorf("POST of %s keeps %s", body, meta)
		}
	}

	tok := c.create(`{"a":1}`)
	exchange := []string{
		`{"Token":"` + marker + `","token":"TOKEN","Meta":{"b":2}}`,
		`{"x":1,"x":2,"token":"TOKEN","meta":{},"y":{"token":"` + marker + `"}}`,
	}
	for _, body := range exchange {
		next, meta, ok := c.do("PUT", "/token", strings.Replace(body, "TOKEN", tok, 1)).exchanged()
		if !ok || meta != `{"a":1}` {
			t.Fatalf("PUT of %s: metadata %s, %v", body, meta, ok)
		}
		tok = next
	}

	unused := `{"meta":1,"meta":[],"token":"` + tok + `","TOKEN":2}`
	if r := c.do("POST", "/token/validate", unused); !r.contains("expires_in") {
		t.Errorf("validate of %s: %v", unused, r)
	}
	if r := c.do("DELETE", "/token", unused); r.status != 202 {
		t.Errorf("DELETE of %s: %v", unused, r)
	}
	c.do("PUT", "/token", tokenBody(tok)).wantInvalidToken(t)
}

// Names and the token are compared after unescaping.
func TestEscapedFields(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	tok := c.create(`{"a":1}`)
	for _, body := range []string{
		`{"\u0074\u006f\u006B\u0065\u006e":"TOKEN"}`,
		`{"toke\u006E":"ESCAPED","meta":{"a":1}}`,
		`{"token":"ESCAPED","\u006deta":{"a":1}}`,
		`{"token":"ESCAPED"}`,
		"\t{ \"token\"\r\n:\n\t\"TOKEN\" , \"meta\" : { } }\r\n ",
	} {
		text := strings.NewReplacer("TOKEN", tok, "ESCAPED", escaped(tok)).Replace(body)
		next, meta, ok := c.do("PUT", "/token", text).exchanged()
		if !ok || meta != `{"a":1}` {
			t.Fatalf("PUT of %s: metadata %s, %v", text, meta, ok)
		}
		tok = next
	}
	if r := c.do("POST", "/token/validate", tokenBody(escaped(tok))); !r.contains("expires_in") {
		t.Errorf("validate of an escaped token: %v", r)
	}
	c.do("DELETE", "/token", tokenBody(escaped(tok)))
	c.do("PUT", "/token", tokenBody(tok)).wantInvalidToken(t)
}

// escaped writes each character of a token as an escape.
func escaped(tok string) string {
	var b strings.Builder
	for _, r := range tok {
		fmt.Fprintf(&b, `\u%04x`, r)
	}
	return b.String()
}
