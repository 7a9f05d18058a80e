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
	// Batch carries out the items of b, each as the method of its name would, those of
	// one session in their order. It sets their outcomes, and appends their metadata to
	// b.Buf; one that has an error has none. Items that have an error before are passed
	// over. Nothing is atomic over items. Its own error, *[token.UnavailableError], says
	// that nothing was carried out.
	Batch(ctx context.Context, b *token.Batch) error
	// EndSubject ends each session of a subject that exists at the call and
	// returns how many lived.
	EndSubject(ctx context.Context, subject []byte) (ended int, err error)
	// EndOthers is EndSubject but for one session: that which keep is a token of. Its
	// answer is [token.ErrInvalid] if Validate would refuse keep, or if that session is
	// not the subject's; then nothing has ended.
	EndOthers(ctx context.Context, subject []byte, keep token.Token) (ended int, err error)
	// EndSession ends the session of a subject that has a name, and returns how many
	// lived: 1, or 0 if the subject has no such session.
	EndSession(ctx context.Context, subject []byte, name token.SessionName) (ended int, err error)
	// SubjectSessions lists the live sessions of a subject, the newest first, page by
	// page, and says whether there are more. It stops before it has more than
	// [token.MaxListing] bytes of metadata, but not before the first. Its answer is
	// [token.ErrUnknownSession] if page.After does not live, or not any more.
	SubjectSessions(ctx context.Context, subject []byte, page token.Page) (sessions []token.Session, more bool, err error)
	// Sessions lists the live sessions, each once, in no order. It ends with an
	// error if the listing can't go on. A Session is valid for one step.
	Sessions(ctx context.Context) iter.Seq2[token.Session, error]
}
