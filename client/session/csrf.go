package session

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
)

// Where [CheckCSRF] looks for the token.
const (
	// CSRFField is the field of a form.
	CSRFField = "csrf_token"
	// CSRFHeader is the header of a script's request.
	CSRFHeader = "X-CSRF-Token"
)

// ErrCSRF says that a request does not have the [CSRFToken] of its session.
var ErrCSRF = errors.New("session: the request has no CSRF token of its session")

// CSRFToken returns a text for the forms of a page, for browsers without the headers
// that [http.CrossOriginProtection] looks at. It is the session's own for its life, and
// no other site can know it. It is empty if there is no session.
func CSRFToken(ctx context.Context) string {
	s := of(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	id, ok := idOf(s.token)
	if !ok {
		return ""
	}
	sum := sha256.Sum256(append([]byte("csrf\x00"), id...))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// CheckCSRF returns [ErrCSRF] unless the request has the [CSRFToken] of its session, in
// CSRFHeader or CSRFField. It is for handlers of methods that change something.
func CheckCSRF(r *http.Request) error {
	want := CSRFToken(r.Context())
	got := r.Header.Get(CSRFHeader)
	if got == "" {
		got = r.PostFormValue(CSRFField)
	}
	if want == "" || subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
		return ErrCSRF
	}
	return nil
}

// idLen is the length in bytes of what all tokens of a session begin with.
const idLen = 8

// idOf returns what all tokens of a session have in common.
func idOf(token string) (id []byte, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) < idLen {
		return nil, false
	}
	return raw[:idLen], true
}

// nameLen is the length in bytes of a session's name, before it is encoded.
const nameLen = 12

// nameOf returns what lists call the session of a token by, or an empty text.
func nameOf(token string) string {
	id, ok := idOf(token)
	if !ok {
		return ""
	}
	sum := sha256.Sum256(id)
	return base64.RawURLEncoding.EncodeToString(sum[:nameLen])
}
