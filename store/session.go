package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"

	"ensync/keys"
	"ensync/store/block"
	"ensync/store/index"
	"ensync/store/object"
	"ensync/store/pack"
)

const (
	packTarget = 8 << 20  // bytes of blocks at which a pack is sent
	sealedHeld = 40 << 20 // bytes of sealed blocks that a session holds at most
	indexEvery = 50_000   // blocks after which an index object is written without being asked
)

// ErrClosed says that a session was closed.
var ErrClosed = errors.New("session was closed")

// Session writes blocks. It may be used concurrently. Equal blocks are stored once. Nothing is durable before Flush,
// and nothing shows before a root's Commit; a session that ends in any other way leaves garbage at most.
//
// A failure to write ends the session: every later call returns that error.
//
// Memory, with blocks of the default size: 40 MiB of sealed blocks waiting in packs, being sent or about to be; one
// block of at most 4 MiB for each worker and one more; 8 MiB for each of as many long streams being cut. With two
// workers that is 76 MiB, plus 10 MiB for compression.
type Session struct {
	s      *Store
	ctx    context.Context // of everything done in the background; ends with Close
	cancel context.CancelFunc
	author *keys.Group
	room   *semaphore.Weighted

	// gate is held for reading while a block goes from being claimed in recent to lying in a pack, and for writing
	// while Flush closes that pack. So whoever was told "stored already" by recent is flushed along with the block.
	gate sync.RWMutex

	mu       sync.Mutex
	err      error
	recent   map[object.ID]bool // blocks that no index has yet
	filling  *pack.Builder
	name     pack.Name    // of the pack being filled
	held     int64        // bytes of room that belong to filling
	sending  []*sending   // packs on their way
	unlisted []index.Pack // packs that are durable but in no index
	listed   sync.Mutex   // one index object is written at a time
	used     []pack.Name  // every pack that something put in this session relies on, in order
	usedSet  map[pack.Name]int
	checked  map[pack.Name]bool // packs of earlier sessions that were seen to exist
	verified map[object.ID]bool // blocks of authors that are not trusted, that were read and found good
	told     map[[16]byte]int   // how many of used the commits of a root tell of
	tidier   tidier
	stats    Stats
}

// Stats counts what a session did so far.
type Stats struct {
	Blocks      int64 // that were put
	NewBlocks   int64 // of those, that were not in the store
	BytesIn     int64 // plaintext of all blocks put
	BytesStored int64 // whole packs, when they are durable
	Packs       int64
}

// sending is a pack on its way.
type sending struct{ done chan struct{} }

// Begin starts a session: it learns which blocks the store has.
func (s *Store) Begin(ctx context.Context) (*Session, error) {
	if err := s.currentKeys(ctx); err != nil {
		return nil, err
	}
	if err := s.refreshIndex(ctx); err != nil {
		return nil, err
	}
	author, err := s.author()
	if err != nil {
		return nil, err
	}
	w := &Session{s: s, author: author, room: semaphore.NewWeighted(sealedHeld), recent: map[object.ID]bool{},
		filling: new(pack.Builder), usedSet: map[pack.Name]int{}, checked: map[pack.Name]bool{},
		verified: map[object.ID]bool{}, told: map[[16]byte]int{}}
	w.ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := w.tidy(ctx); err != nil {
		w.cancel()
		return nil, err
	}
	return w, nil
}

// PutContent stores what r yields. Content of up to object.InlineMax bytes is not stored: it comes back in Data and goes
// into its directory entry. An error of r is returned as it is and does not end the session.
func (w *Session) PutContent(ctx context.Context, r io.Reader) (object.Content, error) {
	return w.s.putContent(ctx, w, r)
}

// Stats may be called at any time.
func (w *Session) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}

