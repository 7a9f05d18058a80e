package durable

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tokenserver/token"
)

// diskConfig is a store on disk, in a data directory that is not there yet.
func diskConfig(t testing.TB) Config {
	cfg := memConfig(nil)
	cfg.Dir = filepath.Join(t.TempDir(), "parent", "sessions")
	return cfg
}

func TestLockedWithinTheProcess(t *testing.T) {
	for name, cfg := range map[string]Config{"memory": memConfig(vfs.NewMem()), "disk": diskConfig(t)} {
		s := mustOpen(t, cfg)
		if _, err := Open(cfg); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), cfg.Dir) {
			t.Errorf("%s: Open of an open data directory = error %v, want %v and the data directory", name, err, ErrLocked)
		}
		mustClose(t, s)
		mustClose(t, mustOpen(t, cfg))
	}
}

const holderVariable = "DURABLE_HOLD"

// TestHolder is run by TestLockedByAnotherProcess, in a process of its own: it
// holds a data directory until its input ends.
func TestHolder(t *testing.T) {
	dir := os.Getenv(holderVariable)
	if dir == "" {
		t.Skip("run by TestLockedByAnotherProcess")
	}
	cfg := memConfig(nil)
	cfg.Dir = dir
	s := mustOpen(t, cfg)
	os.Stdout.WriteString("\nheld\n")
	io.Copy(io.Discard, os.Stdin)
	mustClose(t, s)
}

func TestLockedByAnotherProcess(t *testing.T) {
	cfg := diskConfig(t)
	defer startHolder(t, "TestHolder", holderVariable+"="+cfg.Dir)()
	if _, err := Open(cfg); !errors.Is(err, ErrLocked) {
		t.Errorf("Open of a data directory that another process has open = error %v, want %v", err, ErrLocked)
	}
}

// startHolder starts a process that holds something, by running a test, and returns
// what ends it.
func startHolder(t *testing.T, test, variable string) (release func()) {
	t.Helper()
	holder := exec.Command(os.Args[0], "-test.run=^"+test+"$")
	holder.Env = append(os.Environ(), variable)
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "held" {
	}
	return func() {
		in.Close()
		holder.Wait()
	}
}

func TestForeignDataDirs(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  error
	}{
		{"empty", nil, nil},
		{"root of a disk", map[string]string{"lost+found": ""}, nil},
		{"hidden files", map[string]string{".gitkeep": "", ".nfs00000000": "x", "lost+found": "", ".old.sst": "x"}, nil},
		{"claim that a crash has ended", map[string]string{"FORMAT.tmp": "token"}, nil},
		{"somebody else's", map[string]string{"README": "hello"}, ErrVersion},
		{"another Pebble database", map[string]string{"marker.manifest.000001.MANIFEST-000001": "", "MANIFEST-000001": ""}, ErrVersion},
		{"a later version", map[string]string{"FORMAT": "token-server 3\n"}, ErrVersion},
		{"another program", map[string]string{"FORMAT": "something"}, ErrVersion},
		{"empty format", map[string]string{"FORMAT": ""}, ErrVersion},
		{"a later Pebble", map[string]string{"FORMAT": format, "marker.format-version.000011.999": ""}, ErrVersion},
		{"data without a manifest", map[string]string{"FORMAT": format, "000005.sst": "data"}, ErrCorrupt},
		{"manifest gone", map[string]string{"FORMAT": format, "marker.manifest.000001.MANIFEST-000001": ""}, ErrCorrupt},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg := diskConfig(t)
			if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
			for name, content := range test.files {
				if err := os.WriteFile(filepath.Join(cfg.Dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s, err := Open(cfg)
			if !errors.Is(err, test.want) {
				t.Errorf("Open = error %v, want %v", err, test.want)
			}
			if err == nil {
				mustClose(t, s)
			}
		})
	}
}

// TestForeignDataDirsAreLeftAlone: a slip in a path must not take a data directory from
// those who use it.
func TestForeignDataDirsAreLeftAlone(t *testing.T) {
	cfg := diskConfig(t)
	file := filepath.Join(cfg.Dir, "README")
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{cfg.Dir: 0o755, file: 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		cfg := cfg
		cfg.Dir = path
		if _, err := Open(cfg); err == nil {
			t.Errorf("Open(%s) = no error", path)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("after Open(%s) its mode is %v, want %#o", path, info.Mode(), mode)
		}
	}
	if entries, err := os.ReadDir(cfg.Dir); err != nil || len(entries) != 1 {
		t.Errorf("after Open there are %v, want the file that was there", entries)
	}
}

func TestDataDirIsAFile(t *testing.T) {
	cfg := diskConfig(t)
	cfg.Dir = filepath.Dir(filepath.Dir(cfg.Dir)) + "/file"
	if err := os.WriteFile(cfg.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), cfg.Dir) {
		t.Errorf("Open of a file = error %v, want one with its name", err)
	}
}

func TestModes(t *testing.T) {
	cfg := diskConfig(t)
	cfg.MemTableBytes = 32 << 10 // so that there are logs, tables and manifests
	cfg.Store.Grace = time.Second
	s := mustOpen(t, cfg)
	for range 2000 {
		if _, err := s.Create(t.Context(), token.NewSession{Meta: []byte(`{"name":"somebody"}`)}); err != nil {
			t.Fatal(err)
		}
	}
	checkModes(t, cfg.Dir)
	mustClose(t, s)
	checkModes(t, cfg.Dir)
}

func checkModes(t *testing.T, dir string) {
	t.Helper()
	files := 0
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // deleted meanwhile
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		want := os.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %#o, want %#o", path, got, want)
		}
		files++
		return nil
	})
	if files < 8 {
		t.Errorf("there are %d files, want more", files)
	}
}

func TestOpenDataDirIsTightened(t *testing.T) {
	var log bytes.Buffer
	cfg := diskConfig(t)
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	os.Chmod(cfg.Dir, 0o755)
	mustClose(t, mustOpen(t, cfg))
	checkModes(t, cfg.Dir)
	if !strings.Contains(log.String(), "mode=-rwxr-xr-x") {
		t.Errorf("the log says %q, nothing of the mode", log.String())
	}
}

func TestFreeSpace(t *testing.T) {
	fs := vfs.NewMem()
	cfg := memConfig(fs)
	cfg.MinFree = 1000
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 999})
	if _, err := Open(cfg); !errors.Is(err, ErrNoSpace) {
		t.Fatalf("Open with 999 bytes free = error %v, want %v", err, ErrNoSpace)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1000})
	s := mustOpen(t, cfg)
	defer mustClose(t, s)
	for _, avail := range []uint64{1000, 999, 0, 1 << 40} {
		fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: avail, TotalBytes: 1})
		if err := s.Ready(); errors.Is(err, ErrNoSpace) != (avail < 1000) {
			t.Errorf("Ready with %d bytes free = error %v", avail, err)
		}
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{}) // says that nobody can tell
	if err := s.Ready(); err != nil {
		t.Errorf("Ready = error %v where free space is unknown", err)
	}
}
