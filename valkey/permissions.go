package valkey

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/redis/rueidis"

	"tokenserver/token"
)

// checkPermissions finds what a primary does not permit before somebody needs it.
func (s *Store) checkPermissions(ctx context.Context, primaries []primary) error {
	for _, p := range primaries {
		if err := s.checkScripts(ctx, s.subjectAt(p)); err != nil {
			return err
		}
		scan := p.B().Eval().Script(scriptScan.text).Numkeys(0).Arg("0", "", "1").Build()
		if err := send(ctx, p, scan).Error(); err != nil {
			return refusal(err, nil)
		}
	}
	return nil
}

// scriptRare calls what the session of a check has no need of, on a key that is not there.
var scriptRare = newScript("rare", false, true, `redis.call('SETRANGE', KEYS[1], 0, '')
redis.call('EXISTS', KEYS[1])
return nil
`)

// subjectAt returns the name of a new subject that has its sessions at a primary.
func (s *Store) subjectAt(p primary) []byte {
	for {
		name := []byte("check " + rand.Text())
		sub := newSubject(name)
		if p.has(slotOf(s.keys.tag(sub[:]))) {
			return name
		}
	}
}

// checkScripts leads a session of a subject through its life.
func (s *Store) checkScripts(ctx context.Context, name []byte) error {
	t, err := s.Create(ctx, token.NewSession{Meta: []byte(`{"check":1}`), Subject: name, Lifetime: token.MinSessionLifetime})
	if errors.Is(err, token.ErrFull) {
		s.log.Warn("the engine is full: no session can be created")
		return nil
	}
	if err != nil {
		return s.checkFailed(err)
	}
	x, err := s.Exchange(ctx, t, token.Patch{Meta: []byte(`{"check":2}`), Unset: []byte(`["check"]`)}, nil)
	if err != nil {
		return s.checkFailed(err)
	}
	if _, _, err = s.Validate(ctx, x.Token, nil); err == nil {
		_, err = s.EndSubject(ctx, name)
	}
	if err != nil {
		return s.checkFailed(err)
	}
	for _, script := range []*script{scriptPatch, scriptCompact, scriptRenew, scriptExchange, scriptDelete, scriptRare} {
		key := s.keys.session(t.ID)
		command := s.client().B().Eval().Script(script.text).Numkeys(1).Key(key).Arg("", "", "", "").Build()
		if err := s.do(ctx, s.health.failing(), command).Error(); err != nil && !rueidis.IsRedisNil(err) {
			return refusal(err, nil)
		}
	}
	return nil
}

// checkFailed tells a permission that is missing from an engine that is away.
func (s *Store) checkFailed(err error) error {
	if f := s.health.failure.Load(); f != nil && f.kind == "noperm" {
		return fmt.Errorf("%w: %s", ErrRefused, f.err.Error())
	}
	return err
}
