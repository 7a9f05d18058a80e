package durable

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"tokenserver/shard"
	"tokenserver/token"
)

// fill makes n sessions.
func fill(t *testing.T, s *Store, n int) (tokens []token.Token) {
	t.Helper()
	for range n {
		tok, err := s.Create(t.Context(), token.NewSession{Meta: []byte(`{"user":"ada"}`)})
		must(t, err)
		tokens = append(tokens, tok)
	}
	return tokens
}

// mustBackUp returns the archive of a backup.
func mustBackUp(t *testing.T, s *Store) []byte {
	t.Helper()
	var archive bytes.Buffer
	must(t, s.Backup(t.Context(), &archive))
	s.wantNoCheckpoint(t)
	return archive.Bytes()
}

func (s *Store) wantNoCheckpoint(t *testing.T) {
	t.Helper()
	if _, err := s.dataDir.plain.Stat(s.dataDir.file(checkpointDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the checkpoint is there (%v), want that it was removed", err)
	}
}

func mustValidate(t *testing.T, s *Store, what string, tokens ...token.Token) {
	t.Helper()
	for i, tok := range tokens {
		if _, _, err := s.Validate(t.Context(), tok, nil); err != nil {
			t.Errorf("%s, session %d: Validate = error %v, want that it is there", what, i, err)
		}
	}
}

// A backup has what was answered before it, whatever it is in: tables, or the log.
func TestBackup(t *testing.T) {
	for _, fsync := range []Fsync{Always, EverySecond} {
		t.Run(fsync.String(), func(t *testing.T) {
			cfg := Config{
				Dir: filepath.Join(t.TempDir(), "data"), Fsync: fsync, MemTableBytes: MinMemTableBytes, MinFree: 1,
				Store: shard.Config{Shards: 4, Grace: time.Minute},
			}
			s := mustOpen(t, cfg)
			inTables := fill(t, s, 100)
			must(t, s.db.Flush())
			inLog := fill(t, s, 100)
			spent := inLog[0]
			x, err := s.Exchange(t.Context(), spent, token.Patch{}, nil)
			must(t, err)
			inLog[0] = x.Token
			archive := mustBackUp(t, s)
			after := fill(t, s, 1)
			mustClose(t, s)

			restored := cfg
			restored.Dir = filepath.Join(t.TempDir(), "a", "backup")
			must(t, WriteBackup(restored.Dir, bytes.NewReader(archive)))
			wantPrivate(t, restored.Dir)
			r := mustOpen(t, restored)
			defer mustClose(t, r)
			mustValidate(t, r, "in tables", inTables...)
			mustValidate(t, r, "in the log", inLog...)
			mustValidate(t, r, "spent, in its grace", spent) // the secret is there
			if got := r.Stats().Sessions; got != 200 {
				t.Errorf("%d sessions, want 200, without %d that came after the backup", got, len(after))
			}
			if r.ID() != s.ID() {
				t.Errorf("ID = %s, want that of the store, %s", r.ID(), s.ID())
			}
		})
	}
}

// wantPrivate checks the modes of a directory and of what is in it.
func wantPrivate(t *testing.T, dir string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		must(t, err)
		info, err := entry.Info()
		must(t, err)
		if want := map[bool]fs.FileMode{true: dirMode, false: fileMode}[entry.IsDir()]; info.Mode().Perm() != want {
			t.Errorf("mode of %s = %v, want %v", path, info.Mode(), want)
		}
		return nil
	}))
}

// A backup that was cut, wherever that was, looks whole to nobody, and can be repeated.
func TestBackupThatIsCut(t *testing.T) {
	s := mustOpen(t, memConfig(vfs.NewMem()))
	fill(t, s, 10)
	archive := mustBackUp(t, s)
	mustClose(t, s)
	parent := t.TempDir()
	dir := filepath.Join(parent, "backup")
	const trailer = 2 * 512
	for length := 0; length < len(archive)-trailer-512; length += 500 {
		if err := WriteBackup(dir, bytes.NewReader(archive[:length])); !errors.Is(err, ErrNotWhole) {
			t.Errorf("WriteBackup of %d of %d bytes = error %v, want ErrNotWhole", length, len(archive), err)
		}
		if entries, err := os.ReadDir(parent); err != nil || len(entries) > 0 {
			t.Fatalf("there is %v, %v after %d bytes, want nothing", entries, err, length)
		}
	}
	// The connection is lost where all seems to be there.
	lost := io.MultiReader(bytes.NewReader(archive), errorReader{})
	if err := WriteBackup(dir, lost); !errors.Is(err, ErrNotWhole) {
		t.Errorf("WriteBackup of a lost connection = error %v, want ErrNotWhole", err)
	}
	must(t, os.Mkdir(dir, 0o755))
	must(t, WriteBackup(dir, bytes.NewReader(archive)))
	must(t, Check(dir))
	if err := WriteBackup(dir, bytes.NewReader(archive)); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("WriteBackup into a data directory = error %v, want ErrNotEmpty", err)
	}
	must(t, Check(dir))
}

