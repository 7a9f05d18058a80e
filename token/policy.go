package token

import "time"

// GraceDepth is after how many later exchanges a spent token can't be told any
// more from one that never was: a session keeps the times at which its last
// GraceDepth tokens were spent, and from a spent token so many successors are
// derived to find the current one.
//
// It is part of the durable store's format: a data directory may have a session
// with as many times as the server that wrote it kept.
const GraceDepth = 8

// Bounds and defaults of the session policies. Flags and requests are held to
// them; a store takes what it is given.
const (
	// MinIdleLifetime and MaxIdleLifetime bound the store's idle lifetime, which every
	// exchange renews in full. A session's own may be as short as MinSessionLifetime:
	// who asks for it knows what it is for.
	MinIdleLifetime     = 30 * time.Minute
	MinSessionLifetime  = time.Minute
	MaxIdleLifetime     = 96 * time.Hour
	DefaultIdleLifetime = 2 * time.Hour

	// MaxGrace is the longest time for which a spent token may stand for the
	// current one.
	MaxGrace = time.Minute

	// MinAbsoluteLifetime and MaxAbsoluteLifetime bound the absolute lifetime,
	// which no exchange renews.
	MinAbsoluteLifetime = 30 * time.Minute
	MaxAbsoluteLifetime = 365 * 24 * time.Hour
)

// MaxListing is how many bytes of metadata a page of a subject's sessions has, unless
// the first one alone has more.
const MaxListing = 1 << 20

// MaxSubject is the greatest length of a subject's name in bytes; the least is 1.
const MaxSubject = 256

// Bounds and default of the limit of a session's metadata in bytes, as a compact
// object.
const (
	MinMetaLimit     = 1 << 10
	MaxMetaLimit     = 16 << 20
	DefaultMetaLimit = 64 << 10
)
