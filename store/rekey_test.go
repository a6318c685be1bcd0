package store

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"ensync/keys"
	"ensync/store/backend"
	"ensync/store/backend/faulty"
	"ensync/store/backend/memory"
	"ensync/store/block"
	"ensync/store/object"
)

// leaver is a passphrase that was removed before the store was re-keyed.
var leaver = bytes.Repeat([]byte("leaver "), 50)

// rekeyed makes a store with a nested root, and a removed passphrase of which an open store is kept.
func rekeyed(t *testing.T) (*place, *Store, *Store) {
	t.Helper()
	p := newPlace(t)
	s := p.create(Params{BlockSize: 4096})
	_, err := s.CreateRoot(t.Context(), "empty", 0o700)
	must(t, err)
	home, err := s.CreateRoot(t.Context(), "home", 0o700)
	must(t, err)
	edit := func(fn func(*keys.File) (*keys.File, error)) { t.Helper(); must(t, s.EditKeys(t.Context(), fn)) }
	edit(func(f *keys.File) (*keys.File, error) { return f.CreateGroups([]string{"team"}, s.Keys(), nil) })
	edit(func(f *keys.File) (*keys.File, error) {
		return f.Add(t.Context(), s.Keys(), "leaver", leaver, nil, now())
	})
	gone, err := Open(t.Context(), p.b, leaver, Options{})
	must(t, err)
	t.Cleanup(func() { gone.Close() })
	edit(func(f *keys.File) (*keys.File, error) { return f.Remove("leaver", s.Keys()) })
	if err := s.Rekey(t.Context(), memory.New(), Rekeying{}); err == nil || !strings.Contains(err.Error(), "key rotate root") {
		t.Errorf("while somebody else may have root's key: %v", err)
	}
	must(t, s.Rotate(t.Context(), Rotation{Group: keys.Root}))
	w := begin(t, s)
	below := object.Entry{Name: "b.ensync[r=team,w=team]", Kind: object.Directory, Mode: 0o700, Root: NewRootID()}
	nested, err := home.below(below)
	must(t, err)
	team, err := nested.ReadGroup()
	must(t, err)
	inner, err := w.PutTree(t.Context(), team, []object.Entry{putFile(t, w, "secret", noise(3, 9000))})
	must(t, err)
	_, err = nested.Commit(t.Context(), w, nested.Unborn(), inner, nil)
	must(t, err)
	commitTree(t, home, w, below, putFile(t, w, "f", noise(1, 50000)), putFile(t, w, "tiny", []byte("tiny")))
	return p, s, gone
}

// contents reads all files of a root and below it, by path.
func contents(t *testing.T, root *Root) map[string]string {
	t.Helper()
	all := map[string]string{}
	h, err := root.Head(t.Context())
	must(t, err)
	group, err := root.ReadGroup()
	must(t, err)
	entries, err := root.s.ReadTree(t.Context(), group, h.Tree)
	must(t, err)
	for _, e := range entries {
		if e.Kind == object.File {
			all[e.Name] = string(readAll(t, root.s, e.Content))
			continue
		}
		nested, err := root.below(e)
		must(t, err)
		for path, text := range contents(t, nested) {
			all[e.Name+"/"+path] = text
		}
	}
	return all
}

// wantRekeyed checks that a place has what the store has, and that nothing of it opens to who was removed.
func wantRekeyed(t *testing.T, from *Store, b backend.Backend, gone *Store) {
	t.Helper()
	to, err := Open(t.Context(), b, pass, Options{})
	must(t, err)
	defer to.Close()
	must(t, to.Check(t.Context(), true, func(p Problem) { t.Errorf("problem: %v", p) }))
	was, err := from.Root(t.Context(), "home")
	must(t, err)
	root, err := to.Root(t.Context(), "home")
	must(t, err)
	want, got := contents(t, was), contents(t, root)
	if len(want) != 3 || len(got) != len(want) {
		t.Fatalf("%d files instead of %d", len(got), len(want))
	}
	for path, text := range want {
		if got[path] != text {
			t.Errorf("%s differs", path)
		}
	}
	h, err := root.Head(t.Context())
	must(t, err)
	if seq, _, ok := h.Origin(); !ok || seq == 0 || to.ID() == from.ID() {
		t.Errorf("origin %d, %v", seq, ok)
	}
	if _, err := Open(t.Context(), b, leaver, Options{}); !errors.Is(err, ErrWrongPassphrase) {
		t.Errorf("a removed passphrase: %v", err)
	}
	wantClosed(t, to, b, gone)
}

// wantClosed tries the old keys on every seal of a store, with the store's own id.
func wantClosed(t *testing.T, to *Store, b backend.Backend, gone *Store) {
	t.Helper()
	thief := &Store{b: b, format: to.format, chain: gone.Keys(), file: to.file, macs: map[string]*block.MAC{}}
	for name, data := range snap(t, b) {
		if len(data) < 60 {
			continue
		}
		for _, group := range gone.Keys().Groups() {
			g, _ := gone.Keys().Group(group)
			if _, err := thief.unseal(g, sealIndex, []byte(name), data); err == nil {
				t.Errorf("%s opens to the old key of %s", name, group)
			}
		}
		if isHead(name) {
			r := thief.Nested(RootInfo{ID: rootID(name[len(rootPrefix):]), Read: keys.Everyone, Write: keys.Root})
			if _, _, err := r.parseOpen(data); err == nil {
				t.Errorf("%s opens to who was removed", name)
			}
		}
	}
	if _, _, err := thief.openList(snap(t, b)[rootsObject]); err == nil {
		t.Error("the list of roots opens to who was removed")
	}
}

