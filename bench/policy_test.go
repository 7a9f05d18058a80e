package bench

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"tokenserver/shard"
	"tokenserver/token"
)

// policies are what a store may do for its sessions beyond keeping them. The
// first is the default, which pays for none of the others.
var policies = []struct {
	name string
	make func(n int) engine
}{
	{"none", func(n int) engine { return newOurs(n, 0) }},
	{"grace", func(n int) engine {
		return newOursOf(n, shard.Config{Lifetime: lifetime, Grace: 5 * time.Second})
	}},
	{"subject", func(n int) engine {
		return withSubjects{newOursOf(n, shard.Config{Lifetime: lifetime, MaxLifetime: 24 * time.Hour})}
	}},
}

// withSubjects is our store where each session is somebody's.
type withSubjects struct{ *ours }

func (s withSubjects) create(i int) {
	t, err := s.store.Create(context.Background(), token.NewSession{Meta: meta, Subject: strconv.AppendInt([]byte("user-"), int64(i), 10)})
	must(err)
	s.tokens[i] = t
}

// BenchmarkPolicy measures the exchange by policy: none, a grace for spent
// tokens, and sessions with a subject and a greatest lifetime.
func BenchmarkPolicy(b *testing.B) {
	const n = 1e6
	for _, policy := range policies {
		b.Run(fmt.Sprintf("policy=%s/sessions=%d", policy.name, int(n)), func(b *testing.B) {
			benchExchange(b, n, filled(b, "policy="+policy.name, n, func() engine { return policy.make(n) }))
		})
	}
}

// BenchmarkPolicyMemory is BenchmarkMemory by policy.
func BenchmarkPolicyMemory(b *testing.B) {
	const n = 1e6
	for _, policy := range policies {
		b.Run(fmt.Sprintf("policy=%s/sessions=%d", policy.name, int(n)), func(b *testing.B) {
			benchMemory(b, n, policy.make)
		})
	}
}
