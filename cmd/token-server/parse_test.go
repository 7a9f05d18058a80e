package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenserver/internal/flags"
)

// parse runs ParseFlags with args and the variables of env.
func parse(args []string, env map[string]string) (m *Main, stdout string, err error) {
	var out bytes.Buffer
	m = &Main{Stdout: &out, Environ: environ(env)}
	err = m.ParseFlags(args)
	return m, out.String(), err
}

// environ returns env as os.Environ does.
func environ(env map[string]string) (list []string) {
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	return list
}

var flagNames = []string{
	"help", "version", "dump", "port", "purge-interval", "token-lifetime", "address", "socket-mode", "shards", "max-body",
	"max-meta", "max-batch", "max-batch-body", "max-tokens", "max-memory", "max-connections", "drain-delay",
	"grace", "on-reuse", "max-lifetime", "secret-file",
	"data-dir", "fsync", "valkey", "valkey-timeout", "valkey-wait",
	"auth-file", "tls-cert", "tls-key", "tls-client-ca", "tls-admin", "caller-secret-file", "insecure", "log-level", "log-format", "admin-address", "admin-host", "pprof",
}

// flagInHelp matches the beginning of a flag's line.
var flagInHelp = regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z-]+)`)

func TestFlagNames(t *testing.T) {
	_, help, _ := parse([]string{"--help"}, nil)
	var got []string
	for _, match := range flagInHelp.FindAllStringSubmatch(help, -1) {
		got = append(got, match[1])
	}
	if !slices.Equal(got, flagNames) {
		t.Errorf("flags = %v, want %v", got, flagNames)
	}
}

func TestHelp(t *testing.T) {
	_, want, _ := parse([]string{"--help"}, nil)
	for _, name := range flagNames {
		variable := "TOKEN_SERVER_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		command := name == "help" || name == "version"
		if !strings.Contains(want, "--"+name) || strings.Contains(want, "["+variable+"]") == command {
			t.Errorf("help has no --%s, or %s is wrong: %s", name, variable, want)
		}
	}
	for _, part := range []string{
		"-h,", "-d,", "-p,", "-P,", "-t,",
		"(default 3666)", "(default 1min)", "(default 2h)", "(default 127.0.0.1)", "(default 64KiB)", "(default 0s)",
		"(default info)", "(default text)", "(default 127.0.0.1:3667)", "0 … 65535", "1s … 90min", "30min … 96h",
		"1 … 65536", "1KiB … 16MiB", "0s … 5min", "0 (no limit)", "half of the memory",
	} {
		if !strings.Contains(want, part) {
			t.Errorf("help has no %q: %s", part, want)
		}
	}
	tests := []struct {
		args []string
		env  map[string]string
	}{
		{args: []string{"-h"}},
		{args: []string{"--help=true", "--version"}},
		{args: []string{"-d", "-h", "-p", "1"}},
		{args: []string{"-h"}, env: map[string]string{"TOKEN_SERVER_PORT": "nonsense"}},
	}
	for _, tt := range tests {
		if _, got, err := parse(tt.args, tt.env); got != want || !errors.Is(err, flags.ErrHelp) {
			t.Errorf("ParseFlags(%q) with %v = %v, printed %q, want the help", tt.args, tt.env, err, got)
		}
	}
}

func TestVersionFlag(t *testing.T) {
	want := "token-server " + currentBuild().String() + "\n"
	for _, env := range []map[string]string{nil, {"TOKEN_SERVER_VERSION": "1.2.3"}} {
		if _, got, err := parse([]string{"--version"}, env); got != want || !errors.Is(err, flags.ErrHelp) {
			t.Errorf("ParseFlags(--version) with %v = %v, printed %q, want %q", env, err, got, want)
		}
	}
}

func TestDefaults(t *testing.T) {
	m, stdout, err := parse(nil, nil)
	if err != nil || stdout != "" {
		t.Fatalf("ParseFlags() = %v, printed %q, want nil and nothing", err, stdout)
	}
	if !reflect.DeepEqual(m.Config, defaultConfig()) {
		t.Errorf("Config = %+v, want %+v", m.Config, defaultConfig())
	}
}

// sample sets every flag to something else than its default, but for files that must be
// there.
var sample = []struct{ name, value string }{
	{"dump", "true"}, {"port", "8080"}, {"purge-interval", "30s"}, {"token-lifetime", "1h 30min"}, {"address", "::1"},
	{"shards", "4"}, {"max-body", "1MiB"}, {"max-meta", "2048"}, {"max-batch", "10"}, {"max-batch-body", "2MiB"}, {"max-tokens", "1000"}, {"max-memory", "1GiB"},
	{"max-connections", "500"}, {"drain-delay", "2.5s"}, {"grace", "5s"}, {"on-reuse", "revoke"}, {"max-lifetime", "7days"},
	{"data-dir", "/var/lib/tokens"}, {"fsync", "everysec"}, {"valkey-timeout", "2s"}, {"valkey-wait", "true"},
	{"log-level", "debug"}, {"log-format", "json"}, {"admin-address", "off"},
	{"caller-secret-file", "/run/secrets/ops"}, {"socket-mode", "0600"}, {"insecure", "true"}, {"admin-host", "admin.example"}, {"pprof", "off"},
}

var sampleConfig = Config{
	Dump: true, Port: 8080, PurgeInterval: 30 * time.Second, TokenLifetime: 90 * time.Minute, Addresses: []string{"::1"},
	Shards: 4, MaxBody: flags.MiB, MaxMeta: 2048, MaxBatch: 10, MaxBatchBody: 2 * flags.MiB, MaxTokens: 1000, MaxMemory: flags.GiB,
	MaxConnections: 500, DrainDelay: 2500 * time.Millisecond, Grace: 5 * time.Second, OnReuse: "revoke", MaxLifetime: 7 * 24 * time.Hour,
	DataDir: "/var/lib/tokens", Fsync: "everysec", ValkeyTimeout: 2 * time.Second, ValkeyWait: true,
	LogLevel: LogLevel{Level: slog.LevelDebug}, LogFormat: "json", AdminAddress: "off",
	CallerSecretFile: "/run/secrets/ops", SocketMode: 0o600, Insecure: true, AdminHosts: []string{"admin.example"}, Pprof: "off",
}

func TestEveryFlagAndVariable(t *testing.T) {
	if got, want := len(sample), len(flagNames)-9; got != want {
		t.Fatalf("sample has %d flags, want %d: all but help, version, six of files, and valkey, which stands beside no data-dir", got, want)
	}
	var args []string
	env, bad := map[string]string{}, map[string]string{}
	for _, s := range sample {
		variable := "TOKEN_SERVER_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
		args = append(args, "--"+s.name+"="+s.value)
		env[variable], bad[variable] = s.value, "nonsense"
	}
	tests := []struct {
		name string
		args []string
		env  map[string]string
	}{
		{"flags", args, nil},
		{"variables", nil, env},
		{"flags win over variables, which are not even looked at", args, bad},
		{"the last flag wins", append([]string{"-p1", "-t2h", "-P=5s"}, args...), nil},
	}
	for _, tt := range tests {
		if m, _, err := parse(tt.args, tt.env); err != nil || !reflect.DeepEqual(m.Config, sampleConfig) {
			t.Errorf("%s: ParseFlags() = %v, Config = %+v, want %+v", tt.name, err, m.Config, sampleConfig)
		}
	}
}

func TestShorthands(t *testing.T) {
	m, _, err := parse([]string{"-dp", "0", "-P", "5s", "-t45min"}, nil)
	want := defaultConfig()
	want.Dump, want.Port, want.PurgeInterval, want.TokenLifetime = true, 0, 5*time.Second, 45*time.Minute
	if err != nil || !reflect.DeepEqual(m.Config, want) {
		t.Errorf("ParseFlags() = %v, Config = %+v, want %+v", err, m.Config, want)
	}
}

// An image that has its own version in TOKEN_SERVER_VERSION runs the server.
func TestCommandsComeFromNoVariable(t *testing.T) {
	for _, value := range []string{"true", "false", "1.2.3"} {
		env := map[string]string{"TOKEN_SERVER_HELP": value, "TOKEN_SERVER_VERSION": value}
		if m, stdout, err := parse(nil, env); err != nil || stdout != "" || !reflect.DeepEqual(m.Config, defaultConfig()) {
			t.Errorf("ParseFlags() with %v = %v, printed %q, Config = %+v, want the defaults", env, err, stdout, m.Config)
		}
	}
}

func TestServiceLinkIsIgnored(t *testing.T) {
	env := map[string]string{}
	for _, protocol := range []string{"udp", "sctp", "tcp"} {
		env["TOKEN_SERVER_PORT"] = protocol + "://10.0.0.7:3666"
		m, _, err := parse(nil, env)
		if err != nil || m.Config.Port != 3666 || strings.Join(m.ignored, " ") != "TOKEN_SERVER_PORT" {
			t.Errorf("ParseFlags() with %v = %v, Port = %d, ignored = %q, want port 3666 and a warning", env, err, m.Config.Port, m.ignored)
		}
	}
	m, _, err := parse([]string{"-p", "80"}, env)
	if err != nil || m.Config.Port != 80 || m.ignored != nil {
		t.Errorf("ParseFlags(-p 80) = %v, Port = %d, ignored = %q, want port 80 and no warning", err, m.Config.Port, m.ignored)
	}
	env["TOKEN_SERVER_SHARDS"] = "tcp://10.0.0.7:3666"
	if _, _, err = parse(nil, env); err == nil {
		t.Error("a service link in TOKEN_SERVER_SHARDS was accepted, want an error")
	}
}

// valueTests has the ends of every range, and what lies beyond. The last part
// of allowed is what an error must say.
var valueTests = []struct {
	name      string
	good, bad []string
	allowed   string
}{
	{"dump", []string{"true", "false"}, []string{"1", "TRUE", "yes", "t"}, "must be true or false"},
	{"port", []string{"0", "65535"}, []string{"-1", "65536", "x", "1.5", "0x10", "+1", "99999999999999999999", " 1"}, "must be a whole number, 0 … 65535"},
	{"purge-interval", []string{"1s", "90min"}, []string{"999ms", "90min 1ns", "0", "60", "-1s"}, "must be a duration with a unit, 1s … 90min"},
	{"token-lifetime", []string{"30min", "96h", "4days"}, []string{"1799s", "96h 1ns", "0", "7200", "-2h", "200000d"}, "must be a duration with a unit, 30min … 96h"},
	{"address", []string{"::", "a.example", "127.0.0.1:0", "[::1]:65535", "unix:/run/a"}, []string{"unix:run", "127.0.0.1:65536", ":80", "a b"}, "must be an IP address or a host name, or one with a port of 0 … 65535, or unix:/path"},
	{"shards", []string{"1", "2", "65536"}, []string{"0", "3", "131072", "-2", "x"}, "must be a power of two, 1 … 65536"},
	{"max-body", []string{"1KiB", "1024", "16MiB"}, []string{"0", "1023", "16777217", "-1KiB", "1KB", "17179869184GiB"}, "must be a size, 1KiB … 16MiB"},
	{"max-meta", []string{"1KiB", "1024B", "16MiB"}, []string{"0", "1023B", "16777217", "64k"}, "must be a size, 1KiB … 16MiB"},
	{"max-batch", []string{"1", "4096"}, []string{"0", "4097", "-1"}, "must be a whole number, 1 … 4096"},
	{"max-batch-body", []string{"1KiB", "64MiB"}, []string{"1023", "65MiB"}, "must be a size, 1KiB … 64MiB"},
	{"max-tokens", []string{"0", "1", "9223372036854775807"}, []string{"-1", "9223372036854775808", "1KiB"}, "must be a whole number, 0 (no limit) … 9223372036854775807"},
	{"max-memory", []string{"0", "1", "1048576GiB"}, []string{"-1", "1048577GiB", "50%"}, "must be a size, 0 (no limit) … 1048576GiB"},
	{"drain-delay", []string{"0", "0s", "5min"}, []string{"5", "300001ms", "-1s"}, "must be a duration with a unit, 0s … 5min"},
	{"grace", []string{"0", "1ms", "60s", "1min"}, []string{"5", "60001ms", "-1s"}, "must be a duration with a unit, 0s … 1min"},
	{"on-reuse", []string{"reject"}, []string{"Revoke", "ignore"}, "must be reject or revoke"},
	{"max-lifetime", []string{"0", "30min", "365days"}, []string{"29min", "8761h", "3600"}, "must be a duration with a unit, 0 (none) or 30min … 8760h"},
	{"fsync", []string{"always", "everysec"}, []string{"Always", "no", "1s", "everysecond"}, "must be always or everysec"},
	{"valkey-timeout", []string{"50ms", "10s"}, []string{"49ms", "10001ms", "1"}, "must be a duration with a unit, 50ms … 10s"},
	{"log-level", []string{"debug", "info", "warn", "error"}, []string{"INFO", "info+1", "trace", "@"}, "must be debug, info, warn or error, or @FILE with one of them in its first line"},
	{"log-format", []string{"text", "json"}, []string{"JSON", "xml"}, "must be text or json"},
	{"admin-address", []string{"off", "localhost:0", "[::1]:65535", "unix:/run/a"}, []string{"localhost", "localhost:65536", "on", "unix:a"}, "must be host:port with a port of 0 … 65535, unix:/path, or off"},
	{"socket-mode", []string{"0000", "0777", "660"}, []string{"0888", "1777", "66", "0o660", "-rw-rw----"}, "must be an octal number, 0000 … 0777"},
	{"admin-host", []string{"a.example", "a"}, []string{"a b", "a:80", "http://a"}, "must be a host name"},
	{"pprof", []string{"on", "off"}, []string{"true", "false", "ON"}, "must be on or off"},
}

func TestValues(t *testing.T) {
	for _, tt := range valueTests {
		variable := "TOKEN_SERVER_" + strings.ToUpper(strings.ReplaceAll(tt.name, "-", "_"))
		for _, v := range tt.good {
			if _, _, err := parse([]string{"--" + tt.name + "=" + v}, nil); err != nil {
				t.Errorf("--%s=%s: %v, want no error", tt.name, v, err)
			}
			if _, _, err := parse(nil, map[string]string{variable: v}); err != nil {
				t.Errorf("%s=%s: %v, want no error", variable, v, err)
			}
		}
		for _, v := range tt.bad {
			want := `--` + tt.name + ` "` + v + `": ` + tt.allowed
			if _, _, err := parse([]string{"--" + tt.name + "=" + v}, nil); err == nil || err.Error() != want {
				t.Errorf("--%s=%s: error %v, want %q", tt.name, v, err, want)
			}
			want = variable + ` "` + v + `": ` + tt.allowed
			if _, _, err := parse(nil, map[string]string{variable: v}); err == nil || err.Error() != want {
				t.Errorf("%s=%s: error %v, want %q", variable, v, err, want)
			}
		}
		if tt.name == "dump" {
			continue
		}
		want := "--" + tt.name + " has no value: " + tt.allowed
		if _, _, err := parse([]string{"--" + tt.name}, nil); err == nil || err.Error() != want {
			t.Errorf("--%s: error %v, want %q", tt.name, err, want)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	tests := []struct {
		args []string
		env  map[string]string
		want string // part of the one line
	}{
		{[]string{"serve"}, nil, `unexpected argument "serve"`},
		{[]string{"--version", "now"}, nil, `unexpected argument "now"`},
		{[]string{"--dump", "false"}, nil, `unexpected argument "false"`},
		{[]string{"--", "-p"}, nil, `unexpected argument "-p"`},
		{[]string{""}, nil, `unexpected argument ""`},
		{[]string{"--fsync=never"}, nil, `--fsync "never": must be always or everysec`},
		{[]string{"--data-dir="}, nil, `--data-dir "": must be`},
		{[]string{"--on-reuse=revoke"}, nil, `--on-reuse "revoke": needs a --grace`},
		{[]string{"--grace=0", "--on-reuse=revoke"}, nil, `--on-reuse "revoke": needs a --grace`},
		{nil, map[string]string{"TOKEN_SERVER_ON_REUSE": "revoke"}, `--on-reuse "revoke": needs a --grace`},
		{[]string{"--secret-file=no-such-file"}, nil, `--secret-file "no-such-file": must be a file of 32 bytes`},
		{[]string{"--secret-file=."}, nil, `--secret-file ".": must be a file of 32 bytes`},
		{[]string{"--secret-file="}, nil, `--secret-file "": must be a path`},
		{[]string{"--secret-file=a", "--secret-file=b", "--secret-file=c"}, nil, `--secret-file "c": given too often`},
		{nil, map[string]string{"TOKEN_SERVER_SECRET_FILE": "a,b,c"}, `--secret-file "c": given too often`},
		{[]string{"--valkey="}, nil, `--valkey "": must be valkey://[user:password@]host`},
		{[]string{"--valkey=http://h"}, nil, `--valkey "http://h": must be valkey://`},
		{[]string{"--valkey=valkey://u:secret@h:x"}, nil, `--valkey "valkey://…@h:x": each host must be`},
		{nil, map[string]string{"TOKEN_SERVER_VALKEY": "u:secret@h"}, `--valkey "…@h": must be valkey://`},
		{[]string{"--valkey=valkey://u:secret@h", "--data-dir=d"}, nil, `--valkey "valkey://…@h": can't be together with --data-dir`},
		{[]string{"--valkey=valkey://h", "--grace=5s"}, nil, `--grace "5s": needs a --secret-file with --valkey`},
		{[]string{"--auth-file=no-such-file"}, nil, `--auth-file "no-such-file": must be a file owned by`},
		{[]string{"--tls-cert=c"}, nil, `--tls-cert and --tls-key go together`},
		{[]string{"--tls-key=k"}, nil, `--tls-cert and --tls-key go together`},
		{[]string{"--tls-cert=no-such-file", "--tls-key=k"}, nil, `--tls-cert "no-such-file": open`},
		{[]string{"--tls-client-ca=ca"}, nil, `--tls-client-ca "ca": needs --tls-cert`},
		{[]string{"--tls-admin=ops"}, nil, `--tls-admin "ops": needs --tls-client-ca`},
		{[]string{"--log-level=@no-such-file"}, nil, `--log-level "@no-such-file": open`},
		{[]string{"secret", "a", "b"}, nil, `unexpected argument "b"`},
		{[]string{"secret", "a:b"}, nil, `secret "a:b": a name must have`},
		{[]string{"--dump", "check"}, nil, `unexpected argument "check"`},
		{[]string{"--por", "1"}, nil, `unknown flag "--por"`},
		{[]string{"--a\nb"}, nil, `unknown flag "--a\nb"`},
		{[]string{"-x"}, nil, `unknown flag "-x"`},
		{[]string{"-dx"}, nil, `unknown flag "-x"`},
		{[]string{"--x"}, nil, `unknown flag "--x"`},
		{[]string{"-test.v"}, nil, `unknown flag "-test.v"`},
		{[]string{"--=3"}, nil, `bad flag "--=3"`},
		{[]string{"-p"}, nil, `--port has no value`},
		{[]string{"-p", "a\nb"}, nil, `--port "a\nb": must be`},
		{[]string{"--address="}, nil, `--address "": must be`},
		{[]string{"--address=::1", "--address=[::1]:3666"}, nil, `--address "[::1]:3666": given twice`},
		{[]string{"--address=127.0.0.1", "--admin-address=127.0.0.1:3666"}, nil, `--admin-address "127.0.0.1:3666": can't be together with --address "127.0.0.1:3666": both need the same socket`},
		{[]string{"--address=unix:/run/a", "--admin-address=unix:/run//a"}, nil, `--admin-address "unix:/run/a": can't be together with --address "unix:/run/a"`},
		{[]string{"--port=3667"}, nil, `--admin-address "127.0.0.1:3667": can't be together with --address "127.0.0.1:3667"`},
		{[]string{"--help=maybe"}, nil, `--help "maybe": must be true or false`},
		{[]string{"--version"}, map[string]string{"TOKEN_SERVER_PORT": "x"}, `TOKEN_SERVER_PORT "x": must be`},
	}
	for _, tt := range tests {
		var stdout, stderr bytes.Buffer
		m := &Main{Stdout: &stdout, Stderr: &stderr, Environ: environ(tt.env)}
		if got := m.Execute(context.Background(), tt.args); got != exitUsage {
			t.Errorf("Execute(%q) with %v = %d, want %d", tt.args, tt.env, got, exitUsage)
		}
		line, more, _ := strings.Cut(stderr.String(), "\n")
		if !strings.HasPrefix(line, "token-server: "+tt.want) || more != "" || stdout.Len() > 0 {
			t.Errorf("Execute(%q) with %v wrote %q and %q, want one line with %q on stderr",
				tt.args, tt.env, stderr.String(), stdout.String(), tt.want)
		}
	}
}

