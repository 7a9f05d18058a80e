package access

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func line(name, secret, roles string) string {
	text := fmt.Sprintf("%s:%x", name, sha256.Sum256([]byte(secret)))
	if roles != "" {
		text += ":" + roles
	}
	return text + "\n"
}

func TestParseSecrets(t *testing.T) {
	text := "# callers\r\n\n  " + line("web-1", "one", "") + strings.ToUpper(line("WEB-1", "two", "")) +
		line("prometheus", "three", "metrics") + line("ops@example", "four", "admin,metrics") + "#" + line("old", "five", "") +
		strings.TrimSuffix(line("last", "six", "admin"), "\n")
	s, err := ParseSecrets([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		secret string
		want   Caller
	}{
		{"one", Caller{"web-1", Tokens}},
		{"two", Caller{"WEB-1", Tokens}},
		{"three", Caller{"prometheus", Metrics}},
		{"four", Caller{"ops@example", Admin | Metrics}},
		{"six", Caller{"last", Admin}},
		{"five", Caller{}},
		{"on", Caller{}},
		{"", Caller{}},
		{"one ", Caller{}},
	}
	for _, tt := range tests {
		if got := s.Find([]byte(tt.secret)); got != tt.want {
			t.Errorf("Find(%q) = %+v, want %+v", tt.secret, got, tt.want)
		}
	}
}

func TestParseSecretsRefuses(t *testing.T) {
	good := line("web", "one", "")
	const secret = "plain-secret-by-mistake"
	tests := []struct{ name, text, want string }{
		{"nothing", "", "no caller"},
		{"comments alone", "# none\n\n", "no caller"},
		{"a secret for its digest", good + "web:" + secret, "line 2 must be name:DIGEST"},
		{"a secret alone", secret, "line 1 must be"},
		{"no name", strings.TrimPrefix(good, "web"), "line 1 must be"},
		{"a long name", strings.Repeat("n", 65) + strings.TrimPrefix(good, "web"), "line 1 must be"},
		{"a blank in a name", "w b" + strings.TrimPrefix(good, "web"), "line 1 must be"},
		{"63 digits", good[:len(good)-2], "line 1 must be"},
		{"no hex digit", good[:len(good)-2] + "g", "line 1 must be"},
		{"an unknown role", line("web", "one", "Admin"), "line 1 must be"},
		{"an empty role", strings.TrimSuffix(good, "\n") + ":", "line 1 must be"},
		{"a role too many", line("web", "one", "admin,"), "line 1 must be"},
		{"a fourth part", line("web", "one", "admin:x"), "line 1 must be"},
		{"one secret twice", "\n" + good + line("other", "one", "admin"), "line 3 has the digest of an earlier line"},
		{"too many", manyLines(MaxSecrets + 1), "line 1001 must be one of 1000 callers"},
		{"far too many", manyLines(MaxSecrets + 3), "line 1001 must be one of 1000 callers"},
		{"the empty secret", good + line("ops", "", "admin"), "line 2 has the digest of no secret at all"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseSecrets([]byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "\n") {
				t.Errorf("ParseSecrets = %v, want one line with %q and nothing of the file", err, tt.want)
			}
		})
	}
}

// TestParseSecretsTellsAll: each line that is wrong has an error of its own.
func TestParseSecretsTellsAll(t *testing.T) {
	text := "web:secret\n" + line("web", "one", "") + "# web:secret\nweb\n" + line("other", "one", "") + line("ops", "", "")
	_, err := ParseSecrets([]byte(text))
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("ParseSecrets = %v, want joined errors", err)
	}
	var got []string
	for _, err := range joined.Unwrap() {
		line, _, _ := strings.Cut(err.Error(), " must")
		got = append(got, strings.TrimSuffix(line, ": of the empty string"))
	}
	want := []string{"line 1", "line 4", "line 5 has the digest of an earlier line", "line 6 has the digest of no secret at all"}
	if !slices.Equal(got, want) {
		t.Errorf("errors begin %q, want %q", got, want)
	}
}

// TestEmptySecretIsNobodys, even of secrets that somehow have its digest.
func TestEmptySecretIsNobodys(t *testing.T) {
	s := &Secrets{digests: []digest{newDigest(sha256.Sum256(nil))}, callers: []Caller{{"ops", Admin}}}
	if got := s.Find(nil); got.Known() {
		t.Errorf("Find of nothing = %+v, want nobody", got)
	}
	if got := NewGuard(s, nil).ByBasic([]byte("Basic b3BzOg==")); got.Known() { // ops:
		t.Errorf("ByBasic with an empty password = %+v, want nobody", got)
	}
}

func manyLines(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(line("web", fmt.Sprint(i), ""))
	}
	return b.String()
}

func TestNewSecret(t *testing.T) {
	secret, text, err := NewSecret("web")
	if err != nil || len(secret) != 43 {
		t.Fatalf("NewSecret = %q, %v, want 43 characters", secret, err)
	}
	s, err := ParseSecrets([]byte(text))
	if want := (Caller{"web", Tokens}); err != nil || s.Find([]byte(secret)) != want {
		t.Errorf("the line of a new secret: %v, finds %+v, want %+v", err, s.Find([]byte(secret)), want)
	}
	if other, _, _ := NewSecret("web"); other == secret {
		t.Error("two new secrets are the same")
	}
	for _, name := range []string{"", "a:b", "a b", "#a", "é"} {
		if _, _, err := NewSecret(name); err == nil {
			t.Errorf("NewSecret(%q) = no error", name)
		}
	}
}

// TestRoles: an admin may do everything, and nobody else what they have no role for.
func TestRoles(t *testing.T) {
	tests := []struct {
		roles                  Role
		tokens, metrics, admin bool
	}{
		{0, false, false, false},
		{Tokens, true, false, false},
		{Metrics, false, true, false},
		{Admin, true, true, true},
		{Metrics | Tokens, true, true, false},
	}
	for _, tt := range tests {
		c := Caller{Roles: tt.roles}
		if c.May(Tokens) != tt.tokens || c.May(Metrics) != tt.metrics || c.May(Admin) != tt.admin || c.Known() != (tt.roles != 0) {
			t.Errorf("a caller with roles %b may %v %v %v, want %v %v %v",
				tt.roles, c.May(Tokens), c.May(Metrics), c.May(Admin), tt.tokens, tt.metrics, tt.admin)
		}
	}
}

// TestEveryBitCounts: a digest that differs in one bit is another one.
func TestEveryBitCounts(t *testing.T) {
	sum := sha256.Sum256([]byte("one"))
	d := newDigest(sum)
	if same := newDigest(sum); d.differs(&same) != 0 {
		t.Error("a digest differs from itself")
	}
	for bit := range 8 * len(sum) {
		other := sum
		other[bit/8] ^= 1 << (bit % 8)
		if o := newDigest(other); d.differs(&o) != 1 {
			t.Errorf("bit %d makes no difference", bit)
		}
	}
}
