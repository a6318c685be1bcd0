// Package replicatest is the conformance suite of replica.Client: whoever passes it can be reconciled.
package replicatest

import (
	"bytes"
	"context"
	"io"
	"slices"
	"testing"

	"ensync/engine/replica"
	"ensync/store/object"
)

// User edits the same tree behind the replica's back. Paths are as in package replica.
type User interface {
	Write(path, data string) error // in place if there is a file; directories on the way are made
	Mkdir(path string) error
	Symlink(path, target string) error
	Chmod(path string, mode uint32) error
	Touch(path string, modTime int64) error
	Remove(path string) error
	Rename(from, to string) error
	Data(path string) (string, error) // of a file, or the target of a symlink
}

// OptionalUser is a User who gives things to others, and sets extended attributes, which the replica then lists and sets.
type OptionalUser interface {
	User
	Chown(path string, user, group object.Owner) error // "" leaves one as it is
	SetXattr(path, name string, value []byte) error    // nil removes it
}

// Subject is a replica under test, empty at first.
type Subject struct {
	Client replica.Client
	User   User
	Hash   func(data []byte) object.Content // as the replica hashes
}

// Run runs the suite. New is called once for each test.
func Run(t *testing.T, new func(t *testing.T) Subject) {
	for _, test := range []struct {
		name string
		run  func(*bench)
	}{
		{"List", listing}, {"ListMissing", listingMissing}, {"Names", names}, {"Reserved", reserved},
		{"Hash", hashing}, {"HashChanged", hashingChanged}, {"Open", opening}, {"OpenChanged", openingChanged},
		{"Create", creating}, {"CreateOccupied", creatingOccupied}, {"Big", big},
		{"Update", updating}, {"UpdateChanged", updatingChanged}, {"Metadata", metadata},
		{"MetadataChanged", metadataChanged}, {"Kinds", kinds}, {"FullDirectory", fullDirectory},
		{"Remove", removing}, {"RemoveChanged", removingChanged}, {"Rename", renaming}, {"Vanished", vanished},
		{"Batch", batch}, {"Sources", sources}, {"BadNames", badNames}, {"BadChanges", badChanges},
		{"Subdirectory", subdirectory}, {"Dirty", dirty}, {"Settle", settling}, {"Cancelled", cancelled},
		{"Concurrent", concurrent}, {"Relocate", relocating}, {"Was", tracking},
		{"OptionalList", optionalList}, {"OptionalSet", optionalSet}, {"OptionalUnknown", optionalUnknown},
		{"OptionalChanged", optionalChanged}, {"OptionalSettle", optionalSettle},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(&bench{T: t, Subject: new(t), ctx: t.Context()})
		})
	}
}

// bench is a subject with the verbs that the tests are written in.
type bench struct {
	*testing.T
	Subject
	ctx context.Context
}

func (b *bench) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) list(dir string) []object.Entry {
	b.Helper()
	entries, err := b.Client.List(b.ctx, dir)
	b.ok(err)
	return entries
}

// entry lists one name, of kind Absent if it is not there.
func (b *bench) entry(path string) object.Entry {
	b.Helper()
	dir, name := cut(path)
	for _, e := range b.list(dir) {
		if e.Name == name {
			return e
		}
	}
	return object.Entry{Name: name}
}

// known is entry with its content hashed.
func (b *bench) known(path string) object.Entry {
	b.Helper()
	e := b.entry(path)
	if e.Kind != object.File || e.Content.Known {
		return e
	}
	dir, _ := cut(path)
	e, err := b.Client.Hash(b.ctx, dir, e)
	b.ok(err)
	return e
}

// holds fails unless the user finds data at path.
func (b *bench) holds(path, data string) {
	b.Helper()
	if got, err := b.User.Data(path); err != nil || got != data {
		b.Errorf("%q holds %.60q (error %v), not %.60q", path, got, err, data)
	}
}

// only fails unless the names of a directory are these.
func (b *bench) only(dir string, names ...string) {
	b.Helper()
	var got []string
	for _, e := range b.list(dir) {
		got = append(got, e.Name)
	}
	if !slices.Equal(got, names) {
		b.Errorf("%q has the names %q, not %q", dir, got, names)
	}
}

func cut(path string) (dir, name string) {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[:i], path[i+1:]
		}
	}
	return "", path
}

func from(data string) replica.Source {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader([]byte(data))), nil }
}

// file is what a server would send: the entry of a file, and its source.
func (b *bench) file(name, data string, mode uint32, modTime int64) (*object.Entry, replica.Source) {
	return &object.Entry{Name: name, Kind: object.File, Mode: mode, ModTime: modTime, Content: b.Hash([]byte(data))}, from(data)
}

func (b *bench) create(dir, name, data string) replica.Change {
	e, source := b.file(name, data, 0o644, 1_500_000_000_123_456_789)
	return replica.Change{New: e, Source: source}
}

// update asks to replace what is at path, as listed now, by a file.
func (b *bench) update(path, data string) replica.Change {
	b.Helper()
	old := b.known(path)
	c := b.create("", old.Name, data)
	c.Old = &old
	return c
}

func (b *bench) apply(dir string, changes ...replica.Change) []replica.Result {
	b.Helper()
	results := b.Client.Apply(b.ctx, dir, changes)
	if len(results) != len(changes) {
		b.Fatalf("%d results for %d changes", len(results), len(changes))
	}
	return results
}

// done applies one change that must succeed, and checks that the result is what List then shows.
func (b *bench) done(dir string, c replica.Change) *object.Entry {
	b.Helper()
	r := b.apply(dir, c)[0]
	b.ok(r.Err)
	if r.Entry == nil {
		if got := b.entry(replica.Join(dir, c.Name())); c.New != nil || c.Rename != "" || got.Kind != object.Absent {
			b.Errorf("no entry is reported for %q, listed is %+v", c.Name(), got)
		}
		return nil
	}
	got := b.entry(replica.Join(dir, r.Entry.Name))
	if r.Entry.Kind == object.File && r.Entry.Content.Known && !got.Content.Known {
		got = b.known(replica.Join(dir, r.Entry.Name))
	}
	unknown := !r.Entry.Content.Known && !got.Content.Known && r.Entry.Content.Size == got.Content.Size
	if !r.Entry.Equal(got) && !unknown {
		b.Errorf("reported %+v, listed %+v", *r.Entry, got)
	}
	return r.Entry
}
