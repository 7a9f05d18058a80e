package durable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/wal"
)

// Pebble takes the first record of its last log that it can't read for the torn
// end of the log, unless it finds evidence that the end was synced. It finds
// little, since it counts only some of what it syncs: damage in the middle would
// pass for a crash, and all that was written behind it would be lost, or undone.
// So each tick leaves a sync point, which says up to where the log is known to be on disk.

// syncPointMagic is what a sync point begins with. JSON has no such bytes, so none of it
// passes for one.
const syncPointMagic = "\x00\xff\x01tsmk\xfe"

const syncPointLen = len(syncPointMagic) + 8

// appendSyncPoint appends a sync point, which says that all writes whose sequence number is
// less than synced are on disk.
func appendSyncPoint(dst []byte, synced uint64) []byte {
	dst = append(dst, syncPointMagic...)
	return binary.LittleEndian.AppendUint64(dst, synced)
}

// Pebble's format of a log: each record is one chunk, or several where it does
// not fit into a block, and is a batch. A sync point is a batch of one entry.
const (
	batchHeaderLen = 12 // sequence number 8, count 4
	entryHeaderLen = 2  // kind, length
)

// chunkFormats are those of a chunk that is a whole record: the type, and the length of the
// header, which has checksum 4, length 2, type 1, log number 4, and in the first format
// synced offset 8. The log that a new data directory begins with has the other one, since
// Pebble raises its own format after it has made that.
var chunkFormats = [...]struct {
	full      byte
	headerLen int
}{{9, 19}, {5, 11}}

// checkLog refuses a data directory whose last log breaks off before a point that was
// on disk once.
func (d *dataDir) checkLog() error {
	logs, err := wal.Scan(wal.Dir{FS: d.fs, Dirname: d.path})
	if err != nil {
		return err
	}
	if len(logs) == 0 {
		return d.checkNoLog()
	}
	last := logs[len(logs)-1]
	_, path := last.SegmentLocation(0)
	good, err := readLog(last)
	if err != nil {
		return unreadable(path, err)
	}
	// The end that was found is looked at even if it looks like one: Pebble takes a
	// chunk with the next log's number for it, whatever else the chunk has.
	data, err := d.read(d.fs.PathBase(path))
	if err != nil {
		return err
	}
	if good.breaks(syncPoints(data, uint32(last.Num))) {
		return fmt.Errorf("%w %s: it breaks off at byte %d", ErrCorrupt, path, good.size)
	}
	return nil
}

// checkNoLog refuses a data directory whose log somebody has deleted, or left out of a
// backup: Pebble would go on without it.
func (d *dataDir) checkNoLog() error {
	names, err := d.fs.List(d.path)
	if err == nil && slices.Contains(names, openedFile) {
		return fmt.Errorf("%w %s: its log is gone (files *.log)", ErrCorrupt, d.path)
	}
	return err
}

// opening says that there may be no log for a while: Pebble deletes the old ones,
// once it has replayed them, before it makes a new one.
func (d *dataDir) opening() error {
	err := d.fs.Remove(d.file(openedFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // but perhaps it is gone in memory only
	}
	return errors.Join(err, syncDir(d.fs, d.path))
}

// notOpened says that the logs are as they were, if they are.
func (d *dataDir) notOpened() {
	logs, err := wal.Scan(wal.Dir{FS: d.fs, Dirname: d.path})
	if err == nil && len(logs) > 0 {
		_ = d.opened() // there is an error already, and this one only guards against another
	}
}

// opened says that there is a log from now on.
func (d *dataDir) opened() error { return d.write(openedFile, nil) }

// readable is the part of a log that can be read.
type readable struct {
	size int64  // bytes
	end  uint64 // sequence number behind its last write, 0 if there is none
}

// syncPoint is a sync point in a log.
type syncPoint struct {
	at     int64  // where it is
	seq    uint64 // all writes before it have lesser sequence numbers
	synced uint64 // all writes with lesser sequence numbers are on disk
}

// breaks says whether a write that was on disk is missing.
func (r *readable) breaks(points []syncPoint) bool {
	synced := uint64(0)
	for _, p := range points {
		synced = max(synced, p.synced)
	}
	for _, p := range points {
		// A write behind the sync point is on disk, so that was, and what is before it.
		if p.at >= r.size && p.seq < synced {
			return true
		}
	}
	return r.end > 0 && r.end < synced
}

// readLog reads a log as far as it can be read.
func readLog(log wal.LogicalLog) (good readable, err error) {
	r := log.OpenForRead()
	defer r.Close()
	for {
		rec, offset, err := r.NextRecord()
		good.size = offset.Physical
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, record.ErrUnexpectedEOF):
			return good, nil
		case err != nil:
			return good, err
		}
		var header [batchHeaderLen]byte
		if _, err := io.ReadFull(rec, header[:]); err != nil {
			return good, err
		}
		good.end = binary.LittleEndian.Uint64(header[:]) + uint64(binary.LittleEndian.Uint32(header[8:]))
	}
}

// syncPoints returns the sync points in a log, also those behind what can't be read.
func syncPoints(data []byte, number uint32) (all []syncPoint) {
	for i := 0; ; i++ {
		next := bytes.Index(data[i:], []byte(syncPointMagic))
		if next < 0 {
			return all
		}
		i += next
		if batch, start, ok := batchOfSyncPoint(data, i, number); ok {
			all = append(all, syncPoint{
				at:     int64(start),
				seq:    binary.LittleEndian.Uint64(batch),
				synced: binary.LittleEndian.Uint64(data[i+len(syncPointMagic):]),
			})
		}
	}
}

// batchOfSyncPoint returns the batch of a sync point whose magic is at a place, and where
// its chunk starts, if that is an undamaged one of this log: a log's file may have been
// another's before.
func batchOfSyncPoint(data []byte, magic int, number uint32) (batch []byte, start int, ok bool) {
	at, end := magic-batchHeaderLen-entryHeaderLen, magic+syncPointLen
	if end > len(data) {
		return nil, 0, false
	}
	for _, f := range chunkFormats {
		start := at - f.headerLen
		if start >= 0 && isChunk(data[start:end], f.full, end-at, number) {
			return data[at:end], start, true
		}
	}
	return nil, 0, false
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// isChunk says whether a chunk is undamaged, of this log, and has so many bytes behind its
// header.
func isChunk(chunk []byte, full byte, length int, number uint32) bool {
	crc := crc32.Checksum(chunk[6:], castagnoli)
	masked := crc>>15 | crc<<17
	return binary.LittleEndian.Uint32(chunk) == masked+0xa282ead8 &&
		int(binary.LittleEndian.Uint16(chunk[4:])) == length &&
		chunk[6] == full &&
		binary.LittleEndian.Uint32(chunk[7:]) == number
}
