package server

import (
	"context"
	"iter"
	"time"

	"tokenserver/token"
)

// Store keeps sessions. [token.ErrInvalid], [token.ErrFull] and [token.ErrMetaTooLarge]
// are answers; any other error means that the engine failed, and nothing may be
// concluded about the token.
//
// The caller owns all byte slices that it passes: a store keeps copies.
type Store interface {
	// Create stores a session and returns its first token. Its answers are
	// [token.ErrFull] and [token.ErrMetaTooLarge].
	Create(ctx context.Context, n token.NewSession) (token.Token, error)
	// Exchange spends t: of concurrent calls exactly one wins, the others get
	// [token.ErrInvalid]. The patch is merged into the metadata, and the outcome
	// appended to dst. With [token.ErrFull] and
	// [token.ErrMetaTooLarge] t is still valid and nothing has changed. A store with
	// a grace may answer a spent token with the session's current one, and says so.
	Exchange(ctx context.Context, t token.Token, patch token.Patch, dst []byte) (token.ExchangeResult, error)
	// Validate appends the metadata of t's session to dst and returns when the
	// session expires; it changes nothing. Its answer is [token.ErrInvalid].
	Validate(ctx context.Context, t token.Token, dst []byte) (meta []byte, expires time.Time, err error)
	// Delete ends t's session. An invalid token is no error.
	Delete(ctx context.Context, t token.Token) error
	// EndSubject ends each session of a subject that exists at the call and
	// returns how many lived.
	EndSubject(ctx context.Context, subject []byte) (ended int, err error)
	// SubjectSessions lists the newest live sessions of a subject, the newest
	// first, and says whether there are more. It lists limit sessions at most, and
	// stops before it has more than [token.MaxListing] bytes of metadata, but not
	// before the first.
	SubjectSessions(ctx context.Context, subject []byte, limit int) (sessions []token.Session, more bool, err error)
	// Sessions lists the live sessions, each once, in no order. It ends with an
	// error if the listing can't go on. A Session is valid for one step.
	Sessions(ctx context.Context) iter.Seq2[token.Session, error]
}
