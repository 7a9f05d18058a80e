package durable

// While the disk does not answer, whatever may change a session is refused before it
// is decided, with a [token.UnavailableError]. What only tells answers if it rests on
// nothing that is under way.

import (
	"context"
	"iter"
	"time"

	"tokenserver/token"
)

// Create stores a session and returns its first token. Its answers are
// [token.ErrFull] and [token.ErrMetaTooLarge].
func (s *Store) Create(ctx context.Context, n token.NewSession) (token.Token, error) {
	sessions, err := s.changeable()
	if err != nil {
		return token.Token{}, err
	}
	return sessions.Create(ctx, n)
}

// Exchange spends t and returns the session's next token, as [shard.Store.Exchange]
// does, once that is on disk.
func (s *Store) Exchange(ctx context.Context, t token.Token, patch token.Patch, dst []byte) (token.ExchangeResult, error) {
	sessions, err := s.changeable()
	if err != nil {
		return token.ExchangeResult{Meta: dst}, err
	}
	return sessions.Exchange(ctx, t, patch, dst)
}

// Validate appends the metadata of t's session to dst and returns when it
// expires, once what it tells is on disk. It changes nothing. Its answer is
// [token.ErrInvalid].
func (s *Store) Validate(ctx context.Context, t token.Token, dst []byte) (meta []byte, expires time.Time, err error) {
	sessions, err := s.loaded()
	if err != nil {
		return dst, time.Time{}, err
	}
	meta, expires, err = sessions.Validate(ctx, t, dst)
	return meta, expires, s.unconfirmed(err)
}

// Delete ends t's session, if there is one.
func (s *Store) Delete(ctx context.Context, t token.Token) error {
	sessions, err := s.changeable()
	if err != nil {
		return err
	}
	return sessions.Delete(ctx, t)
}

// Batch carries out the items of b, as [shard.Store.Batch] does, and returns once all
// that they have changed is on disk: it waits for one sync, however many they are. Its
// error says that the sessions are not loaded.
func (s *Store) Batch(ctx context.Context, b *token.Batch) error {
	sessions, err := s.loaded()
	if err != nil {
		return err
	}
	if err := s.watchdog.check(); err != nil {
		refuseChanges(b.Items, err)
	}
	if grow := b.Grow; grow != nil { // which may take its time
		b.Grow = func() bool { return grow() && s.watchdog.check() == nil }
		defer func() { b.Grow = grow }()
	}
	if err := sessions.Batch(ctx, b); err != nil {
		return err
	}
	for i := range b.Items {
		if item := &b.Items[i]; item.Op == token.OpValidate {
			item.Err = s.unconfirmed(item.Err)
		}
	}
	return nil
}

// refuseChanges refuses those items of a batch that may change a session.
func refuseChanges(items []token.BatchItem, err error) {
	for i := range items {
		if items[i].Err == nil && items[i].Op != token.OpValidate {
			items[i].Err = err
		}
	}
}

// EndSubject ends each session of a subject that exists at the call and returns
// how many lived.
func (s *Store) EndSubject(ctx context.Context, subject []byte) (ended int, err error) {
	sessions, err := s.changeable()
	if err != nil {
		return 0, err
	}
	return sessions.EndSubject(ctx, subject)
}

// EndOthers ends each session of a subject but that of keep, as
// [shard.Store.EndOthers] does.
func (s *Store) EndOthers(ctx context.Context, subject []byte, keep token.Token) (ended int, err error) {
	sessions, err := s.changeable()
	if err != nil {
		return 0, err
	}
	return sessions.EndOthers(ctx, subject, keep)
}

// EndSession ends the session of a subject that has a name, as
// [shard.Store.EndSession] does.
func (s *Store) EndSession(ctx context.Context, subject []byte, name token.SessionName) (ended int, err error) {
	sessions, err := s.changeable()
	if err != nil {
		return 0, err
	}
	return sessions.EndSession(ctx, subject, name)
}

// SubjectSessions lists the live sessions of a subject page by page, as
// [shard.Store.SubjectSessions] does.
func (s *Store) SubjectSessions(ctx context.Context, subject []byte, page token.Page) (list []token.Session, more bool, err error) {
	sessions, err := s.loaded()
	if err != nil {
		return nil, false, err
	}
	list, more, err = sessions.SubjectSessions(ctx, subject, page)
	return list, more, s.unconfirmed(err)
}

// Sessions lists the live sessions in no order, as [shard.Store.Sessions] does.
func (s *Store) Sessions(ctx context.Context) iter.Seq2[token.Session, error] {
	sessions, err := s.loaded()
	if err != nil {
		return func(yield func(token.Session, error) bool) { yield(token.Session{}, err) }
	}
	return func(yield func(token.Session, error) bool) {
		for session, err := range sessions.Sessions(ctx) {
			if !yield(session, s.unconfirmed(err)) {
				return
			}
		}
	}
}

// unconfirmed returns the error of a call that changes nothing: what it rests on
// could not be confirmed in an outage, but it may be repeated.
func (s *Store) unconfirmed(err error) error {
	if err != errNoAnswer {
		return err
	}
	return &token.UnavailableError{Reason: s.watchdog.whyUnconfirmed()}
}