// put implements sink.
func (w *Session) put(ctx context.Context, t block.Type, mac *block.MAC, plain []byte) (object.Key, error) {
	key := mac.Sum(t, plain)
	id := block.ID(key)
	known, err := w.known(ctx, t, mac, key, id)
	if err != nil || known {
		w.count(len(plain), false)
		return key, err
	}
	room := int64(len(plain) + block.Overhead)
	if err := w.room.Acquire(ctx, room); err != nil {
		return key, err
	}
	w.gate.RLock()
	defer w.gate.RUnlock()
	mine, err := w.claim(id)
	if err != nil || !mine {
		w.room.Release(room)
		w.count(len(plain), false)
		return key, err
	}
	sealed, err := w.s.sealer.Seal(t, key, plain)
	if err != nil {
		w.room.Release(room)
		return key, w.fail(err)
	}
	w.room.Release(room - int64(len(sealed)))
	w.count(len(plain), true)
	w.pack(id, t, sealed)
	return key, nil
}

func (w *Session) count(bytes int, stored bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Blocks++
	w.stats.BytesIn += int64(bytes)
	if stored {
		w.stats.NewBlocks++
	}
}

// claim reports whether the caller is to store a block, or somebody has it in hand already.
func (w *Session) claim(id object.ID) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return false, w.err
	}
	if w.recent[id] {
		return false, nil
	}
	w.recent[id] = true
	return true, nil
}

// known reports whether a block is in the store, and notes the pack that is relied on from now on.
func (w *Session) known(ctx context.Context, t block.Type, mac *block.MAC, key object.Key, id object.ID) (bool, error) {
	w.mu.Lock()
	recent, err := w.recent[id], w.err
	w.mu.Unlock()
	if recent || err != nil {
		// The gate makes sure that the claim that was seen is in a pack by the time a Flush closes it.
		return recent, err
	}
	found, err := w.s.index.Lookup(ctx, id)
	if err != nil {
		return false, err
	}
	for _, l := range found {
		if l.Entry.Type != t {
			continue
		}
		ok, err := w.usable(ctx, l, mac, key)
		if err != nil {
			return false, err
		}
		if ok {
			w.rely(l.Pack)
			return true, nil
		}
	}
	return false, nil
}

// usable reports whether the block that an index promises can be relied on: its pack was seen in this session, and if
// the promise comes from somebody who is not trusted, the block itself was read and found good.
func (w *Session) usable(ctx context.Context, l index.Location, mac *block.MAC, key object.Key) (bool, error) {
	w.mu.Lock()
	_, own := w.usedSet[l.Pack]
	seen, exists := w.checked[l.Pack]
	good := w.verified[l.Entry.ID]
	w.mu.Unlock()
	trusted := w.s.trusted(l.Author)
	if own && trusted || good {
		return true, nil
	}
	if trusted && exists {
		return seen, nil
	}
	var err error
	if trusted {
		err = w.s.packExists(ctx, l.Pack)
	} else {
		_, err = w.s.readBlock(ctx, l, l.Entry.Type, mac, key, w.s.limit(l.Entry.Type))
	}
	if err != nil && !errors.Is(err, ErrMissing) && !errors.Is(err, ErrDamaged) {
		return false, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if trusted {
		w.checked[l.Pack] = err == nil
	} else if err == nil {
		w.verified[l.Entry.ID] = true
	}
	return err == nil, nil
}

// packExists says with ErrMissing or ErrDamaged that a pack can't be relied on.
func (s *Store) packExists(ctx context.Context, n pack.Name) error {
	b, err := s.b.Get(ctx, n.Object(), 0, int64(pack.HeadSize))
	if err != nil {
		return got(n.Object(), err)
	}
	if err := pack.CheckHead(b); err != nil {
		return damaged(n.Object(), err)
	}
	return nil
}

// rely notes that what is put in this session needs a pack.
func (w *Session) rely(n pack.Name) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.relyLocked(n)
}

func (w *Session) relyLocked(n pack.Name) {
	if _, ok := w.usedSet[n]; !ok {
		w.usedSet[n] = len(w.used)
		w.used = append(w.used, n)
	}
}

