package localdir

import (
	"container/list"
	"maps"
	"strings"

	"ensync/store/object"
)

// row is what is known of one name.
type row struct {
	st      stat
	content object.Content // without Data
	racy    bool           // the content was read too soon after the last change to be believed at the next look
}

// state is what is known of one directory.
type state struct {
	dir     string
	self    stat // of the directory: dev, ino
	fs      uint64
	rows    map[string]row
	changed bool // differs from what the cache has
	place   *list.Element
}

// keptRows bounds how many names are remembered, in directories beyond the keptDirs used last. About 300 bytes each.
const (
	keptRows = 1 << 16
	keptDirs = 64
)

// states remembers the directories used last, and all that is not in the cache yet. The caller locks.
type states struct {
	byDir  map[string]*state
	recent *list.List        // of *state, the last used in front
	rows   int               // in all of them
	packed map[string][]byte // encoded directories that wait for the next Sync
	// gone has the files with known content whose names vanished since the start: they may turn up elsewhere.
	gone map[uint64]vanished // by inode
}

// vanished is a file that was at a name.
type vanished struct {
	row
	dir, name string
}

const keptGone = 1 << 16

func newStates() states {
	return states{byDir: map[string]*state{}, recent: list.New(), packed: map[string][]byte{}, gone: map[uint64]vanished{}}
}

// get returns the state of a directory, or nil.
func (s *states) get(dir string) *state {
	st := s.byDir[dir]
	if st != nil {
		s.recent.MoveToFront(st.place)
	}
	return st
}

// put replaces the state of a directory.
func (s *states) put(st *state) {
	if was := s.byDir[st.dir]; was != nil {
		s.drop(was)
	}
	s.byDir[st.dir] = st
	st.place = s.recent.PushFront(st)
	s.rows += len(st.rows)
	for s.rows > keptRows && s.recent.Len() > keptDirs {
		last := s.recent.Back().Value.(*state)
		s.pack(last)
		s.drop(last)
	}
}

func (s *states) drop(st *state) {
	s.recent.Remove(st.place)
	delete(s.byDir, st.dir)
	s.rows -= len(st.rows)
}

// pack keeps what is new in a state in its short form.
func (s *states) pack(st *state) {
	if st.changed {
		s.packed[st.dir] = encodeState(st)
		st.changed = false
	}
}

// set changes one row.
func (s *states) set(st *state, name string, r row) {
	if _, ok := st.rows[name]; !ok {
		s.rows++
	}
	r.content.Data = nil
	st.rows[name] = r
	st.changed = true
}

// remove forgets one row.
func (s *states) remove(st *state, name string) {
	if _, ok := st.rows[name]; ok {
		s.rows--
		delete(st.rows, name)
		st.changed = true
	}
}

// vanished remembers a file whose name is gone.
func (s *states) vanished(dir, name string, r row) {
	if !r.content.Known || r.racy || r.st.size < movedMin {
		return
	}
	if len(s.gone) >= keptGone {
		clear(s.gone)
	}
	s.gone[r.st.ino] = vanished{r, dir, name}
}

// unsaved reports whether there is anything that the cache does not have.
func (s *states) unsaved() bool {
	if len(s.packed) > 0 {
		return true
	}
	for _, st := range s.byDir {
		if st.changed {
			return true
		}
	}
	return false
}

// snapshot encodes everything that the cache does not have.
func (s *states) snapshot() map[string][]byte {
	for _, st := range s.byDir {
		s.pack(st)
	}
	return maps.Clone(s.packed)
}

// saved says that the cache now has a snapshot.
func (s *states) saved(snapshot map[string][]byte) {
	for dir, blob := range snapshot {
		if now, ok := s.packed[dir]; ok && &now[0] == &blob[0] {
			delete(s.packed, dir)
		}
	}
}

// forget drops paths and everything below them.
func (s *states) forget(paths []string) {
	gone := make(map[string]bool, len(paths))
	for _, path := range paths {
		gone[path] = true
	}
	for dir, st := range s.byDir {
		if within(gone, dir) {
			s.drop(st)
		}
	}
	maps.DeleteFunc(s.packed, func(dir string, _ []byte) bool { return within(gone, dir) })
}

// within reports whether a path or one above it is in the set.
func within(set map[string]bool, path string) bool {
	for {
		if set[path] {
			return true
		}
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			return false
		}
		path = path[:i]
	}
}
