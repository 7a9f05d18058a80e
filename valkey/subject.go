package valkey

import (
	"context"
	"strconv"

	"tokenserver/token"
)

// listStep is how many members of an index are read at a time.
const listStep = 128

// listed is a member of a subject's index.
type listed struct {
	id    token.ID
	score int64 // when it was created, in microseconds of the engine's clock; no two are the same
}

// readIndex is the operation that reads some of an index, the newest first.
type readIndex struct {
	store   *Store
	subject subject
	below   int64 // a score; 0 for all
	count   int
	members []listed
	err     error
}

func (i *readIndex) step(string) step {
	from := "+inf"
	if i.below != 0 {
		from = "(" + strconv.FormatInt(i.below, 10)
	}
	return step{scriptIDs, []string{i.store.keys.index(i.subject)}, []string{from, strconv.Itoa(i.count)}}
}

func (i *readIndex) take(r reply) (complete bool) {
	for at := 0; at+1 < len(r.list); at += 2 {
		text, err := r.list[at].ToString()
		id, ok := i.subject.memberID(text)
		score, err2 := r.list[at+1].AsFloat64()
		if err != nil || err2 != nil || !ok {
			i.err = errReply
			return true
		}
		i.members = append(i.members, listed{id, int64(score)})
	}
	return true
}

func (i *readIndex) fail(err error) { i.err = harmless(err) }

// members returns up to count members of a subject's index with lower scores than below,
// unless that is 0, the newest first.
func (s *Store) membersOf(of subject, below int64, count int) ([]listed, error) {
	i := readIndex{store: s, subject: of, below: below, count: count}
	s.run(&i)
	return i.members, i.err
}

// ending is the operation that ends a session by its id.
type ending struct {
	store   *Store
	id      token.ID
	subject subject
	ended   int
	err     error
}

func (e *ending) step(deadline string) step { return e.store.endStep(e.id, e.subject, deadline) }

func (e *ending) take(r reply) (complete bool) {
	e.ended = int(r.number)
	e.store.counters.ended.Add(r.number)
	return true
}

func (e *ending) fail(err error) { e.err = err }

// EndSubject ends each session of a subject that exists at the call and returns how many
// lived.
func (s *Store) EndSubject(_ context.Context, name []byte) (ended int, err error) {
	return s.endSubject(newSubject(name), nil)
}

// EndOthers is EndSubject but for the session that keep is a token of, which may be exchanged
// meanwhile. Its error is [token.ErrInvalid] if Validate would refuse keep, or if its session is
// not the subject's; then nothing has ended.
func (s *Store) EndOthers(_ context.Context, name []byte, keep token.Token) (ended int, err error) {
	of := newSubject(name)
	l := s.newLook(keep)
	s.run(l)
	switch {
	case l.err != nil:
		return 0, l.err
	case of == subject{} || l.value.subject != of:
		return 0, token.ErrInvalid
	}
	return s.endSubject(of, &keep.ID)
}

// endSubject ends all sessions of a subject but for keep. The newest member of the index at
// the call is the last that goes: sessions that are created meanwhile have higher scores.
func (s *Store) endSubject(of subject, keep *token.ID) (ended int, err error) {
	if of == (subject{}) {
		return 0, nil
	}
	below := int64(0)
	for {
		members, err := s.membersOf(of, below, listStep)
		if err != nil {
			return ended, afterSome(err, ended)
		}
		n, err := s.endAll(of, members, keep)
		if ended += n; err != nil {
			return ended, afterSome(err, ended)
		}
		if len(members) < listStep {
			return ended, nil
		}
		below = members[len(members)-1].score
	}
}

// endAll ends sessions, in one pipeline.
func (s *Store) endAll(of subject, members []listed, keep *token.ID) (ended int, err error) {
	endings := make([]ending, 0, len(members))
	operations := make([]operation, 0, len(members))
	for _, m := range members {
		if keep == nil || m.id != *keep {
			endings = append(endings, ending{store: s, id: m.id, subject: of})
			operations = append(operations, &endings[len(endings)-1])
		}
	}
	s.runAll(operations)
	for i := range endings {
		ended += endings[i].ended
		if endings[i].err != nil {
			err = endings[i].err
		}
	}
	return ended, err
}

