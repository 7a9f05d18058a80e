package durable

import (
	"encoding/binary"
	"errors"
	"time"

	"tokenserver/internal/clock"
	"tokenserver/internal/metadata"
	"tokenserver/shard"
	"tokenserver/token"
)

// A session's key is its id. Its value is
//
//	byte     valueVersion
//	byte     which of the optional fields follow
//	         digest, token.DigestLen bytes
//	uint32   number of the epoch whose clock the times are of
//	         deadline, a time
//	         optional fields, in the order of their flags
//	         metadata, up to the end
//
// Numbers are little-endian, times and durations in nanoseconds. There is no
// checksum: Pebble has one for each record of its log and each block of its tables.
//
// In version 1 there is no epoch, and times are the wall clock's since 1970, as it
// was set when the process started.
const (
	valueVersion     = 2
	wallClockVersion = 1
)

// Flags of the optional fields.
const (
	hasSubject          = 1 << iota // a shard.Subject
	hasLifetime                     // a duration
	hasAbsoluteDeadline             // a time
	hasCreated                      // a time
	hasSpent                        // a byte, their number, up to token.GraceDepth, and the times

	allFlags = hasSubject | hasLifetime | hasAbsoluteDeadline | hasCreated | hasSpent
)

// timeLen is the length of a time or a duration.
const timeLen = 8

// epochLen is the length of an epoch's number.
const epochLen = 4

// fixedLen is the length of what each value has before the optional fields.
const fixedLen = 2 + token.DigestLen + epochLen + timeLen

// flagsOf returns which of the optional fields a session has.
func flagsOf(s *shard.State) (flags byte) {
	if s.Subject != (shard.Subject{}) {
		flags |= hasSubject
	}
	if s.Lifetime != 0 {
		flags |= hasLifetime
	}
	if s.AbsoluteDeadline != 0 {
		flags |= hasAbsoluteDeadline
	}
	if s.Created != 0 {
		flags |= hasCreated
	}
	if len(s.Spent) > 0 {
		flags |= hasSpent
	}
	return flags
}

// valueLen returns how many bytes appendValue appends.
func valueLen(s *shard.State) int {
	flags, n := flagsOf(s), fixedLen+len(s.Meta)
	if flags&hasSubject != 0 {
		n += len(s.Subject)
	}
	for _, flag := range []byte{hasLifetime, hasAbsoluteDeadline, hasCreated} {
		if flags&flag != 0 {
			n += timeLen
		}
	}
	if flags&hasSpent != 0 {
		n += 1 + timeLen*len(s.Spent)
	}
	return n
}

// appendValue appends a session's value, written in an epoch, to dst.
func appendValue(dst []byte, epoch uint32, s *shard.State) []byte {
	flags := flagsOf(s)
	dst = append(dst, valueVersion, flags)
	dst = append(dst, s.Digest[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, epoch)
	dst = appendTime(dst, s.Expires)
	if flags&hasSubject != 0 {
		dst = append(dst, s.Subject[:]...)
	}
	if flags&hasLifetime != 0 {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(s.Lifetime))
	}
	if flags&hasAbsoluteDeadline != 0 {
		dst = appendTime(dst, s.AbsoluteDeadline)
	}
	if flags&hasCreated != 0 {
		dst = appendTime(dst, s.Created)
	}
	if flags&hasSpent != 0 {
		dst = append(dst, byte(len(s.Spent)))
		for _, t := range s.Spent {
			dst = appendTime(dst, t)
		}
	}
	return append(dst, s.Meta...)
}

func appendTime(dst []byte, t clock.Timestamp) []byte {
	return binary.LittleEndian.AppendUint64(dst, uint64(t))
}

// decoder decodes values. It is reused to save allocations.
type decoder struct {
	state   shard.State
	epoch   uint32 // of the state's times
	scanner metadata.Scanner
	meta    []byte
	rest    []byte
	short   bool
}

// Errors of decode.
var (
	errKey     = errors.New("a key is no session's id")
	errVersion = errors.New("a value has an unknown version")
	errFields  = errors.New("a value's fields are no session's")
	errMeta    = errors.New("a value's metadata is no compact JSON object")
)

// decode decodes a session, which is valid until the next call, with the times of
// its epoch. It accepts what appendValue may have appended, or did so in version 1,
// and nothing else.
func (d *decoder) decode(key, value []byte) (*shard.State, error) {
	if len(key) != len(d.state.ID) {
		return nil, errKey
	}
	if len(value) == 0 || value[0] != valueVersion && value[0] != wallClockVersion {
		return nil, errVersion
	}
	d.rest, d.short = value[1:], false
	spent := d.state.Spent[:0]
	d.state = shard.State{ID: token.ID(key), Spent: spent}
	if d.fields(value[0]); d.short || !d.valid(value[0]) {
		return nil, errFields
	}
	return &d.state, d.takeMeta()
}

// fields decodes all but the metadata.
func (d *decoder) fields(version byte) {
	s := &d.state
	flags := d.take(1)[0]
	copy(s.Digest[:], d.take(len(s.Digest)))
	d.epoch = wallClockEpoch
	if version != wallClockVersion {
		d.epoch = binary.LittleEndian.Uint32(d.take(epochLen))
	}
	s.Expires = d.time()
	if flags&hasSubject != 0 {
		copy(s.Subject[:], d.take(len(s.Subject)))
	}
	if flags&hasLifetime != 0 {
		s.Lifetime = time.Duration(d.number())
	}
	if flags&hasAbsoluteDeadline != 0 {
		s.AbsoluteDeadline = d.time()
	}
	if flags&hasCreated != 0 {
		s.Created = d.time()
	}
	if flags&hasSpent != 0 {
		for range min(d.take(1)[0], token.GraceDepth+1) {
			s.Spent = append(s.Spent, d.time())
		}
	}
	d.short = d.short || flags != flagsOf(s) || flags&^allFlags != 0
}

func (d *decoder) valid(version byte) bool {
	return (d.epoch == wallClockEpoch) == (version == wallClockVersion) &&
		d.state.Lifetime >= 0 && len(d.state.Spent) <= token.GraceDepth
}

// takeMeta checks and copies the metadata.
func (d *decoder) takeMeta() error {
	d.meta = append(d.meta[:0], d.rest...)
	d.scanner.Names = noFields
	compact, err := d.scanner.Scan(d.meta)
	if err != nil || len(compact) != len(d.rest) || compact[0] != '{' {
		return errMeta
	}
	d.state.Meta = compact
	return nil
}

// noFields are the members that a scan of metadata is to list.
var noFields = []string{}

var zeros [max(token.DigestLen, len(shard.Subject{}))]byte

// take cuts n bytes off the rest, up to len(zeros), or returns zeros if there are fewer.
func (d *decoder) take(n int) (b []byte) {
	if len(d.rest) < n {
		d.short, d.rest = true, nil
		return zeros[:n]
	}
	b, d.rest = d.rest[:n], d.rest[n:]
	return b
}

func (d *decoder) number() uint64 { return binary.LittleEndian.Uint64(d.take(timeLen)) }

func (d *decoder) time() clock.Timestamp { return clock.Timestamp(d.number()) }
