package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
)

// answer is what the server says to one call. Its slices are part of what was parsed.
type answer struct {
	status  int // of the request of its own; 0 for an item of a batch
	token   []byte
	meta    []byte // all that is under Ok, of a subject's calls
	expires int64  // in seconds; 0 for none
	reused  bool

	code    string // of an error; empty for success
	message string
	undone  bool // the server says that nothing was carried out
}

// errAnswer says that something is no answer of a token server, or not all of one.
var errAnswer = errors.New("not an answer of a token server")

// parser reads the answers of a server, whose shape is known. It is strict where
// calls differ, and takes the server's word for what metadata is.
type parser struct {
	b []byte
	i int
}

// skip takes one byte if it is the next.
func (p *parser) skip(c byte) bool {
	if p.i < len(p.b) && p.b[p.i] == c {
		p.i++
		return true
	}
	return false
}

// prefix takes a text if it is the next.
func (p *parser) prefix(s string) bool {
	if len(p.b)-p.i >= len(s) && string(p.b[p.i:p.i+len(s)]) == s {
		p.i += len(s)
		return true
	}
	return false
}

// text takes a string, and returns what is between its quotes.
func (p *parser) text() (raw []byte, ok bool) {
	if !p.skip('"') {
		return nil, false
	}
	start := p.i
	for ; p.i < len(p.b); p.i++ {
		switch p.b[p.i] {
		case '"':
			p.i++
			return p.b[start : p.i-1], true
		case '\\':
			p.i++
		}
	}
	p.i = len(p.b) // a backslash may be the last
	return nil, false
}

// value takes any value.
func (p *parser) value() (raw []byte, ok bool) {
	start := p.i
	for depth := 0; p.i < len(p.b); {
		switch p.b[p.i] {
		case '"':
			if _, ok := p.text(); !ok {
				return nil, false
			}
		case '{', '[':
			depth++
			p.i++
		case '}', ']':
			if depth--; depth < 0 {
				return nil, false
			}
			p.i++
		default:
			p.plain(depth > 0)
		}
		if depth == 0 {
			return p.b[start:p.i], p.i > start
		}
	}
	return nil, false
}

// plain takes numbers and words, and inside of a value what separates them too.
func (p *parser) plain(inside bool) {
	for ; p.i < len(p.b); p.i++ {
		switch p.b[p.i] {
		case '"', '{', '[', '}', ']':
			return
		case ',':
			if !inside {
				return
			}
		}
	}
}

// members takes an object, and calls use at the value of each member, which takes it.
func (p *parser) members(use func(name []byte) bool) bool {
	if !p.skip('{') {
		return false
	}
	if p.skip('}') {
		return true
	}
	for {
		name, ok := p.text()
		if !ok || !p.skip(':') || !use(name) {
			return false
		}
		if p.skip('}') {
			return true
		}
		if !p.skip(',') {
			return false
		}
	}
}

// item takes the answer to one call.
func (p *parser) item(k kind, a *answer) bool {
	*a = answer{}
	if k == exchange && p.exchanged(a) {
		return true
	}
	found := false
	ok := p.members(func(name []byte) (ok bool) {
		switch string(name) {
		case "Ok":
			found = true
			if k >= list {
				a.meta, ok = p.value()
				return ok
			}
			return p.success(a)
		case "Err":
			found = true
			var raw []byte
			raw, ok = p.text()
			a.code = string(raw)
			return ok && a.code != ""
		case "message":
			var raw []byte
			raw, ok = p.value()
			json.Unmarshal(raw, &a.message)
			return ok
		case "done":
			var raw []byte
			raw, ok = p.value()
			a.undone = string(raw) == "false"
			return ok
		}
		_, ok = p.value()
		return ok
	})
	return ok && found
}

// exchanged takes the answer to an exchange, the most frequent one, if it is written
// as the server writes it.
func (p *parser) exchanged(a *answer) bool {
	start, ok := p.i, false
	if p.prefix(`{"Ok":{"token":`) {
		if a.token, ok = p.text(); ok && p.prefix(`,"meta":`) {
			a.meta, ok = p.value()
			if ok && p.prefix(`}}`) {
				return true
			}
		}
	}
	p.i = start
	return false
}

// success takes what an answer has under Ok.
func (p *parser) success(a *answer) bool {
	return p.members(func(name []byte) (ok bool) {
		var raw []byte
		switch string(name) {
		case "token":
			a.token, ok = p.text()
			return ok
		case "meta":
			a.meta, ok = p.value()
			return ok
		case "reused":
			raw, ok = p.value()
			a.reused = string(raw) == "true"
			return ok
		case "expires_in":
			raw, ok = p.value()
			var err error
			a.expires, err = strconv.ParseInt(string(raw), 10, 64)
			return ok && err == nil
		}
		_, ok = p.value()
		return ok
	})
}

// fits says whether a success has what a call of this kind is answered with.
func (a *answer) fits(k kind) bool {
	switch k {
	case create:
		return isToken(a.token)
	case exchange:
		return isToken(a.token) && isObject(a.meta)
	case validate:
		return a.expires > 0 && isObject(a.meta)
	case list, endSubject:
		return isObject(a.meta)
	}
	return true
}

func isObject(raw []byte) bool { return len(raw) >= 2 && raw[0] == '{' && raw[len(raw)-1] == '}' }

// parseSingle reads the answer to a request of its own. ok says whether it is one.
func parseSingle(k kind, r *reply) (a answer, ok bool) {
	body := bytes.TrimSpace(r.body)
	switch {
	case r.status == http.StatusOK && k == create && (len(body) == 0 || body[0] != '{'):
		a.token = body
	case r.status == http.StatusAccepted && k == remove:
	default:
		p := parser{b: body}
		if !p.item(k, &a) || p.i != len(body) {
			return answer{status: r.status}, false
		}
	}
	a.status = r.status
	a.reused = r.reused
	return a, a.code != "" || r.status < 300 && a.fits(k)
}
