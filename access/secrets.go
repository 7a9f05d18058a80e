package access

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// MaxSecrets is how many secrets there may be. Each costs every request a comparison.
const MaxSecrets = 1000

// Secrets are the secrets of callers, as digests. They don't change.
type Secrets struct {
	digests []digest
	callers []Caller // of each digest
}

// digest is the SHA-256 of a secret, in words: those are compared faster than bytes.
type digest [sha256.Size / 8]uint64

func newDigest(sum [sha256.Size]byte) (d digest) {
	for i := range d {
		d[i] = binary.LittleEndian.Uint64(sum[8*i:])
	}
	return d
}

// differs returns 1 if two digests differ, and 0 otherwise, in constant time.
func (d *digest) differs(other *digest) int {
	bits := (d[0] ^ other[0]) | (d[1] ^ other[1]) | (d[2] ^ other[2]) | (d[3] ^ other[3])
	return int((bits | -bits) >> 63)
}

// What is wrong with an auth file.
var (
	errLine = errors.New("must be name:DIGEST or name:DIGEST:ROLE,…, where a name has 1 to 64 of A–Z a–z 0–9 . _ - @, " +
		"DIGEST is the secret's SHA-256 in 64 hex digits, and a role is admin or metrics")
	errTwice      = errors.New("has the digest of an earlier line")
	errEmpty      = errors.New("has the digest of no secret at all: of the empty string")
	errTooMany    = fmt.Errorf("must be one of %d callers at most", MaxSecrets)
	errNoCallers  = errors.New("there is no caller in it")
	namePattern   = regexp.MustCompile(`^[A-Za-z0-9._@-]{1,64}$`)
	rolesByName   = map[string]Role{"admin": Admin, "metrics": Metrics}
	commentPrefix = []byte("#")
	emptyDigest   = newDigest(sha256.Sum256(nil))
)

// ParseSecrets reads an auth file: one secret of a caller a line, name:DIGEST or
// name:DIGEST:ROLE,…, and empty lines and comments (#). A caller without a role has that
// of Tokens. A name may come several times, each time with another secret. Its error is
// one of [errors.Join], with one for each line that is wrong. They say which line, and
// nothing of what it has: it might be a secret.
func ParseSecrets(text []byte) (*Secrets, error) {
	s := new(Secrets)
	var errs []error
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || bytes.HasPrefix(line, commentPrefix) {
			continue
		}
		err := s.add(string(line))
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d %w", number, err))
		}
		if err == errTooMany {
			break
		}
	}
	if len(s.digests)+len(errs) == 0 {
		errs = append(errs, errNoCallers)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

func (s *Secrets) add(line string) error {
	d, caller, err := parseLine(line)
	switch {
	case err != nil:
		return err
	case d == emptyDigest:
		return errEmpty
	case slices.Contains(s.digests, d):
		return errTwice
	case len(s.digests) == MaxSecrets:
		return errTooMany
	}
	s.digests, s.callers = append(s.digests, d), append(s.callers, caller)
	return nil
}

func parseLine(line string) (d digest, c Caller, err error) {
	parts := strings.Split(line, ":")
	if len(parts) < 2 || len(parts) > 3 || !namePattern.MatchString(parts[0]) || len(parts[1]) != hex.EncodedLen(sha256.Size) {
		return d, c, errLine
	}
	var sum [sha256.Size]byte
	if _, err := hex.Decode(sum[:], []byte(parts[1])); err != nil {
		return d, c, errLine
	}
	d = newDigest(sum)
	c = Caller{Name: parts[0], Roles: Tokens}
	if len(parts) == 3 {
		c.Roles, err = parseRoles(parts[2])
	}
	return d, c, err
}

func parseRoles(text string) (roles Role, err error) {
	for name := range strings.SplitSeq(text, ",") {
		role, ok := rolesByName[name]
		if !ok {
			return 0, errLine
		}
		roles |= role
	}
	return roles, nil
}

// Find returns whose secret it is, or nobody: the empty one is nobody's. How long that
// takes does not tell how near a secret is to another one.
func (s *Secrets) Find(secret []byte) Caller {
	if len(secret) == 0 {
		return Caller{}
	}
	d, found := newDigest(sha256.Sum256(secret)), -1
	for i := range s.digests {
		found = subtle.ConstantTimeSelect(d.differs(&s.digests[i]), found, i)
	}
	if found < 0 {
		return Caller{}
	}
	return s.callers[found]
}

// secretBytes is how many random bytes a secret has.
const secretBytes = 32

// NewSecret returns a new secret for the caller of a name, and its line in an auth file.
func NewSecret(name string) (secret, line string, err error) {
	if !namePattern.MatchString(name) {
		return "", "", errors.New("a name must have 1 to 64 of A–Z a–z 0–9 . _ - @")
	}
	random := make([]byte, secretBytes)
	rand.Read(random)
	secret = base64.RawURLEncoding.EncodeToString(random)
	return secret, fmt.Sprintf("%s:%x", name, sha256.Sum256([]byte(secret))), nil
}
