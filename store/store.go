// Package store keeps encrypted blocks, directory trees and the histories of roots in a backend that nobody has to
// trust.
//
// What lies where is described byte for byte in docs/format.md. Everything read is verified before it is used: the
// seal first, then lengths, then the hash of the content. What an object is bound to (store, root, kind, name) is part
// of its seal, so no object can stand in for another.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"ensync/keys"
	"ensync/store/backend"
	"ensync/store/block"
	"ensync/store/chunk"
	"ensync/store/index"
	"ensync/store/object"
)

// Level is how hard to compress what is written.
type Level = block.Level

// The levels of compression.
const (
	None    = block.None
	Fast    = block.Fast
	Default = block.Default
	Best    = block.Best
)

// Cache keeps pieces of immutable objects, as they lie in the backend. It never fails for a reason of its own.
type Cache interface {
	// Get returns a piece, and calls fetch for what it does not have.
	Get(ctx context.Context, name string, offset, length int64, fetch func(context.Context) ([]byte, error)) ([]byte, error)
	// Add keeps a piece that the caller has anyway.
	Add(name string, offset, length int64, data []byte)
	// Forget drops a piece that turned out to be of no use.
	Forget(name string, offset, length int64)
	// Has tells whether it has a piece, and Peek returns one that it has.
	Has(name string, offset, length int64) bool
	Peek(name string, offset, length int64) ([]byte, bool)
}

// Options are what a client brings to a store.
type Options struct {
	Memory    *Memory // what this client remembers of the store; nil: no protection against roll-back
	Cache     Cache   // of what is read, and of what was written; nil: none
	CacheData bool    // the cache keeps the data of files too, not only directories and the like
	IndexDir  string  // directory of the local index database, which any number of processes may share; "": in memory
	// Local, if set, says cache and index directory when the id of the store is known.
	Local       func(store [16]byte) (cache Cache, indexDir string)
	Client      string // this client's name, sealed into commits; at most 255 bytes
	Compression Level  // of what this client writes
	Workers     int    // blocks worked on at once; 0: as many as there are processors
	// Wait is how long who reads content waits for a store that is silent; then the error is backend.ErrUnavailable. Open
	// does not wait that long for a store that is remembered, but relies on that; see Confirm. 0: as long as the backend tries.
	Wait time.Duration
}

// Store is an open store. It may be used concurrently.
//
// Memory: up to readBuffer bytes of decoded blocks and segmentsHeld of sealed ones, next to what sessions hold.
type Store struct {
	b       backend.Backend
	early   *early
	opt     Options
	format  *format
	sealer  *block.Sealer
	cutter  *chunk.Cutter
	data    *block.MAC // of file contents
	index   *index.DB
	blocks  *blockCache
	nearby  *segments
	work    chan struct{} // a token for each block being worked on
	streams chan struct{} // a token for each long stream being cut
	readers atomic.Int64  // streams for which something is fetched ahead
	refresh *refresher
	reach   *reach

	keysMu   sync.RWMutex
	file     *keys.File
	chain    *keys.Chain
	former   []*keys.Chain // that somebody may still be working with
	keysRead time.Time
	assumed  error // see Assumed

	macMu sync.Mutex
	macs  map[string]*block.MAC

	commits commitCache
	agreed  agreedStates
}

// Open opens a store: it reads format and keys, checks both against opt.Memory and unlocks the keys. It creates
// nothing. Errors: ErrNoStore, ErrMissing, ErrDamaged, ErrUnsupported, ErrForeign, ErrReplaced, ErrRollback,
// ErrTampered, ErrWrongPassphrase, and those of the backend. The store does not own b.
func Open(ctx context.Context, b backend.Backend, pass []byte, opt Options) (*Store, error) {
	e := askEarly(ctx, b, opt.Memory)
	s, err := openEarly(ctx, e, pass, opt)
	if err != nil {
		e.close()
	}
	return s, err
}

