package flags

import (
	"errors"
	"strings"
	"testing"
)

// config is what the flags of the tests choose.
type config struct {
	port    int
	file    string
	dump    bool
	version bool
}

var defaults = config{port: 3666, file: "default"}

// parse parses args and the variables of env with the flags of a config.
func parse(args []string, env map[string]string) (config, *Set, error) {
	c := defaults
	s := New("a-b", func(name string) string { return env[name] })
	s.Command(&c.version, "version", "", "print version")
	s.VarP(Number(&c.port, 0, 65535), "port", "p", "port to listen on")
	s.Var(Path(&c.file), "data-file", "file of data")
	s.VarP(Switch(&c.dump), "dump", "d", "allow dumps")
	err := s.Parse(args)
	return c, s, err
}

func TestParse(t *testing.T) {
	tests := []struct {
		name string
		args []string
		env  map[string]string
		want config
	}{
		{"nothing", nil, nil, defaults},
		{"flags", []string{"--port=1", "--data-file", "f", "--dump"}, nil, config{1, "f", true, false}},
		{"shorthands", []string{"-dp", "0"}, nil, config{0, "default", true, false}},
		{"shorthand with its value", []string{"-p80"}, nil, config{80, "default", false, false}},
		{"the last flag wins", []string{"-p1", "--port=2", "-d", "--dump=false"}, nil, config{2, "default", false, false}},
		{"a command", []string{"--version"}, nil, config{3666, "default", false, true}},
		{"variables", nil, map[string]string{"A_B_PORT": "1", "A_B_DATA_FILE": "f", "A_B_DUMP": "true"}, config{1, "f", true, false}},
		{"flags win over variables", []string{"--dump=false", "-p", "3666"}, map[string]string{"A_B_DUMP": "true", "A_B_PORT": "1"}, defaults},
		{"variables of given flags are not looked at", []string{"-p1"}, map[string]string{"A_B_PORT": "x"}, config{1, "default", false, false}},
		{"empty variables are unset", nil, map[string]string{"A_B_PORT": "", "A_B_DATA_FILE": "", "A_B_DUMP": ""}, defaults},
		{"no variables of commands", nil, map[string]string{"A_B_HELP": "true", "A_B_VERSION": "true"}, defaults},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, _, err := parse(tt.args, tt.env); err != nil || got != tt.want {
				t.Errorf("Parse(%q) with %v = %v, config %+v, want %+v", tt.args, tt.env, err, got, tt.want)
			}
		})
	}
}

// TestParseAll: all that is wrong is found, each once.
func TestParseAll(t *testing.T) {
	var c config
	s := New("a-b", func(name string) string { return map[string]string{"A_B_DATA_FILE": "f", "A_B_DUMP": "maybe"}[name] })
	s.VarP(Number(&c.port, 0, 65535), "port", "p", "port to listen on")
	s.Var(Path(&c.file), "data-file", "file of data")
	s.VarP(Switch(&c.dump), "dump", "d", "allow dumps")
	errs := s.ParseAll([]string{"-p", "x", "stray", "--nothing=1", "-test.v", "--port", "70000", "-zp", "1", "--port=80", "--data-file"})
	want := []string{`--port "x"`, `unexpected argument "stray"`, `unknown flag "--nothing"`, `unknown flag "-test.v"`, `--port "70000"`, `unknown flag "-z"`,
		`unexpected argument "1"`, "--data-file has no value", `A_B_DUMP "maybe"`}
	if len(errs) != len(want) {
		t.Fatalf("ParseAll = %q, want %q", errs, want)
	}
	for i := range want {
		if !strings.HasPrefix(errs[i].Error(), want[i]) {
			t.Errorf("error %d = %q, want %q", i, errs[i], want[i])
		}
	}
	if c.port != 80 || c.file != "f" {
		t.Errorf("config = %+v, want what is good of it", c)
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct {
		args []string
		env  map[string]string
		want string
	}{
		{[]string{"serve"}, nil, `unexpected argument "serve": only flags are allowed; see a-b --help`},
		{[]string{"--", "-p"}, nil, `unexpected argument "-p": only flags are allowed; see a-b --help`},
		{[]string{"-d", "false"}, nil, `unexpected argument "false": only flags are allowed; see a-b --help`},
		{[]string{"a\nb"}, nil, `unexpected argument "a\nb": only flags are allowed; see a-b --help`},
		{[]string{"--por", "1"}, nil, `unknown flag "--por"; see a-b --help`},
		{[]string{"--a\nb"}, nil, `unknown flag "--a\nb"; see a-b --help`},
		{[]string{"-dx"}, nil, `unknown flag "-x"; see a-b --help`},
		{[]string{"--x"}, nil, `unknown flag "--x"; see a-b --help`},
		{[]string{"-test.v"}, nil, `unknown flag "-test.v"; see a-b --help`},
		{[]string{"--=3"}, nil, `bad flag "--=3"; see a-b --help`},
		{[]string{"-p"}, nil, `--port has no value: must be a whole number, 0 … 65535`},
		{[]string{"-p", "a\nb"}, nil, `--port "a\nb": must be a whole number, 0 … 65535`},
		{[]string{"--data-file="}, nil, `--data-file "": must be a path`},
		{[]string{"--help=maybe"}, nil, `--help "maybe": must be true or false`},
		{nil, map[string]string{"A_B_PORT": "x\n"}, `A_B_PORT "x\n": must be a whole number, 0 … 65535`},
		{nil, map[string]string{"A_B_PORT": "x", "A_B_DUMP": "1"}, `A_B_PORT "x": must be a whole number, 0 … 65535`},
		{[]string{"--version"}, map[string]string{"A_B_DUMP": "1"}, `A_B_DUMP "1": must be true or false`},
	}
	for _, tt := range tests {
		if _, _, err := parse(tt.args, tt.env); err == nil || err.Error() != tt.want {
			t.Errorf("Parse(%q) with %v = %v, want %q", tt.args, tt.env, err, tt.want)
		}
	}
}

const wantUsages = `  -h, --help             print this help
      --version          print version
  -p, --port number      port to listen on; 0 … 65535 [A_B_PORT] (default 3666)
      --data-file path   file of data; a path [A_B_DATA_FILE] (default default)
  -d, --dump             allow dumps [A_B_DUMP]
`

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"-h"}, {"--help=true", "--version"}, {"-d", "--help", "-p", "1"}} {
		_, s, err := parse(args, map[string]string{"A_B_PORT": "nonsense"})
		if got := s.Usages(); !errors.Is(err, ErrHelp) || got != wantUsages {
			t.Errorf("Parse(%q) = %v, usages:\n%s\nwant help and:\n%s", args, err, got, wantUsages)
		}
	}
}

func TestNoVariables(t *testing.T) {
	t.Setenv("A_B_PORT", "1")
	port := 2
	s := New("a-b", nil)
	s.Var(Number(&port, 0, 10), "port", "port to listen on")
	if err := s.Parse(nil); err != nil || port != 2 {
		t.Errorf("Parse() = %v, port %d, want the default 2", err, port)
	}
	if got := s.Usages(); strings.Contains(got, "A_B_PORT") {
		t.Errorf("usages %q, want none with a variable", got)
	}
}
