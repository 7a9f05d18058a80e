package valkey

import (
	"context"
	"crypto/rand"
	"strconv"

	"tokenserver/token"
)

// Exchange spends t and returns the session's next token, with the metadata, into which patch
// is merged, appended to dst: of concurrent calls exactly one wins. Its errors are
// [token.ErrInvalid], and, with t still valid, [token.ErrMetaTooLarge] and [token.ErrFull].
//
// In a store with a grace, a token that was spent less than the grace ago, and no more than
// [token.GraceDepth] exchanges, gets the session's current token: nothing is spent or renewed,
// but a patch is merged all the same.
func (s *Store) Exchange(_ context.Context, t token.Token, patch token.Patch, dst []byte) (token.ExchangeResult, error) {
	x := s.newExchange(t, patch)
	x.dst = dst
	s.run(x)
	if x.err != nil {
		return token.ExchangeResult{Meta: dst}, x.err
	}
	return token.ExchangeResult{Token: x.next, Meta: x.dst, Reused: x.reused}, nil
}

// exchange is the operation.
type exchange struct {
	credential
	next  token.Token
	new   token.Digest
	patch token.Patch
	tail  string // the patch as lines of a tail
	call  string // tells this call from others that derive the same next token
	phase phase
	// whole takes the place of all metadata, instead of tail, if it has changed so often.
	whole   string
	changes uint32

	now      int64 // by the engine's clock
	repeated bool  // as in the reply
	renew    bool  // the subject's index has to be renewed

	dst    []byte
	reused bool
	err    error
}

// phase is what an exchange is about.
type phase int

const (
	spending phase = iota
	replaying
	compacting // it is over, but the tail is long
	renewing   // it is over, but the subject's index would end before the session
	revoking
)

func (s *Store) newExchange(t token.Token, patch token.Patch) *exchange {
	x := &exchange{credential: credential{store: s, token: t}, patch: patch, next: s.next(t)}
	x.digest, x.new = token.Digests(t, x.next)
	if !patch.IsZero() {
		m := s.splitPatch(token.Patch{Meta: patch.Meta})
		x.tail = string(appendTail(nil, patch, m.Append))
		s.release(m)
	}
	if s.secret != nil {
		var b [callLen]byte
		rand.Read(b[:])
		x.call = string(b[:])
	} else {
		x.call = noCall
	}
	return x
}

// noCall is the call of an exchange whose next token nobody else can derive.
const noCall = "\x00\x00\x00\x00\x00\x00\x00\x00"

func (x *exchange) step(deadline string) step {
	keys := []string{x.key()}
	changes := strconv.FormatUint(uint64(x.changes), 10)
	text := x.tail
	if x.whole != "" {
		text = x.whole
	}
	s := x.store
	switch x.phase {
	case replaying:
		return step{scriptPatch, keys, []string{text16(x.digestSeen), deadline, text, s.args.maxMeta, changes}}
	case compacting:
		return step{scriptCompact, keys, []string{text16(x.digestSeen), deadline, text, s.args.maxMeta, changes}}
	case renewing:
		return step{scriptRenew, append(keys, s.keys.index(x.subject)), []string{text16(x.new), s.args.lifetime, member(x.token.ID)}}
	case revoking:
		return x.endStep(deadline)
	}
	script := scriptExchange
	if text != "" {
		script = scriptExchangePatch
	}
	return step{script, keys, []string{text16(x.digest), text16(x.new), deadline, s.args.lifetime, text, s.args.maxMeta, x.call, changes, s.args.absolute}}
}

func text16(d token.Digest) string { return string(d[:]) }

