// Package journal is an append-only log of sealed frames in preallocated segments: where every change to a mounted tree
// first becomes durable, and where bulk data lives.
//
// Two kinds of frame exist. Data frames hold bytes that records refer to by position. Record frames hold the changes
// themselves; one frame is one atomic change, whatever number of data frames it refers to. What lies before a frame is
// durable if the frame is.
//
// # What the log detects
//
// Every frame is sealed with AES-256-GCM under a key of its segment (HKDF-SHA3-256 of the log's key and the segment's
// random id); the nonce is the frame's number in the segment, and no segment is appended to by a second process, so no
// nonce repeats. The associated data is the segment's id, the frame's offset, number, kind, length and LSN: a frame that
// was changed, dropped, swapped, moved or brought back from elsewhere does not open, or leaves a gap. Segments are chained:
// a header names the id, end, frame count and digest of the segment before.
//
// It can't detect that the whole directory was put back to an earlier state, that the log was cut at an earlier commit
// mark, or that its newest segments were removed, as long as all records up to the owner's checkpoint are still there:
// that is a shorter log, and whoever keeps a counter elsewhere must compare it with [Log.Last]. A removed older segment
// is found by Open if it held records after the checkpoint, and by [Log.Live] if it held data that is still referred to.
//
// # Failure
//
// When a write or an fdatasync fails, the log is failed for good: appends and syncs return the first error, because the
// kernel may have dropped the pages that it could not write, and a second fdatasync would then report success for
// bytes that are nowhere. Reading goes on, from memory too. The owner can serve reads, tell the user, and Close; a new
// Open reads back from the disk itself (the page cache of the newest segment is dropped first), and its replay is the truth.
//
// # Full disk
//
// When the next segment can't be preallocated, appends return an error that wraps syscall.ENOSPC, nothing is
// accepted, and the log stays usable. A small file is kept preallocated beside the segments; [Log.AppendReserved], for
// records that free space, turns it into a segment. It is made anew as soon as there is space.
//
// # Memory
//
// At most 8 MiB of frames wait to be written (and one record of up to 16 MiB per appender beyond that); about 20 bytes
// per referenced data frame, and 24 per data frame released since the last checkpoint. At most 64 files are open for reading.
//
// One process at a time: the owner holds a lock on the state directory.
package journal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"
)

// LSN numbers the record frames of a log, from 1, without gaps, across segments and restarts.
type LSN uint64

// Pos says where a data frame lies.
type Pos struct {
	Segment uint64
	Offset  uint32 // of the frame in the segment's file, bytes
	Length  uint32 // of the data in the frame, bytes
}

// MaxData is the largest payload of a data frame, in bytes.
const MaxData = 64 << 10

// MaxRecord is the largest payload of a record frame, in bytes.
const MaxRecord = 16 << 20

// MaxReserved is the largest record that AppendReserved takes, in bytes.
const MaxReserved = 64 << 10

// Options tunes a log; the zero value is right for use.
type Options struct {
	SegmentSize int64         // bytes, default 64 MiB; at most 1 GiB
	Flush       time.Duration // how long an append may wait for its fdatasync when nobody calls Sync; default 1 s
	Rand        io.Reader     // source of segment ids; default crypto/rand
	OnError     func(error)   // called once, without locks held, when the log has failed
	copies      bool          // the file system puts what is overwritten to a new place, for which there may be no space
}

func (o *Options) setDefaults() error {
	if o.SegmentSize == 0 {
		o.SegmentSize = 64 << 20
	}
	if o.SegmentSize < 0 || o.SegmentSize > 1<<30 {
		return fmt.Errorf("journal: segment size %d: not between 1 and 2^30 bytes", o.SegmentSize)
	}
	if o.Flush <= 0 {
		o.Flush = time.Second
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	return nil
}

// ErrClosed is returned by calls on a closed log.
var ErrClosed = errors.New("journal: closed")

// DamagedError says that something that had been durable is missing or changed. Nothing was removed or cut.
type DamagedError struct {
	Segment uint64
	Offset  int64 // bytes into the segment's file, 0 if the whole segment is meant
	Cause   string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("journal segment %016x at %d: %s; stop using this replica and keep a copy of it: "+
		"what the store has can be fetched again, what was only here is in the undamaged segments", e.Segment, e.Offset, e.Cause)
}

// Stats describes a log at one moment.
type Stats struct {
	DiskBytes   int64 // what the segments take, without punched holes
	LiveBytes   int64 // data that is referenced
	Segments    int
	TornBytes   int64 // what recovery cut off the end
	Last        LSN
	Durable     LSN
	Checkpoint  LSN
	DataFrames  uint64 // appended since Open
	Records     uint64 // appended since Open
	Syncs       uint64 // fdatasyncs for commits since Open
	HasReserve  bool   // the reserve for AppendReserved is in place
	PunchedByte int64  // given back by holes since Open
}
