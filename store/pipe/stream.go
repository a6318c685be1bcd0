package pipe

import (
	"io"
	"net"
	"sync"
	"time"
)

// stream makes a net.Conn, as net/http wants it, of what connects us with the other side.
type stream struct {
	in     io.Reader
	out    io.Writer
	close  func() error
	closed chan struct{}
	once   sync.Once
	err    error
}

func newStream(in io.Reader, out io.Writer, close func() error) *stream {
	return &stream{in: in, out: out, close: close, closed: make(chan struct{})}
}

func (s *stream) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s *stream) Write(b []byte) (int, error) { return s.out.Write(b) }

func (s *stream) Close() error {
	s.once.Do(func() {
		s.err = s.close()
		close(s.closed)
	})
	return s.err
}

func (s *stream) LocalAddr() net.Addr  { return pipeAddr{} }
func (s *stream) RemoteAddr() net.Addr { return pipeAddr{} }

// Deadlines are not kept: pings and progress bound how long anything may take.
func (s *stream) SetDeadline(time.Time) error      { return nil }
func (s *stream) SetReadDeadline(time.Time) error  { return nil }
func (s *stream) SetWriteDeadline(time.Time) error { return nil }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// frames watches a stream of HTTP/2 frames go by.
type frames struct {
	header [9]byte
	have   int    // bytes of header
	left   uint32 // bytes of the frame's content that are still to come
}

// Types of frames that say no more than that the other side lives.
const (
	frameSettings = 4
	framePing     = 6
)

// progress reports whether a part of a frame that carries a request on went by.
func (f *frames) progress(b []byte) bool {
	any := false
	for len(b) > 0 {
		if f.have == len(f.header) {
			n := min(len(b), int(f.left))
			b, f.left = b[n:], f.left-uint32(n)
			any = any || f.header[3] != framePing && f.header[3] != frameSettings
			if f.left == 0 {
				f.have = 0
			}
			continue
		}
		n := copy(f.header[f.have:], b)
		b, f.have = b[n:], f.have+n
		if f.have == len(f.header) {
			f.left = uint32(f.header[0])<<16 | uint32(f.header[1])<<8 | uint32(f.header[2])
			any = any || f.left == 0 && f.header[3] != framePing && f.header[3] != frameSettings
			if f.left == 0 {
				f.have = 0
			}
		}
	}
	return any
}
