package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"ensync/keys"
	"ensync/store/block"
	"ensync/store/object"
)

// Memory is what a client remembers of one store, so that it notices an older, another or a forged one. It is a file,
// written whole and durably at each change. Processes may share the file; a Memory may be used concurrently.
type Memory struct {
	path string

	mu   sync.Mutex
	data memoryData
}

type memoryData struct {
	StoreID    hexBytes            `json:"store_id,omitempty"`
	Format     []byte              `json:"format,omitempty"`
	FormatSeen time.Time           `json:"format_seen,omitzero"` // in the store
	Upkeep     time.Time           `json:"upkeep,omitzero"`      // when this client looked after the store
	Keys       []byte              `json:"keys,omitempty"`
	Pin        *keys.Pin           `json:"pin,omitempty"`
	Key        string              `json:"key,omitempty"` // name of the key whose passphrase was used last
	List       listSeen            `json:"list"`
	Roots      map[string]rootSeen `json:"roots,omitempty"` // by root id in hexadecimal
	Kept       hexBytes            `json:"kept,omitempty"`  // id of the root whose tree this client keeps
	Past       pastStates          `json:"past,omitzero"`
	Waived     []string            `json:"waived,omitempty"` // contradictions that the user accepted
}

// listSeen is the newest list of roots that was seen.
type listSeen struct {
	Version uint64   `json:"version"`
	Hash    hexBytes `json:"hash,omitempty"`
}

// rootSeen is the newest head of a root that was seen. Commit is an ID, which opens nothing.
type rootSeen struct {
	Seq     uint64       `json:"seq"`
	Commit  hexBytes     `json:"commit,omitempty"`
	Told    bool         `json:"told,omitempty"` // only another client told of it
	Others  othersCommit `json:"others,omitzero"`
	Refused time.Time    `json:"refused,omitzero"` // since when the store shows something that contradicts
}

// othersCommit is the newest commit of another client.
type othersCommit struct {
	Made time.Time `json:"made"` // by the clock of that client
	Seen time.Time `json:"seen"` // by ours
}

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%x", []byte(h)), nil }

func (h *hexBytes) UnmarshalText(b []byte) error {
	_, err := fmt.Sscanf(string(b), "%x", (*[]byte)(h))
	if len(b) == 0 {
		*h, err = nil, nil
	}
	return err
}

const maxMemory = 64 << 20

// OpenMemory reads the memory at path; a file that is not there is the memory of nothing. A damaged file is an error:
// forgetting silently would undo the protection it gives.
func OpenMemory(path string) (*Memory, error) {
	m := &Memory{path: path}
	if err := m.read(); err != nil {
		return nil, err
	}
	return m, nil
}

// StoreID returns the id of the store that is remembered.
func (m *Memory) StoreID() (id [16]byte, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.data.StoreID) != 16 {
		return id, false
	}
	return [16]byte(m.data.StoreID), true
}

// Format and Keys return the remembered copies of these objects, nil if there are none.
func (m *Memory) Format() []byte { m.mu.Lock(); defer m.mu.Unlock(); return bytes.Clone(m.data.Format) }

// Keys returns the remembered copy of the key store.
func (m *Memory) Keys() []byte { m.mu.Lock(); defer m.mu.Unlock(); return bytes.Clone(m.data.Keys) }

// forget drops what is remembered of the list of roots, of one root, and of all that the list does not have, so that they
// are taken as they come.
func (m *Memory) forget(root *[16]byte, listed map[string]bool) error {
	return m.update(func(d *memoryData) bool {
		for id := range d.Roots {
			if listed != nil && !listed[id] {
				delete(d.Roots, id)
			}
		}
		if root != nil {
			delete(d.Roots, fmt.Sprintf("%x", *root))
		}
		d.List, d.Past.List = listSeen{}, nil
		return true
	})
}

func (m *Memory) root(id [16]byte) rootSeen {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.data.Roots[fmt.Sprintf("%x", id)]
}

func (r *rootSeen) saw(seq uint64, commit object.ID) {
	if len(r.Commit) == 0 || r.Seq < seq {
		r.Seq, r.Commit = seq, commit[:]
	}
}

// saw is the change that remembers a state of a root, unless a later one is remembered.
func saw(h Head) func(*rootSeen) {
	return func(s *rootSeen) { s.saw(h.Seq, block.ID(h.Commit)) }
}

// changeRoot changes what is remembered of a root.
func (m *Memory) changeRoot(id [16]byte, change func(*rootSeen)) error {
	return m.changeRoots(map[[16]byte]func(*rootSeen){id: change})
}

