package session

import (
	"context"
	"encoding/json"
	"errors"

	"tokenserver/client"
	"tokenserver/client/session/internal/object"
)

// Login begins a new session, and ends the one that the request has: who has planted or
// copied the token of that has nothing. The subject, if there is one, is kept as
// [SubjectMember] in the metadata. Nil for Meta is an empty object. The answer has the
// cookie. Its errors match [ErrTooLate] or are those of [client.Client.Create].
func Login(ctx context.Context, begin client.NewSession) error {
	s := of(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun {
		return ErrTooLate
	}
	members, err := s.cfg.firstMembers(begin)
	if err != nil {
		return err
	}
	begin.Meta = members.Text()
	token, err := s.cfg.Client.Create(ctx, begin)
	if err != nil {
		return err
	}
	if s.token != "" {
		if err := s.endLocked(context.WithoutCancel(ctx)); err != nil {
			s.cfg.Logger.Error("session: the one before a login was not ended", "error", err)
		}
	}
	s.resetLocked(token, members)
	s.behind = false
	return nil
}

// firstMembers returns the metadata of a new session.
func (m *Manager) firstMembers(begin client.NewSession) (members object.Object, err error) {
	if begin.Meta != nil {
		if members, err = object.Parse(begin.Meta); err != nil {
			return nil, &client.Error{Kind: client.ErrInvalidRequest, Cause: err}
		}
	}
	members = members.Unset(SubjectMember)
	if begin.Subject != "" {
		subject, _ := json.Marshal(begin.Subject) // of a string: no error
		members = members.Set(SubjectMember, subject)
	}
	if m.Mode == EveryInterval {
		members = members.Set(RenewedMember, now())
	}
	return members, nil
}

// Destroy ends the session and takes the browser's cookie away. Without a session there
// is nothing to do. Tell users that they are logged out only if it returns no error. Its
// error matches [ErrTooLate], or is that of [client.Client.Delete]; where a session
// without a subject was only looked at, also [client.ErrInvalidToken], if a request
// beside this one has taken its token on.
func Destroy(ctx context.Context) error {
	s := of(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun {
		return ErrTooLate
	}
	if s.token != "" {
		if err := s.endLocked(ctx); err != nil {
			return err
		}
	}
	s.resetLocked("", nil)
	return nil
}

// endLocked ends the session, by its name if it has a subject: a parallel request may
// have a newer token. It requires mu.
func (s *session) endLocked(ctx context.Context) error {
	if subject, ok := getLocked[string](s, SubjectMember); ok {
		ended, err := s.cfg.Client.EndSubject(ctx, subject, client.Ending{Session: nameOf(s.token)})
		if err != nil || ended > 0 {
			return err
		}
	} else if err := s.spendLocked(ctx); err != nil {
		return err
	}
	return s.cfg.Client.Delete(ctx, s.token)
}

// spendLocked exchanges a token that was only looked at, and so may be spent by now. It
// requires mu.
func (s *session) spendLocked(ctx context.Context) error {
	if !s.exchanged.IsZero() || s.token != s.presented {
		return nil
	}
	return s.exchangeLocked(ctx, s.token)
}

// Subject returns the one that [Login] was given, or an empty text.
func Subject(ctx context.Context) string {
	subject, _ := Get[string](ctx, SubjectMember)
	return subject
}

// subjectLocked returns the subject of a session that can be changed. It requires mu.
func (s *session) subjectLocked() (string, error) {
	if err := s.usableLocked(); err != nil {
		return "", err
	}
	subject, ok := getLocked[string](s, SubjectMember)
	if !ok {
		return "", ErrNoSubject
	}
	return subject, nil
}

// LogoutEverywhere ends all sessions of the subject, this one too, and returns how many
// there were. Its error matches [ErrNoSession], [ErrNoSubject] or [ErrTooLate], or is
// that of [client.Client.EndSubject].
func LogoutEverywhere(ctx context.Context) (ended int, err error) {
	return of(ctx).endMany(ctx, func(s *session, subject string) (int, error) {
		ended, err := s.cfg.Client.EndSubject(ctx, subject, client.Ending{})
		if err == nil {
			s.resetLocked("", nil)
		}
		return ended, err
	})
}

// LogoutOthers ends all sessions of the subject but this one, as after a change of
// password, and returns how many there were. Its errors are those of LogoutEverywhere.
func LogoutOthers(ctx context.Context) (ended int, err error) {
	return of(ctx).endMany(ctx, func(s *session, subject string) (int, error) {
		if err := s.spendLocked(ctx); err != nil {
			return 0, err
		}
		return s.cfg.Client.EndSubject(ctx, subject, client.Ending{Keep: s.token})
	})
}

// End ends a session of the subject by its name, as [Devices] has it. One that has
// ended already is no error. Its errors are those of LogoutEverywhere.
func End(ctx context.Context, name string) error {
	_, err := of(ctx).endMany(ctx, func(s *session, subject string) (int, error) {
		ended, err := s.cfg.Client.EndSubject(ctx, subject, client.Ending{Session: name})
		if err == nil && name == nameOf(s.token) {
			s.resetLocked("", nil)
		}
		return ended, err
	})
	return err
}

// endMany has f end sessions of the subject, with mu held.
func (s *session) endMany(ctx context.Context, f func(s *session, subject string) (int, error)) (ended int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	subject, err := s.subjectLocked()
	if err != nil {
		return 0, err
	}
	return f(s, subject)
}

// Device is a session of the same subject.
type Device struct {
	client.Session
	// Current says that it is this one.
	Current bool
}

// Devices returns the sessions of the subject, the newest first, up to as many as the
// token server lists at once. Its error matches [ErrNoSession] or [ErrNoSubject], or is
// that of [client.Client.SubjectSessions].
func Devices(ctx context.Context) ([]Device, error) {
	s := of(ctx)
	s.mu.Lock()
	subject, err := s.subjectLocked()
	current := nameOf(s.token)
	s.mu.Unlock()
	if err != nil && !errors.Is(err, ErrTooLate) {
		return nil, err
	}
	list, err := s.cfg.Client.SubjectSessions(ctx, subject, client.Listing{})
	if err != nil {
		return nil, err
	}
	devices := make([]Device, len(list.Sessions))
	for i, listed := range list.Sessions {
		devices[i] = Device{listed, listed.Name == current}
	}
	return devices, nil
}
