package storetest

import (
	"context"
	"iter"
	"slices"

	"tokenserver/token"
)

func (n *naive) SubjectSessions(_ context.Context, name []byte, page token.Page) ([]token.Session, bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	limit := page.Limit
	var all []*naiveSession
	for id, s := range n.sessions {
		s.name = id.Name()
		if n.fault == "another name after an exchange" && len(s.spent) > 0 {
			s.name[0]++
		}
		if s.subject == string(name) && s.subject != "" && (n.liveLocked(s) || n.fault == "expired are the subject's" || n.fault == "expired hide others") {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b *naiveSession) int {
		if n.fault == "oldest first" {
			return a.number - b.number
		}
		if n.fault == "exchange makes newer" {
			return b.expires.Compare(a.expires)
		}
		return b.number - a.number
	})
	if n.fault == "expired hide others" {
		limit = min(limit, 1000)
		all = slices.DeleteFunc(all[:min(2*limit, len(all))], func(s *naiveSession) bool { return !n.liveLocked(s) })
	}
	if page.After != (token.SessionName{}) {
		at := slices.IndexFunc(all, func(s *naiveSession) bool { return s.name == page.After })
		switch {
		case n.fault == "page goes on anywhere":
		case at < 0:
			return nil, false, token.ErrUnknownSession
		case n.fault == "page repeats":
			at--
		}
		all = all[at+1:]
	}
	list := n.firstLocked(all, limit)
	return list, len(all) > len(list) || len(all) == limit && n.fault == "more without more", nil
}

// firstLocked returns as many sessions as a listing has.
func (n *naive) firstLocked(all []*naiveSession, limit int) (list []token.Session) {
	size := 0
	for _, s := range all[:min(limit, len(all))] {
		size += len(s.meta)
		switch {
		case size <= token.MaxListing || n.fault == "listed without bound":
		case len(list) > 0 || n.fault == "large one not listed":
			return list
		}
		list = append(list, token.Session{Name: s.name, Created: s.created, Expires: s.expires, Meta: []byte(s.meta)})
	}
	return list
}

func (n *naive) Sessions(ctx context.Context) iter.Seq2[token.Session, error] {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []naiveSession
	for _, s := range n.sessions {
		if n.liveLocked(s) || n.fault == "expired are listed" {
			all = append(all, *s)
		}
	}
	return func(yield func(token.Session, error) bool) {
		for _, s := range all {
			if err := ctx.Err(); err != nil {
				yield(token.Session{}, err)
				return
			}
			if !yield(token.Session{Expires: s.expires, Meta: []byte(s.meta)}, nil) {
				return
			}
		}
	}
}
