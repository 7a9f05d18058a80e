package main

import "bytes"

// fault is what can be wrong with an answer, or the lack of one.
type fault uint8

const (
	noFault fault = iota
	faultConnect
	faultConnection
	faultTimeout
	faultMalformed
	faultUnasked
	faultStatus
	faultContentType
	faultCacheControl
	faultBody
	faultToken
	faultSameToken
	faultLiveRefused
	faultSpentAccepted
	faultMetaMissing
	faultMeta
)

var faultNames = [...]string{
	faultConnect:       "connect failed",
	faultConnection:    "connection lost",
	faultTimeout:       "timeout",
	faultMalformed:     "malformed answer",
	faultUnasked:       "unasked answer",
	faultStatus:        "wrong status",
	faultContentType:   "wrong content type",
	faultCacheControl:  "wrong cache control",
	faultBody:          "wrong body",
	faultToken:         "ill-formed token",
	faultSameToken:     "token not renewed",
	faultLiveRefused:   "live token refused",
	faultSpentAccepted: "spent token accepted",
	faultMetaMissing:   "missing metadata",
	faultMeta:          "wrong metadata",
}

func (f fault) String() string { return faultNames[f] }

const (
	jsonType  = "application/json"
	tokenType = "text/plain; charset=utf-8"

	invalidTokenBody = `{"Err":"InvalidToken"}`
	okTokenStart     = `{"Ok":{"token":"`
	okMeta           = `","meta":`
	okEnd            = `}}`
	validStart       = `{"Ok":{"meta":`
	validExpires     = `,"expires_in":`
)

// checker compares answers with what the contract says they must be.
type checker struct {
	meta      *metadata
	unchecked bool
}

// check judges the answer to r. Where it is right and has a new token, that is in fresh.
func (c *checker) check(r *request, a *answer, fresh *rawToken) fault {
	wantStatus := 200
	if r.op == opDelete {
		wantStatus = 202
	}
	switch {
	case c.unchecked:
		return c.checkStatus(r, a, fresh)
	case a.status != wantStatus:
		return faultStatus
	case string(a.cacheControl) != "no-store":
		return faultCacheControl
	}
	switch r.op {
	case opCreate:
		return checkCreated(a, fresh)
	case opExchange:
		return c.checkExchanged(r, r.session.visits, a, fresh)
	case opPatch:
		return c.checkExchanged(r, r.session.visits+1, a, fresh)
	case opValidate:
		return c.checkValid(r, a)
	case opReplay:
		return checkReplayed(a)
	default: // opDelete
		return checkEmpty(a)
	}
}

// checkStatus is the whole check of a server that answers constant bytes: no token but the
// first matters.
func (c *checker) checkStatus(r *request, a *answer, fresh *rawToken) fault {
	if a.status < 200 || a.status > 299 {
		return faultStatus
	}
	if r.op == opCreate {
		if copy(fresh[:], a.body) < tokenSize || !isToken(fresh[:]) {
			copy(fresh[:], base64url)
		}
	} else if r.session != nil {
		*fresh = r.session.token
	}
	return noFault
}

func checkCreated(a *answer, fresh *rawToken) fault {
	switch {
	case string(a.contentType) != tokenType:
		return faultContentType
	case !isToken(a.body):
		return faultToken
	}
	copy(fresh[:], a.body)
	return noFault
}

func (c *checker) checkExchanged(r *request, visits uint32, a *answer, fresh *rawToken) fault {
	if string(a.contentType) != jsonType {
		return faultContentType
	}
	if string(a.body) == invalidTokenBody {
		return faultLiveRefused
	}
	rest, ok := bytes.CutPrefix(a.body, []byte(okTokenStart))
	if !ok || len(rest) < tokenSize {
		return faultBody
	}
	if !isToken(rest[:tokenSize]) {
		return faultToken
	}
	copy(fresh[:], rest)
	if *fresh == r.session.token {
		return faultSameToken
	}
	meta, ok := bytes.CutPrefix(rest[tokenSize:], []byte(okMeta))
	if !ok {
		return faultMetaMissing
	}
	if meta, ok = bytes.CutSuffix(meta, []byte(okEnd)); !ok {
		return faultBody
	}
	return c.checkMeta(meta, r.session.user, visits)
}

// checkValid accepts any whole number of seconds of at least 1 as the rest of the lifetime.
func (c *checker) checkValid(r *request, a *answer) fault {
	if string(a.contentType) != jsonType {
		return faultContentType
	}
	if string(a.body) == invalidTokenBody {
		return faultLiveRefused
	}
	rest, ok := bytes.CutPrefix(a.body, []byte(validStart))
	at := bytes.LastIndex(rest, []byte(validExpires))
	if !ok || at < 0 {
		return faultBody
	}
	seconds, ok := bytes.CutSuffix(rest[at+len(validExpires):], []byte(okEnd))
	if n, whole := parseDecimal(seconds); !ok || !whole || n < 1 {
		return faultBody
	}
	return c.checkMeta(rest[:at], r.session.user, r.session.visits)
}

func (c *checker) checkMeta(meta []byte, user, visits uint32) fault {
	switch {
	case c.meta.matches(meta, user, visits):
		return noFault
	case len(meta) == 0 || string(meta) == "{}" || string(meta) == "null":
		return faultMetaMissing
	default:
		return faultMeta
	}
}

func checkReplayed(a *answer) fault {
	switch {
	case bytes.HasPrefix(a.body, []byte(`{"Ok"`)):
		return faultSpentAccepted
	case string(a.contentType) != jsonType:
		return faultContentType
	case string(a.body) != invalidTokenBody:
		return faultBody
	default:
		return noFault
	}
}

func checkEmpty(a *answer) fault {
	if len(a.body) > 0 {
		return faultBody
	}
	return noFault
}

var tokenChars = charSet(base64url)

func isToken(b []byte) bool {
	if len(b) != tokenSize {
		return false
	}
	for _, c := range b {
		if !tokenChars[c] {
			return false
		}
	}
	return true
}
