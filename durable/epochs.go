package durable

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"time"

	"tokenserver/internal/clock"
)

// epochsFile has the epochs of the data directory: a line of JSON for each, in their
// order, and a line with the checksum of all that is before it.
const epochsFile = "EPOCHS"

// epoch is a run of the store: what the timestamps of its values count from, and the
// lifetimes that held. Values have the epoch's number.
type epoch struct {
	Number uint32 `json:"number"`
	// Boot is the machine's boot, if it is known, and BootZero its age at timestamp 0.
	Boot     string        `json:"boot,omitempty"`
	BootZero time.Duration `json:"boot_zero"`
	// WallZero is what the wall clock, as it was last set in that run, said at
	// timestamp 0: nanoseconds since 1970.
	WallZero int64 `json:"wall_zero"`
	// Start is when the sessions were loaded.
	Start       clock.Timestamp `json:"start"`
	Lifetime    time.Duration   `json:"lifetime"`
	MaxLifetime time.Duration   `json:"max_lifetime,omitempty"`
	// KeepUntil is until when the keys of earlier epochs stay although their
	// sessions have expired; 0 if they need not.
	KeepUntil clock.Timestamp `json:"keep_until,omitempty"`
}

// wallClockEpoch is the number of the epoch that values of version 1 are in. Their
// timestamps are the wall clock's.
const wallClockEpoch = 0

var errEpochs = errors.New("damaged list of epochs")

// appendEpochs appends the file of some epochs.
func appendEpochs(dst []byte, list []epoch) ([]byte, error) {
	for i := range list {
		line, err := json.Marshal(&list[i])
		if err != nil {
			return nil, err
		}
		dst = append(append(dst, line...), '\n')
	}
	return fmt.Appendf(dst, "crc32c %08x\n", crc32.Checksum(dst, castagnoli)), nil
}

// parseEpochs reads what appendEpochs has appended, and nothing else.
func parseEpochs(data []byte) (list []epoch, err error) {
	lines := bytes.SplitAfter(data, []byte("\n"))
	for _, line := range lines[:max(len(lines)-2, 0)] { // behind the checksum there is nothing
		var e epoch
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("%w: %w", errEpochs, err)
		}
		if last := len(list) - 1; e.Number == wallClockEpoch || last >= 0 && e.Number <= list[last].Number {
			return nil, errEpochs
		}
		list = append(list, e)
	}
	if again, err := appendEpochs(nil, list); err != nil || !bytes.Equal(again, data) {
		return nil, errEpochs
	}
	return list, nil
}

// readEpochs reads the epochs of a data directory. One that has none yet is new, or
// has values of version 1 alone: for others their epoch would be missing.
func (d *dataDir) readEpochs() ([]epoch, error) {
	data, err := d.read(epochsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := parseEpochs(data)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrCorrupt, d.file(epochsFile), err)
	}
	return list, nil
}

// writeEpochs writes the epochs, once the format says that there may be some.
func (d *dataDir) writeEpochs(list []epoch) error {
	if err := d.upgrade(); err != nil {
		return err
	}
	data, err := appendEpochs(nil, list)
	if err != nil {
		return err
	}
	return d.write(epochsFile, data)
}

// upgrade makes earlier programs refuse the data directory.
func (d *dataDir) upgrade() error {
	got, err := d.read(formatFile)
	if err != nil || string(got) == format {
		return err
	}
	return d.write(formatFile, []byte(format))
}

// epochKeeper keeps the data directory's epochs up to date.
type epochKeeper struct {
	dataDir *dataDir
	clock   *clock.Clock
	list    []epoch    // the last one is the current
	writing *operation // of the list
}

// wallStep is how far the wall clock has to be set for that to be written.
const wallStep = time.Second

// update writes how the wall clock is set, if that has changed.
func (k *epochKeeper) update() error {
	current, zero := &k.list[len(k.list)-1], k.clock.WallZero()
	if time.Duration(zero-current.WallZero).Abs() <= wallStep {
		return nil
	}
	current.WallZero = zero
	k.writing.begin()
	defer k.writing.end()
	return k.dataDir.writeEpochs(k.list)
}

// watchWallClock updates the epochs from time to time: after a crash the sessions'
// deadlines are to be found by the wall clock as it was last set.
func (s *Store) watchWallClock() {
	defer s.failure.recoverPanic()
	if s.clock.FollowsWall() {
		return
	}
	ticker := time.NewTicker(clock.LookInterval)
	defer ticker.Stop()
	for {
		select {
		case <-s.closing:
			return
		case <-ticker.C:
			if err := s.epochs.update(); err != nil {
				s.failure.set(err)
				return
			}
		}
	}
}

// newEpoch returns the epoch that begins, after some others.
func newEpoch(before []epoch, c *clock.Clock, lifetime, maxLifetime time.Duration) epoch {
	number := uint32(wallClockEpoch + 1)
	if n := len(before); n > 0 {
		number = before[n-1].Number + 1
	}
	boot := c.Boot()
	return epoch{
		Number: number, Boot: boot.ID, BootZero: boot.Age, WallZero: c.WallZero(),
		Start: c.Now(), Lifetime: lifetime, MaxLifetime: maxLifetime,
	}
}
