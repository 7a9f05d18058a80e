package storetest

import (
	"encoding/json"
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

// parsePatch reads a patch, "" being none.
func parsePatch(text string) object {
	if text == "" {
		return nil
	}
	return parseObject(text)
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

// merge returns what results from merging a patch over o. It leaves o alone.
func (o object) merge(patch object) object {
	for _, m := range patch {
		o = o.put(m)
	}
	return o
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
	cost func(meta int) int64 // nil for no limit of bytes
	live []*session           // in the order of their creation
	gone []token.Token        // of sessions that have ended, the latest of them
}

type session struct {
	current token.Token
	spent   []token.Token
	meta    object
	expires time.Time
}

// expire ends the sessions that do not live any more.
func (m *model) expire(now time.Time) {
	m.live = slices.DeleteFunc(m.live, func(s *session) bool {
		if now.Before(s.expires) {
			return false
		}
		m.forget(s)
		return true
	})
}

// forget keeps the tokens of a session that has ended, for replays.
func (m *model) forget(s *session) {
	m.gone = append(append(m.gone, s.spent...), s.current)
	m.gone = m.gone[max(0, len(m.gone)-100):]
}

// find returns the live session whose current token is t, or nil.
func (m *model) find(t token.Token) *session {
	for _, s := range m.live {
		if s.current == t {
			return s
		}
	}
	return nil
}

// create returns what a creation answers: the metadata as it is settled, or an error.
func (m *model) create(meta object) (object, error) {
	size := len(meta.String())
	switch {
	case m.cfg.MaxMeta > 0 && size > m.cfg.MaxMeta:
		return nil, token.ErrMetaTooLarge
	case m.cfg.MaxSessions > 0 && int64(len(m.live)) >= m.cfg.MaxSessions:
		return nil, token.ErrFull
	case m.cost != nil && m.cfg.MaxBytes > 0 && m.bytes()+m.cost(size) > m.cfg.MaxBytes:
		return nil, token.ErrFull
	}
	return meta, nil
}

// exchange returns what an exchange answers: its session with the metadata
// that results, or an error.
func (m *model) exchange(t token.Token, patch object) (*session, object, error) {
	s := m.find(t)
	if s == nil {
		return nil, nil, token.ErrInvalid
	}
	merged := s.meta.merge(patch)
	size := len(merged.String())
	if m.cfg.MaxMeta > 0 && size > m.cfg.MaxMeta {
		return nil, nil, token.ErrMetaTooLarge
	}
	if m.cost != nil && m.cfg.MaxBytes > 0 {
		growth := m.cost(size) - m.cost(len(s.meta.String()))
		if growth > 0 && m.bytes()+growth > m.cfg.MaxBytes {
			return nil, nil, token.ErrFull
		}
	}
	return s, merged, nil
}

// delete ends the session whose current token is t, if there is one.
func (m *model) delete(t token.Token) {
	if s := m.find(t); s != nil {
		m.live = slices.DeleteFunc(m.live, func(other *session) bool { return other == s })
		m.forget(s)
	}
}

// bytes is what all live sessions take.
func (m *model) bytes() (sum int64) {
	for _, s := range m.live {
		sum += m.cost(len(s.meta.String()))
	}
	return sum
}
