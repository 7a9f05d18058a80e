package stack

import (
	"bytes"
	"runtime/debug"
	"strings"
	"testing"
)

func TestStrip(t *testing.T) {
	tests := []struct{ name, trace, want string }{
		{"arguments", "main.f(0xc000012345, {0x1, 0x2})\n\t/x/main.go:7 +0x1d\n", "main.f(…)\n\t/x/main.go:7 +0x1d\n"},
		{"method", "main.(*T).M(0xfedcba98, ...)\n\tf.go:1\n", "main.(*T).M(…)\n\tf.go:1\n"},
		{"closure", "main.(*T).M.func1()\n", "main.(*T).M.func1(…)\n"},
		{"generic", "main.g[...](0x1)\n", "main.g[...](…)\n"},
		{"panic", "panic({0x7b1e20?, 0xc0000140a8?})\n", "panic(…)\n"},
		{"goroutine", "goroutine 1 [running]:\n", "goroutine 1 [running]:\n"},
		{"created", "created by main.(*T).Go in goroutine 7\n\tf.go:3 +0x5\n", "created by main.(*T).Go in goroutine 7\n\tf.go:3 +0x5\n"},
		{"cut off", "main.f(0x12345", "main.f("},
		{"empty", "", ""},
	}
	for _, test := range tests {
		if got := string(Strip([]byte(test.trace))); got != test.want {
			t.Errorf("%s: Strip(%q) = %q, want %q", test.name, test.trace, got, test.want)
		}
	}
}

//go:noinline
func deep(secret [16]byte, n int, trace func() []byte) []byte {
	if n == 0 {
		return trace()
	}
	return deep(secret, n-1, trace)
}

func TestNoArgumentsAreLeft(t *testing.T) {
	secret := [16]byte([]byte("0123456789abcdef"))
	const word = "0x30, 0x31, 0x32, 0x33" // of secret, as the runtime prints it
	if raw := deep(secret, 3, debug.Stack); !bytes.Contains(raw, []byte(word)) {
		t.Fatalf("the runtime's own trace has no %s: the test shows nothing: %s", word, raw)
	}
	for name, trace := range map[string]func() []byte{"Current": Current, "All": All} {
		got := string(deep(secret, 3, trace))
		if strings.Contains(got, word) {
			t.Errorf("%s has an argument in it: %s", name, got)
		}
		if !strings.Contains(got, "stack.deep(…)") || !strings.Contains(got, "stack_test.go") {
			t.Errorf("%s does not name function and file: %s", name, got)
		}
	}
}
