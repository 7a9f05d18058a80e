package session

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"sync"
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
// nobody can know it who hasn't seen the page or [Manager].CSRFKey, whatever of the
// session's tokens they have. It is empty if there is no session.
func CSRFToken(ctx context.Context) string {
	s := of(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	id, ok := idOf(s.token)
	if !ok {
		return ""
	}
	mac := hmac.New(sha256.New, s.cfg.CSRFKey)
	mac.Write(id)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:csrfLen])
}

// csrfLen is the length in bytes of a CSRFToken, before it is encoded. minCSRFKey is that
// of the shortest key.
const csrfLen, minCSRFKey = 16, 32

// processKey returns the key of those who have given none.
var processKey = sync.OnceValue(func() []byte {
	key := make([]byte, minCSRFKey)
	rand.Read(key) // never fails
	return key
})

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