// changeRoots changes what is remembered of several.
func (m *Memory) changeRoots(changes map[[16]byte]func(*rootSeen)) error {
	return m.update(func(d *memoryData) bool {
		changed := false
		for id, change := range changes {
			key := fmt.Sprintf("%x", id)
			was := d.Roots[key]
			next := was
			if change(&next); next.equal(was) {
				continue
			}
			if d.Roots == nil {
				d.Roots = map[string]rootSeen{}
			}
			d.Roots[key], changed = next, true
		}
		return changed
	})
}

func (r rootSeen) equal(o rootSeen) bool {
	return r.Seq == o.Seq && bytes.Equal(r.Commit, o.Commit) && r.Told == o.Told && r.Others == o.Others && r.Refused.Equal(o.Refused)
}

func (m *Memory) list() listSeen { m.mu.Lock(); defer m.mu.Unlock(); return m.data.List }

func (m *Memory) sawList(version uint64, hash [32]byte) error {
	return m.update(func(d *memoryData) bool {
		if d.List.Version >= version {
			return false
		}
		d.List = listSeen{Version: version, Hash: hash[:]}
		d.Past.List = note(d.Past.List, version, hash[:])
		return true
	})
}

func (m *Memory) sawStore(f *format, k *keys.File) error {
	encoded, pin := k.Encode(), k.Pin()
	return m.update(func(d *memoryData) bool {
		if d.Pin != nil && d.Pin.Version >= pin.Version {
			return false
		}
		if len(d.StoreID) == 0 {
			d.Upkeep = now().UTC() // whatever is new to a client is not urgent
		}
		d.StoreID, d.Format, d.Keys, d.Pin = f.id[:], f.encoded, encoded, &pin
		d.Past.Keys = note(d.Past.Keys, pin.Version, pin.Hash[:])
		return true
	})
}

// key returns the name of the key that opened last.
func (m *Memory) key() string {
	if m == nil {
		return ""
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.data.Key
}

// usedKey notes which key opened, so that it is the first to be tried: each costs a stretching.
func (m *Memory) usedKey(name string) error {
	if m == nil {
		return nil
	}
	return m.update(func(d *memoryData) bool {
		changed := d.Key != name
		d.Key = name
		return changed
	})
}

func (m *Memory) pin() *keys.Pin { m.mu.Lock(); defer m.mu.Unlock(); return m.data.Pin }

// update changes the memory under a lock that all processes share, on top of what the file says by then.
func (m *Memory) update(change func(*memoryData) bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	probe := m.data.clone()
	if !change(&probe) {
		return nil
	}
	unlock, err := lockFile(m.path + ".lock")
	if err != nil {
		return fmt.Errorf("memory of the store %s: %w", m.path, err)
	}
	defer unlock()
	if err := m.readLocked(); err != nil {
		return err
	}
	next := m.data.clone()
	if !change(&next) {
		return nil
	}
	if err := m.write(next); err != nil {
		return fmt.Errorf("memory of the store %s: %w", m.path, err)
	}
	m.data = next
	return nil
}

func (d memoryData) clone() memoryData {
	d.Roots = maps.Clone(d.Roots)
	return d
}

func (m *Memory) read() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.readLocked()
}

func (m *Memory) readLocked() error {
	fail := func(err error) error {
		return fmt.Errorf("memory of the store %s: %w; restore the file, or, to trust the store as it is now, move it away together with ancestor.sqlite* beside it and in mount, else what the store has lost is deleted here", m.path, err)
	}
	if info, err := os.Stat(m.path); err == nil && info.Size() > maxMemory {
		return fail(fmt.Errorf("%d bytes", info.Size()))
	}
	b, err := os.ReadFile(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		m.data = memoryData{}
		return nil
	}
	if err != nil {
		return fail(err)
	}
	var d memoryData
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return fail(err)
	}
	if n := len(d.StoreID); n != 0 && n != 16 {
		return fail(errors.New("store id makes no sense"))
	}
	m.data = d
	return nil
}

func (m *Memory) write(d memoryData) error {
	b, err := json.MarshalIndent(d, "", "\t")
	if err != nil {
		return err
	}
	// One name for all: writers hold the lock, so a temporary that a crash left is simply written over.
	tmp := m.path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err == nil {
		err = f.Sync() // DURABLE: roll-back protection outlives a power cut
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, m.path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(m.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close()) // DURABLE: the new name
}
