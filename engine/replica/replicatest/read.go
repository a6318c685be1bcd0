package replicatest

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"ensync/engine/replica"
	"ensync/store/object"
)

func listing(b *bench) {
	if got := b.list(""); len(got) != 0 {
		b.Errorf("an empty tree lists %v", got)
	}
	b.ok(b.User.Write("b", "data"))
	b.ok(b.User.Mkdir("d"))
	b.ok(b.User.Symlink("a", "not/there"))
	b.ok(b.User.Write("d/inner", ""))
	b.ok(b.User.Chmod("b", 0o640))
	b.ok(b.User.Chmod("d", 0o750))
	b.ok(b.User.Touch("b", 1_234_567_890_123_456_789))
	b.only("", "a", "b", "d")
	b.only("d", "inner")
	if e := b.entry("a"); e.Kind != object.Symlink || e.Target != "not/there" {
		b.Errorf("symlink listed as %+v", e)
	}
	if e := b.entry("b"); e.Kind != object.File || e.Mode != 0o640 || e.ModTime != 1_234_567_890_123_456_789 || e.Content.Size != 4 {
		b.Errorf("file listed as %+v", e)
	}
	if e := b.entry("d"); e.Kind != object.Directory || e.Mode != 0o750 {
		b.Errorf("directory listed as %+v", e)
	}
}

func listingMissing(b *bench) {
	b.ok(b.User.Write("f", "1"))
	b.ok(b.User.Symlink("l", "."))
	for _, dir := range []string{"none", "none/deep", "f", "l", "f/x"} {
		if _, err := b.Client.List(b.ctx, dir); !errors.Is(err, replica.ErrNotExist) {
			b.Errorf("List(%q): %v, not ErrNotExist", dir, err)
		}
	}
}

var oddNames = []string{"\x01", "\n", " ", "-rf", "\xff\xfe", "a\\b", "é", "e\u0301", "~", "%", "A", "a",
	strings.Repeat("n", 255), strings.Repeat("\xe2\x82\xac", 85)}

func names(b *bench) {
	for i, name := range oddNames {
		if i%2 == 0 {
			b.ok(b.User.Write(name, "user's "+name))
		} else {
			b.done("", b.create("", name, "server's "+name))
		}
	}
	entries := b.list("")
	if len(entries) != len(oddNames) {
		b.Fatalf("%d names, not %d", len(entries), len(oddNames))
	}
	for i, e := range entries {
		if i > 0 && entries[i-1].Name >= e.Name {
			b.Errorf("%q before %q: not in the order of bytes", entries[i-1].Name, e.Name)
		}
		b.done("", b.update(e.Name, "new "+e.Name))
		b.holds(e.Name, "new "+e.Name)
		old := b.known(e.Name)
		b.done("", replica.Change{Old: &old})
	}
	b.only("")
}

func reserved(b *bench) {
	b.ok(b.User.Write("d/"+replica.StateName+"/x", "1"))
	b.ok(b.User.Write("d/"+replica.TempPrefix+"of the user", "2"))
	for _, e := range b.list("d") {
		if e.Kind != object.Special {
			b.Errorf("%q is listed as a %v", e.Name, e.Kind)
		}
	}
	b.holds("d/"+replica.TempPrefix+"of the user", "2")
}

func hashing(b *bench) {
	for _, data := range []string{"", "small", strings.Repeat("big", 100_000)} {
		b.ok(b.User.Write("f", data))
		e := b.entry("f")
		if e.Content.Size != int64(len(data)) {
			b.Errorf("listed size %d, not %d", e.Content.Size, len(data))
		}
		e, err := b.Client.Hash(b.ctx, "", e)
		b.ok(err)
		want := b.Hash([]byte(data))
		if !e.Content.Same(want) || string(e.Content.Data) != string(want.Data) {
			b.Errorf("hashed to %+v, not %+v", e.Content, want)
		}
		if again := b.known("f"); !again.Equal(e) {
			b.Errorf("then %+v, not %+v", again, e)
		}
	}
}

func hashingChanged(b *bench) {
	b.ok(b.User.Write("f", "one"))
	b.ok(b.User.Touch("f", 1e18))
	for what, edit := range changesOfF(b) {
		e := b.entry("f")
		was := b.read(e)
		b.ok(edit())
		got, err := b.Client.Hash(b.ctx, "", e)
		if errors.Is(err, replica.ErrChanged) || err == nil && got.Content.Same(b.Hash([]byte(was))) {
			continue
		}
		b.Errorf("%s: hashed to %+v, error %v, neither what was listed nor ErrChanged", what, got, err)
	}
}

// read returns the content of a file that was just listed.
func (b *bench) read(e object.Entry) string {
	b.Helper()
	r, err := b.Client.Open(b.ctx, "", e)
	b.ok(err)
	got, err := io.ReadAll(r)
	b.ok(err)
	b.ok(r.Close())
	return string(got)
}

// changesOfF are edits of the file f that each must be noticed.
func changesOfF(b *bench) func(func(string, func() error) bool) {
	same := func() error {
		return errors.Join(b.User.Write("f", "two"), b.User.Touch("f", 1e18))
	}
	return func(yield func(string, func() error) bool) {
		_ = yield("same size and time", same) &&
			yield("longer", func() error { return b.User.Write("f", "longer") }) &&
			yield("touched", func() error { return b.User.Touch("f", 1e18+1) }) &&
			yield("mode", func() error { return b.User.Chmod("f", 0o600) }) &&
			yield("another file", func() error {
				return errors.Join(b.User.Rename("f", "g"), b.User.Write("f", "longer"), b.User.Remove("g"))
			})
	}
}