func openEarly(ctx context.Context, e *early, pass []byte, opt Options) (*Store, error) {
	e.reach.wait = opt.Wait
	f, k, assumed, err := e.openPatiently(ctx, opt.Memory)
	if err != nil {
		return nil, err
	}
	chain, err := k.UnlockContext(ctx, pass, opt.Memory.key())
	if err != nil && assumed != nil {
		return nil, fmt.Errorf("keys as this machine remembers them: %w; the store can't be asked for newer ones: %w", err, assumed)
	}
	if err != nil {
		return nil, fmt.Errorf("object %s of %s: %w", keysObject, e.b.Location(), err)
	}
	s, err := open(ctx, e, f, k, chain, opt)
	if err == nil {
		s.assumed = assumed
	}
	if err == nil && e.sawFormat {
		if err = opt.Memory.sawFormat(f); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, err
}

func open(ctx context.Context, e *early, f *format, k *keys.File, chain *keys.Chain, opt Options) (*Store, error) {
	if opt.Workers <= 0 {
		opt.Workers = runtime.GOMAXPROCS(0)
	}
	if opt.Local != nil {
		opt.Cache, opt.IndexDir = opt.Local(f.id)
	}
	s := unready(e, f, k, chain, opt)
	if err := s.setUp(ctx); err != nil {
		chain.Close()
		return nil, err
	}
	return s, nil
}

// unready is a store that setUp makes usable.
func unready(e *early, f *format, k *keys.File, chain *keys.Chain, opt Options) *Store {
	return &Store{b: e.b, early: e, opt: opt, format: f, file: k, chain: chain, keysRead: now(), macs: map[string]*block.MAC{},
		blocks: newBlockCache(readBuffer), nearby: newSegments(e.b), work: make(chan struct{}, opt.Workers+1),
		streams: make(chan struct{}, opt.Workers+1), refresh: newRefresher(), reach: e.reach}
}

func (s *Store) setUp(ctx context.Context) error {
	everyone, err := s.group(keys.Everyone)
	if err != nil {
		return err
	}
	if s.data, err = s.mac(everyone); err != nil {
		return err
	}
	first, ok := everyone.First()
	if !ok {
		return fmt.Errorf("group %s: %w: the first version of its key is missing", keys.Everyone, ErrNoGroup)
	}
	s.cutter = chunk.New(s.format.chunk, first.Derive("ensync/store/1/gear", s.format.id[:]))
	if s.sealer, err = block.NewSealer(s.format.id, s.opt.Compression, s.opt.Workers); err != nil {
		return err
	}
	if _, known := s.opt.Memory.known(); known { // else it is remembered when the list of roots vouches for the format
		if err := s.opt.Memory.sawStore(s.format, s.file); err != nil {
			return err
		}
	}
	if err := s.opt.Memory.usedKey(s.chain.Name()); err != nil {
		return err
	}
	s.index, err = index.Open(ctx, s.opt.IndexDir, s.format.id)
	return err
}

// loadFormat reads the format object. What it finds must be what mem remembers, byte for byte.
func loadFormat(ctx context.Context, b backend.Backend, mem *Memory) (*format, error) {
	raw, err := b.Get(ctx, formatObject, 0, -1)
	return checkFormat(ctx, b, mem, raw, err)
}

func checkFormat(ctx context.Context, b backend.Backend, mem *Memory, raw []byte, err error) (*format, error) {
	if err != nil {
		err = absent(ctx, b, formatObject, err)
		if _, known := mem.known(); known && (errors.Is(err, ErrNoStore) || errors.Is(err, ErrMissing)) {
			return nil, missing(formatObject)
		}
		return nil, err
	}
	f, err := parseFormat(raw)
	if err != nil {
		return nil, err
	}
	if id, known := mem.known(); known {
		if id != f.id {
			return nil, &Fault{Kind: ErrForeign, Object: formatObject, Cause: fmt.Errorf("store %x, remembered %x", f.id, id),
				Next: "another store lies at this address now; check the address, or use a new configuration for it"}
		}
		if string(mem.Format()) != string(raw) {
			return nil, damaged(formatObject, errors.New("it differs from what this client remembers"))
		}
	}
	return f, nil
}

func (m *Memory) known() (id [16]byte, known bool) {
	if m == nil {
		return id, false
	}
	return m.StoreID()
}

// loader is Load of a backend, or something like it.
type loader func(ctx context.Context, name string) ([]byte, backend.Version, error)

// loadKeys reads the key store and checks it against f and what mem remembers.
func loadKeys(ctx context.Context, load loader, f *format, mem *Memory) (*keys.File, backend.Version, error) {
	raw, version, err := load(ctx, keysObject)
	if err != nil {
		return nil, "", got(keysObject, err)
	}
	k, err := parseKeys(raw, f, mem)
	if err != nil {
		return nil, "", &Fault{Kind: kindOf(err), Object: keysObject, Cause: err, Next: nextForKeys(err)}
	}
	return k, version, nil
}

// nextForKeys says what helps against a key store that is refused.
func nextForKeys(err error) string {
	switch {
	case errors.Is(err, keys.ErrUnsupported):
		return "update ensync"
	case errors.Is(err, ErrForeign), errors.Is(err, ErrReplaced):
		return "nothing was changed; check the address of the store, find out who put it there, or restore the store from a backup"
	}
	return "every client that used the store keeps a copy of its keys: ensync repair puts one back"
}

func parseKeys(raw []byte, f *format, mem *Memory) (*keys.File, error) {
	k, err := keys.Parse(raw)
	if err != nil {
		return nil, err
	}
	if k.StoreID() != f.id {
		return nil, ErrForeign
	}
	if mem != nil {
		if pin := mem.pin(); pin != nil {
			return k, k.CheckPin(*pin)
		}
	}
	return k, k.CheckPin(k.Pin()) // is as it was signed, by whomever
}

// kindOf picks the sentinel that err wraps.
func kindOf(err error) error {
	for _, kind := range []error{ErrForeign, ErrReplaced, ErrRollback, ErrTampered} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return ErrDamaged
}

// ID returns the random id that the store got when it was made.
func (s *Store) ID() [16]byte { return s.format.id }

// Keys returns what the passphrase opened.
func (s *Store) Keys() *keys.Chain {
	s.keysMu.RLock()
	defer s.keysMu.RUnlock()
	return s.chain
}

// Location says where the store lies, for messages.
func (s *Store) Location() string { return s.b.Location() }

// Params returns the properties of the store.
func (s *Store) Params() Params { return s.format.params() }

// Close gives back what the store holds and wipes its keys. No call may follow, and none may be under way.
func (s *Store) Close() error {
	s.early.close()
	err := s.index.Close()
	for _, c := range append(s.former, s.Keys()) {
		c.Close()
	}
	return err
}

func (s *Store) group(name string) (*keys.Group, error) {
	g, ok := s.Keys().Group(name)
	if !ok {
		return nil, fmt.Errorf("group %s: %w; use another passphrase, or ensync key group assoc", name, ErrNoGroup)
	}
	return g, nil
}

// EditKeys replaces the key store by what edit makes of it, and its copy too. It tries again when another client was
// faster, up to 16 times; edit is then called anew. Both are durable when it returns nil.
func (s *Store) EditKeys(ctx context.Context, edit func(*keys.File) (*keys.File, error)) error {
	for range 16 {
		old, version, err := loadKeys(ctx, s.b.Load, s.format, s.opt.Memory)
		if err != nil {
			return err
		}
		next, err := edit(old)
		if err != nil {
			return err
		}
		err = s.swap(ctx, keysObject, version, next.Encode())
		if errors.Is(err, ErrOvertaken) {
			continue
		}
		if err == nil {
			err = s.adoptKeys(ctx, next)
		}
		return err
	}
	return fmt.Errorf("edit keys: %w 16 times; try again", ErrOvertaken)
}

// adoptKeys makes a key store that was just written the one in use, here and in the copy.
func (s *Store) adoptKeys(ctx context.Context, k *keys.File) error {
	if err := s.copyKeys(ctx, k); err != nil {
		return err
	}
	if s.opt.Memory != nil {
		if err := s.opt.Memory.sawStore(s.format, k); err != nil {
			return err
		}
	}
	err := s.useKeys(k)
	if errors.Is(err, keys.ErrStale) {
		return nil // the edit took the passphrase in use away: this client goes on with what it had until it is closed
	}
	return err
}

// copyKeys brings the copy of the key store up to k, unless it is newer.
func (s *Store) copyKeys(ctx context.Context, k *keys.File) error {
	for range 16 {
		raw, version, err := s.b.Load(ctx, keysCopy)
		if err != nil && !errors.Is(err, backend.ErrNotExist) {
			return got(keysCopy, err)
		}
		if err == nil {
			if c, err := keys.Parse(raw); err == nil && c.StoreID() == k.StoreID() && c.Version() >= k.Version() {
				return nil
			}
		}
		if err = s.swap(ctx, keysCopy, version, k.Encode()); !errors.Is(err, ErrOvertaken) {
			return err
		}
	}
	return fmt.Errorf("object %s: %w 16 times; try again", keysCopy, ErrOvertaken)
}

// swap is Swap of the backend with lost answers resolved: whatever it was told, if the object holds data now then the
// swap is done. ErrOvertaken if it was changed by someone else.
func (s *Store) swap(ctx context.Context, name string, old backend.Version, data []byte) error {
	return swap(ctx, s.b, name, old, data)
}

func swap(ctx context.Context, b backend.Backend, name string, old backend.Version, data []byte) error {
	_, err := swapVersion(ctx, b, name, old, data)
	return err
}

func swapVersion(ctx context.Context, b backend.Backend, name string, old backend.Version, data []byte) (backend.Version, error) {
	version, err := b.Swap(ctx, name, old, data)
	if err == nil {
		return version, nil
	}
	if now, version, lerr := b.Load(ctx, name); lerr == nil && string(now) == string(data) {
		return version, nil
	}
	if errors.Is(err, backend.ErrChanged) {
		return "", fmt.Errorf("object %s: %w: %w", name, ErrOvertaken, err)
	}
	return "", fmt.Errorf("write object %s: %w", name, err)
}

// putNew is Put of the backend for a name that nobody else can have chosen, or content that nobody else can have.
func putNew(ctx context.Context, b backend.Backend, name string, data []byte) error {
	err := b.Put(ctx, name, data)
	if errors.Is(err, backend.ErrExist) {
		// A repeated request meets what it wrote itself the first time.
		if now, gerr := b.Get(ctx, name, 0, -1); gerr == nil && string(now) == string(data) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("write object %s: %w", name, err)
	}
	return nil
}

// now is the clock; only times that are shown come from it.
func now() time.Time { return time.Now() }

// Hash computes what content r has, without storing it.
func (s *Store) Hash(ctx context.Context, r io.Reader) (object.Content, error) {
	return s.putContent(ctx, hashOnly{}, r)
}