// A backup with which no server of this version starts is none: of a later server, for one.
func TestBackupThatCannotStart(t *testing.T) {
	s := mustOpen(t, memConfig(vfs.NewMem()))
	fill(t, s, 10)
	archive := mustBackUp(t, s)
	mustClose(t, s)
	for name, test := range map[string]struct {
		file, text string
		want       error
	}{
		"another format": {formatFile, "token-server 99\n", ErrVersion},
		"damaged":        {"MANIFEST-000001", "nothing", ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			err := WriteBackup(filepath.Join(parent, "backup"), withFile(t, archive, test.file, test.text))
			if !errors.Is(err, test.want) {
				t.Errorf("WriteBackup = error %v, want %v", err, test.want)
			}
			if entries, err := os.ReadDir(parent); err != nil || len(entries) > 0 {
				t.Errorf("there is %v, %v, want nothing", entries, err)
			}
		})
	}
}

// withFile returns an archive in which one file has another text.
func withFile(t *testing.T, archive []byte, name, text string) io.Reader {
	t.Helper()
	changed := new(bytes.Buffer)
	from, to := tar.NewReader(bytes.NewReader(archive)), tar.NewWriter(changed)
	for {
		header, err := from.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		content := io.Reader(from)
		if header.Name == name {
			header.Size, content = int64(len(text)), strings.NewReader(text)
		}
		must(t, to.WriteHeader(header))
		_, err = io.Copy(to, content)
		must(t, err)
	}
	must(t, to.Close())
	return changed
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// While the files are written, there is no data directory yet.
func TestBackupBeforeItIsWhole(t *testing.T) {
	s := mustOpen(t, memConfig(vfs.NewMem()))
	fill(t, s, 10)
	archive := mustBackUp(t, s)
	mustClose(t, s)
	dir := filepath.Join(t.TempDir(), "backup")
	must(t, WriteBackup(dir, bytes.NewReader(archive)))
	must(t, os.Remove(filepath.Join(dir, formatFile))) // the last that is written
	if err := Check(dir); !errors.Is(err, ErrVersion) {
		t.Errorf("Check without the last file = %v, want ErrVersion", err)
	}
}

// onWrite calls do at the first write.
func onWrite(do func() error) io.Writer { return &writer{do: sync.OnceValue(do)} }

type writer struct{ do func() error }

func (w *writer) Write(p []byte) (int, error) { return len(p), w.do() }

func TestBackupFails(t *testing.T) {
	gone := errors.New("the client has gone")
	ctx, cancel := context.WithCancel(t.Context())
	s := mustOpen(t, memConfig(vfs.NewMem()))
	fill(t, s, 10)
	tests := map[string]struct {
		ctx  context.Context
		do   func() error
		want error
	}{
		"the client has gone": {t.Context(), func() error { return gone }, gone},
		"nobody waits":        {ctx, func() error { cancel(); return nil }, context.Canceled},
		"one is under way": {t.Context(), func() error {
			return s.Backup(t.Context(), io.Discard)
		}, ErrBackupRunning},
	}
	for name, tt := range tests {
		if err := s.Backup(tt.ctx, onWrite(tt.do)); !errors.Is(err, tt.want) {
			t.Errorf("%s: Backup = error %v, want %v", name, err, tt.want)
		}
		s.wantNoCheckpoint(t)
	}
	var closing sync.WaitGroup
	err := s.Backup(t.Context(), onWrite(func() error {
		closing.Go(func() { mustClose(t, s) })
		<-s.closing
		return nil
	}))
	closing.Wait()
	if !errors.Is(err, errClosed) {
		t.Errorf("Backup beside Close = error %v, want errClosed", err)
	}
	if err := s.Backup(t.Context(), io.Discard); !errors.Is(err, errClosed) {
		t.Errorf("Backup after Close = error %v, want errClosed", err)
	}
}

func TestBackupWhileLoading(t *testing.T) {
	s, err := Open(memConfig(vfs.NewMem()))
	must(t, err)
	defer mustClose(t, s)
	loading := new(token.UnavailableError)
	if err := s.Backup(t.Context(), io.Discard); !errors.As(err, &loading) {
		t.Errorf("Backup = error %v, want *token.UnavailableError", err)
	}
}

// inCheckpoint says whether an operation is about a file of a checkpoint.
func inCheckpoint(op errorfs.Op) bool { return strings.Contains(op.Path, checkpointDir) }

// A disk that gets full, at whatever operation of a backup, is no failure of the store's.
func TestBackupOnAFullDisk(t *testing.T) {
	for failing := 1; ; failing++ {
		n := 0
		full := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if !inCheckpoint(op) || op.Kind.ReadOrWrite() == errorfs.OpIsRead {
				return nil
			}
			if n++; n == failing {
				return syscall.ENOSPC
			}
			return nil
		})
		s := mustOpen(t, memConfig(errorfs.Wrap(vfs.NewMem(), full)))
		fill(t, s, 5)
		must(t, s.db.Flush())
		n = 0
		err := s.Backup(t.Context(), io.Discard)
		if err != nil {
			s.wantNoCheckpoint(t)
		}
		done := n < failing
		n = failing
		mustValidate(t, s, "after a backup that failed", fill(t, s, 1)...)
		mustBackUp(t, s)
		mustClose(t, s)
		if done {
			if failing < 10 {
				t.Errorf("a backup has %d operations that write, want more", failing)
			}
			return
		}
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("operation %d: Backup = error %v, want ENOSPC", failing, err)
		}
	}
}

