package valkey

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"tokenserver/token"
)

// A session is one string. A plain value is
//
//	digest 16 │ metadata │ tail
//
// and an extended one, of a session with a policy,
//
//	digest 16 │ format 1 │ call 8 │ changes 4 │ created 8 │ lifetime 6 │ absolute deadline 6 │
//	index end 6 │ subject 16 │ spends 8 × 6 │ metadata │ tail
//
// The byte after the digest tells them apart: metadata begins with a brace. All numbers are
// big-endian; created is in microseconds of the engine's clock, all other times in
// milliseconds. The tail is patches that are not merged yet, each on a line of its own: an
// object, or an array of the names that go. Compact JSON has no line breaks.
const (
	plainHead = token.DigestLen

	formatAt   = token.DigestLen
	callAt     = formatAt + 1
	changesAt  = callAt + callLen
	createdAt  = changesAt + 4
	lifetimeAt = createdAt + 8
	absoluteAt = lifetimeAt + timeLen
	indexEndAt = absoluteAt + timeLen
	subjectAt  = indexEndAt + timeLen
	spentAt    = subjectAt + subjectLen

	extendedHead = spentAt + spentLen

	callLen  = 8
	timeLen  = 6
	spentLen = token.GraceDepth * timeLen
)

// formatExtended is the format of an extended value, and the only one so far.
//
// A second one takes two releases, so that two that follow each other can always run side by
// side. The first reads both, here and in the scripts that look at the head (luaHead, luaContent,
// scriptExchange, scriptRenew), and writes this one as before. The second writes the new one, with each
// exchange, and still reads this one: for as long as the longest lifetime, 96 hours, after the last
// server of the first release is gone. Who meets what it does not know says so, and changes nothing.
const formatExtended = 1

// errFormat says that the engine holds what this version can't read.
var errFormat = errors.New("valkey: a session has a format that this version does not know: is a newer one beside it?")

// value is the decoded value of a session. It borrows the text that it was decoded from.
type value struct {
	digest   token.Digest
	extended bool
	call     string        // of the exchange that wrote the digest
	changes  uint32        // of the metadata, but by exchanges
	created  time.Duration // of the engine's clock
	lifetime int64         // its own, in milliseconds; 0 for none
	absolute int64         // its absolute deadline; 0 for none
	indexEnd int64         // 0 for no index
	subject  subject
	spent    string // the last spends, the newest first
	content  string // metadata and tail
}

func decode(text string) (v value, err error) {
	if len(text) < plainHead+len("{}") {
		return value{}, fmt.Errorf("%w (%d bytes)", errFormat, len(text))
	}
	copy(v.digest[:], text)
	switch format := text[formatAt]; {
	case format == '{':
		v.content = text[plainHead:]
		return v, nil
	case format != formatExtended || len(text) < extendedHead+len("{}") || text[extendedHead] != '{':
		return value{}, fmt.Errorf("%w (format %d)", errFormat, format)
	}
	v.extended = true
	v.call = text[callAt:changesAt]
	v.changes = uint32(number(text[changesAt:createdAt]))
	v.created = time.Duration(number(text[createdAt:lifetimeAt])) * time.Microsecond
	v.lifetime = number(text[lifetimeAt:absoluteAt])
	v.absolute = number(text[absoluteAt:indexEndAt])
	v.indexEnd = number(text[indexEndAt:subjectAt])
	copy(v.subject[:], text[subjectAt:])
	v.spent = text[spentAt:extendedHead]
	v.content = text[extendedHead:]
	return v, nil
}

// number reads a number of up to eight bytes.
func number(text string) int64 {
	var b [8]byte
	copy(b[len(b)-len(text):], text)
	return int64(binary.BigEndian.Uint64(b[:]))
}

// spentAt returns when the token was spent, in milliseconds, that was current age exchanges
// ago; 0 if that is not known.
func (v *value) spentAt(age int) int64 {
	if !v.extended {
		return 0
	}
	return number(v.spent[(age-1)*timeLen : age*timeLen])
}

// isCapped says whether an exchange at now, in a store with an idle lifetime, gave the session
// less than its full lifetime, since its subject's index ends before.
func (v *value) isCapped(now int64, lifetime time.Duration) bool {
	if v.indexEnd == 0 {
		return false
	}
	end := now + lifetime.Milliseconds()
	if v.lifetime != 0 {
		end = now + v.lifetime
	}
	if v.absolute != 0 {
		end = min(end, v.absolute)
	}
	return v.indexEnd < end
}

// appendTail appends a patch as lines of a tail to dst.
func appendTail(dst []byte, p token.Patch, object func([]byte) []byte) []byte {
	if len(p.Meta) > len("{}") {
		dst = object(append(dst, '\n'))
	}
	if len(p.Unset) > len("[]") {
		dst = append(append(dst, '\n'), p.Unset...)
	}
	return dst
}

// cutTail returns the metadata of a content, and the tail behind it.
func cutTail(content string) (meta, tail string) {
	if i := strings.IndexByte(content, '\n'); i >= 0 {
		return content[:i], content[i:]
	}
	return content, ""
}

const (
	// maxTailLines is how many lines a tail has at most before it is merged.
	maxTailLines = 8
	// minTail is how long a tail may be in any case; else it may be as long as the metadata.
	minTail = 256
)

// isLong says whether a tail should be merged into its metadata.
func isLong(meta, tail string) bool {
	return len(tail) > max(minTail, len(meta)) || strings.Count(tail, "\n") > maxTailLines
}
