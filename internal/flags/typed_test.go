package flags

import (
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"
)

// targets has a target for each type of value.
type targets struct {
	n     int
	limit int64
	d     time.Duration
	on    bool
	text  string
	level slog.Level
}

func TestValues(t *testing.T) {
	tests := []struct {
		name    string
		value   func(*targets) Value
		good    map[string]targets
		bad     []string
		kind    string
		allowed string
		needs   string
	}{
		{
			"Number", func(x *targets) Value { return Number(&x.n, 1, 10) },
			map[string]targets{"1": {n: 1}, "10": {n: 10}, "007": {n: 7}},
			[]string{"", "0", "11", "-1", "+1", "1.5", "1e1", "0x1", "1_0", " 1", "1 ", "x", "99999999999999999999"},
			"number", "1 … 10", "a whole number, 1 … 10",
		},
		{
			"PowerOfTwo", func(x *targets) Value { return PowerOfTwo(&x.n, 2, 16) },
			map[string]targets{"2": {n: 2}, "4": {n: 4}, "16": {n: 16}},
			[]string{"", "0", "1", "3", "32", "-2", "x"},
			"number", "a power of two, 2 … 16", "a power of two, 2 … 16",
		},
		{
			"Limit", func(x *targets) Value { return Limit(&x.limit) },
			map[string]targets{"0": {}, "9223372036854775807": {limit: 1<<63 - 1}},
			[]string{"", "-1", "9223372036854775808", "1KiB"},
			"number", "0 (no limit) … 9223372036854775807", "a whole number, 0 (no limit) … 9223372036854775807",
		},
		{
			"Size", func(x *targets) Value { return Size(&x.n, KiB, MiB) },
			map[string]targets{"1KiB": {n: 1024}, "1024": {n: 1024}, "1 MiB": {n: MiB}},
			[]string{"", "0", "1023", "1048577", "-1KiB", "1KB", "17179869184GiB"},
			"size", "1KiB … 1MiB", "a size, 1KiB … 1MiB",
		},
		{
			"SizeLimit", func(x *targets) Value { return SizeLimit(&x.limit, GiB) },
			map[string]targets{"0": {}, "1": {limit: 1}, "1GiB": {limit: GiB}},
			[]string{"", "-1", "2GiB", "50%"},
			"size", "0 (no limit) … 1GiB", "a size, 0 (no limit) … 1GiB",
		},
		{
			"Duration", func(x *targets) Value { return Duration(&x.d, 10*time.Millisecond, 24*time.Hour) },
			map[string]targets{"100ms": {d: 100 * time.Millisecond}, "1h30m": {d: 90 * time.Minute}, "1m30s": {d: 90 * time.Second},
				"1h 30min": {d: 90 * time.Minute}, "1day": {d: 24 * time.Hour}},
			[]string{"", "0", "10", "9ms", "24h 1ns", "-1s", "+1s", "200000d"},
			"duration", "10ms … 24h", "a duration with a unit, 10ms … 24h",
		},
		{
			"OptionalDuration", func(x *targets) Value { return OptionalDuration(&x.d, time.Minute, time.Hour) },
			map[string]targets{"0": {}, "0s": {}, "1min": {d: time.Minute}, "60m": {d: time.Hour}},
			[]string{"", "59s", "61min", "60"},
			"duration", "0 (none) or 1min … 1h", "a duration with a unit, 0 (none) or 1min … 1h",
		},
		{
			"Switch", func(x *targets) Value { return Switch(&x.on) },
			map[string]targets{"true": {on: true}, "false": {}},
			[]string{"", "1", "TRUE", "yes", "t"},
			"bool", "true or false", "true or false",
		},
		{
			"Text", func(x *targets) Value { return Text(&x.text) },
			map[string]targets{"": {}, " a\n": {text: " a\n"}},
			nil,
			"text", "any text", "any text",
		},
		{
			"Path", func(x *targets) Value { return Path(&x.text) },
			map[string]targets{"a": {text: "a"}, "/no/such file": {text: "/no/such file"}},
			[]string{""},
			"path", "a path", "a path",
		},
		{
			"Choice", func(x *targets) Value { return Choice(&x.text, "red", "green", "blue") },
			map[string]targets{"red": {text: "red"}, "blue": {text: "blue"}},
			[]string{"", "Red", "red,blue"},
			"name", "red, green or blue", "red, green or blue",
		},
		{
			"Level", func(x *targets) Value { return Level(&x.level) },
			map[string]targets{"debug": {level: slog.LevelDebug}, "info": {}, "warn": {level: slog.LevelWarn}, "error": {level: slog.LevelError}},
			[]string{"", "INFO", "info+1", "trace"},
			"level", "debug, info, warn or error", "debug, info, warn or error",
		},
		{
			"Listen", func(x *targets) Value { return Listen(&x.text) },
			map[string]targets{"[::1]": {text: "::1"}, "a.example": {text: "a.example"}, "::1:80": {text: "::1:80"},
				"127.0.0.1:0": {text: "127.0.0.1:0"}, "[::1]:65535": {text: "[::1]:65535"}, "localhost:80": {text: "localhost:80"},
				"unix:/run//a.sock": {text: "unix:/run/a.sock"}},
			[]string{"", ":80", "127.0.0.1:65536", "127.0.0.1:", "[::1]:x", "a b", "localhost:http", "http://localhost", "unix:", "unix:a", "unix:@a", "unix:/" + strings.Repeat("a", 200)},
			"host[:port]", "an IP address or a host name, or one with a port of 0 … 65535, or unix:/path", "an IP address or a host name, or one with a port of 0 … 65535, or unix:/path",
		},
		{
			"Address", func(x *targets) Value { return Address(&x.text) },
			map[string]targets{"[::1]:80": {text: "[::1]:80"}, "localhost:65535": {text: "localhost:65535"}},
			[]string{"", "localhost", ":80", "localhost:0", "localhost:65536"},
			"host:port", "host:port with a port of 1 … 65535", "host:port with a port of 1 … 65535",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for text, want := range tt.good {
				got := targets{}
				if err := tt.value(&got).Set(text); err != nil || got != want {
					t.Errorf("Set(%q) = %v, target %+v, want %+v", text, err, got, want)
				}
			}
			for _, text := range tt.bad {
				got, want := targets{}, "must be "+tt.needs
				if err := tt.value(&got).Set(text); err == nil || err.Error() != want || got != (targets{}) {
					t.Errorf("Set(%q) = %v, target %+v, want %q and no change", text, err, got, want)
				}
			}
			v := tt.value(new(targets))
			got, want := []string{v.Type(), v.Allowed(), v.Needs()}, []string{tt.kind, tt.allowed, tt.needs}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("texts = %q, want %q", got, want)
			}
		})
	}
}

func TestDefaultsAreShown(t *testing.T) {
	x := targets{n: 64 * KiB, limit: GiB, d: 90 * time.Second, on: true, text: "a", level: slog.LevelWarn}
	tests := []struct {
		value Value
		want  string
	}{
		{Number(&x.n, 1, MiB), "65536"},
		{Size(&x.n, 1, MiB), "64KiB"},
		{Limit(&x.limit), "1073741824"},
		{SizeLimit(&x.limit, GiB), "1GiB"},
		{Duration(&x.d, 0, time.Hour), "90s"},
		{Switch(&x.on), "true"},
		{Path(&x.text), "a"},
		{Level(&x.level), "warn"},
	}
	for _, tt := range tests {
		if got := tt.value.String(); got != tt.want {
			t.Errorf("String() of a %s = %q, want %q", tt.value.Type(), got, tt.want)
		}
	}
}
