package valkey

import (
	"context"
	"crypto/rand"
	"strconv"
	"time"

	"tokenserver/token"
)

// Create stores a session and returns its first token. Its errors are [token.ErrFull] and
// [token.ErrMetaTooLarge].
func (s *Store) Create(_ context.Context, n token.NewSession) (token.Token, error) {
	c, err := s.newCreate(n)
	if err != nil {
		return token.Token{}, err
	}
	s.run(c)
	if c.err != nil {
		return token.Token{}, c.err
	}
	return c.token, nil
}

// create is the operation.
type create struct {
	store    *Store
	token    token.Token
	subject  subject
	lifetime time.Duration // its own; 0 for none
	meta     string
	err      error
}

func (s *Store) newCreate(n token.NewSession) (*create, error) {
	m := s.splitPatch(token.Patch{Meta: n.Meta})
	defer s.release(m)
	size := m.Len()
	if size > s.maxMeta {
		return nil, token.ErrMetaTooLarge
	}
	c := &create{store: s, subject: newSubject(n.Subject), lifetime: n.Lifetime}
	c.meta = string(m.Append(make([]byte, 0, size)))
	c.draw()
	return c, nil
}

func (c *create) draw() {
	c.token = token.Generate()
	if c.subject != (subject{}) {
		c.token.ID = c.subject.idFor(c.token.ID)
	}
}

func (c *create) step(deadline string) step {
	s, id := c.store, c.token.ID
	lifetime := s.args.lifetime
	if c.lifetime != 0 {
		lifetime = milliseconds(c.lifetime)
	}
	create := step{scriptCreate, []string{s.keys.session(id)}, []string{text16(c.token.Digest()), deadline, lifetime, c.meta}}
	if c.lifetime == 0 && c.subject == (subject{}) && s.args.absolute == "" {
		return create
	}
	var call [callLen]byte
	rand.Read(call[:])
	create.args = append(create.args, string(call[:]), milliseconds(c.lifetime), milliseconds(s.maxLifetime), string(c.subject[:]))
	if c.subject != (subject{}) {
		create.keys = append(create.keys, s.keys.index(c.subject))
		create.args = append(create.args, member(id), s.keys.tag(id[:]))
	}
	return create
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

func (c *create) take(r reply) (complete bool) {
	if r.code == codeOther {
		c.draw() // the id is taken
		return false
	}
	c.store.counters.created.Add(1)
	c.store.metaSize.observe(len(c.meta))
	return true
}

func (c *create) fail(err error) { c.err = err }

// Validate appends the metadata of the session whose current token is t, or was so less than
// the grace ago, to dst and returns when it expires. It changes nothing. Its error is
// [token.ErrInvalid].
func (s *Store) Validate(_ context.Context, t token.Token, dst []byte) ([]byte, time.Time, error) {
	l := s.newLook(t)
	s.run(l)
	if l.err != nil {
		return dst, time.Time{}, l.err
	}
	return s.merged(dst, l.value.content, ""), l.expires, nil
}

// look is the operation, also for those who want to know what a session is like.
type look struct {
	credential
	value   value
	expires time.Time
	err     error
	// anyToken says that the token's nonce does not count.
	anyToken bool
}

func (s *Store) newLook(t token.Token) *look {
	return &look{credential: credential{store: s, token: t, digest: t.Digest()}}
}

func (l *look) step(string) step { return step{scriptLook, []string{l.key()}, nil} }

func (l *look) take(r reply) (complete bool) {
	if r.absent {
		l.err = token.ErrInvalid
		return true
	}
	var err error
	if l.value, err = decode(r.value); err != nil {
		l.err = unavailable(err, false)
		return true
	}
	l.expires = l.store.clock.time(time.Duration(r.number) * time.Millisecond)
	if !l.anyToken && l.value.digest != l.digest && l.ageIn(&l.value, r.now) == 0 {
		l.err = token.ErrInvalid
	}
	return true
}

// fail says that nothing was carried out: there is nothing to carry out.
func (l *look) fail(err error) { l.err = harmless(err) }

// Delete ends the session whose current token is t, or was so less than the grace ago, if
// there is one.
func (s *Store) Delete(_ context.Context, t token.Token) error {
	d := s.newRemoval(t)
	s.run(d)
	return d.err
}

// removal is the operation.
type removal struct {
	credential
	wanted   token.Digest // with which the session ends: the presented one, or its successor in the grace
	revoking bool         // the session ends whatever its token is
	over     bool         // it has ended, and its subject's index does not know it yet
	err      error
}

func (s *Store) newRemoval(t token.Token) *removal {
	digest := t.Digest()
	return &removal{credential: credential{store: s, token: t, digest: digest}, wanted: digest}
}

func (d *removal) step(deadline string) step {
	if d.revoking || d.over {
		return d.endStep(deadline)
	}
	return step{scriptDelete, []string{d.key()}, []string{text16(d.wanted), deadline}}
}

func (d *removal) take(r reply) (complete bool) {
	if d.revoking || d.over || r.absent {
		return true
	}
	v, err := decode(r.value)
	if err != nil {
		d.err = unavailable(err, r.repeated || r.code == codeDone)
		return true
	}
	if r.code == codeDone {
		d.store.counters.deleted.Add(1)
		d.subject = v.subject
		d.over = v.subject != subject{}
		return !d.over
	}
	if d.ageIn(&v, r.now) > 0 {
		d.wanted = v.digest // unless it is exchanged meanwhile: the grace may be over then
		return false
	}
	if d.revoking = d.reuse(); d.revoking {
		d.store.counters.revoked.Add(1)
	}
	return !d.revoking
}

func (d *removal) fail(err error) {
	if !d.over {
		d.err = err
	}
}