// pack puts a sealed block into the pack being filled, and sends that if it is full.
func (w *Session) pack(id object.ID, t block.Type, sealed []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.filling.Full(len(sealed)) {
		w.send()
	}
	if w.filling.Empty() {
		// The name is chosen first, so that a commit can tell of packs that are not written yet.
		if _, err := io.ReadFull(block.Random, w.name[:]); err != nil {
			w.failLocked(fmt.Errorf("random name: %w", err))
			return
		}
		w.relyLocked(w.name)
	}
	w.filling.Add(id, t, sealed)
	w.held += int64(len(sealed))
	if w.filling.Size() >= packTarget {
		w.send()
	}
}

// send lets the pack being filled go and starts another one. w.mu is held.
func (w *Session) send() {
	if w.filling.Empty() || w.err != nil {
		return
	}
	b, name, held, s := w.filling, w.name, w.held, &sending{done: make(chan struct{})}
	w.filling, w.held = new(pack.Builder), 0
	if b.Size() >= packTarget {
		w.filling = pack.NewBuilder(packTarget + packTarget/4) // the next one will likely be as large
	}
	w.sending = append(w.sending, s)
	go func() {
		defer close(s.done)
		defer w.room.Release(held)
		if err := w.store(name, b); err != nil {
			w.fail(err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.sending = slices.DeleteFunc(w.sending, func(o *sending) bool { return o == s })
	}()
}

// store writes one pack, and an index if enough blocks wait for one.
func (w *Session) store(name pack.Name, b *pack.Builder) error {
	p, data, err := w.s.buildPack(name, b)
	if err != nil {
		return err
	}
	if err := putNew(w.ctx, w.s.b, p.Name.Object(), data); err != nil {
		return err
	}
	w.s.keep(p, data)
	w.mu.Lock()
	w.unlisted = append(w.unlisted, p)
	w.stats.Packs++
	w.stats.BytesStored += p.Size
	waiting := 0
	for _, p := range w.unlisted {
		waiting += len(p.Table)
	}
	w.mu.Unlock()
	if waiting >= indexEvery {
		return w.writeIndex(w.ctx)
	}
	return nil
}

// buildPack finishes a pack.
func (s *Store) buildPack(name pack.Name, b *pack.Builder) (index.Pack, []byte, error) {
	p := index.Pack{Name: name}
	everyone, err := s.group(keys.Everyone)
	if err != nil {
		return p, nil, err
	}
	data, table, err := b.Finish(sealOverhead, func(t []byte) ([]byte, error) {
		return s.seal(everyone, sealTable, p.Name[:], t)
	})
	p.Table, p.Size = table, int64(len(data))
	return p, data, err
}

// Flush returns when everything put before is durable in the store and in its index. If ctx ends first, what was put
// stays under way and a later Flush waits for it.
func (w *Session) Flush(ctx context.Context) error {
	w.gate.Lock()
	w.mu.Lock()
	w.send()
	wait := slices.Clone(w.sending)
	err := w.err
	w.mu.Unlock()
	w.gate.Unlock()
	if err != nil {
		return err
	}
	for _, s := range wait {
		select {
		case <-s.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	done := make(chan error, 1)
	go func() { done <- w.writeIndex(w.ctx) }()
	select {
	case err := <-done:
		return errors.Join(err, w.failed())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fail ends the session with its first error.
func (w *Session) fail(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failLocked(err)
}

func (w *Session) failLocked(err error) error {
	if w.err == nil {
		w.err = fmt.Errorf("write to the store: %w", err)
	}
	return w.err
}

func (w *Session) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Close abandons what was not flushed, and returns when nothing of the session is running any more.
func (w *Session) Close() error {
	w.fail(ErrClosed)
	w.cancel()
	w.gate.Lock()
	w.mu.Lock()
	wait := slices.Clone(w.sending)
	w.mu.Unlock()
	w.gate.Unlock()
	for _, s := range wait {
		<-s.done
	}
	w.tidier.running.Wait()
	w.listed.Lock()
	defer w.listed.Unlock()
	return nil
}
