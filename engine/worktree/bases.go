package worktree

import (
	"context"
	"sync"

	"ensync/store/object"
)

// maxBases is how many contents of the store stay open after use.
const maxBases = 64

// baseCache keeps contents of the store open, so that reading a file in small pieces opens it once.
type baseCache struct {
	blocks Blocks
	mu     sync.Mutex
	kept   map[baseKey]*openBase
	clock  uint64
}

type baseKey struct {
	key   object.Key
	size  int64
	depth uint8
}

type openBase struct {
	Content
	key   baseKey
	users int
	used  uint64
	out   bool // not in the cache any more: the last user closes it
}

// open returns the opened content, which done gives back. Two callers may open the same content side by side; one of
// the results is then closed after use.
func (c *baseCache) open(ctx context.Context, content object.Content) (*openBase, error) {
	key := baseKey{content.Key, content.Size, content.Depth}
	c.mu.Lock()
	if b := c.kept[key]; b != nil {
		c.clock++
		b.users, b.used = b.users+1, c.clock
		c.mu.Unlock()
		return b, nil
	}
	c.mu.Unlock()
	r, err := c.blocks.Open(ctx, content)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	b := &openBase{Content: r, key: key, users: 1, used: c.clock}
	if c.kept == nil {
		c.kept = map[baseKey]*openBase{}
	}
	if c.kept[key] != nil {
		b.out = true
	} else {
		c.kept[key] = b
		c.shrink()
	}
	return b, nil
}

// shrink lets go of the content that was used longest ago.
func (c *baseCache) shrink() {
	if len(c.kept) <= maxBases {
		return
	}
	var oldest *openBase
	for _, b := range c.kept {
		if b.users == 0 && (oldest == nil || b.used < oldest.used) {
			oldest = b
		}
	}
	if oldest != nil {
		delete(c.kept, oldest.key)
		oldest.Close()
	}
}

func (c *baseCache) done(b *openBase) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b.users--
	if b.out && b.users == 0 {
		b.Close()
	}
}

func (c *baseCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, b := range c.kept {
		delete(c.kept, key)
		if b.out = true; b.users == 0 {
			b.Close()
		}
	}
}
