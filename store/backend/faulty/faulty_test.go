package faulty_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"testing"

	"ensync/store/backend"
	"ensync/store/backend/backendtest"
	"ensync/store/backend/faulty"
	"ensync/store/backend/memory"
)

type wrapped struct {
	*faulty.Backend
	m *memory.Backend
}

func TestConformanceWithoutFaults(t *testing.T) {
	wrap := func(m *memory.Backend) backend.Backend { return wrapped{faulty.Wrap(m, 1), m} }
	backendtest.Run(t, func(t *testing.T) backend.Backend { return wrap(memory.New()) }, backendtest.Options{
		Again: func(t *testing.T, b backend.Backend) backend.Backend { return wrap(b.(wrapped).m.Again()) },
	})
}

// setup has p/x, p/y and three states of m.
func setup(t *testing.T, rules ...faulty.Rule) (*faulty.Backend, backend.Version) {
	t.Helper()
	b := faulty.Wrap(memory.New(), 7)
	ctx := t.Context()
	for _, name := range []string{"p/x", "p/y"} {
		if err := b.Put(ctx, name, []byte("content of "+name)); err != nil {
			t.Fatal(err)
		}
	}
	var v backend.Version
	for i := range 3 {
		var err error
		if v, err = b.Swap(ctx, "m", v, fmt.Appendf(nil, "state %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	b.Script(rules...)
	b.Forget()
	return b, v
}

func get(t *testing.T, b backend.Backend, name string) string {
	t.Helper()
	data, err := b.Get(t.Context(), name, 0, -1)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func TestFailBeforeAndAfter(t *testing.T) {
	ctx := t.Context()
	b, v := setup(t, faulty.Rule{Ops: faulty.Writes, Fault: faulty.FailBefore, Times: 2, Err: backend.ErrDenied},
		faulty.Rule{Ops: faulty.Writes, Fault: faulty.FailAfter})
	if err := b.Put(ctx, "p/z", nil); !errors.Is(err, backend.ErrDenied) {
		t.Error(err)
	}
	if _, err := b.Swap(ctx, "m", v, []byte("new")); !errors.Is(err, backend.ErrDenied) {
		t.Error(err)
	}
	if data, now, err := b.Load(ctx, "m"); err != nil || now != v || string(data) != "state 2" {
		t.Errorf("after a failed Swap: %q, %v", data, err)
	}
	if _, err := b.Swap(ctx, "m", v, []byte("new")); !errors.Is(err, backend.ErrUnavailable) {
		t.Error(err)
	}
	if data, _, err := b.Load(ctx, "m"); err != nil || string(data) != "new" {
		t.Errorf("after a Swap whose answer was lost: %q, %v", data, err)
	}
	if n := b.Count(faulty.Swap, "m"); n != 2 || b.Count(faulty.All, "p/") != 1 {
		t.Errorf("calls: %+v", b.Calls())
	}
}

func TestLies(t *testing.T) {
	b, now := setup(t)
	ctx := t.Context()
	load := func() string {
		data, v, err := b.Load(ctx, "m")
		return fmt.Sprintf("%s,%v,%v", data, v == now, err == nil)
	}
	b.Script(faulty.Rule{Fault: faulty.Replay})
	if got := load(); got != "state 1,false,true" {
		t.Error("replay:", got)
	}
	b.Script(faulty.Rule{Fault: faulty.Splice, Back: 9})
	if got := load(); got != "state 0,true,true" {
		t.Error("splice:", got)
	}
	b.Script(faulty.Rule{Fault: faulty.Exchange, Name: "p/x", With: "p/y"})
	if got := get(t, b, "p/x"); got != "content of p/y" {
		t.Error("exchange:", got)
	}
	b.Script(faulty.Rule{Fault: faulty.BitFlip, Name: "p/"})
	want, flipped := "content of p/x", 0
	for i, c := range []byte(get(t, b, "p/x")) {
		flipped += bits.OnesCount8(c ^ want[i])
	}
	if flipped != 1 {
		t.Errorf("%d bits are flipped", flipped)
	}
	b.Script(faulty.Rule{Fault: faulty.Truncate})
	if got := get(t, b, "p/x"); len(got) >= len(want) || !strings.HasPrefix(want, got) {
		t.Errorf("truncated: %q", got)
	}
	if got := get(t, b.Inner(), "p/x"); got != want {
		t.Errorf("the store behind has %q", got)
	}
	if err := b.Restore(ctx, "m", 2); err != nil {
		t.Fatal(err)
	}
	b.Script()
	if got := load(); got != "state 0,false,true" {
		t.Error("restored:", got)
	}
}

func TestHideAndDrop(t *testing.T) {
	b, _ := setup(t, faulty.Rule{Fault: faulty.Hide, Name: "p/x"}, faulty.Rule{Fault: faulty.Drop, Name: "p/"})
	ctx := t.Context()
	if _, err := b.Get(ctx, "p/x", 0, -1); !errors.Is(err, backend.ErrNotExist) {
		t.Error(err)
	}
	var names []string
	b.List(ctx, "", func(i backend.Info) error { names = append(names, i.Name); return nil })
	if got := strings.Join(names, " "); got != "m p/y" {
		t.Errorf("List: %s", got)
	}
	if err := errors.Join(b.Put(ctx, "p/z", nil), b.Delete(ctx, "p/y")); err != nil {
		t.Error(err)
	}
	b.Script()
	if get(t, b, "p/y") != "content of p/y" || !strings.Contains(get(t, b, "p/z"), "no such object") {
		t.Error("dropped calls were carried out")
	}
}

func TestSlowEndsWithItsContext(t *testing.T) {
	gate := make(chan struct{})
	b, _ := setup(t, faulty.Rule{Fault: faulty.Slow, Ops: faulty.Get, Gate: gate})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { _, err := b.Get(ctx, "p/x", 0, -1); done <- err }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(gate)
	if got := get(t, b, "p/x"); got != "content of p/x" {
		t.Error(got)
	}
}

func TestScriptCountsAndSeed(t *testing.T) {
	run := func() (pattern []byte) {
		b, _ := setup(t, faulty.Rule{Fault: faulty.FailBefore, Ops: faulty.Get, Skip: 3, Chance: 0.5})
		for range 40 {
			if _, err := b.Get(t.Context(), "p/x", 0, -1); err != nil {
				pattern = append(pattern, 'x')
			} else {
				pattern = append(pattern, '.')
			}
		}
		return pattern
	}
	one, two := run(), run()
	if !bytes.Equal(one, two) || !bytes.HasPrefix(one, []byte("...")) || bytes.Count(one, []byte("x")) < 5 || bytes.Count(one, []byte(".")) < 8 {
		t.Errorf("patterns %s and %s", one, two)
	}
}