func TestRekey(t *testing.T) {
	p, s, gone := rekeyed(t)
	to := memory.New()
	var last RekeyProgress
	must(t, s.Rekey(t.Context(), to, Rekeying{Report: func(p RekeyProgress) { last = p }}))
	if last.Files != 3 || last.Files != last.TotalFiles || last.Bytes != last.TotalBytes {
		t.Errorf("reported %+v", last)
	}
	wantRekeyed(t, s, to, gone)
	if err := s.Rekey(t.Context(), to, Rekeying{}); !errors.Is(err, ErrExists) {
		t.Errorf("re-keyed to the same place again: %v", err)
	}
	if err := s.Rekey(t.Context(), p.b, Rekeying{}); !errors.Is(err, ErrExists) {
		t.Errorf("re-keyed in place: %v", err)
	}
}

// A re-keying that stops anywhere is no store to anybody, and the next run finishes it.
func TestRekeyStopsAnywhere(t *testing.T) {
	p, s, gone := rekeyed(t)
	for _, fault := range []faulty.Fault{faulty.FailBefore, faulty.FailAfter} {
		for n := 0; ; n++ {
			inner := memory.New()
			to := faulty.Wrap(inner, 1)
			to.Script(faulty.Rule{Ops: faulty.Writes, Skip: n, Fault: fault})
			if err := s.Rekey(t.Context(), to, Rekeying{}); err == nil {
				break
			}
			to.Script()
			f := &format{}
			if mark, err := unfinished(t.Context(), inner); err == nil && mark != nil {
				f.encoded = mark[len(rekeyMarkText)+33:]
			} else if raw, err := inner.Get(t.Context(), formatObject, 0, -1); err == nil {
				f.encoded = raw
			}
			wantNoStore(t, p, inner, f)
			if n%5 == 0 { // the store goes on meanwhile
				touch(t, s)
			}
			if err := s.Rekey(t.Context(), to, Rekeying{}); errors.Is(err, ErrExists) && strings.Contains(err.Error(), "is whole") {
				continue // only the last answers were lost
			} else if err != nil {
				t.Fatalf("stopped at write %d: %v", n, err)
			}
			wantRekeyed(t, s, inner, gone)
		}
	}
}

// touch changes a file of the root.
func touch(t *testing.T, s *Store) {
	t.Helper()
	home, err := s.Root(t.Context(), "home")
	must(t, err)
	h, err := home.Head(t.Context())
	must(t, err)
	group, err := home.ReadGroup()
	must(t, err)
	entries, err := s.ReadTree(t.Context(), group, h.Tree)
	must(t, err)
	w := begin(t, s)
	for i := range entries {
		if entries[i].Name == "f" {
			entries[i] = putFile(t, w, "f", noise(h.Seq+100, 30000))
		}
	}
	commitTree(t, home, w, entries...)
}

// Who can't read or sign one root is refused before anything is written; and so is an unfinished one whose keys are old.
func TestRekeyRefuses(t *testing.T) {
	p, s, _ := rekeyed(t)
	outsider := bytes.Repeat([]byte("outsider "), 50)
	must(t, s.EditKeys(t.Context(), func(f *keys.File) (*keys.File, error) {
		return f.Add(t.Context(), s.Keys(), "outsider", outsider, nil, now())
	}))
	must(t, s.EditKeys(t.Context(), func(f *keys.File) (*keys.File, error) {
		return f.Disassociate("outsider", []string{"team"}, s.Keys())
	}))
	other, err := Open(t.Context(), p.b, outsider, Options{})
	must(t, err)
	defer other.Close()
	to := memory.New()
	if err := other.Rekey(t.Context(), to, Rekeying{}); !errors.Is(err, ErrNoGroup) || !strings.Contains(err.Error(), "b.ensync[") {
		t.Errorf("without a group: %v", err)
	}
	if name, _ := anyObject(t.Context(), to); name != "" {
		t.Errorf("refused, and wrote %s", name)
	}
	edited := false
	if err := s.Rekey(t.Context(), memory.New(), Rekeying{Report: func(RekeyProgress) {
		if !edited {
			edited = true
			must(t, s.Rotate(t.Context(), Rotation{Group: "team"}))
		}
	}}); !errors.Is(err, ErrExists) {
		t.Errorf("finished, although the keys were edited meanwhile: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.Rekey(ctx, to, Rekeying{Report: func(RekeyProgress) { cancel() }}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	must(t, s.EditKeys(t.Context(), func(f *keys.File) (*keys.File, error) { return f.Remove("outsider", s.Keys()) }))
	must(t, s.Rotate(t.Context(), Rotation{Group: keys.Root}))
	if err := s.Rekey(t.Context(), to, Rekeying{}); !errors.Is(err, ErrExists) {
		t.Errorf("gone on with for somebody who was removed meanwhile: %v", err)
	}
}
