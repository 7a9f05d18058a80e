package token

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

// sample is a token whose bytes are all different, and its text.
var sample = Token{
	ID:    ID{0xF8, 0xF9, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF},
	Nonce: Nonce{0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF},
}

const sampleText = "-Pn6-_z9_v-goaKjpKWmp6ipqqusra6v"

func TestParse(t *testing.T) {
	got, err := Parse([]byte(sampleText))
	if err != nil || got != sample {
		t.Errorf("Parse(%q) = %x %x, %v, want %x %x", sampleText, got.ID[:], got.Nonce[:], err, sample.ID[:], sample.Nonce[:])
	}
}

func TestAppend(t *testing.T) {
	if got, want := string(sample.Append([]byte("before "))), "before "+sampleText; got != want {
		t.Errorf("Append = %q, want %q", got, want)
	}
}

func TestParseReadsWhatAppendWrites(t *testing.T) {
	tokens := []Token{{}, sample}
	for range 1000 {
		tokens = append(tokens, Generate())
	}
	for _, want := range tokens {
		text := want.Append(nil)
		if len(text) != EncodedLen {
			t.Errorf("Append wrote %d characters, want %d", len(text), EncodedLen)
		}
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("Parse(%q) = %x %x, %v, want %x %x", text, got.ID[:], got.Nonce[:], err, want.ID[:], want.Nonce[:])
		}
	}
}

// illFormed are texts that are no token, each a small step away from one.
var illFormed = map[string]string{
	"empty":                   "",
	"one character":           "A",
	"31 characters":           sampleText[:31],
	"33 characters":           sampleText + "A",
	"twice":                   sampleText + sampleText,
	"only white space":        strings.Repeat(" ", 32),
	"plus of base64":          "+" + sampleText[1:],
	"slash of base64":         "/" + sampleText[1:],
	"padding in place":        sampleText[:31] + "=",
	"padding in two places":   sampleText[:30] + "==",
	"padding behind":          sampleText + "=",
	"only padding":            strings.Repeat("=", 32),
	"space":                   sampleText[:16] + " " + sampleText[17:],
	"space before":            " " + sampleText,
	"line feed inside":        sampleText[:16] + "\n" + sampleText[17:],
	"carriage return inside":  sampleText[:16] + "\r" + sampleText[17:],
	"line feed added inside":  sampleText[:16] + "\n" + sampleText[16:],
	"line feed at the start":  "\n" + sampleText[1:],
	"line feed at the end":    sampleText[:31] + "\n",
	"line feed behind":        sampleText + "\n",
	"four line feeds":         sampleText[:28] + "\n\r\n\r",
	"only line feeds":         strings.Repeat("\n", 32),
	"null byte":               sampleText[:31] + "\x00",
	"letter beyond ASCII":     sampleText[:30] + "é",
	"32 letters beyond ASCII": strings.Repeat("é", 32),
	"fullwidth letter":        sampleText[:29] + "\uFF21",
	"invalid UTF-8":           sampleText[:31] + "\xFF",
	"percent":                 sampleText[:31] + "%",
	"quotes":                  `"` + sampleText[:30] + `"`,
	"hexadecimal":             "f8f9fafbfcfdfeffa0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
}

func TestParseRefuses(t *testing.T) {
	for name, text := range illFormed {
		if got, err := Parse([]byte(text)); !errors.Is(err, ErrInvalid) || got != (Token{}) {
			t.Errorf("%s: Parse(%q) = %x %x, %v, want the zero token and %v", name, text, got.ID[:], got.Nonce[:], err, ErrInvalid)
		}
	}
}

func TestParseRefusesOtherBytesAnywhere(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for at := range EncodedLen {
		for c := range 256 {
			text := []byte(sampleText)
			text[at] = byte(c)
			want := strings.IndexByte(alphabet, byte(c)) >= 0
			if _, err := Parse(text); (err == nil) != want {
				t.Errorf("Parse(%q) with error %v, want it read: %v", text, err, want)
			}
		}
	}
}

func TestGenerateAndNext(t *testing.T) {
	const sessions, exchanges = 100, 100
	ids, nonces := make(map[ID]bool), make(map[Nonce]bool)
	for range sessions {
		tok := Generate()
		id := tok.ID
		ids[id], nonces[tok.Nonce] = true, true
		for range exchanges {
			old := tok
			tok = old.Next()
			if tok.ID != id {
				t.Fatalf("Next changed the id from %x to %x", id[:], tok.ID[:])
			}
			nonces[tok.Nonce] = true
		}
	}
	if got := len(ids); got != sessions {
		t.Errorf("%d sessions have %d ids, want one each", sessions, got)
	}
	if got, want := len(nonces), sessions*(1+exchanges); got != want {
		t.Errorf("%d tokens have %d nonces, want one each", want, got)
	}
}

func TestNextLeavesItsTokenAlone(t *testing.T) {
	tok := sample
	if tok.Next(); tok != sample {
		t.Errorf("Next changed the token that it was called on")
	}
}

// Every bit that should be random is set in some of many tokens and clear in others.
func TestEveryBitIsRandom(t *testing.T) {
	var set, clear [Size + 16]byte
	for range 200 {
		first, next := Generate(), Token{}.Next()
		for i, b := range slices.Concat(first.ID[:], first.Nonce[:], next.Nonce[:]) {
			set[i] |= b
			clear[i] |= ^b
		}
	}
	for i := range set {
		if set[i] != 0xFF || clear[i] != 0xFF {
			t.Errorf("byte %d: bits ever set %08b, ever clear %08b, want all of both", i, set[i], clear[i])
		}
	}
}

