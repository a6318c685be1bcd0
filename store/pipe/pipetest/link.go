// Package pipetest connects a client of package pipe with a server in the same process, by a link as slow and as bad as
// a test wants it. Inside a testing/synctest bubble the delays cost no time and are exact.
package pipetest

import (
	"io"
	"sync"
	"time"
)

// Fault is what befalls the bytes of one direction.
type Fault int

// The faults.
const (
	None   Fault = iota
	Cut          // the link ends, in both directions, before byte At
	Stall        // byte At and all after it never arrive, and nobody is told
	Flip         // one bit of byte At is another
	Repeat       // the piece that ends at or after byte At arrives twice
)

// Lane is one direction of a link.
type Lane struct {
	Fault Fault
	At    int64
}

// Link says how good a connection is. The zero Link is perfect.
type Link struct {
	RTT       time.Duration // half of it in each direction
	Bandwidth int64         // bytes per second in each direction; 0: no limit
	Up, Down  Lane          // towards the server and towards the client
}

const piece = 64 << 10

// Pipe returns the two ends of a link. Closing one closes both. A writer never waits: only the windows of HTTP/2 bound
// what is under way. (A writer that waits holds locks, and time stands still in a bubble while others wait for those.)
func (l Link) Pipe() (client, server io.ReadWriteCloser) {
	up, down := newLane(l, l.Up), newLane(l, l.Down)
	cut := func() { up.end(); down.end() }
	up.cut, down.cut = cut, cut
	return &end{down, up}, &end{up, down}
}

type end struct{ in, out *lane }

func (e *end) Read(b []byte) (int, error)  { return e.in.read(b) }
func (e *end) Write(b []byte) (int, error) { return e.out.write(b) }
func (e *end) Close() error                { e.in.cut(); return nil }

type parcel struct {
	data []byte
	due  time.Time
}

type lane struct {
	link Link
	bad  Lane
	cut  func()

	mu      sync.Mutex
	changed *sync.Cond
	parcels []parcel
	free    time.Time // when the line has sent what it was given
	count   int64     // bytes that were written
	broken  bool      // what is written from now on gets lost
	ended   bool
}

func newLane(link Link, bad Lane) *lane {
	l := &lane{link: link, bad: bad}
	l.changed = sync.NewCond(&l.mu)
	return l
}

func (l *lane) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.changed.Broadcast()
}

func (l *lane) write(b []byte) (n int, err error) {
	for len(b) > 0 {
		part := b[:min(len(b), piece)]
		if !l.add(part) {
			return n, io.ErrClosedPipe
		}
		n, b = n+len(part), b[len(part):]
	}
	return n, nil
}

// add puts one piece on its way. false says that the link has ended.
func (l *lane) add(part []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	if l.broken {
		return true
	}
	data, copies := l.spoil(append([]byte(nil), part...))
	if now := time.Now(); l.free.Before(now) {
		l.free = now
	}
	if l.link.Bandwidth > 0 {
		l.free = l.free.Add(time.Duration(len(data)) * time.Second / time.Duration(l.link.Bandwidth))
	}
	due := l.free.Add(l.link.RTT / 2)
	for range copies {
		l.parcels = append(l.parcels, parcel{data, due})
	}
	if l.broken && l.bad.Fault == Cut {
		time.AfterFunc(time.Until(due), l.cut)
	}
	l.changed.Broadcast()
	return true
}

// spoil does to a piece what the lane's fault says.
func (l *lane) spoil(data []byte) (out []byte, copies int) {
	at := l.bad.At - l.count
	l.count += int64(len(data))
	if l.bad.Fault == None || at < 0 || at >= int64(len(data)) {
		return data, 1
	}
	switch l.bad.Fault {
	case Cut, Stall:
		l.broken = true
		return data[:at], 1
	case Flip:
		data[at] ^= 1
	case Repeat:
		return data, 2
	}
	return data, 1
}

func (l *lane) read(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if len(l.parcels) > 0 && len(l.parcels[0].data) == 0 {
			l.parcels = l.parcels[1:]
			continue
		}
		if len(l.parcels) == 0 {
			if l.ended {
				return 0, io.EOF
			}
			l.changed.Wait()
			continue
		}
		wait := time.Until(l.parcels[0].due)
		if wait <= 0 {
			break
		}
		if l.ended {
			return 0, io.EOF
		}
		l.sleep(wait)
	}
	p := &l.parcels[0]
	n := copy(b, p.data)
	p.data = p.data[n:]
	if len(p.data) == 0 {
		l.parcels = l.parcels[1:]
	}
	return n, nil
}

// sleep waits for d or a change.
func (l *lane) sleep(d time.Duration) {
	timer := time.AfterFunc(d, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.changed.Broadcast()
	})
	defer timer.Stop()
	l.changed.Wait()
}
