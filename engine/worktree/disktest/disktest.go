//go:build linux

// Package disktest is a disk in memory that remembers in what order everything was written and synced, and shows what a
// power cut at any moment can leave of it. It is mounted, so that whatever uses files can run on it.
//
// It promises no more than POSIX does: a write is there after an fsync of its file, a name after an fsync of its directory.
// What was not synced is lost in part and in any order, down to sectors.
//
// The disk is a process of its own, the test's binary again: who waits for a page of a mapped file can't be stopped, and if
// that page were to come from the same process, the first garbage collection would wait for ever.
package disktest

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// disk is what the process that serves it has.
type disk struct {
	mu    sync.Mutex
	trace []event
	root  *file
	last  uint64 // number of a file
}

// file is a file or a directory as it is now.
type file struct {
	number uint64
	data   []byte
	names  map[string]*file // of a directory
}

type kind int

const (
	wrote    kind = iota
	sized         // truncated or extended to off
	synced        // the file, or the names of a directory
	named         // name in file means target; nil: nothing any more
	replaced      // from in file became name, in one step
)

// event is one thing that was done to a file, or to the names of a directory.
type event struct {
	kind       kind
	file       *file
	off        int64
	data       []byte
	name, from string
	target     *file
}

// Loss is what a power cut does to what was not synced.
type Loss int

// The losses.
const (
	Nothing Loss = iota
	All
	Writes  // some whole writes, in any order
	Sectors // some sectors of 512 bytes
	Garble  // some sectors hold random bytes
	Losses
)

// note does an event and remembers it. d.mu is held.
func (d *disk) note(e event) {
	d.trace = append(d.trace, e)
	switch e.kind {
	case wrote, sized:
		e.file.data = apply(e.file.data, e)
	default:
		applyName(e.file.names, e)
	}
}

func apply(data []byte, e event) []byte {
	end := e.off + int64(len(e.data))
	if e.kind == sized && end < int64(len(data)) {
		return data[:end:end]
	}
	if grow := end - int64(len(data)); grow > 0 {
		data = append(data, make([]byte, grow)...)
	}
	copy(data[e.off:], e.data)
	return data
}

func applyName(names map[string]*file, e event) {
	switch {
	case e.kind == named && e.target == nil:
		delete(names, e.name)
	case e.kind == named:
		names[e.name] = e.target
	case e.kind == replaced && names[e.from] != nil:
		names[e.name] = names[e.from]
		delete(names, e.from)
	}
}

// state is what is sure of a file, and what is not.
type state struct {
	data    []byte
	names   map[string]*file
	pending []event
}

// cut writes into a directory what a power cut after the first n events leaves.
func (d *disk) cut(rng *rand.Rand, n int, how Loss, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	states := map[*file]*state{}
	of := func(f *file) *state {
		if states[f] == nil {
			states[f] = &state{names: map[string]*file{}}
		}
		return states[f]
	}
	for _, e := range d.trace[:n] {
		s := of(e.file)
		s.pending = append(s.pending, e)
		if e.kind == synced {
			s.settle(func(event) bool { return true })
		}
	}
	return save(d.root, of, rng, how, to)
}

// settle applies the pending events that come through.
func (s *state) settle(through func(event) bool) {
	for _, e := range s.pending {
		switch {
		case !through(e):
		case e.kind == wrote || e.kind == sized:
			s.data = apply(s.data, e)
		default:
			applyName(s.names, e)
		}
	}
	s.pending = nil
}

// save writes what is left of a file to a path.
func save(f *file, of func(*file) *state, rng *rand.Rand, how Loss, path string) error {
	s := of(f)
	if f.names == nil {
		s.pending = lose(rng, s.pending, how)
		s.settle(func(event) bool { return true })
		return os.WriteFile(path, s.data, 0o600)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	cut, some := rng.IntN(len(s.pending)+1), rng.IntN(2) == 0 // names come in their order up to one, or any of them
	i := 0
	s.settle(func(event) bool {
		i++
		return how == Nothing || how != All && (some && rng.IntN(2) == 0 || !some && i <= cut)
	})
	for _, name := range slices.Sorted(maps.Keys(s.names)) {
		if err := save(s.names[name], of, rng, how, filepath.Join(path, name)); err != nil {
			return err
		}
	}
	return nil
}

// load reads a directory as what is there for sure.
func (d *disk) load(path string) (*file, error) {
	d.last++
	f := &file{number: d.last, names: map[string]*file{}}
	list, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		at := filepath.Join(path, e.Name())
		var g *file
		if e.IsDir() {
			g, err = d.load(at)
		} else {
			d.last++
			g = &file{number: d.last}
			g.data, err = os.ReadFile(at)
			d.trace = append(d.trace, event{kind: wrote, file: g, data: slices.Clone(g.data)}, event{kind: synced, file: g})
		}
		if err != nil {
			return nil, err
		}
		f.names[e.Name()] = g
		d.trace = append(d.trace, event{kind: named, file: f, name: e.Name(), target: g})
	}
	d.trace = append(d.trace, event{kind: synced, file: f})
	return f, nil
}

// lose returns what is left of writes that were not synced.
func lose(rng *rand.Rand, pending []event, how Loss) (left []event) {
	const sector = 512
	for _, e := range pending {
		switch {
		case how == Nothing:
			left = append(left, e)
		case how == All:
		case how == Writes || e.kind != wrote:
			if rng.IntN(2) == 0 {
				left = append(left, e)
			}
		default:
			for at := 0; at < len(e.data); {
				n := min(sector-int(e.off+int64(at))%sector, len(e.data)-at)
				part := event{kind: wrote, off: e.off + int64(at), data: e.data[at : at+n]}
				at += n
				if rng.IntN(8) == 0 {
					if how != Garble {
						continue
					}
					part.off -= part.off % sector
					part.data = make([]byte, sector)
					for i := range part.data {
						part.data[i] = byte(rng.Uint32())
					}
				}
				left = append(left, part)
			}
		}
	}
	return left
}