// Where tables can't be linked a backup might take all space there is.
func TestBackupWithoutLinks(t *testing.T) {
	noLinks := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpLink {
			return syscall.EOPNOTSUPP
		}
		return nil
	})
	s := mustOpen(t, memConfig(errorfs.Wrap(vfs.NewMem(), noLinks)))
	defer mustClose(t, s)
	fill(t, s, 5)
	must(t, s.db.Flush())
	if err := s.Backup(t.Context(), io.Discard); !errors.Is(err, errNoLinks) {
		t.Errorf("Backup = error %v, want errNoLinks", err)
	}
	s.wantNoCheckpoint(t)
}

// fullFS is a file system with so much free.
type fullFS struct {
	vfs.FS
	free uint64
}

func (f fullFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: f.free}, nil
}

// A backup leaves free what the store needs.
func TestBackupNeedsSpace(t *testing.T) {
	s := mustOpen(t, memConfig(fullFS{vfs.NewMem(), DefaultMinFree + 1000}))
	defer mustClose(t, s)
	fill(t, s, 100)
	must(t, s.Ready())
	if err := s.Backup(t.Context(), io.Discard); !errors.Is(err, ErrNoSpace) {
		t.Errorf("Backup = error %v, want ErrNoSpace", err)
	}
}

// What a crash has left of a backup goes with the next start.
func TestBackupAfterACrash(t *testing.T) {
	fsys := vfs.NewMem()
	mustClose(t, mustOpen(t, memConfig(fsys)))
	left := fsys.PathJoin(testDir, checkpointDir)
	must(t, fsys.MkdirAll(left, dirMode))
	file, err := fsys.Create(fsys.PathJoin(left, "000004.log"), vfs.WriteCategoryUnspecified)
	must(t, err)
	must(t, file.Close())
	s := mustOpen(t, memConfig(fsys))
	defer mustClose(t, s)
	s.wantNoCheckpoint(t)
	mustBackUp(t, s)
}

// gapFS is a file system on which the copy of a log has got, behind a gap, what was written to
// the log while it was copied.
type gapFS struct{ vfs.FS }

func (g gapFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := g.FS.Create(name, category)
	if err != nil || !strings.Contains(name, checkpointDir) || filepath.Ext(name) != ".log" {
		return file, err
	}
	return &gapFile{File: file, name: g.PathBase(name)}, nil
}

// gap is the length of the gap in bytes.
const gap = 64 << 10

type gapFile struct {
	vfs.File
	name string
	all  []byte
}

func (f *gapFile) Write(p []byte) (int, error) {
	f.all = append(f.all, p...)
	return f.File.Write(p)
}

// Close writes a sync point of the log once more, behind a gap, before it closes.
func (f *gapFile) Close() error {
	number, _ := strconv.Atoi(strings.TrimSuffix(f.name, ".log"))
	if points := syncPoints(f.all, uint32(number)); len(points) > 1 {
		f.File.Write(slices.Concat(make([]byte, gap), f.all[points[0].at:points[1].at]))
		f.all = nil
	}
	return f.File.Close()
}

// A log that is written to while it is copied is no damaged one.
func TestBackupOfALogThatIsWrittenTo(t *testing.T) {
	s := mustOpen(t, memConfig(gapFS{vfs.NewMem()}))
	var tokens []token.Token
	for range 3 { // each with a sync point behind it
		tokens = append(tokens, fill(t, s, 10)...)
		s.journal.tick()
	}
	archive := mustBackUp(t, s)
	mustClose(t, s)
	dir := filepath.Join(t.TempDir(), "backup")
	must(t, WriteBackup(dir, bytes.NewReader(archive)))
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("logs = %v, %v, want some", logs, err)
	}
	if info, err := os.Stat(logs[len(logs)-1]); err != nil || info.Size() >= gap {
		t.Errorf("the log is %v, %v, want that it ends before the gap", info, err)
	}
	r := mustOpen(t, Config{Dir: dir, MinFree: 1})
	defer mustClose(t, r)
	mustValidate(t, r, "in the log", tokens...)
}