func TestMisspeltVariables(t *testing.T) {
	tests := []struct{ name, value, nearest string }{
		{"TOKEN_SERVER_MAX_MEMROY", "1GiB", "TOKEN_SERVER_MAX_MEMORY"},
		{"TOKEN_SERVER_DATADIR", "/d", "TOKEN_SERVER_DATA_DIR"},
		{"TOKEN_SERVER_LIFETIME", "2h", "TOKEN_SERVER_MAX_LIFETIME"},
		{"TOKEN_SERVER_PORTS", "1", "TOKEN_SERVER_PORT"},
		{"TOKEN_SERVER_admin_address", "off", "TOKEN_SERVER_ADMIN_ADDRESS"},
		{"TOKEN_SERVER_ADMIN_PORT", "3667", "TOKEN_SERVER_ADMIN_HOST"},
		{"TOKEN_SERVER_", "x", "TOKEN_SERVER_DUMP"},
		// Not meant for us, or known.
		{"TOKEN_SERVER_MAX_MEMROY", "", ""}, // as if unset
		{"TOKEN_SERVER_HELP", "1", ""},
		{"TOKEN_SERVER_VERSION", "1.2", ""},
		{"TOKEN_SERVER_VALKEY_PASSWORD", "secret", ""},
		{"TOKEN_SERVER_SERVICE_HOST", "10.0.0.7", ""},
		{"TOKEN_SERVER_SERVICE_PORT_HTTP", "3666", ""},
		{"TOKEN_SERVER_PORT_3666_TCP_ADDR", "10.0.0.7", ""},
		{"TOKEN_SERVER_PORT_3666_TCP", "tcp://10.0.0.7:3666", ""},
		{"TOKEN_SERVER_ADMIN_PORT", "tcp://10.0.0.7:3667", ""},
		{"TOKEN_SERVER_ADMIN_SERVICE_HOST", "10.0.0.7", ""},
		{"TOKEN_SERVER_ADMIN_PORT_3667_TCP_PROTO", "tcp", ""},
		{"TOKEN_SERVERS", "x", ""},
		{"SERVER_PORT", "x", ""},
	}
	for _, tt := range tests {
		m, _, err := parse(nil, map[string]string{tt.name: tt.value})
		if err != nil {
			t.Fatal(err)
		}
		var want []flags.UnknownVariable
		if tt.nearest != "" {
			want = []flags.UnknownVariable{{Name: tt.name, Nearest: tt.nearest}}
		}
		if !slices.Equal(m.misspelt, want) {
			t.Errorf("with %s=%s misspelt = %v, want %v", tt.name, tt.value, m.misspelt, want)
		}
	}
}

func TestMisspeltVariableIsWarnedOf(t *testing.T) {
	log := new(buffer)
	m := &Main{Stdout: io.Discard, Stderr: log, Environ: []string{"TOKEN_SERVER_SECRETFILE=/etc/secret", "TOKEN_SERVER_PORT=0"}}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	keepMemoryLimit(t)
	if got := m.Execute(ctx, []string{"--admin-address=off"}); got != exitOK {
		t.Fatalf("Execute() = %d, want %d; log:\n%s", got, exitOK, log)
	}
	want := "name=TOKEN_SERVER_SECRETFILE nearest=TOKEN_SERVER_SECRET_FILE"
	if strings.Count(log.String(), want) != 1 || strings.Contains(log.String(), "/etc/secret") {
		t.Errorf("log has not %q once, or has the value:\n%s", want, log)
	}
}
