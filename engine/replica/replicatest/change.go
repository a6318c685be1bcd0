package replicatest

import (
	"context"
	"errors"
	"io"
	"strings"

	"ensync/engine/replica"
	"ensync/store/object"
)

func creating(b *bench) {
	for _, mode := range []uint32{0o644, 0o400, 0o755, 0o4711} {
		name := string(rune('a' + mode%7))
		e, source := b.file(name, "data", mode, 987_654_321)
		got := b.done("", replica.Change{New: e, Source: source})
		if !got.Agrees(*e) {
			b.Errorf("made %+v, not %+v", *got, *e)
		}
		if listed := b.entry(name); !listed.Content.Known {
			b.Errorf("%q was written by us, and yet listed with unknown content", name)
		}
		b.holds(name, "data")
	}
	b.done("", replica.Change{New: &object.Entry{Name: "dir", Kind: object.Directory, Mode: 0o755}})
	b.only("dir")
	b.done("", replica.Change{New: &object.Entry{Name: "link", Kind: object.Symlink, Target: "../any\xffwhere"}})
	b.holds("link", "../any\xffwhere")
	c := b.create("", "unknown", "data of unknown hash")
	c.New.Content = object.Content{}
	if got := b.done("", c); !got.Content.Same(b.Hash([]byte("data of unknown hash"))) {
		b.Errorf("content reported back is %+v", got.Content)
	}
}

// entries are one new entry of each kind, for a name.
func entries(b *bench, name string) []replica.Change {
	return []replica.Change{
		b.create("", name, "new file"),
		{New: &object.Entry{Name: name, Kind: object.Directory, Mode: 0o755}},
		{New: &object.Entry{Name: name, Kind: object.Symlink, Target: "new target"}},
	}
}

func creatingOccupied(b *bench) {
	b.ok(b.User.Write("file", "user's"))
	b.ok(b.User.Mkdir("dir"))
	b.ok(b.User.Symlink("link", "user's target"))
	for _, name := range []string{"file", "dir", "link"} {
		for _, c := range entries(b, name) {
			before := b.known(name)
			r := b.apply("", c)[0]
			if !errors.Is(r.Err, replica.ErrChanged) {
				b.Errorf("a %v over %q: %v, not ErrChanged", c.New.Kind, name, r.Err)
			}
			if after := b.known(name); !after.Equal(before) {
				b.Errorf("a refused %v made %+v of %+v", c.New.Kind, after, before)
			}
		}
	}
	b.only("", "dir", "file", "link")
	b.holds("file", "user's")
}

func big(b *bench) {
	data := strings.Repeat("0123456789abcdef", 200_000) + strings.Repeat("\x00", 3_000_000) + "end" + strings.Repeat("\x00", 5000)
	b.done("", b.create("", "f", data))
	b.holds("f", data)
	b.done("", b.update("f", data[1:]))
	b.holds("f", data[1:])
}

func updating(b *bench) {
	b.ok(b.User.Write("f", "one"))
	for _, data := range []string{"two", "", "three"} {
		b.done("", b.update("f", data))
		b.holds("f", data)
	}
	b.ok(b.User.Symlink("l", "one"))
	old := b.entry("l")
	b.done("", replica.Change{Old: &old, New: &object.Entry{Name: "l", Kind: object.Symlink, Target: "two"}})
	b.holds("l", "two")
	b.only("", "f", "l")
}

func updatingChanged(b *bench) {
	b.ok(b.User.Write("f", "one"))
	b.ok(b.User.Touch("f", 1e18))
	for what, edit := range changesOfF(b) {
		c := b.update("f", "server's")
		b.ok(edit())
		want, err := b.User.Data("f")
		b.ok(err)
		if r := b.apply("", c)[0]; !errors.Is(r.Err, replica.ErrChanged) {
			b.Errorf("%s: %v, not ErrChanged", what, r.Err)
		}
		b.holds("f", want)
		b.only("", "f")
	}
}

func metadata(b *bench) {
	b.ok(b.User.Write("f", "data"))
	for _, change := range []struct {
		mode uint32
		time int64
	}{{0o600, 0}, {0o600, 5_000_000_007}, {0o444, 9}, {0, 10}, {0o644, 11}} {
		old := b.known("f")
		updated := old
		updated.Mode, updated.ModTime = change.mode, change.time
		if got := b.done("", replica.Change{Old: &old, New: &updated}); !got.EqualButTime(updated) || got.ModTime != updated.ModTime {
			b.Errorf("got %+v, not %+v", *got, updated)
		}
	}
	b.holds("f", "data")
	b.ok(b.User.Write("d/inner", "1"))
	old := b.entry("d")
	updated := old
	updated.Mode = 0o700
	b.done("", replica.Change{Old: &old, New: &updated})
	b.holds("d/inner", "1")
}

