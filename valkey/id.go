package valkey

import (
	"context"
	"crypto/rand"
	"regexp"

	"github.com/redis/rueidis"
)

// validID is what an identity is like: it becomes a header.
var validID = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)

// openID reads the identity of the sessions under this prefix, which the first store makes.
func (s *Store) openID(ctx context.Context) error {
	fresh := rand.Text()
	set := s.client().B().Set().Key(s.keys.prefix + "id").Value(fresh).Nx().Get().Build()
	id, err := s.client().Do(ctx, set).ToString()
	switch {
	case rueidis.IsRedisNil(err):
		id = fresh
	case err != nil:
		return err
	case !validID.MatchString(id):
		return errFormat
	}
	s.id.Store(&id)
	return nil
}

// ID returns the identity of the sessions under this prefix of the engine: all stores that have
// them have the same, and no others. It is empty until there was an engine.
func (s *Store) ID() string {
	if id := s.id.Load(); id != nil {
		return *id
	}
	return ""
}
