package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ensync/store/backend"
	"ensync/store/backend/faulty"
	"ensync/store/backend/memory"
)

// copied makes a store with two roots, one with a history of several commits, and returns the newest head of that.
func copied(t *testing.T) (*place, *Store, *Root, Head) {
	t.Helper()
	p := newPlace(t)
	s := p.create(Params{BlockSize: 4096})
	_, err := s.CreateRoot(t.Context(), "empty", 0o700)
	must(t, err)
	root, err := s.CreateRoot(t.Context(), "home", 0o700)
	must(t, err)
	var h Head
	for i := range 3 {
		h = commitNumbered(t, s, root, i)
	}
	return p, s, root, h
}

// commitNumbered commits a tree of one file that shows its number.
func commitNumbered(t *testing.T, s *Store, root *Root, n int) Head {
	t.Helper()
	w := begin(t, s)
	return commitTree(t, root, w, putFile(t, w, "f", noise(uint64(n), 20000)))
}

// wantWhole checks a copy with its client's memory, and that it has the history up to a head.
func wantWhole(t *testing.T, p *place, to backend.Backend, h Head) {
	t.Helper()
	there := &place{t: t, b: to, dir: p.dir}
	s := there.open("maker") // who was there all the time, and refuses what is older
	must(t, s.Check(t.Context(), true, func(p Problem) { t.Errorf("problem: %v", p) }))
	root, err := s.Root(t.Context(), "home")
	must(t, err)
	now, err := root.Head(t.Context())
	must(t, err)
	if now.Seq != h.Seq || now.Commit != h.Commit || now.Tree != h.Tree {
		t.Fatalf("head %d of the copy instead of %d", now.Seq, h.Seq)
	}
	for n := now.Seq; n > 1; n-- {
		parent, ok, err := root.Parent(t.Context(), now)
		if err != nil || !ok || parent.Seq != n-1 {
			t.Fatalf("parent of %d: %v, %v, %v", n, parent.Seq, ok, err)
		}
		now = parent
	}
}

func TestCopy(t *testing.T) {
	p, _, _, h := copied(t)
	to := memory.New()
	var last CopyProgress
	done, err := Copy(t.Context(), p.b, to, func(c CopyProgress) { last = c })
	must(t, err)
	if done.Behind || done.Skipped != 0 || last != done.CopyProgress || last.Objects != last.TotalObjects || last.Bytes != last.TotalBytes {
		t.Errorf("%+v, reported %+v", done, last)
	}
	wantWhole(t, p, to, h)
	if mark, err := unfinished(t.Context(), to); mark != nil || err != nil {
		t.Errorf("the mark is still there: %q, %v", mark, err)
	}
	if _, err := Copy(t.Context(), p.b, to, nil); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "whole copy") {
		t.Errorf("copied again: %v", err)
	}
}

// A copy that stops anywhere is no store to anybody, and the next run finishes it.
func TestCopyStopsAnywhere(t *testing.T) {
	p, s, root, h := copied(t)
	for _, fault := range []faulty.Fault{faulty.FailBefore, faulty.FailAfter} {
		for n := 0; ; n++ {
			inner := memory.New()
			to := faulty.Wrap(inner, 1)
			to.Script(faulty.Rule{Ops: faulty.Writes, Skip: n, Fault: fault})
			if _, err := Copy(t.Context(), p.b, to, nil); err == nil {
				break
			}
			to.Script()
			wantNoStore(t, p, inner, s.format)
			if n%12 == 0 { // the store goes on meanwhile
				h = commitNumbered(t, s, root, 100+n)
			}
			done, err := Copy(t.Context(), p.b, to, nil)
			if errors.Is(err, ErrExists) && strings.Contains(err.Error(), "whole copy") { // only the last answer was lost
				continue
			}
			must(t, err)
			if done.Behind { // stopped after the keys
				now, err := Copy(t.Context(), p.b, memory.New(), nil)
				if err != nil || now.Behind {
					t.Fatalf("%+v, %v", now, err)
				}
				continue
			}
			wantWhole(t, p, inner, h)
		}
	}
}

// wantNoStore checks that nobody takes a place for a store: unless all of it is there.
func wantNoStore(t *testing.T, p *place, b backend.Backend, f *format) {
	t.Helper()
	if raw, err := b.Get(t.Context(), formatObject, 0, -1); err == nil && string(raw) == string(f.encoded) {
		return // the copy was finished, and the answer got lost
	}
	empty := false
	if name, err := anyObject(t.Context(), b); err != nil || name == "" {
		empty = true
	}
	for _, client := range []string{"stranger", "maker"} {
		_, err := Open(t.Context(), b, pass, (&place{t: t, b: b, dir: p.dir}).options(client))
		if errors.Is(err, ErrUnfinished) || empty && (errors.Is(err, ErrNoStore) || errors.Is(err, ErrMissing)) {
			continue
		}
		// Before the format is there, but with the keys, a client that knows the store may go on: all of it is there.
		if _, _, lerr := b.Load(t.Context(), keysObject); err == nil && lerr == nil && client == "maker" {
			continue
		}
		t.Errorf("%s opened an unfinished copy: %v", client, err)
	}
	mem := p.options("maker").Memory
	if err := Repair(t.Context(), b, mem, noPass, func(what string) { t.Error("repaired an unfinished copy:", what) }); err == nil {
		t.Error("an unfinished copy needs no repair")
	}
	if empty {
		return
	}
	if _, err := Create(t.Context(), b, Params{}, pass, "key", Options{}); !errors.Is(err, ErrExists) {
		t.Errorf("created over an unfinished copy: %v", err)
	}
}