func metadataChanged(b *bench) {
	b.ok(b.User.Write("f", "one"))
	b.ok(b.User.Touch("f", 1e18))
	for what, edit := range changesOfF(b) {
		old := b.known("f")
		updated := old
		updated.Mode ^= 0o011
		updated.ModTime = 77
		b.ok(edit())
		want := b.known("f")
		if r := b.apply("", replica.Change{Old: &old, New: &updated})[0]; !errors.Is(r.Err, replica.ErrChanged) {
			b.Errorf("%s: %v, not ErrChanged", what, r.Err)
		}
		if got := b.known("f"); !got.Equal(want) {
			b.Errorf("%s: %+v became %+v", what, want, got)
		}
	}
}

func kinds(b *bench) {
	for _, first := range entries(b, "x") {
		for _, second := range entries(b, "x") {
			was := b.done("", first)
			second.Old = was
			if first.New.Kind == second.New.Kind && second.New.Kind == object.File {
				second.New.ModTime++
			}
			got := b.done("", second)
			if got.Kind != second.New.Kind || !got.SameContent(*second.New) {
				b.Errorf("%v to %v: got %+v", first.New.Kind, second.New.Kind, *got)
			}
			b.only("", "x")
			b.done("", replica.Change{Old: got})
			b.only("")
		}
	}
}

func fullDirectory(b *bench) {
	b.ok(b.User.Write("x/inner", "1"))
	old := b.entry("x")
	changes := append(entries(b, "x")[:1], entries(b, "x")[2], replica.Change{})
	for _, c := range changes {
		c.Old = &old
		if r := b.apply("", c)[0]; r.Err == nil {
			b.Errorf("a full directory was replaced by %+v", c.New)
		}
		b.holds("x/inner", "1")
		b.only("", "x")
	}
}

func removing(b *bench) {
	b.ok(b.User.Write("f", "1"))
	b.ok(b.User.Mkdir("d"))
	b.ok(b.User.Symlink("l", "f"))
	b.ok(b.User.Write("stays", "1"))
	for _, name := range []string{"f", "d", "l"} {
		old := b.known(name)
		b.done("", replica.Change{Old: &old})
	}
	b.only("", "stays")
	b.ok(b.User.Write("unhashed", "1"))
	old := b.entry("unhashed")
	b.done("", replica.Change{Old: &old})
	b.only("", "stays")
}

func removingChanged(b *bench) {
	b.ok(b.User.Write("f", "one"))
	b.ok(b.User.Touch("f", 1e18))
	for what, edit := range changesOfF(b) {
		old := b.known("f")
		b.ok(edit())
		want, err := b.User.Data("f")
		b.ok(err)
		if r := b.apply("", replica.Change{Old: &old})[0]; !errors.Is(r.Err, replica.ErrChanged) {
			b.Errorf("%s: %v, not ErrChanged", what, r.Err)
		}
		b.holds("f", want)
		b.only("", "f")
	}
	b.ok(b.User.Symlink("l", "one"))
	old := b.entry("l")
	b.ok(b.User.Remove("l"))
	b.ok(b.User.Symlink("l", "two"))
	if r := b.apply("", replica.Change{Old: &old})[0]; !errors.Is(r.Err, replica.ErrChanged) {
		b.Errorf("symlink: %v, not ErrChanged", r.Err)
	}
	b.holds("l", "two")
}

func renaming(b *bench) {
	b.ok(b.User.Write("f", "1"))
	b.ok(b.User.Write("d/inner", "2"))
	b.ok(b.User.Symlink("l", "3"))
	for _, name := range []string{"f", "d", "l"} {
		old := b.known(name)
		got := b.done("", replica.Change{Old: &old, Rename: name + "~1"})
		if old.Name = got.Name; !got.Equal(old) || got.Name != name+"~1" {
			b.Errorf("%+v became %+v", old, *got)
		}
	}
	b.holds("f~1", "1")
	b.holds("d~1/inner", "2")
	b.holds("l~1", "3")
	b.ok(b.User.Write("occupied", "4"))
	old := b.known("f~1")
	if r := b.apply("", replica.Change{Old: &old, Rename: "occupied"})[0]; !errors.Is(r.Err, replica.ErrChanged) {
		b.Errorf("over another: %v, not ErrChanged", r.Err)
	}
	b.ok(b.User.Write("f~1", "changed"))
	if r := b.apply("", replica.Change{Old: &old, Rename: "g"})[0]; !errors.Is(r.Err, replica.ErrChanged) {
		b.Errorf("of a changed one: %v, not ErrChanged", r.Err)
	}
	b.holds("occupied", "4")
	b.holds("f~1", "changed")
	b.only("", "d~1", "f~1", "l~1", "occupied")
}

func vanished(b *bench) {
	b.ok(b.User.Write("f", "1"))
	b.ok(b.User.Write("d/f", "1"))
	update, inner := b.update("f", "2"), b.update("d/f", "2")
	b.ok(b.User.Remove("f"))
	b.ok(b.User.Remove("d"))
	for _, c := range []replica.Change{update, {Old: update.Old}, {Old: update.Old, Rename: "g"}} {
		if r := b.apply("", c)[0]; !errors.Is(r.Err, replica.ErrChanged) {
			b.Errorf("%+v: %v, not ErrChanged", c, r.Err)
		}
	}
	for _, c := range []replica.Change{inner, b.create("d", "new", "1")} {
		if r := b.apply("d", c)[0]; !errors.Is(r.Err, replica.ErrNotExist) {
			b.Errorf("in a directory that is gone: %v, not ErrNotExist", r.Err)
		}
	}
	b.only("")
}

