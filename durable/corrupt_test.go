package durable

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tokenserver/token"
)

// damaged is a data directory with sessions, of which a test damages copies.
type damaged struct {
	cfg    Config
	fs     *vfs.MemFS
	tokens []token.Token // the current ones
	spent  []token.Token
}

const damagedMeta = `{"name":"somebody"}`

// newDamaged leaves a data directory as Close or a crash leaves it. All is on disk.
func newDamaged(t *testing.T, fsync Fsync, clean bool) *damaged {
	return newDamagedWith(t, fsync, clean, true)
}

// newDamagedFirstLog leaves a new data directory as a crash leaves it, with all in the log
// that it began with, whose chunks are of another format.
func newDamagedFirstLog(t *testing.T) *damaged { return newDamagedWith(t, Always, false, false) }

func newDamagedWith(t *testing.T, fsync Fsync, clean, flush bool) *damaged {
	d := &damaged{fs: vfs.NewCrashableMem()}
	d.cfg = memConfig(d.fs)
	d.cfg.Fsync = fsync
	s := mustOpen(t, d.cfg)
	for range 20 {
		tok, err := s.Create(t.Context(), token.NewSession{Meta: []byte(damagedMeta)})
		if err != nil {
			t.Fatal(err)
		}
		d.tokens = append(d.tokens, tok)
		s.journal.tick()
	}
	for i, tok := range d.tokens {
		got, err := s.Exchange(t.Context(), tok, token.Patch{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		d.spent, d.tokens[i] = append(d.spent, tok), got.Token
		if flush && i%5 == 4 {
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		s.journal.tick()
	}
	if !clean {
		for i, tok := range d.tokens {
			got, err := s.Exchange(t.Context(), tok, token.Patch{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			d.spent, d.tokens[i] = append(d.spent, tok), got.Token
			s.journal.tick()
		}
	}
	s.journal.tick() // its sync point says that the one before was synced
	left := d.fs.CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, s)
	if !clean {
		d.fs = left
	}
	return d
}

// files returns the names of the data directory's files.
func (d *damaged) files(t *testing.T) []string {
	names, err := d.fs.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "LOCK" })
}

// lastLog returns the name of the log that Pebble wrote last.
func (d *damaged) lastLog(t *testing.T) (last string) {
	for _, name := range d.files(t) {
		if path.Ext(name) == ".log" {
			last = max(last, name)
		}
	}
	return last
}

func (d *damaged) read(t *testing.T, name string) []byte {
	t.Helper()
	return contents(t, d.fs, path.Join(testDir, name))
}

// with opens a copy of the data directory in which a file has other contents, or none.
func (d *damaged) with(t *testing.T, name string, data []byte) (*Store, error) {
	fs := vfs.NewMem()
	if _, err := vfs.Clone(d.fs, fs, testDir, testDir); err != nil {
		t.Fatal(err)
	}
	file := path.Join(testDir, name)
	if err := fs.Remove(file); err != nil {
		t.Fatal(err)
	}
	if data != nil {
		f, err := fs.Create(file, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(data); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	cfg := d.cfg
	cfg.FS = fs
	return openAndLoad(cfg)
}

// intact says whether a store has all sessions, and nothing that was spent.
func (d *damaged) intact(t *testing.T, s *Store) bool {
	for _, tok := range d.tokens {
		if meta, _, err := s.Validate(t.Context(), tok, nil); err != nil || string(meta) != damagedMeta {
			return false
		}
	}
	for _, tok := range d.spent {
		if _, _, err := s.Validate(t.Context(), tok, nil); !errors.Is(err, token.ErrInvalid) {
			return false
		}
	}
	return true
}

// TestDamagedFiles flips a bit in each file of a data directory, here and there: nothing
// is lost without a word, and the word names the file.
func TestDamagedFiles(t *testing.T) {
	for _, fsync := range []Fsync{Always, EverySecond} {
		for _, clean := range []bool{true, false} {
			d := newDamaged(t, fsync, clean)
			for _, name := range d.files(t) {
				t.Run(fmt.Sprintf("%v/clean=%v/%s", fsync, clean, name), func(t *testing.T) {
					d.testFlips(t, name)
				})
			}
		}
	}
	d := newDamagedFirstLog(t)
	t.Run("first log", func(t *testing.T) { d.testFlips(t, d.lastLog(t)) })
}

const flips = 10 // in a file

// flippedBytes returns the bytes of which to flip a bit: here and there in a
// file, and in the zeros ahead of a log.
func flippedBytes(name string, data []byte) (all []int) {
	size := written(name, data)
	for i := 0; i < size; i += 1 + size/flips {
		all = append(all, i)
	}
	for i := size; i < len(data); i += 1 + (len(data)-size)/flips {
		all = append(all, i)
	}
	return all
}

// written returns how many bytes of a file have been written. A log has zeros ahead.
func written(name string, data []byte) int {
	if path.Ext(name) != ".log" {
		return len(data)
	}
	return len(bytes.TrimRight(data, "\x00"))
}

func (d *damaged) testFlips(t *testing.T, name string) {
	data, refused := d.read(t, name), 0
	for _, i := range flippedBytes(name, data) {
		flipped := slices.Clone(data)
		flipped[i] ^= 1 << (i % 8)
		s, err := d.with(t, name, flipped)
		if err != nil {
			d.checkRefusal(t, name, err)
			refused++
			continue
		}
		if !d.intact(t, s) {
			t.Errorf("with byte %d of %d flipped, sessions are lost or undone", i, len(data))
		}
		mustClose(t, s)
	}
	if d.needed(name) && refused == 0 {
		t.Errorf("no damage of %s is refused", name)
	}
}

// checkRefusal checks the error of Open with a damaged file.
func (d *damaged) checkRefusal(t *testing.T, name string, err error) {
	t.Helper()
	want := ErrCorrupt
	if name == formatFile {
		want = ErrVersion
	}
	if !errors.Is(err, want) || !strings.Contains(err.Error(), path.Join(testDir, name)) {
		t.Errorf("Open with damaged %s = error %q, want %q and the name", name, err, want)
	}
}

// needed says whether all of a file is needed. The markers need no contents, and
// of logs and tables there are some that are not in use any more.
func (d *damaged) needed(name string) bool {
	return name == formatFile || name == epochsFile || strings.HasPrefix(name, "MANIFEST")
}

// TestMissingFiles takes away each file of a data directory.
func TestMissingFiles(t *testing.T) {
	d := newDamaged(t, Always, false)
	for _, name := range d.files(t) {
		t.Run(name, func(t *testing.T) {
			s, err := d.with(t, name, nil)
			if err != nil {
				if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
					t.Errorf("Open without %s = error %q", name, err)
				}
				return
			}
			defer mustClose(t, s)
			if path.Ext(name) != ".log" && !d.intact(t, s) {
				t.Errorf("without %s, sessions are lost or undone", name)
			}
		})
	}
}

// TestLogsGone: a data directory without its log has lost sessions or has spent tokens
// that are valid again.
func TestLogsGone(t *testing.T) {
	for _, clean := range []bool{true, false} {
		d := newDamaged(t, Always, clean)
		for _, name := range d.files(t) {
			if path.Ext(name) == ".log" {
				if err := d.fs.Remove(path.Join(testDir, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		cfg := d.cfg
		cfg.FS = d.fs
		if _, err := openAndLoad(cfg); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), testDir) {
			t.Errorf("clean=%v: Open without logs = error %v, want %v and the data directory", clean, err, ErrCorrupt)
		}
	}
}

// TestTornLog cuts the last log off here and there, with and without zeros ahead,
// as a crash may do it: the data directory opens, and has all sessions.
func TestTornLog(t *testing.T) {
	d := newDamaged(t, Always, false)
	last := d.lastLog(t)
	data := d.read(t, last)
	data = data[:written(last, data)]
	for size := 0; size <= len(data); size += 13 {
		d.testTorn(t, last, data[:size:size])
		d.testTorn(t, last, append(data[:size:size], make([]byte, len(data))...))
	}
}

func (d *damaged) testTorn(t *testing.T, log string, data []byte) {
	t.Helper()
	s, err := d.with(t, log, data)
	if err != nil {
		t.Fatalf("Open with %d bytes of the log, %d of them written = error %v", len(data), written(log, data), err)
	}
	defer mustClose(t, s)
	if got, want := s.Stats().Sessions, int64(len(d.tokens)); got != want {
		t.Errorf("with %d bytes of the log, %d of them written, there are %d sessions, want %d",
			len(data), written(log, data), got, want)
	}
}

// TestFalseEndOfLog gives a chunk in the middle of the last log the number of the
// next log, which is how a log's end looks to Pebble.
func TestFalseEndOfLog(t *testing.T) {
	t.Run("log", func(t *testing.T) { newDamaged(t, Always, false).testFalseEnds(t) })
	t.Run("first log", func(t *testing.T) { newDamagedFirstLog(t).testFalseEnds(t) })
}

func (d *damaged) testFalseEnds(t *testing.T) {
	last := d.lastLog(t)
	data := d.read(t, last)
	number, err := strconv.Atoi(strings.TrimSuffix(last, ".log"))
	if err != nil {
		t.Fatal(err)
	}
	all := syncPoints(data, uint32(number))
	if len(all) < 3 {
		t.Fatalf("%d sync points in the log, want some", len(all))
	}
	// The last sync point says that the writes before the one before it are on disk.
	for i, m := range all[:len(all)-2] {
		damaged := slices.Clone(data)
		damaged[m.at+7]++
		s, err := d.with(t, last, damaged)
		if err == nil {
			mustClose(t, s)
			t.Errorf("sync point %d of %d is a false end of the log: Open = success", i, len(all))
			continue
		}
		d.checkRefusal(t, last, err)
	}
}