// Others commit between any two steps, and merge indexes: all that the copy shows is there. When they rest, the copy is what
// they left; when they never rest, it is a little older.
func TestCopyOfALiveStore(t *testing.T) {
	for what, commits := range map[string]int{"rests": 12, "never rests": 1 << 30} {
		t.Run(what, func(t *testing.T) {
			p, s, root, h := copied(t)
			to := memory.New()
			left := commits
			done, err := Copy(t.Context(), p.b, to, func(c CopyProgress) {
				if c.Objects == c.TotalObjects && left > 0 {
					left--
					h = commitNumbered(t, s, root, 1000+left)
				}
			})
			must(t, err)
			if done.Behind != (left > 0) {
				t.Errorf("%d commits left: %+v", left, done)
			}
			if !done.Behind {
				wantWhole(t, p, to, h)
				return
			}
			other := (&place{t: t, b: to, dir: t.TempDir()}).open("other")
			must(t, other.Check(t.Context(), true, func(p Problem) { t.Errorf("problem: %v", p) }))
			r, err := other.Root(t.Context(), "home")
			must(t, err)
			now, err := r.Head(t.Context())
			must(t, err)
			if ok, err := root.Contains(t.Context(), h, now.Seq, now.Commit); err != nil || !ok || now.Seq <= 3 {
				t.Errorf("commit %d of the copy, %v: %v", now.Seq, ok, err)
			}
		})
	}
}

func TestCopyNeedsAnEmptyPlace(t *testing.T) {
	p, _, _, _ := copied(t)
	other := newPlace(t).create(Params{})
	half := memory.New()
	must(t, half.Put(t.Context(), copyMark, copyMarkOf(other.format)))
	strewn := memory.New()
	must(t, strewn.Put(t.Context(), "packs/ab/x", nil))
	for what, to := range map[string]backend.Backend{"another store": other.b, "a copy of another store": half, "something": strewn, "itself": p.b} {
		before := snap(t, to)
		if _, err := Copy(t.Context(), p.b, to, nil); !errors.Is(err, ErrExists) {
			t.Errorf("%s: %v", what, err)
		}
		if after := snap(t, to); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("%s: changed", what)
		}
	}
	if _, err := Copy(t.Context(), memory.New(), memory.New(), nil); !errors.Is(err, ErrNoStore) {
		t.Errorf("copy of nothing: %v", err)
	}
	if _, err := Copy(t.Context(), half, memory.New(), nil); !errors.Is(err, ErrUnfinished) {
		t.Errorf("copy of an unfinished copy: %v", err)
	}
}

// What reads back otherwise is no copy; what an earlier run left with another size is copied again.
func TestCopyIsReadBack(t *testing.T) {
	p, _, _, h := copied(t)
	for _, rule := range []faulty.Rule{{Ops: faulty.Get, Name: packPrefix, Fault: faulty.BitFlip}, {Ops: faulty.Put, Name: packPrefix, Fault: faulty.Drop},
		{Ops: faulty.Get, Name: indexPrefix, Fault: faulty.BitFlip}, {Ops: faulty.Load, Fault: faulty.BitFlip}} {
		inner := memory.New()
		to := faulty.Wrap(inner, 1)
		to.Script(rule)
		if _, err := Copy(t.Context(), p.b, to, nil); err == nil {
			t.Errorf("%+v: not noticed", rule)
		}
		if _, err := inner.Get(t.Context(), formatObject, 0, -1); !errors.Is(err, backend.ErrNotExist) {
			t.Errorf("%+v: the copy was finished", rule)
		}
	}
	to := memory.New()
	must(t, to.Put(t.Context(), copyMark, copyMarkOf(mustFormat(t, p.b))))
	for name := range snap(t, p.b) {
		if strings.HasPrefix(name, packPrefix) {
			must(t, to.Put(t.Context(), name, []byte("cut")))
			break
		}
	}
	_, err := Copy(t.Context(), p.b, to, nil)
	must(t, err)
	wantWhole(t, p, to, h)
}

func mustFormat(t *testing.T, b backend.Backend) *format {
	t.Helper()
	f, err := loadFormat(t.Context(), b, nil)
	must(t, err)
	return f
}

func TestCopyLeavesForeignObjects(t *testing.T) {
	p, _, _, h := copied(t)
	must(t, p.b.Put(t.Context(), "holiday.jpg", nil))
	to := memory.New()
	done, err := Copy(t.Context(), p.b, to, nil)
	must(t, err)
	if !slices.Equal(done.Left, []string{"holiday.jpg"}) {
		t.Errorf("left behind: %q", done.Left)
	}
	wantWhole(t, p, to, h)
}

func TestCopyEndsWithItsContext(t *testing.T) {
	p, _, _, _ := copied(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	_, err := Copy(ctx, p.b, memory.New(), func(CopyProgress) { cancel(stop) })
	if !errors.Is(err, stop) && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