func (x *exchange) take(r reply) (complete bool) {
	switch {
	case x.phase == compacting:
		return x.finish()
	case x.phase == renewing:
		return true
	case x.phase == revoking:
		x.store.counters.revoked.Add(1)
		return x.refuse(token.ErrInvalid)
	case r.absent:
		return x.refuse(token.ErrInvalid)
	}
	v, err := decode(r.value)
	if err == nil && r.code == codeUnknown {
		err = errFormat
	}
	if err != nil {
		return x.refuse(unavailable(err, r.repeated || r.code == codeDone))
	}
	x.now, x.repeated = r.now, r.repeated
	switch {
	case r.code == codeMerge:
		return x.merge(&v)
	case r.code == codeDone && x.phase == spending:
		return x.spent(&v, x.lines())
	case r.code == codeDone:
		x.reused = true
		x.store.counters.replayed.Add(1)
		return x.answer(&v, x.lines())
	}
	return x.other(&v)
}

// lines returns what the script has put behind the metadata, or in its place.
func (x *exchange) lines() string {
	if x.whole != "" {
		return x.whole
	}
	return x.tail
}

// other takes a value whose digest is not the one that was presented, or not any more.
func (x *exchange) other(v *value) (complete bool) {
	if x.phase == spending && v.digest == x.new && (!v.extended || v.call == x.call) {
		return x.spent(v, "") // by ourselves, and the answer was lost
	}
	age := x.ageIn(v, x.now)
	switch {
	case age == 0 && x.repeated && x.store.secret != nil:
		// We may have spent it ourselves, and others who have derived its successor went on.
		return x.refuse(undone(token.ErrInvalid, true))
	case age == 0 && x.reuse():
		x.phase = revoking
		return false
	case age == 0:
		return x.refuse(token.ErrInvalid)
	}
	x.next = x.successor.token
	if x.tail == "" {
		x.reused = true
		x.store.counters.replayed.Add(1)
		return x.answer(v, "")
	}
	x.phase, x.whole, x.digestSeen, x.changes = replaying, "", v.digest, v.changes
	return false
}

// merge merges the patch, since it may be too large.
func (x *exchange) merge(v *value) (complete bool) {
	merged := x.store.merged(nil, v.content, x.tail)
	if len(merged) > x.store.maxMeta {
		return x.refuse(undone(token.ErrMetaTooLarge, x.repeated))
	}
	x.whole, x.changes = string(merged), v.changes
	return false
}

// spent ends an exchange that has spent the token. v is what there was, and lines what was
// put behind it.
func (x *exchange) spent(v *value, lines string) (complete bool) {
	x.store.counters.exchanged.Add(1)
	x.subject = v.subject
	return x.answer(v, lines)
}

// answer appends the metadata, and goes on if there is something to do for the session.
func (x *exchange) answer(v *value, lines string) (complete bool) {
	start, content := len(x.dst), v.content
	if x.whole != "" && lines != "" {
		content, lines = lines, ""
	}
	x.dst = x.store.merged(x.dst, content, lines)
	x.store.metaSize.observe(len(x.dst) - start)
	x.renew = !x.reused && v.isCapped(x.now, x.store.lifetime)
	if meta, tail := cutTail(content); isLong(meta, tail+lines) {
		x.compact(v, string(x.dst[start:]), lines != "")
		return false
	}
	return x.finish()
}

// compact has the metadata of a session written without a tail.
func (x *exchange) compact(v *value, meta string, patched bool) {
	x.phase, x.whole, x.changes = compacting, meta, v.changes
	x.digestSeen = x.new
	if x.reused {
		x.digestSeen = v.digest
		if patched {
			x.changes++
		}
	}
}

// finish ends an exchange that has an answer.
func (x *exchange) finish() (complete bool) {
	if !x.renew {
		return true
	}
	x.phase = renewing
	return false
}

func (x *exchange) refuse(err error) (complete bool) {
	if err == token.ErrInvalid {
		x.store.counters.invalid.Add(1)
	}
	x.err = err
	return true
}

// fail ends the exchange with an error, but not if it has an answer.
func (x *exchange) fail(err error) {
	if x.phase != compacting && x.phase != renewing {
		x.refuse(err)
	}
}