var errSource = errors.New("the source fails")

func batch(b *bench) {
	for _, name := range []string{"changed", "removed", "updated"} {
		b.ok(b.User.Write(name, "old"))
	}
	changes := []replica.Change{b.create("", "created", "1"), b.update("changed", "2"), b.update("updated", "3"),
		{Old: b.update("removed", "").Old}, b.create("", "bad", "4"), b.create("", "created", "5"), b.create("", "last", "6")}
	changes[4].Source = func(context.Context) (io.ReadCloser, error) { return nil, errSource }
	b.ok(b.User.Write("changed", "user's"))
	for i, r := range b.apply("", changes...) {
		if want := i == 1 || i == 4 || i == 5; (r.Err != nil) != want {
			b.Errorf("change %d: error %v", i, r.Err)
		}
		if i == 4 && !errors.Is(r.Err, errSource) {
			b.Errorf("the source's error is lost: %v", r.Err)
		}
	}
	b.only("", "changed", "created", "last", "updated")
	b.holds("changed", "user's")
	b.holds("created", "1")
	b.holds("updated", "3")
}

// failing gives some bytes, and then an error.
type failing struct{ io.Reader }

func (f failing) Close() error { return nil }

func sources(b *bench) {
	b.ok(b.User.Write("f", "old"))
	for what, source := range map[string]replica.Source{
		"short": from("ne"), "other": from("nEw"), "longer": from("new!"), "empty": from(""),
		"broken": func(context.Context) (io.ReadCloser, error) {
			return failing{io.MultiReader(strings.NewReader("ne"), iotestErr{})}, nil
		},
	} {
		update, create := b.update("f", "new"), b.create("", "g", "new")
		update.Source, create.Source = source, source
		for _, r := range b.apply("", update, create) {
			if r.Err == nil {
				b.Errorf("%s content was taken for what was announced", what)
			}
		}
		b.holds("f", "old")
		b.only("", "f")
	}
	c := b.create("", "g", "new")
	c.Source = nil
	if r := b.apply("", c)[0]; r.Err == nil {
		b.Error("a file was made of nothing")
	}
	b.only("", "f")
}

type iotestErr struct{}

func (iotestErr) Read([]byte) (int, error) { return 0, errSource }

func badNames(b *bench) {
	b.ok(b.User.Write("d/f", "1"))
	for _, name := range []string{"", ".", "..", "a/b", "/a", "../x", "a\x00b", strings.Repeat("n", 256),
		replica.StateName, replica.TempPrefix, replica.TempPrefix + "x"} {
		for _, c := range entries(b, name) {
			if r := b.apply("d", c)[0]; r.Err == nil {
				b.Errorf("a %v called %q was made", c.New.Kind, name)
			}
		}
		if name == "" {
			continue
		}
		old := b.known("d/f")
		if r := b.apply("d", replica.Change{Old: &old, Rename: name})[0]; r.Err == nil {
			b.Errorf("renamed to %q", name)
		}
	}
	b.only("d", "f")
	b.only("", "d")
}

func badChanges(b *bench) {
	b.ok(b.User.Write("f", "1"))
	f := b.known("f")
	g := f
	g.Name = "g"
	for i, c := range []replica.Change{{}, {New: &g, Rename: "h"}, {Rename: "h"}, {Old: &f, New: &g},
		{New: &object.Entry{Name: "s", Kind: object.Special}}, {New: &object.Entry{Name: "s"}},
		{Old: &f, New: &object.Entry{Name: "f", Kind: object.Special}}} {
		if r := b.apply("", c)[0]; r.Err == nil {
			b.Errorf("change %d was taken", i)
		}
	}
	b.only("", "f")
	b.holds("f", "1")
}

func subdirectory(b *bench) {
	b.done("", replica.Change{New: &object.Entry{Name: "a", Kind: object.Directory, Mode: 0o755}})
	b.done("a", replica.Change{New: &object.Entry{Name: "b", Kind: object.Directory, Mode: 0o700}})
	b.done("a/b", b.create("a/b", "f", "deep"))
	b.done("a/b", b.update("a/b/f", "deeper"))
	b.holds("a/b/f", "deeper")
	b.ok(b.User.Rename("a", "z"))
	b.holds("z/b/f", "deeper")
	if e := b.known("z/b/f"); !e.Content.Same(b.Hash([]byte("deeper"))) {
		b.Errorf("after a move of the directory: %+v", e)
	}
	if _, err := b.Client.List(b.ctx, "a/b"); !errors.Is(err, replica.ErrNotExist) {
		b.Errorf("the old path: %v", err)
	}
}
