package durable

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

var testEpochs = []epoch{
	{Number: 1, WallZero: -5, Start: 1, Lifetime: time.Hour},
	{Number: 4, Boot: "a \"boot\"\n", BootZero: 7, WallZero: 9, Start: 2, Lifetime: time.Hour, MaxLifetime: 1, KeepUntil: 3},
	{Number: 5, Lifetime: 1},
}

func TestEpochsFile(t *testing.T) {
	for n := range len(testEpochs) + 1 {
		data, err := appendEpochs(nil, testEpochs[:n])
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseEpochs(data); !slices.Equal(got, testEpochs[:n]) || err != nil {
			t.Errorf("parseEpochs(%s) = %+v, error %v, want %+v", data, got, err, testEpochs[:n])
		}
	}
}

func TestDamagedEpochs(t *testing.T) {
	data, err := appendEpochs(nil, testEpochs)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		flipped := bytes.Clone(data)
		flipped[i] ^= 1 << (i % 8)
		for _, damaged := range [][]byte{flipped, data[:i]} {
			if got, err := parseEpochs(damaged); !errors.Is(err, errEpochs) {
				t.Errorf("parseEpochs(%q) = %+v, error %v, want %v", damaged, got, err, errEpochs)
			}
		}
	}
	unordered, _ := appendEpochs(nil, []epoch{testEpochs[1], testEpochs[0]})
	zero, _ := appendEpochs(nil, []epoch{{Number: wallClockEpoch}})
	for _, data := range [][]byte{unordered, zero, append(bytes.Clone(data), data...)} {
		if got, err := parseEpochs(data); !errors.Is(err, errEpochs) {
			t.Errorf("parseEpochs(%q) = %+v, error %v, want %v", data, got, err, errEpochs)
		}
	}
}

// TestWallClockIsWatched: how the wall clock is set is on disk a moment later, and
// nothing is written as long as it is not set.
func TestWallClockIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.start(t, time.Hour)
		defer m.stop(t)
		onDisk := func() int64 {
			list, err := m.dataDir.readEpochs()
			if err != nil || len(list) != 1 {
				t.Fatalf("there are %d epochs, error %v, want 1", len(list), err)
			}
			return list[0].WallZero
		}
		first := onDisk()
		for _, step := range []struct{ set, sleep, want time.Duration }{
			{0, time.Minute, 0},
			{wallStep, 0, 0},
			{1, 0, wallStep + 1},
			{0, time.Hour, wallStep + 1},
			{-time.Hour, 0, wallStep + 1 - time.Hour},
		} {
			m.SetWall(step.set)
			m.Suspend(step.sleep)
			noticed()
			if got := time.Duration(onDisk() - first); got != step.want {
				t.Errorf("after it was set by %v, and slept for %v, the wall clock on disk is %v off, want %v", step.set, step.sleep, got, step.want)
			}
		}
	})
}

// TestFailedWatchIsFatal: a list of epochs that can't be written is a failed write.
func TestFailedWatchIsFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		failed := make(chan error, 1)
		m.cfg.Fatal = func(err error) { failed <- err }
		m.start(t, time.Hour)
		m.fails.prefix, m.fails.kinds = epochsFile, writeOps
		m.fails.on.Store(true)
		m.SetWall(time.Hour)
		noticed()
		select {
		case err := <-failed:
			if !errors.Is(err, ErrFailed) {
				t.Errorf("Fatal(%v), want %v", err, ErrFailed)
			}
		default:
			t.Errorf("Fatal was not called")
		}
		m.fails.on.Store(false)
		m.failure = newFailure(nil) // so that all is closed
		m.stop(t)
	})
}
