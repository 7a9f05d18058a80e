package storetest

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"tokenserver/token"
)

// object is the naive model of metadata: members in their order, each name once.
type object []member

type member struct {
	name     string
	spelling string // with quotes and escapes, as it was given first
	value    string // as it was given last
}

// parseObject reads a compact JSON object with encoding/json.
func parseObject(text string) (o object) {
	dec := json.NewDecoder(strings.NewReader(text))
	must(dec.Token())
	for dec.More() {
		start := dec.InputOffset()
		name := must(dec.Token()).(string)
		spelling := strings.TrimPrefix(text[start:dec.InputOffset()], ",")
		var value json.RawMessage
		must(0, dec.Decode(&value))
		o = o.put(member{name, spelling, string(value)})
	}
	return o
}

// put returns o with a member more or another value of one. It leaves o alone.
func (o object) put(m member) object {
	o = slices.Clone(o)
	for i := range o {
		if o[i].name == m.name {
			o[i].value = m.value
			return o
		}
	}
	return append(o, m)
}

func (o object) has(name string) bool {
	return slices.ContainsFunc(o, func(m member) bool { return m.name == name })
}

// merge returns what results from merging a patch over o. It leaves o alone.
func (o object) merge(patch object) object {
	for _, m := range patch {
		o = o.put(m)
	}
	return o
}

// apply returns what results from a patch: what it unsets goes after the merge. It
// leaves o alone.
func (o object) apply(p token.Patch) object {
	if p.Meta != nil {
		o = o.merge(parseObject(string(p.Meta)))
	}
	if p.Unset == nil {
		return o
	}
	var names []string
	must(0, json.Unmarshal(p.Unset, &names))
	return slices.DeleteFunc(slices.Clone(o), func(m member) bool { return slices.Contains(names, m.name) })
}

func (o object) String() string {
	var members []string
	for _, m := range o {
		members = append(members, m.spelling+":"+m.value)
	}
	return "{" + strings.Join(members, ",") + "}"
}

// must returns v and panics at an error: the suite's own texts are well-formed.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// model is the naive model of a store.
type model struct {
	cfg  Config
	cost func(meta int, hasPolicy bool) int64 // nil for no limit of bytes
	live []*session                           // in the order of their creation
	gone []token.Token                        // of sessions that have ended, the latest of them
}

type session struct {
	current          token.Token
	spent            []spentToken // in the order in which they were
	meta             object
	subject          string
	lifetime         time.Duration // from an exchange on
	hasPolicy        bool          // what Cost asks
	created          time.Time
	absoluteDeadline time.Time // zero for no absolute deadline
	expires          time.Time
}

type spentToken struct {
	token token.Token
	at    time.Time
}

// standing is what a token that is presented is worth.
type standing int

const (
	unknown standing = iota // no session lives that has its id
	current
	inGrace // spent, and stands for the current one
	late    // neither of both, with the id of a live session
)

// present returns what a token is worth, and the live session that has its id.
func (m *model) present(t token.Token) (*session, standing) {
	i := slices.IndexFunc(m.live, func(s *session) bool { return s.current.ID == t.ID })
	if i < 0 {
		return nil, unknown
	}
	s := m.live[i]
	if s.current == t {
		return s, current
	}
	for _, spent := range s.spent[max(0, len(s.spent)-token.GraceDepth):] {
		if spent.token == t && time.Now().Before(spent.at.Add(m.cfg.Grace)) {
			return s, inGrace
		}
	}
	return s, late
}

// expire ends the sessions that do not live any more.
func (m *model) expire(now time.Time) {
	m.endWhere(func(s *session) bool { return !now.Before(s.expires) })
}

// endWhere ends sessions, whose tokens it keeps for replays.
func (m *model) endWhere(ends func(*session) bool) (ended int) {
	m.live = slices.DeleteFunc(m.live, func(s *session) bool {
		if !ends(s) {
			return false
		}
		for _, spent := range s.spent {
			m.gone = append(m.gone, spent.token)
		}
		m.gone = append(m.gone, s.current)
		ended++
		return true
	})
	m.gone = m.gone[max(0, len(m.gone)-100):]
	return ended
}

func (m *model) end(s *session) { m.endWhere(func(other *session) bool { return other == s }) }

