package journal

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
)

// simDir is a directory in memory that keeps a trace of everything that was done to it, so that the state after a power cut at
// any moment can be rebuilt: with any part of what had not been synced, in any order, by sectors.
type simDir struct {
	mu    sync.Mutex
	names map[string]*simFile
	trace []event
	fail  func(event) error // called before each event, without effect on it if nil is returned
}

type simFile struct {
	dir  *simDir
	data []byte
}

type eventKind int

const (
	evCreate eventKind = iota
	evWrite
	evTruncate
	evSync
	evRename
	evRemove
	evDirSync
	evPromise    // lsn is durable
	evCheckpoint // the catalogue holds everything up to lsn
)

type event struct {
	kind     eventKind
	file     *simFile
	name, to string
	off      int64
	data     []byte
	lsn      LSN
}

func newSimDir() *simDir { return &simDir{names: map[string]*simFile{}} }

// note records an event, if no failure is injected, and does it.
func (d *simDir) note(e event, do func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		if err := d.fail(e); err != nil {
			return err
		}
	}
	d.trace = append(d.trace, e)
	if do != nil {
		do()
	}
	return nil
}

func (d *simDir) List() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for n := range d.names {
		names = append(names, n)
	}
	slices.Sort(names)
	return names, nil
}

func (d *simDir) Create(name string, size int64) (file, error) {
	f := &simFile{dir: d, data: make([]byte, size)}
	err := d.note(event{kind: evCreate, file: f, name: name, off: size}, func() { d.names[name] = f })
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d *simDir) Open(name string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.names[name]; f != nil {
		return f, nil
	}
	return nil, fs.ErrNotExist
}

func (d *simDir) Rename(old, new string) error {
	return d.note(event{kind: evRename, name: old, to: new}, func() {
		d.names[new] = d.names[old]
		delete(d.names, old)
	})
}

func (d *simDir) Remove(name string) error {
	return d.note(event{kind: evRemove, name: name}, func() { delete(d.names, name) })
}

func (d *simDir) Sync() error { return d.note(event{kind: evDirSync}, nil) }

func (f *simFile) ReadAt(p []byte, off int64) (int, error) {
	f.dir.mu.Lock()
	defer f.dir.mu.Unlock()
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *simFile) WriteAt(p []byte, off int64) (int, error) {
	e := event{kind: evWrite, file: f, off: off, data: slices.Clone(p)}
	if err := f.dir.note(e, func() { f.data = apply(f.data, e) }); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *simFile) Size() (int64, error) {
	f.dir.mu.Lock()
	defer f.dir.mu.Unlock()
	return int64(len(f.data)), nil
}

func (f *simFile) Truncate(size int64) error {
	e := event{kind: evTruncate, file: f, off: size}
	return f.dir.note(e, func() { f.data = apply(f.data, e) })
}

func (f *simFile) Punch(off, n int64) error {
	_, err := f.WriteAt(make([]byte, n), off)
	return err
}

func (f *simFile) Sync() error            { return f.dir.note(event{kind: evSync, file: f}, nil) }
func (f *simFile) SyncAll() error         { return f.Sync() }
func (f *simFile) WriteBack(int64, int64) {}
func (f *simFile) WillNeed(int64, int64)  {}
func (f *simFile) DropCache()             {}
func (f *simFile) Close() error           { return nil }

func apply(data []byte, e event) []byte {
	if e.kind == evTruncate {
		return slices.Clone(data[:min(int64(len(data)), e.off)])
	}
	if end := int(e.off) + len(e.data); end > len(data) {
		data = append(data, make([]byte, end-len(data))...)
	}
	copy(data[e.off:], e.data)
	return data
}

// loss is what a power cut does to writes that were not synced.
type loss int

const (
	loseNothing loss = iota
	loseAll
	loseWrites  // some whole writes
	loseSectors // some sectors of 512 bytes
	garble      // some sectors hold random bytes
	losses
)

// crash rebuilds the directory as a power cut after the first n events can leave it, and returns what was promised by then.
func (d *simDir) crash(rng *rand.Rand, n int, how loss) (after *simDir, promised, checkpoint LSN) {
	type inode struct {
		data    []byte
		pending []event
	}
	after = newSimDir()
	inodes := map[*simFile]*inode{}
	durableNames := map[string]*simFile{}
	var pendingNames []event
	for _, e := range d.trace[:n] {
		switch e.kind {
		case evCreate:
			inodes[e.file] = &inode{data: make([]byte, e.off)}
			pendingNames = append(pendingNames, e)
		case evWrite, evTruncate:
			inodes[e.file].pending = append(inodes[e.file].pending, e)
		case evSync:
			in := inodes[e.file]
			for _, p := range in.pending {
				in.data = apply(in.data, p)
			}
			in.pending = nil
		case evRename, evRemove:
			pendingNames = append(pendingNames, e)
		case evDirSync:
			applyNames(durableNames, pendingNames)
			pendingNames = nil
		case evPromise:
			promised = e.lsn
		case evCheckpoint:
			checkpoint = e.lsn
		}
	}
	keep := len(pendingNames)
	if how != loseNothing && keep > 0 {
		keep = rng.IntN(keep + 1)
	}
	applyNames(durableNames, pendingNames[:keep])
	for name, f := range durableNames {
		in := inodes[f]
		data := slices.Clone(in.data)
		for _, e := range in.pending {
			data = lose(rng, data, e, how)
		}
		after.names[name] = &simFile{dir: after, data: data}
	}
	for name, f := range after.names { // what is there now is durable, also in the next trace
		after.trace = append(after.trace, event{kind: evCreate, file: f, name: name, off: int64(len(f.data))},
			event{kind: evWrite, file: f, data: slices.Clone(f.data)}, event{kind: evSync, file: f})
	}
	after.trace = append(after.trace, event{kind: evDirSync}, event{kind: evPromise, lsn: promised}, event{kind: evCheckpoint, lsn: checkpoint})
	return after, promised, checkpoint
}

func applyNames(names map[string]*simFile, events []event) {
	for _, e := range events {
		switch e.kind {
		case evCreate:
			names[e.name] = e.file
		case evRename:
			names[e.to] = names[e.name]
			delete(names, e.name)
		case evRemove:
			delete(names, e.name)
		}
	}
}

func lose(rng *rand.Rand, data []byte, e event, how loss) []byte {
	switch {
	case how == loseNothing:
		return apply(data, e)
	case how == loseAll:
		return data
	case how == loseWrites || e.kind == evTruncate:
		if rng.IntN(2) == 0 {
			return data
		}
		return apply(data, e)
	}
	const sector = 512
	for at := int64(0); at < int64(len(e.data)); {
		n := min(sector-(e.off+at)%sector, int64(len(e.data))-at)
		part := event{kind: evWrite, off: e.off + at, data: slices.Clone(e.data[at : at+n])}
		switch {
		case rng.IntN(8) != 0:
			data = apply(data, part)
		case how == garble: // the whole sector, also what lay in it before
			part.off -= part.off % sector
			part.data = make([]byte, min(sector, int64(len(data))-part.off))
			for i := range part.data {
				part.data[i] = byte(rng.Uint32())
			}
			data = apply(data, part)
		}
		at += n
	}
	return data
}
