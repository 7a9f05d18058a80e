package valkey

import (
	"context"
	"iter"

	"github.com/redis/rueidis"

	"tokenserver/token"
)

// scanStep is about how many keys one step of a listing reads from a primary.
const scanStep = "512"

// Sessions lists the live sessions, each once, in no order. Those created meanwhile may be
// missing. It goes through all primaries key by key, and never stops one. It remembers the ids
// that it has told, 8 bytes and some each, until it ends. It ends with an error if a primary
// does not answer, or with ctx.
func (s *Store) Sessions(ctx context.Context) iter.Seq2[token.Session, error] {
	return func(yield func(token.Session, error) bool) {
		d := dump{store: s, ctx: ctx, yield: yield, seen: make(map[token.ID]struct{})}
		primaries, err := s.primaries(ctx)
		for _, primary := range primaries {
			var goesOn bool
			if goesOn, err = d.scan(primary); err != nil || !goesOn {
				break
			}
		}
		if err != nil {
			yield(token.Session{}, err)
		}
	}
}

// dump is a listing of all sessions.
type dump struct {
	store *Store
	ctx   context.Context
	yield func(token.Session, error) bool
	seen  map[token.ID]struct{}
	meta  []byte
}

// scan lists the sessions of a primary, and says whether to go on.
func (d *dump) scan(primary rueidis.Client) (goesOn bool, err error) {
	for cursor, more := "0", true; more; more = cursor != "0" {
		if err := d.ctx.Err(); err != nil {
			return false, err
		}
		var found []string
		if cursor, found, err = d.read(primary, cursor); err != nil {
			return false, harmless(unavailable(classify(err).err, false))
		}
		if goesOn, err := d.tell(d.fresh(found)); err != nil || !goesOn {
			return false, err
		}
	}
	return true, nil
}

// read reads some keys, and returns where to go on.
func (d *dump) read(primary rueidis.Client, cursor string) (next string, found []string, err error) {
	scan := primary.B().Eval().Script(scriptScan.text).Numkeys(0).Arg(cursor, d.store.keys.sessions(), scanStep).Build()
	message, err := send(d.store.deadlines.next(), primary, scan).ToMessage()
	if err != nil {
		return "", nil, err
	}
	r, err := parseReply(&message, false)
	if err != nil || len(r.list) != 2 {
		return "", nil, errReply
	}
	if next, err = r.list[0].ToString(); err != nil {
		return "", nil, errReply
	}
	found, err = r.list[1].AsStrSlice()
	return next, found, err
}

// globQuote returns a pattern that matches text alone.
func globQuote(text string) string {
	var quoted []byte
	for i := range len(text) {
		switch text[i] {
		case '*', '?', '[', ']', '\\':
			quoted = append(quoted, '\\')
		}
		quoted = append(quoted, text[i])
	}
	return string(quoted)
}

// fresh returns the sessions among keys that have not been told yet.
func (d *dump) fresh(found []string) (members []listed) {
	for _, key := range found {
		id, ok := d.store.keys.sessionID(key)
		if _, told := d.seen[id]; ok && !told {
			d.seen[id] = struct{}{}
			members = append(members, listed{id: id})
		}
	}
	return members
}

// tell yields those sessions that live, and says whether to go on.
func (d *dump) tell(members []listed) (goesOn bool, err error) {
	for len(members) > 0 {
		n := min(d.store.lookStep(), len(members))
		looks := d.store.lookAt(members[:n])
		members = members[n:]
		for i := range looks {
			switch err := looks[i].err; {
			case d.ctx.Err() != nil:
				return false, d.ctx.Err()
			case err == token.ErrInvalid:
				continue
			case err != nil:
				return false, err
			}
			d.meta = d.store.merged(d.meta[:0], looks[i].value.content, "")
			if !d.yield(token.Session{Expires: looks[i].expires, Meta: d.meta}, nil) {
				return false, nil
			}
		}
	}
	return true, nil
}