// newSession returns the session that a creation makes, but for its token, or
// the error that it is answered with.
func (m *model) newSession(n token.NewSession) (*session, error) {
	now := time.Now()
	s := &session{meta: parseObject(string(n.Meta)), subject: string(n.Subject), lifetime: n.Lifetime, created: now}
	s.hasPolicy = s.subject != "" || s.lifetime != 0 || m.cfg.Grace != 0 || m.cfg.MaxLifetime != 0
	if s.lifetime == 0 {
		s.lifetime = m.cfg.Lifetime
	}
	if m.cfg.MaxLifetime != 0 {
		s.absoluteDeadline = now.Add(m.cfg.MaxLifetime)
	}
	s.renew()
	size := len(s.meta.String())
	switch {
	case m.cfg.MaxMeta > 0 && size > m.cfg.MaxMeta:
		return nil, token.ErrMetaTooLarge
	case m.cfg.MaxSessions > 0 && int64(len(m.live)) >= m.cfg.MaxSessions:
		return nil, token.ErrFull
	}
	return s, m.fits(nil, s.hasPolicy, size)
}

func (s *session) renew() {
	s.expires = time.Now().Add(s.lifetime)
	if !s.absoluteDeadline.IsZero() && s.absoluteDeadline.Before(s.expires) {
		s.expires = s.absoluteDeadline
	}
}

// spend puts another token in the place of the current one.
func (s *session) spend(next token.Token) {
	s.spent = append(s.spent, spentToken{s.current, time.Now()})
	s.current = next
	s.renew()
}

// exchange returns what an exchange answers: the token's session, whether the
// token is its current one, and the metadata that results, or an error. Where a
// reuse ends the session, it does so.
func (m *model) exchange(t token.Token, patch token.Patch) (*session, standing, object, error) {
	s, worth := m.present(t)
	if worth == late && m.cfg.RevokeOnReuse {
		m.end(s)
	}
	if worth != current && worth != inGrace {
		return nil, worth, nil, token.ErrInvalid
	}
	merged := s.meta.apply(patch)
	size, err := len(merged.String()), error(nil)
	if m.cfg.MaxMeta > 0 && size > m.cfg.MaxMeta {
		return nil, worth, nil, token.ErrMetaTooLarge
	}
	if size > len(s.meta.String()) {
		err = m.fits(s, s.hasPolicy, size)
	}
	return s, worth, merged, err
}

// delete ends the session that t stands for, or that it is reused of.
func (m *model) delete(t token.Token) {
	s, worth := m.present(t)
	if worth == current || worth == inGrace || worth == late && m.cfg.RevokeOnReuse {
		m.end(s)
	}
}

// ofSubject returns a subject's sessions, the newest first.
func (m *model) ofSubject(name string) (list []*session) {
	for _, s := range slices.Backward(m.live) {
		if s.subject == name {
			list = append(list, s)
		}
	}
	return list
}

// endOthers ends a subject's sessions but that of a token, or says that it is none by
// which one can be kept.
func (m *model) endOthers(name string, keep token.Token) (ended int, err error) {
	kept, worth := m.present(keep)
	if worth != current && worth != inGrace || kept.subject != name || name == "" {
		return 0, token.ErrInvalid
	}
	return m.endWhere(func(s *session) bool { return s.subject == name && s != kept }), nil
}

// endSession ends a subject's session by its name.
func (m *model) endSession(subject string, name token.SessionName) (ended int) {
	return m.endWhere(func(s *session) bool {
		return s.subject == subject && subject != "" && s.current.ID.Name() == name
	})
}

// errMayBeFull says that a store may answer token.ErrFull or do what it is asked:
// what it holds beside the sessions is its own affair.
var errMayBeFull = errors.New("storetest: may be full")

// fits says whether a session of so many bytes has room, in place of what it was if
// there was one: its error is nil, errMayBeFull or token.ErrFull.
func (m *model) fits(was *session, hasPolicy bool, size int) error {
	if m.cost == nil || m.cfg.MaxBytes == 0 {
		return nil
	}
	bytes := m.bytes() + m.cost(size, hasPolicy)
	if was != nil {
		bytes -= m.costOf(was)
	}
	switch {
	case bytes > m.cfg.MaxBytes:
		return token.ErrFull
	case bytes > m.cfg.MaxBytes/4:
		return errMayBeFull
	}
	return nil
}

// bytes is what all live sessions take.
func (m *model) bytes() (sum int64) {
	for _, s := range m.live {
		sum += m.costOf(s)
	}
	return sum
}

func (m *model) costOf(s *session) int64 { return m.cost(len(s.meta.String()), s.hasPolicy) }
