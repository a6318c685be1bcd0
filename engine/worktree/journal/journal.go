// Package journal is an append-only log of sealed frames in preallocated segments: where every change to a mounted tree
// first becomes durable, and where bulk data lives.
//
// Two kinds of frame exist. Data frames hold bytes that records refer to by position. Record frames hold the changes
// themselves; one frame is one atomic change, whatever number of data frames it refers to. What lies before a frame is
// durable if the frame is.
package journal

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