// The digests are those of sha256sum.
func TestDigest(t *testing.T) {
	tests := []struct{ nonce, want string }{
		{"00000000000000000000000000000000", "374708fff7719dd5979ec875d56cd228"},
		{"000102030405060708090a0b0c0d0e0f", "be45cb2605bf36bebde684841a28f0fd"},
		{"a0a1a2a3a4a5a6a7a8a9aaabacadaeaf", "503563c1bda45327ff4617750a06bd81"},
	}
	for _, test := range tests {
		tok := Token{ID: sample.ID}
		if _, err := hex.Decode(tok.Nonce[:], []byte(test.nonce)); err != nil {
			t.Fatal(err)
		}
		digest := tok.Digest()
		if got := hex.EncodeToString(digest[:]); got != test.want {
			t.Errorf("digest of nonce %s = %s, want %s", test.nonce, got, test.want)
		}
	}
}

func TestDigestIgnoresTheID(t *testing.T) {
	if got, want := (Token{Nonce: sample.Nonce}).Digest(), sample.Digest(); got != want {
		t.Errorf("digest with another id = %x, want %x", got, want)
	}
}

const placeholder = "token(secret)"

func TestFormatShowsAPlaceholder(t *testing.T) {
	for _, flags := range []string{"", "+", "#", " ", "0", "-", "+#", "40", ".3", "# "} {
		for _, verb := range "vsqxXdboOcUteEfFgG" {
			format := "%" + flags + string(verb)
			if got := fmt.Sprintf(format, sample); got != placeholder {
				t.Errorf("Sprintf(%q, token) = %q, want %q", format, got, placeholder)
			}
			if got := fmt.Sprintf(format, &sample); got != placeholder {
				t.Errorf("Sprintf(%q, &token) = %q, want %q", format, got, placeholder)
			}
		}
	}
	if got := sample.String(); got != placeholder {
		t.Errorf("String() = %q, want %q", got, placeholder)
	}
}

// wrapped are values that a token sits in.
var wrapped = map[string]any{
	"token":     sample,
	"pointer":   &sample,
	"exchanged": ExchangeResult{Token: sample, Meta: []byte("{}")},
	"slice":     []Token{sample},
	"map":       map[string]Token{"a": sample},
	"map key":   map[Token]bool{sample: true},
	"error":     fmt.Errorf("no such token: %v", sample),
}

func TestFormatShowsNothingOfATokenInside(t *testing.T) {
	for name, value := range wrapped {
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%d"} {
			checkSecret(t, name+" by "+format, fmt.Sprintf(format, value))
		}
		checkSecret(t, name+" by Sprint", fmt.Sprint(value))
	}
}

func TestLogShowsNothing(t *testing.T) {
	var out strings.Builder
	handlers := map[string]slog.Handler{
		"text": slog.NewTextHandler(&out, nil),
		"json": slog.NewJSONHandler(&out, nil),
	}
	for kind, handler := range handlers {
		for name, value := range wrapped {
			out.Reset()
			slog.New(handler).With("with", value).Info("message", "value", value, slog.Group("group", "value", value))
			if got := strings.Count(out.String(), placeholder); got < 3 {
				t.Errorf("%s in a %s log: %q has the placeholder %d times, want 3", name, kind, out.String(), got)
			}
			checkSecret(t, name+" in a "+kind+" log", out.String())
		}
	}
}

func TestJSONShowsNothing(t *testing.T) {
	for name, value := range wrapped {
		got, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		checkSecret(t, name, string(got))
	}
}

// checkSecret reports text that has the sample's id or nonce, or a part of one,
// in some notation.
func checkSecret(t *testing.T, name, text string) {
	t.Helper()
	text = strings.ToLower(text)
	for _, secret := range [][]byte{sample.ID[:], sample.Nonce[:], sample.Append(nil)} {
		for _, part := range [][]byte{secret[:4], secret[len(secret)-4:]} {
			for _, form := range notations(part) {
				if strings.Contains(text, strings.ToLower(form)) {
					t.Errorf("%s: %q shows a secret as %q", name, text, form)
				}
			}
		}
	}
}

func notations(secret []byte) []string {
	decimal := strings.Trim(fmt.Sprint(secret), "[]")
	return []string{
		string(secret),
		hex.EncodeToString(secret),
		fmt.Sprintf("% x", secret),
		strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte{"), "}"),
		decimal,
		strings.ReplaceAll(decimal, " ", ","),
		base64.RawURLEncoding.EncodeToString(secret)[:5],
		base64.RawStdEncoding.EncodeToString(secret)[:5],
	}
}

func TestTokensAllocateNothing(t *testing.T) {
	text, dst := []byte(sampleText), make([]byte, 0, EncodedLen)
	tests := map[string]func(){
		"Digest": func() { sample.Digest() },
		"Append": func() { sample.Append(dst) },
		"Parse": func() {
			if _, err := Parse(text); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, call := range tests {
		if got := testing.AllocsPerRun(100, call); got != 0 {
			t.Errorf("%s allocates %v times, want 0", name, got)
		}
	}
}
