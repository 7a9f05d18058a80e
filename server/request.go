package server

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"tokenserver/internal/duration"
	"tokenserver/internal/metadata"
	"tokenserver/token"
)

// request is what the body of a request says. It borrows the request's body, so that
// it is valid until the handler returns.
type request struct {
	scanner metadata.Scanner
	values  [fieldCount][]byte // JSON texts, compact, or nil if they were not given
}

func (s *Server) newRequest() *request { return s.requests.Get().(*request) }

// release lets another request have r, which refers to nothing of this one any more.
func (s *Server) release(r *request) {
	r.scanner.Reset()
	clear(r.values[:])
	s.requests.Put(r)
}

// read checks the body of a request and takes the fields used. Each is given once at
// most, and of its kind. An optional one that is null is as if it were not given.
func (r *request) read(ctx *fasthttp.RequestCtx, used fields) error {
	if err := checkMediaType(&ctx.Request.Header); err != nil {
		return err
	}
	r.scanner.Names = used.names
	text, err := r.scanner.Scan(ctx.Request.Body())
	if err != nil {
		return err
	}
	if text[0] != '{' {
		return errNoObject
	}
	return r.take(r.scanner.Fields(), used)
}

// take takes the fields used of an object. See read.
func (r *request) take(members []metadata.Field, used fields) error {
	clear(r.values[:])
	for _, member := range members {
		if f, ok := used.find(member.Name); ok {
			if r.values[f] != nil {
				return fieldRules[f].twice
			}
			r.values[f] = member.Value
		}
	}
	return r.check(used)
}

// check checks the kinds of the fields used.
func (r *request) check(used fields) error {
	for _, f := range used.required {
		if r.values[f] == nil || !fieldRules[f].ok(r.values[f]) {
			return fieldRules[f].wrong
		}
	}
	for _, f := range used.optional {
		if string(r.values[f]) == "null" {
			r.values[f] = nil
		}
		if r.values[f] != nil && !fieldRules[f].ok(r.values[f]) {
			return fieldRules[f].wrong
		}
	}
	return nil
}

// parseToken returns the token that was given. Its error is token.ErrInvalid.
func (r *request) parseToken() (token.Token, error) {
	return token.Parse(metadata.Unquote(r.values[fieldToken]))
}

// patch returns what an exchange is to change.
func (r *request) patch() token.Patch {
	return token.Patch{Meta: r.values[fieldMeta], Unset: r.values[fieldUnset]}
}

// newSession returns the session that is to be created.
func (r *request) newSession() token.NewSession {
	n := token.NewSession{Meta: r.values[fieldMeta]}
	if r.values[fieldSubject] != nil {
		n.Subject = r.subject()
	}
	if r.values[fieldLifetime] != nil {
		n.Lifetime, _ = parseLifetime(r.values[fieldLifetime])
	}
	return n
}

// subject returns the subject that was given.
func (r *request) subject() []byte { return metadata.Unquote(r.values[fieldSubject]) }

// page returns which sessions are to be listed.
func (r *request) page() (page token.Page, err error) {
	page.Limit = maxPage
	if r.values[fieldLimit] != nil {
		page.Limit, _ = strconv.Atoi(string(r.values[fieldLimit]))
	}
	if r.values[fieldAfter] != nil {
		if page.After, err = token.ParseSessionName(metadata.Unquote(r.values[fieldAfter])); err != nil {
			return page, fieldRules[fieldAfter].wrong
		}
	}
	return page, nil
}

// maxLifetimeText is how long the text of a lifetime may be, in bytes after unescaping.
const maxLifetimeText = 64

// parseLifetime reads a lifetime, a duration as on the command line.
func parseLifetime(value []byte) (d time.Duration, ok bool) {
	if !isString(value) {
		return 0, false
	}
	text := metadata.Unquote(value)
	if len(text) > maxLifetimeText {
		return 0, false
	}
	d, err := duration.Parse(string(text))
	return d, err == nil && token.MinSessionLifetime <= d && d <= token.MaxIdleLifetime
}

// checkMediaType checks that a body is said to be plain JSON.
func checkMediaType(h *fasthttp.RequestHeader) error {
	if _, coded := rawHeader(h, "content-encoding"); coded && !isIdentity(h.PeekAll(fasthttp.HeaderContentEncoding)) {
		return errMediaType
	}
	if bytes.Equal(h.ContentType(), contentTypeJSON) { // as almost all have it
		return nil
	}
	mediaType, _, _ := bytes.Cut(h.ContentType(), []byte{';'})
	if mediaType = bytes.TrimSpace(mediaType); !bytes.EqualFold(mediaType, contentTypeJSON) && !isJSONSuffixed(mediaType) {
		return errMediaType
	}
	return nil
}

// isIdentity says whether all codings of some Content-Encoding headers are identity.
func isIdentity(headers [][]byte) bool {
	for _, codings := range headers {
		for coding := range bytes.SplitSeq(codings, []byte{','}) {
			if !bytes.EqualFold(bytes.TrimSpace(coding), []byte("identity")) {
				return false
			}
		}
	}
	return true
}

// isJSONSuffixed says whether a media type is application/…+json (RFC 6839).
func isJSONSuffixed(mediaType []byte) bool {
	const first, last = "application/", "+json"
	if len(mediaType) <= len(first)+len(last) {
		return false
	}
	middle := mediaType[len(first) : len(mediaType)-len(last)]
	return bytes.EqualFold(mediaType[:len(first)], []byte(first)) &&
		bytes.EqualFold(mediaType[len(mediaType)-len(last):], []byte(last)) &&
		bytes.IndexFunc(middle, isNoName) < 0
}

// isNoName says whether a letter may not be in the name of a media type (RFC 6838).
func isNoName(r rune) bool {
	return (r < 'a' || 'z' < r) && (r < 'A' || 'Z' < r) && (r < '0' || '9' < r) && !strings.ContainsRune("!#$&-^_.+", r)
}
