package server

import (
	"strings"
	"testing"
)

func TestMediaTypes(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial(t)
	good := []string{
		"Content-Type: application/json",
		"Content-Type:application/json",
		"content-type: application/json",
		"CONTENT-TYPE: APPLICATION/JSON",
		"Content-Type: Application/Json",
		"Content-Type: \t application/json \t",
		"Content-Type: application/json; charset=utf-8",
		"Content-Type: application/json;charset=UTF-8",
		"Content-Type: application/json ; charset=utf-8",
		"Content-Type: application/json;",
		`Content-Type: application/json; a="b;c"; d=e`,
		"Content-Type: application/json; charset=latin1",
		"Content-Type: application/json\r\nAccept: text/html",
		"Content-Type: application/json\r\nAccept-Encoding: gzip",
		"Content-Type: application/json\r\nX-Content-Encoding: gzip",
		"Content-Type: application/ld+json",
		"Content-Type: application/problem+json",
		"Content-Type: Application/VND.API+JSON; charset=utf-8",
		"Content-Type: application/vnd.a.b-c_d+xml+json",
		"Content-Type: application/json\r\nContent-Encoding: identity",
		"Content-Type: application/json\r\ncontent-encoding: \t IDENTITY ",
		"Content-Type: application/json\r\nContent-Encoding: identity\r\nContent-Encoding: Identity",
		"Content-Type: application/json\r\nContent-Encoding: identity, identity",
	}
	for _, headers := range good {
		if r := c.do("POST", "/token", `{"meta":{}}`, headers); r.status != 200 || !isToken(r.body) {
			t.Errorf("POST with %q: %v, want a token", headers, r)
		}
	}
	bad := []string{
		"Content-Type: ",
		"Content-Type: " + marker,
		"Content-Type: text/plain",
		"Content-Type: text/json",
		"Content-Type: application/jsonp",
		"Content-Type: application/jso",
		"Content-Type: application/json5",
		"Content-Type: application/+json",
		"Content-Type: application/a b+json",
		"Content-Type: application/a/b+json",
		"Content-Type: application/a,application/b+json",
		"Content-Type: application/ld+jsonp",
		"Content-Type: application/ldjson",
		"Content-Type: text/ld+json",
		"Content-Type: application/json+x",
		"Content-Type: application/*",
		"Content-Type: */*",
		"Content-Type: json",
		"Content-Type: ; application/json",
		"Content-Type: application/json, text/plain",
		"Content-Type: application/json, application/json",
		"Content-Type: application / json",
		`Content-Type: "application/json"`,
		"Content-Type: application/x-www-form-urlencoded",
		"Content-Type: multipart/form-data; boundary=x",
		"Content-Type: application/json\r\nContent-Encoding: gzip",
		"Content-Type: application/json\r\ncontent-encoding: GZIP",
		"Content-Type: application/json\r\nContent-Encoding: identity, gzip",
		"Content-Type: application/json\r\nContent-Encoding: identity,",
		"Content-Type: application/json\r\nContent-Encoding: identity\r\nContent-Encoding: gzip",
		"Content-Type: application/json\r\nContent-Encoding: identity\r\nContent-Encoding:",
		"Content-Type: application/json\r\nContent-Encoding:\r\nContent-Encoding: gzip",
		"Content-Type: application/json\r\ncontent-ENCODING: gzip",
		"Content-Type: application/json\r\nContent-Encoding: br, gzip",
		"Content-Type: application/json\r\nContent-Encoding: " + marker,
		"Content-Type: application/json\r\nContent-Encoding:",
		"Content-Type: application/json\r\nContent-Encoding: \t ",
		"content-encoding: \r\nContent-Type: application/json",
		"Content-Type: application/json\r\nContent-Encoding:\r\nContent-Encoding: gzip",
		"Content-Type: application/json\r\nX-A: 1\r\nX-B: 2\r\nContent-Encoding:\r\nX-C:",
	}
	requests := []struct{ method, path, body string }{
		{"POST", "/token", `{"meta":{}}`},
		{"PUT", "/token", tokenBody(somewhere)},
		{"DELETE", "/token", tokenBody(somewhere)},
		{"POST", "/token/validate", tokenBody(somewhere)},
		{"DELETE", "/subject", subjectBody(marker)},
		{"POST", "/subject/sessions", subjectBody(marker)},
	}
	for _, headers := range bad {
		for _, request := range requests {
			r := c.do(request.method, request.path, request.body, headers)
			if r.status != 415 || r.code() != "UnsupportedMediaType" {
				t.Errorf("%s %s with %q: %v, want 415", request.method, request.path, headers, r)
			}
		}
	}
	s.wantWorking(t)
}

