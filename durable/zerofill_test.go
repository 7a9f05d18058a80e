package durable

import (
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestZeroFill writes files, and looks at how they are on disk after each write.
func TestZeroFill(t *testing.T) {
	tests := []struct {
		name, reused string // reused is what a log has in it that is written over
		writes       []string
		want         []string
	}{
		{"1.log", "", []string{"a", "bc", "d", "efghijk"}, []string{"a\x00\x00\x00", "abc\x00", "abcd", "abcdefghijk\x00"}},
		{"1.log", "", []string{"", "abcd", "e"}, []string{"", "abcd", "abcde\x00\x00\x00"}},
		{"2.log", "ABCDEF", []string{"a", "bcdef", "g"}, []string{"aBCDEF", "abcdef", "abcdefg\x00\x00\x00"}},
		{"1.sst", "", []string{"a", "bc"}, []string{"a", "abc"}},
	}
	for _, tt := range tests {
		mem := vfs.NewMem()
		fs := newZeroFillFS(mem, 4*zeroFillParts)
		file := createOrReuse(t, fs, tt.name, tt.reused)
		for i, p := range tt.writes {
			if n, err := file.Write([]byte(p)); n != len(p) || err != nil {
				t.Fatalf("%s: Write(%q) = %d, %v", tt.name, p, n, err)
			}
			if got := string(contents(t, mem, tt.name)); got != tt.want[i] {
				t.Errorf("%s, with %q before: after write %d it has %q, want %q", tt.name, tt.reused, i, got, tt.want[i])
			}
		}
		file.Close()
	}
}

// createOrReuse creates a file, or one that takes the place of another.
func createOrReuse(t *testing.T, fs zeroFillFS, name, reused string) vfs.File {
	t.Helper()
	const old = "old.log"
	file, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if reused != "" {
		file.Close()
		writeFile(t, fs.FS, old, reused)
		file, err = fs.ReuseForWrite(old, name, vfs.WriteCategoryUnspecified)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func writeFile(t *testing.T, fs vfs.FS, name, data string) {
	t.Helper()
	file, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Write([]byte(data)); err != nil {
		t.Fatal(err)
	}
}

func contents(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	file, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	data, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestLogsGrowByZeros looks at the log of a store whose syncs are waited for.
func TestLogsGrowByZeros(t *testing.T) {
	for _, fsync := range []Fsync{Always, EverySecond} {
		d := newDamaged(t, fsync, false)
		name := d.lastLog(t)
		step, size := int(d.cfg.MemTableBytes)/zeroFillParts, len(d.read(t, name))
		if got, want := size%step == 0, fsync == Always; got != want || size == 0 {
			t.Errorf("%v: %s has %d bytes, which is in steps of %d: %v, want %v", fsync, name, size, step, got, want)
		}
	}
}

// preallocated counts what is asked for in advance.
type preallocated struct {
	vfs.File
	n int
}

func (p *preallocated) Preallocate(int64, int64) error { p.n++; return nil }

// TestLogsAreNotPreallocated: space that is set aside would still have its length
// changed by each sync.
func TestLogsAreNotPreallocated(t *testing.T) {
	var p preallocated
	if err := (&zeroFillFile{File: &p}).Preallocate(0, 1); p.n != 0 || err != nil {
		t.Errorf("Preallocate = error %v, with %d calls to the disk, want none", err, p.n)
	}
}
