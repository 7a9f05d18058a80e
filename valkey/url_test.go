package valkey

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	tests := []struct {
		text string
		want Engine
	}{
		{"valkey://h", Engine{Hosts: []string{"h:6379"}}},
		{"redis://127.0.0.1:7000", Engine{Hosts: []string{"127.0.0.1:7000"}}},
		{"rediss://h", Engine{Hosts: []string{"h:6379"}, TLS: true}},
		{"valkeys://h:1/3", Engine{Hosts: []string{"h:1"}, TLS: true, DB: 3}},
		{"valkey://a,b:2,[::1]:3,[::1]", Engine{Hosts: []string{"a:6379", "b:2", "[::1]:3", "[::1]:6379"}}},
		{"valkey://u:p%40s%2F@h", Engine{Hosts: []string{"h:6379"}, Username: "u", Password: "p@s/"}},
		{"valkey://:p@h", Engine{Hosts: []string{"h:6379"}, Password: "p"}},
		{"valkey://a,b?sentinel=main", Engine{Hosts: []string{"a:26379", "b:26379"}, Sentinel: "main"}},
		{"valkey://h/0?prefix=app%3A", Engine{Hosts: []string{"h:6379"}, Prefix: "app:"}},
	}
	for _, test := range tests {
		if got, err := ParseURL(test.text); err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("ParseURL(%q) = %v, error %v, want %v", test.text, got, err, test.want)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	for _, text := range []string{
		"", "h", "h:6379", "http://h", "valkey:h", "valkey://", "valkey://a,,b", "valkey://h:0", "valkey://h:65536", "valkey://h:x",
		"valkey://h/x", "valkey://h/-1", "valkey://h/1/2", "valkey://h?prefix={a}", "valkey://h?what=1", "valkey://h?sentinel=",
		"valkey://h?prefix=a&prefix=b", "valkey://u:secret%zz@h", "valkey://u:secret@h:0", "valkey://u:secret@h?prefix=" + strings.Repeat("x", 65),
	} {
		e, err := ParseURL(text)
		if err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") {
			t.Errorf("ParseURL(%q) = %v, error %v, want one line without the password", text, e, err)
		}
	}
}

func TestEnginePrintsNoPassword(t *testing.T) {
	e, err := ParseURL("valkey://user:secret@h:1/2?sentinel=main")
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		for _, text := range []string{fmt.Sprintf(verb, e), fmt.Sprintf(verb, &e), fmt.Sprintf(verb, Config{Engine: e})} {
			if strings.Contains(text, "secret") {
				t.Errorf("%s prints %s", verb, text)
			}
		}
	}
	if got, want := e.String(), "valkey://h:1/2?sentinel=main"; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
}
