package journal

// memory is what chunks are made of. It is used again when it was written and nobody reads from it: a large write would
// otherwise leave as much garbage as it has bytes.
type memory struct {
	b     []byte
	users int // chunks that lie in it, and readers; guarded by Log.mu
}

// maxSpare is how much memory is kept for the next chunks: as much as can be queued.
const maxSpare = maxQueued / chunkSize

// takeMemory returns memory for a chunk of at least n bytes, with one user. l.mu is held.
func (l *Log) takeMemory(n int64) *memory {
	if last := len(l.spare) - 1; last >= 0 && n <= chunkSize {
		m := l.spare[last]
		l.spare = l.spare[:last]
		m.users = 1
		return m
	}
	return &memory{b: make([]byte, max(n, chunkSize)), users: 1}
}

// letGo takes one user away. l.mu is held.
func (l *Log) letGo(m *memory) {
	m.users--
	if m.users == 0 && len(m.b) == chunkSize && len(l.spare) < maxSpare {
		l.spare = append(l.spare, m)
	}
}
