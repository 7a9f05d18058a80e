package session

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"tokenserver/client/session/internal/object"
)

// Active says whether the request has a session.
func Active(ctx context.Context) bool { return of(ctx).active() }

// Get returns a member of the metadata, with what the handler has set. ok is false if
// there is no session, no such member, or if its value is none of type T.
func Get[T any](ctx context.Context, name string) (value T, ok bool) {
	s := of(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	return getLocked[T](s, name)
}

// Meta returns the whole metadata, with what the handler has set. It is nil if there is
// no session.
func Meta(ctx context.Context) json.RawMessage {
	s := of(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dirtyLocked() {
		return s.membersLocked().Text()
	}
	return bytes.Clone(s.meta)
}

// Set gives a member of the metadata a value, which is sent when the answer begins. Its
// error matches [ErrNoSession], [ErrTooLate], [ErrReserved], or is that of
// [json.Marshal].
func Set(ctx context.Context, name string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return of(ctx).change(name, func(s *session) {
		if old, ok := s.membersLocked().Get(name); ok && bytes.Equal(old, raw) {
			return
		}
		s.members = s.membersLocked().Set(name, raw)
		s.patch = s.patch.Set(name, raw)
		s.unset = slices.DeleteFunc(s.unset, func(n string) bool { return n == name })
	})
}

// Unset takes a member of the metadata away, if it is there, when the answer begins.
// Its error matches [ErrNoSession], [ErrTooLate] or [ErrReserved].
func Unset(ctx context.Context, name string) error {
	return of(ctx).change(name, func(s *session) {
		if _, ok := s.membersLocked().Get(name); !ok {
			return
		}
		s.members = s.membersLocked().Unset(name)
		s.patch = s.patch.Unset(name)
		s.unset = append(s.unset, name)
	})
}

// change has f change a member, with mu held.
func (s *session) change(name string, f func(s *session)) error {
	if name == SubjectMember || name == RenewedMember {
		return ErrReserved
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usableLocked(); err != nil {
		return err
	}
	f(s)
	return nil
}

// usableLocked returns an error unless there is a session that can be changed. It
// requires mu.
func (s *session) usableLocked() error {
	switch {
	case s.begun:
		return ErrTooLate
	case s.token == "":
		return ErrNoSession
	}
	return nil
}

// Renew exchanges the token now and sends what was set, so that a handler can deal with
// an error of that itself. It is for requests, too, whose token was only looked at, and
// that must be sure that nobody else has it. Its error matches [ErrNoSession] or
// [ErrTooLate], or is that of [client.Client.Exchange], with which what was set is still
// to be sent: [Revert] forgets it.
func Renew(ctx context.Context) error {
	s := of(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usableLocked(); err != nil {
		return err
	}
	return s.exchangeLocked(ctx, s.token)
}

// Revert forgets what was set and has not been sent.
func Revert(ctx context.Context) { of(ctx).discard() }

// Header begins the answer for a handler that has hijacked the connection, or is about
// to, and that writes the head of its answer itself: it must have what is returned, the
// cookie among it. Its error is why what was set could not be kept.
func Header(ctx context.Context) (http.Header, error) {
	s := of(ctx)
	err := s.commit()
	h := make(http.Header)
	s.mark(h)
	return h, err
}

// resetLocked makes the session another one. It requires mu.
func (s *session) resetLocked(token string, members object.Object) {
	s.token, s.members, s.parsed = token, members, true
	s.meta, s.patch, s.unset, s.exchanged = nil, nil, nil, time.Time{}
	if token != "" {
		s.meta = members.Text()
	}
	s.over = token == ""
}