func TestNoContentType(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	c.send("POST /token HTTP/1.1\r\nHost: test\r\n" + authorization() + "Content-Length: 11\r\n\r\n{\"meta\":{}}")
	c.receive("POST").wantError(t, 415, "UnsupportedMediaType")
	c.send("DELETE /token HTTP/1.1\r\nHost: test\r\n" + authorization() + "\r\n")
	c.receive("DELETE").wantError(t, 415, "UnsupportedMediaType")
	c.wantOpen()
}

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

func nestedObjects(depth int) string {
	return strings.Repeat(`{"a":`, depth-1) + "{}" + strings.Repeat("}", depth-1)
}

// malformed are bodies that are no JSON, with META where metadata would be.
var malformed = map[string]string{
	"white space only":              " \r\n\t",
	"not closed":                    `{"meta":{}`,
	"not closed, twice":             `{"meta":{`,
	"only an opening brace":         `{`,
	"only a closing brace":          `}`,
	"closed wrongly":                `{"meta":{}]`,
	"closed once too often":         `{"meta":{}}}`,
	"trailing word":                 `{"meta":{}}` + marker,
	"trailing object":               `{"meta":{}}{"meta":{}}`,
	"trailing comma":                `{"meta":{}},`,
	"trailing null byte":            "{\"meta\":{}}\x00",
	"comma after the last member":   `{"meta":{},}`,
	"comma before the first member": `{,"meta":{}}`,
	"two commas":                    `{"a":1,,"meta":{}}`,
	"no comma":                      `{"a":1 "meta":{}}`,
	"no colon":                      `{"meta" {}}`,
	"two colons":                    `{"meta"::{}}`,
	"no value":                      `{"meta":}`,
	"no name":                       `{:{}}`,
	"name without quotes":           `{meta:{}}`,
	"name in single quotes":         `{'meta':{}}`,
	"name that is a number":         `{1:{},"meta":{}}`,
	"comment":                       `{"meta":{}/* */}`,
	"comment of a line":             "{\"meta\":{}} // \n",
	"BOM":                           "\uFEFF" + `{"meta":{}}`,
	"UTF-16":                        "\xFF\xFE{\x00}\x00",
	"invalid UTF-8 in a string":     "{\"meta\":{\"a\":\"\xFF\"}}",
	"invalid UTF-8 in a name":       "{\"meta\":{\"\xC3\":1}}",
	"invalid UTF-8 outside":         "{\"meta\":{}\xFF}",
	"overlong UTF-8":                "{\"meta\":{\"a\":\"\xC0\xAF\"}}",
	"surrogate in UTF-8":            "{\"meta\":{\"a\":\"\xED\xA0\x80\"}}",
	"beyond Unicode":                "{\"meta\":{\"a\":\"\xF4\x90\x80\x80\"}}",
	"lone high surrogate":           `{"meta":{"a":"\ud800"}}`,
	"lone low surrogate":            `{"meta":{"a":"\udc00"}}`,
	"high surrogate and a letter":   `{"meta":{"a":"\ud800\u0041"}}`,
	"two high surrogates":           `{"meta":{"a":"\ud800\ud800"}}`,
	"surrogates in wrong order":     `{"meta":{"a":"\udc00\ud800"}}`,
	"lone surrogate in a name":      `{"meta":{"\ud800":1}}`,
	"lone surrogate in the token":   `{"token":"\ud800","meta":{}}`,
	"lone surrogate in a field":     `{"\udfff":1,"meta":{}}`,
	"lone surrogate in the subject": `{"subject":"\ud800","meta":{}}`,
	"lone surrogate in a lifetime":  `{"meta":{},"lifetime":"12h\udc00"}`,
	"bare lifetime":                 `{"meta":{},"lifetime":12h}`,
	"line feed in a string":         "{\"meta\":{\"a\":\"\n\"}}",
	"tab in a string":               "{\"meta\":{\"a\":\"\t\"}}",
	"null byte in a string":         "{\"meta\":{\"a\":\"\x00\"}}",
	"unknown escape":                `{"meta":{"a":"\x41"}}`,
	"escaped single quote":          `{"meta":{"a":"\'"}}`,
	"short escape":                  `{"meta":{"a":"\u12"}}`,
	"wrong escape":                  `{"meta":{"a":"\u12G4"}}`,
	"string not closed":             `{"meta":{"a":"b}}`,
	"escape at the end":             `{"meta":{"a":"\`,
	"plus":                          `{"meta":{"a":+1}}`,
	"leading zero":                  `{"meta":{"a":01}}`,
	"minus alone":                   `{"meta":{"a":-}}`,
	"point at the end":              `{"meta":{"a":1.}}`,
	"point at the start":            `{"meta":{"a":.5}}`,
	"exponent without digits":       `{"meta":{"a":1e}}`,
	"exponent with sign only":       `{"meta":{"a":1e+}}`,
	"hexadecimal":                   `{"meta":{"a":0x1F}}`,
	"underscore":                    `{"meta":{"a":1_000}}`,
	"two minuses":                   `{"meta":{"a":--1}}`,
	"NaN":                           `{"meta":{"a":NaN}}`,
	"Infinity":                      `{"meta":{"a":-Infinity}}`,
	"True":                          `{"meta":{"a":True}}`,
	"nul":                           `{"meta":{"a":nul}}`,
	"nulll":                         `{"meta":{"a":nulll}}`,
	"undefined":                     `{"meta":undefined}`,
	"vertical tab":                  "{\"meta\":\v{}}",
	"no-break space":                "{\"meta\":\u00A0{}}",
	"65 levels of arrays":           `{"meta":{"a":` + nested(63) + `}}`,
	"65 levels of objects":          `{"meta":` + nestedObjects(64) + `}`,
	"65 levels in another field":    `{"x":` + nested(64) + `,"meta":{}}`,
	"65 levels without a field":     nested(65),
	"many levels":                   strings.Repeat("[", 10000),
	"a form":                        "meta=" + marker,
	"XML":                           "<meta/>",
	"a word":                        marker,
}

func TestMalformedJSON(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial(t)
	tok := c.createFor("ann", `{}`)
	for name, body := range malformed {
		for _, target := range []string{
			"POST /token", "PUT /token", "DELETE /token", "POST /token/validate", "DELETE /subject", "POST /subject/sessions",
		} {
			method, path, _ := strings.Cut(target, " ")
			// The fault does not hide behind a good token and subject before it.
			for _, text := range []string{body, strings.Replace(body, `{"meta"`, `{"token":"`+tok+`","subject":"ann","meta"`, 1)} {
				if r := c.do(method, path, text); r.status != 400 || r.code() != "MalformedJSON" {
					t.Errorf("%s %s of %s, %.100q: %v, want 400 MalformedJSON", method, path, name, text, r)
				}
			}
		}
	}
	c.send("POST /token HTTP/1.1\r\nHost: test\r\n" + authorization() + "Content-Type: application/json\r\n\r\n")
	c.receive("POST").wantError(t, 400, "MalformedJSON")
	c.send("PUT /token HTTP/1.1\r\nHost: test\r\n" + authorization() + "Content-Type: application/json\r\nContent-Length: 0\r\n\r\n")
	c.receive("PUT").wantError(t, 400, "MalformedJSON")
	c.exchange(tok, "")
	s.wantWorking(t)
}

func TestDeepButNotTooDeep(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	for _, meta := range []string{`{"a":` + nested(62) + `}`, nestedObjects(63)} { // the body is level 1
		if _, got := c.exchange(c.create(meta), ""); got != meta {
			t.Errorf("metadata = %s, want %s", got, meta)
		}
	}
	if r := c.do("POST", "/token", `{"x":`+nested(63)+`,"meta":{}}`); r.status != 200 {
		t.Errorf("64 levels in another field: %v, want 200", r)
	}
}
