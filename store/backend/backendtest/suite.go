// Package backendtest is the conformance suite that every backend passes: each promise of package backend is a test.
package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"ensync/store/backend"
)

// Options say what the suite may do with the backend under test.
type Options struct {
	// Again returns another handle on the place of b, as a second process or machine would have it. If nil, the tests
	// that need two handles, and those that reopen, are skipped.
	Again func(t *testing.T, b backend.Backend) backend.Backend
	// NoNesting says that no object's name can be the directory of another's, as in servers that keep objects as files.
	// Stores have no such names.
	NoNesting bool
	// Writers is the number of racing goroutines; 0 means 16.
	Writers int
	// Rounds is how often each of them must win in the swap race; 0 means 8.
	Rounds int
	// Patience bounds each test; 0 means a minute. It only ends a test that hangs.
	Patience time.Duration
}

// suite is what each test gets: an empty backend of its own and the options.
type suite struct {
	*testing.T
	backend.Backend
	opts Options
	ctx  context.Context
}

// Run tests the backends that open returns. Each call of open must return a backend with no objects in it; the suite
// closes it.
func Run(t *testing.T, open func(t *testing.T) backend.Backend, opts Options) {
	if opts.Writers == 0 {
		opts.Writers = 16
	}
	if opts.Rounds == 0 {
		opts.Rounds = 8
	}
	if opts.Patience == 0 {
		opts.Patience = time.Minute
	}
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"Empty", testEmpty},
		{"Names", testNames},
		{"PutGet", testPutGet},
		{"Ranges", testRanges},
		{"EmptyObjects", testEmptyObjects},
		{"PutNeverOverwrites", testPutNeverOverwrites},
		{"DataIsCopied", testDataIsCopied},
		{"BigObject", testBigObject},
		{"Renew", testRenew},
		{"Swap", testSwap},
		{"SwapVersions", testSwapVersions},
		{"MutableSizes", testMutableSizes},
		{"Delete", testDelete},
		{"DeleteMutable", testDeleteMutable},
		{"List", testList},
		{"ListPrefix", testListPrefix},
		{"ListEnds", testListEnds},
		{"ListUnderChange", testListUnderChange},
		{"Cancelled", testCancelled},
		{"Expired", testExpired},
		{"Reopen", testReopen},
		{"SecondHandle", testSecondHandle},
		{"RacingPuts", testRacingPuts},
		{"RacingCreations", testRacingCreations},
		{"RacingSwaps", testRacingSwaps},
		{"RacingDeletes", testRacingDeletes},
		{"ReadersDuringSwaps", testReadersDuringSwaps},
		{"ParallelPuts", testParallelPuts},
		{"Location", testLocation},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), opts.Patience)
			defer cancel()
			b := open(t)
			test.run(&suite{t, b, opts, ctx})
			if err := b.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// again returns a second handle on b's place, or skips the test.
func (s *suite) again(b backend.Backend) backend.Backend {
	s.Helper()
	if s.opts.Again == nil {
		s.Skip("this backend has no second handle")
	}
	return s.opts.Again(s.T, b)
}

func (s *suite) put(name, data string) {
	s.Helper()
	if err := s.Put(s.ctx, name, []byte(data)); err != nil {
		s.Fatalf("Put %s: %v", name, err)
	}
}

func (s *suite) swap(name string, old backend.Version, data string) backend.Version {
	s.Helper()
	v, err := s.Swap(s.ctx, name, old, []byte(data))
	if err != nil {
		s.Fatalf("Swap %s: %v", name, err)
	}
	if v == "" {
		s.Fatalf("Swap %s returned the zero version, which means absence", name)
	}
	return v
}

func (s *suite) wantGet(name, want string) {
	s.Helper()
	got, err := s.Get(s.ctx, name, 0, -1)
	if err != nil || string(got) != want {
		s.Errorf("Get %s = %s, %v; want %s", name, brief(got), err, brief([]byte(want)))
	}
}

func (s *suite) wantLoad(name, want string) backend.Version {
	s.Helper()
	got, v, err := s.Load(s.ctx, name)
	if err != nil || string(got) != want || v == "" {
		s.Errorf("Load %s = %s, %q, %v; want %s", name, brief(got), v, err, brief([]byte(want)))
	}
	return v
}

func (s *suite) wantErr(what string, err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Errorf("%s: error %v; want %q", what, err, want)
	}
}

// wantList compares a listing, as "name=size name=size".
func (s *suite) wantList(b backend.Backend, prefix, want string) {
	s.Helper()
	var got []string
	err := b.List(s.ctx, prefix, func(i backend.Info) error {
		got = append(got, fmt.Sprintf("%s=%d", i.Name, i.Size))
		return nil
	})
	if list := strings.Join(got, " "); err != nil || list != want {
		s.Errorf("List %q = %q, %v; want %q", prefix, list, err, want)
	}
}

func brief(b []byte) string {
	if len(b) > 40 {
		return fmt.Sprintf("%q... (%d bytes)", b[:40], len(b))
	}
	return fmt.Sprintf("%q", b)
}

// pattern returns n bytes that differ at every offset that a test is likely to confuse.
func pattern(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%x.", i*2654435761)
	}
	return b.Bytes()[:n]
}