func opening(b *bench) {
	for _, data := range []string{"", "small", strings.Repeat("big", 1_000_000)} {
		b.ok(b.User.Write("f", data))
		for _, e := range []object.Entry{b.entry("f"), b.known("f")} {
			r, err := b.Client.Open(b.ctx, "", e)
			b.ok(err)
			got, err := io.ReadAll(r)
			if err != nil || string(got) != data {
				b.Errorf("read %d bytes of %d, error %v", len(got), len(data), err)
			}
			b.ok(r.Close())
		}
	}
}

func openingChanged(b *bench) {
	b.ok(b.User.Write("f", "one"))
	b.ok(b.User.Touch("f", 1e18))
	for what, edit := range changesOfF(b) {
		e := b.known("f")
		was := b.read(e)
		b.ok(edit())
		var got []byte
		r, err := b.Client.Open(b.ctx, "", e)
		if err == nil {
			got, err = io.ReadAll(r)
			b.ok(r.Close())
		}
		if !errors.Is(err, replica.ErrChanged) && (err != nil || string(got) != was) {
			b.Errorf("%s: %q, %v, neither what was listed nor ErrChanged", what, got, err)
		}
	}
	e := b.known("f")
	was := b.read(e)
	b.ok(b.User.Remove("f"))
	r, err := b.Client.Open(b.ctx, "", e)
	if err == nil {
		got, err := io.ReadAll(r)
		b.ok(err)
		b.ok(r.Close())
		if string(got) != was {
			b.Errorf("what is gone is read as %q", got)
		}
	} else if !errors.Is(err, replica.ErrNotExist) && !errors.Is(err, replica.ErrChanged) {
		b.Errorf("opened what is gone: %v", err)
	}
	b.ok(b.User.Write("f", strings.Repeat("long", 1_000_000)))
	r, err = b.Client.Open(b.ctx, "", b.entry("f"))
	b.ok(err)
	_, err = r.Read(make([]byte, 1))
	b.ok(err)
	b.ok(b.User.Write("f", "replaced while it is read"))
	got, err := io.ReadAll(r)
	if !errors.Is(err, replica.ErrChanged) && !(err == nil && len(got) == 4_000_000-1) {
		b.Errorf("read %d bytes across a change, error %v", len(got), err)
	}
	b.ok(r.Close())
}

func dirty(b *bench) {
	is := func(dir string, want bool) {
		b.Helper()
		got, err := b.Client.Dirty(b.ctx, dir)
		b.ok(err)
		if want && !got {
			b.Errorf("%q is called clean", dir)
		}
	}
	b.ok(b.User.Write("d/f", "1"))
	b.ok(b.User.Write("d/e/g", "1"))
	is("", true)
	for _, dir := range []string{"", "d", "d/e"} {
		for _, e := range b.list(dir) {
			e = b.known(replica.Join(dir, e.Name))
			b.ok(b.Client.Sync(b.ctx))
			b.ok(b.Client.Settle(b.ctx, dir, []object.Entry{e}))
		}
	}
	is("", false)
	b.ok(b.User.Write("d/e/g", "2"))
	is("", true)
	is("d", true)
	is("d/e", true)
	if _, err := b.Client.Dirty(b.ctx, "d/e"); err != nil {
		b.Error(err)
	}
}

func settling(b *bench) {
	b.done("", b.create("", "f", "1"))
	e := b.entry("f")
	b.ok(b.Client.Sync(b.ctx))
	b.ok(b.Client.Settle(b.ctx, "", []object.Entry{e, {Name: "gone"}}))
	if got := b.entry("f"); !got.Content.Known {
		b.Errorf("what was settled is listed with unknown content")
	}
	b.ok(b.User.Remove("f"))
	b.ok(b.Client.Settle(b.ctx, "", []object.Entry{{Name: "f"}}))
	b.ok(b.Client.Settle(b.ctx, "f", []object.Entry{{Name: "g"}}))
	b.only("")
}

func cancelled(b *bench) {
	b.ok(b.User.Write("f", "1"))
	e := b.entry("f")
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	_, err := b.Client.List(ctx, "")
	_, err2 := b.Client.Hash(ctx, "", e)
	_, err3 := b.Client.Open(ctx, "", e)
	err4 := b.Client.Sync(ctx)
	err5 := b.Client.Apply(ctx, "", []replica.Change{b.create("", "g", "2")})[0].Err
	for i, err := range []error{err, err2, err3, err4, err5} {
		if !errors.Is(err, context.Canceled) {
			b.Errorf("call %d: %v, not context.Canceled", i, err)
		}
	}
	b.only("", "f")
}

func concurrent(b *bench) {
	dirs := []string{"a", "b", "c", "d", "e", "f"}
	for _, dir := range dirs {
		b.ok(b.User.Mkdir(dir))
	}
	b.Run("directories", func(t *testing.T) {
		for _, dir := range dirs {
			t.Run(dir, func(t *testing.T) {
				t.Parallel()
				b := &bench{T: t, Subject: b.Subject, ctx: t.Context()}
				for i := range 10 {
					name := string(rune('0' + i))
					b.done(dir, b.create(dir, name, dir+name))
					b.done(dir, b.update(replica.Join(dir, name), dir+name+"'"))
					b.ok(b.Client.Sync(b.ctx))
					b.ok(b.Client.Settle(b.ctx, dir, b.list(dir)))
				}
			})
		}
	})
	for _, dir := range dirs {
		b.holds(dir+"/7", dir+"7'")
	}
}