// EndSession ends the session of a subject that has a name, and returns how many lived: 1, or
// 0 if the subject has no such session.
func (s *Store) EndSession(_ context.Context, name []byte, session token.SessionName) (ended int, err error) {
	of := newSubject(name)
	found, err := s.find(of, session)
	if found == nil || err != nil {
		return 0, err
	}
	e := ending{store: s, id: found.id, subject: of}
	s.run(&e)
	return e.ended, e.err
}

// find returns the member of a subject's index whose session has a name, or nil. The session
// may have ended.
func (s *Store) find(of subject, name token.SessionName) (*listed, error) {
	if of == (subject{}) {
		return nil, nil
	}
	below := int64(0)
	for {
		members, err := s.membersOf(of, below, 8*listStep)
		if err != nil {
			return nil, err
		}
		for i := range members {
			if members[i].id.Name() == name {
				return &members[i], nil
			}
		}
		if len(members) < 8*listStep {
			return nil, nil
		}
		below = members[len(members)-1].score
	}
}

// SubjectSessions lists the live sessions of a subject, the newest first, page by page, and
// says whether there are more. Its error is [token.ErrUnknownSession] if page.After does not
// live, or not any more.
func (s *Store) SubjectSessions(_ context.Context, name []byte, page token.Page) (sessions []token.Session, more bool, err error) {
	of := newSubject(name)
	below := int64(0)
	if page.After != (token.SessionName{}) {
		if below, err = s.after(of, page.After); err != nil {
			return nil, false, err
		}
	}
	if of == (subject{}) {
		return nil, false, nil
	}
	l := listing{store: s, subject: of, limit: page.Limit}
	for !l.over {
		if below, err = l.next(below); err != nil {
			return nil, false, err
		}
	}
	return l.sessions, l.more, nil
}

// after returns the score of a session that lives and has a name.
func (s *Store) after(of subject, name token.SessionName) (score int64, err error) {
	found, err := s.find(of, name)
	if err != nil {
		return 0, err
	}
	if found == nil {
		return 0, token.ErrUnknownSession
	}
	l := look{credential: credential{store: s, token: token.Token{ID: found.id}}, anyToken: true}
	s.run(&l)
	if l.err == token.ErrInvalid {
		return 0, token.ErrUnknownSession
	}
	return found.score, l.err
}

// listing is a page of a subject's sessions that is being read.
type listing struct {
	store    *Store
	subject  subject
	limit    int
	sessions []token.Session
	bytes    int // of their metadata
	dead     int // members whose session is gone
	more     bool
	over     bool
}

// next takes the next sessions, of members with lower scores than below. It returns the score
// of the last.
func (l *listing) next(below int64) (int64, error) {
	count := min(l.store.lookStep(), l.limit-len(l.sessions)+1)
	if l.dead > 0 {
		count = l.store.lookStep()
	}
	members, err := l.store.membersOf(l.subject, below, count)
	if err != nil {
		return 0, err
	}
	looks := l.store.lookAt(members)
	for i := range looks {
		if err := looks[i].err; err == token.ErrInvalid {
			l.dead++
			continue
		} else if err != nil {
			return 0, err
		}
		if l.add(&looks[i]); l.over {
			return 0, nil
		}
	}
	if len(members) < count {
		l.over = true
		return 0, nil
	}
	return members[len(members)-1].score, nil
}

// lookStep is how many sessions are looked at in a pipeline: not more than may be held at once.
func (s *Store) lookStep() int { return max(1, min(listStep, 8*token.MaxListing/s.maxMeta)) }

// lookAt looks at sessions, in one pipeline.
func (s *Store) lookAt(members []listed) []look {
	looks := make([]look, len(members))
	operations := make([]operation, len(members))
	for i, m := range members {
		looks[i] = look{credential: credential{store: s, token: token.Token{ID: m.id}}, anyToken: true}
		operations[i] = &looks[i]
	}
	s.runAll(operations)
	return looks
}

// add adds a session, unless the page is full.
func (l *listing) add(found *look) {
	meta := l.store.merged(nil, found.value.content, "")
	l.bytes += len(meta)
	if len(l.sessions) == l.limit || l.bytes > token.MaxListing && len(l.sessions) > 0 {
		l.more, l.over = true, true
		return
	}
	l.sessions = append(l.sessions, token.Session{
		Name: found.token.ID.Name(), Created: l.store.clock.time(found.value.created), Expires: found.expires, Meta: meta,
	})
}
