package shard

import (
	"maps"

	"tokenserver/token"
)

// pending are the last changes of a shard's sessions that may be under way.
// Whoever answers from a session waits for its last change: a crash must not take
// back what an answer has told. One that failed stays, so that whatever rests on
// it fails too; one that lasts is removed some time.
type pending struct {
	writes map[token.ID]Write
	limit  int // of writes; where it is reached, those that last are removed
}

// minPending is the least limit of pending writes.
const minPending = 64

// add adds a session's last change. The work for the removal of others is paid
// for by the changes that came since the last one.
func (p *pending) add(id token.ID, w Write) {
	if p.writes == nil {
		p.writes = make(map[token.ID]Write)
	}
	if len(p.writes) >= p.limit {
		maps.DeleteFunc(p.writes, func(_ token.ID, w Write) bool { return w.Lasts() })
		p.limit = max(minPending, 2*len(p.writes))
	}
	p.writes[id] = w
}

// all returns all changes that are under way.
func (p *pending) all() (all []Write) {
	for _, w := range p.writes {
		if !w.Lasts() {
			all = append(all, w)
		}
	}
	return all
}

// wait waits until a change lasts, if there is one.
func wait(w Write) error {
	if w == nil {
		return nil
	}
	return w.Wait()
}

// waitAll waits until all of some changes last.
func waitAll(all []Write) error {
	for _, w := range all {
		if err := w.Wait(); err != nil {
			return err
		}
	}
	return nil
}
