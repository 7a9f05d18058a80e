package access

import (
	"encoding/base64"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func newGuard(t *testing.T, text string) *Guard {
	t.Helper()
	s, err := ParseSecrets([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return NewGuard(s, nil)
}

func TestAuthorizationHeader(t *testing.T) {
	g := newGuard(t, line("web", "open sesame", "")+line("colon", "a:b", ""))
	basic := func(pair string) string { return base64.StdEncoding.EncodeToString([]byte(pair)) }
	tests := []struct{ header, bearer, basic string }{
		{"Bearer open sesame", "web", ""},
		{"bEARER   open sesame ", "web", ""},
		{"Bearer", "", ""},
		{"Bearer ", "", ""},
		{"Beareropen sesame", "", ""},
		{"open sesame", "", ""},
		{"", "", ""},
		{"Bearer Bearer open sesame", "", ""},
		{"Basic " + basic("anybody:open sesame"), "", "web"},
		{"basic " + basic(":open sesame"), "", "web"},
		{"Basic " + basic("u:a:b"), "", "colon"},
		{"Basic " + basic("open sesame"), "", ""},
		{"Basic " + basic("u:") + "*", "", ""},
		{"Basic open sesame", "", ""},
		{"Bearer " + basic("u:open sesame"), "", ""},
	}
	for _, tt := range tests {
		if got := g.ByBearer([]byte(tt.header)); got.Name != tt.bearer {
			t.Errorf("ByBearer(%q) = %q, want %q", tt.header, got.Name, tt.bearer)
		}
		if got := g.ByBasic([]byte(tt.header)); got.Name != tt.basic {
			t.Errorf("ByBasic(%q) = %q, want %q", tt.header, got.Name, tt.basic)
		}
	}
}

func TestSecretsAreReplaced(t *testing.T) {
	g := newGuard(t, line("web", "old", ""))
	s, err := ParseSecrets([]byte(line("web", "new", "")))
	if err != nil {
		t.Fatal(err)
	}
	g.SetSecrets(s)
	if g.ByBearer([]byte("Bearer old")).Known() || !g.ByBearer([]byte("Bearer new")).Known() {
		t.Error("the old secret is good still, or the new one is not")
	}
	if NewGuard(nil, nil).ByBearer([]byte("Bearer new")).Known() {
		t.Error("a guard without secrets knows one")
	}
}

var (
	here  = &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}
	there = &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 1}
)

// TestRefuseWaits: those that fail together wait longer and longer, up to a second, and
// those of another address don't wait for them.
func TestRefuseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, delayed := NewGuard(nil, nil), NewDelayed(0)
		took := func(remote net.Addr) time.Duration {
			start := time.Now()
			g.Refuse(remote, delayed, nil)
			return time.Since(start)
		}
		for range 3 { // one after the other
			if got := took(here); got != failureDelay {
				t.Errorf("a failure waited %v, want %v", got, failureDelay)
			}
		}
		for range 100 {
			go g.Refuse(here, delayed, nil)
		}
		synctest.Wait()
		if got := took(here); got != maxDelay {
			t.Errorf("one of many failures waited %v, want %v", got, maxDelay)
		}
		if got := took(there); got != failureDelay {
			t.Errorf("a failure of another address waited %v, want %v", got, failureDelay)
		}
		if got := g.Refused(); got != 105 {
			t.Errorf("Refused() = %d, want 105", got)
		}
	})
}

func TestRefuseEndsEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, done, start := NewGuard(nil, nil), make(chan struct{}), time.Now()
		close(done)
		g.Refuse(here, NewDelayed(0), done)
		if got := time.Since(start); got != 0 {
			t.Errorf("Refuse waited %v after done, want 0", got)
		}
	})
}

// TestDelayedAreBounded: of very many that fail, some get their answer at once.
func TestDelayedAreBounded(t *testing.T) {
	for _, tt := range []struct{ connections, want int }{
		{0, maxDelayed}, {1, 1}, {7, 1}, {16, 4}, {50, 12}, {1 << 20, maxDelayed},
	} {
		synctest.Test(t, func(t *testing.T) {
			g, delayed := NewGuard(nil, nil), NewDelayed(tt.connections)
			for range tt.want {
				go g.Refuse(here, delayed, nil)
			}
			synctest.Wait()
			start := time.Now()
			if waited := g.Refuse(there, delayed, nil); waited || time.Since(start) != 0 {
				t.Errorf("of %d connections, one too many waited %v (%v), want 0", tt.connections, time.Since(start), waited)
			}
			if !g.Refuse(there, NewDelayed(tt.connections), nil) {
				t.Errorf("of %d connections of another listener none waits", tt.connections)
			}
			time.Sleep(2 * maxDelay)
			if got := delayed.now.Load(); got != 0 {
				t.Errorf("%d are waiting at the end, want 0", got)
			}
			if !g.Refuse(there, delayed, nil) {
				t.Error("none waits after the others have gone")
			}
		})
	}
}

func TestNetworks(t *testing.T) {
	tests := []struct {
		a, b net.Addr
		same bool
	}{
		{here, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1).To4(), Port: 99}, true},
		{here, there, false},
		{&net.TCPAddr{IP: net.ParseIP("2001:db8::1")}, &net.TCPAddr{IP: net.ParseIP("2001:db8::2")}, true},
		{&net.TCPAddr{IP: net.ParseIP("2001:db8:0:1::1")}, &net.TCPAddr{IP: net.ParseIP("2001:db8::1")}, false},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "a"}, &net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "b"}, true},
		{&net.UnixAddr{Name: "a"}, &net.UnixAddr{}, true},
		{nil, &net.UnixAddr{}, true},
	}
	for _, tt := range tests {
		if got := networkOf(tt.a) == networkOf(tt.b); got != tt.same {
			t.Errorf("%v and %v are one network: %v, want %v", tt.a, tt.b, got, tt.same)
		}
	}
}

// TestSecretsCostNoMemory: each request with a secret comes here.
func TestSecretsCostNoMemory(t *testing.T) {
	g, header := newGuard(t, manyLines(3)), []byte("Bearer 2")
	if got := testing.AllocsPerRun(100, func() {
		if !g.ByBearer(header).Known() {
			t.Fatal("the secret is not known")
		}
	}); got != 0 {
		t.Errorf("%v allocations a request, want 0", got)
	}
}

func BenchmarkByBearer(b *testing.B) {
	for _, n := range []int{1, MaxSecrets} {
		b.Run(fmt.Sprintf("secrets=%d", n), func(b *testing.B) {
			s, err := ParseSecrets([]byte(manyLines(n)))
			if err != nil {
				b.Fatal(err)
			}
			g, header := NewGuard(s, nil), []byte("Bearer 0")
			for b.Loop() {
				g.ByBearer(header)
			}
		})
	}
}
