package token

import "time"

// NewSession describes a session to be created.
type NewSession struct {
	// Meta is a compact JSON object. A name may be given twice. It is the
	// caller's: a store keeps a copy.
	Meta []byte
	// Subject names whose session it is, with MaxSubject bytes at most. Empty means
	// nobody's. It is the caller's: a store keeps a digest.
	Subject []byte
	// Lifetime takes the place of the store's idle lifetime, for this session:
	// MinSessionLifetime to MaxIdleLifetime. 0 means that it does not.
	Lifetime time.Duration
}

// Patch is what an exchange changes of the metadata. Its zero value changes nothing.
// Its slices are the caller's: a store keeps copies.
type Patch struct {
	// Meta is a compact JSON object that is merged into the metadata, or nil.
	Meta []byte
	// Unset is a compact JSON array of strings, or nil: the names of members that go
	// after the merge. Those that are not there are ignored.
	Unset []byte
}

// IsZero says whether p changes nothing.
func (p Patch) IsZero() bool { return p.Meta == nil && p.Unset == nil }

// ExchangeResult is the outcome of an exchange.
type ExchangeResult struct {
	Token Token  // the session's new token
	Meta  []byte // the caller's buffer with the merged metadata appended
	// Reused says that the token presented was spent, but in its grace, and that
	// Token is the session's current one.
	Reused bool
}

// Page says which of a subject's sessions a listing has.
type Page struct {
	// Limit is how many sessions it has at most.
	Limit int
	// After names the last session of the page before. Zero means the first page.
	After SessionName
}

// Session is what a listing tells of a session; neither its id nor its tokens.
type Session struct {
	Name    SessionName // only in the listing of a subject
	Created time.Time   // only in the listing of a subject
	Expires time.Time
	// Meta borrows the listing's memory in a listing of all sessions, and is valid
	// until it goes on. In the listing of a subject it is the caller's.
	Meta []byte
}
