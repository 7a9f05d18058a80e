package valkey

import (
	"strings"
	"sync/atomic"

	"tokenserver/internal/metadata"
	"tokenserver/token"
)

// merged appends the metadata that a content stands for, with more lines behind it, to dst.
func (s *Store) merged(dst []byte, content, lines string) []byte {
	meta, tail := cutTail(content)
	if tail == "" && lines == "" {
		return append(dst, meta...)
	}
	m := s.members.Get().(*metadata.Object)
	defer s.release(m)
	base := []byte(meta)
	for line := range strings.SplitSeq(tail+lines, "\n") {
		if line != "" {
			patch := patchOf(line)
			m.SplitPatch(patch.Meta, patch.Unset)
			base = m.AppendMerged(nil, base)
		}
	}
	return append(dst, base...)
}

// patchOf returns the patch that a line of a tail is.
func patchOf(line string) token.Patch {
	if line[0] == '{' {
		return token.Patch{Meta: []byte(line)}
	}
	return token.Patch{Unset: []byte(line)}
}

func (s *Store) splitPatch(p token.Patch) *metadata.Object {
	m := s.members.Get().(*metadata.Object)
	m.SplitPatch(p.Meta, p.Unset)
	return m
}

// release lets another call have m, which refers to nothing of this one any more.
func (s *Store) release(m *metadata.Object) {
	m.Reset()
	s.members.Put(m)
}

// meanSize is about how many bytes of metadata a session has.
type meanSize struct{ bytes atomic.Int64 }

// observe takes in the size of a session.
func (m *meanSize) observe(size int) {
	old := m.bytes.Load()
	m.bytes.Store(old + (int64(size)-old)/8)
}
