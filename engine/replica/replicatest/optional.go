package replicatest

import (
	"errors"
	"slices"
	"strings"

	"ensync/engine/replica"
	"ensync/store/object"
)

// Owners that no machine has names for.
const (
	somebody object.Owner = ":54321"
	another  object.Owner = ":54322"
)

// optional returns the user of replicas that have owners and extended attributes.
func (b *bench) optional() OptionalUser {
	b.Helper()
	user, ok := b.User.(OptionalUser)
	if !ok {
		b.Skip("owners and extended attributes are not synchronised by it, or not as this user")
	}
	return user
}

func attributes(pairs ...string) object.Xattrs {
	set := map[string][]byte{}
	for i := 0; i < len(pairs); i += 2 {
		set[pairs[i]] = []byte(pairs[i+1])
	}
	return object.MakeXattrs(set)
}

func optionalList(b *bench) {
	user := b.optional()
	b.ok(user.Write("f", "1"))
	b.ok(user.Mkdir("d"))
	b.ok(user.Symlink("l", "f"))
	if e := b.entry("f"); e.User == "" || e.Group == "" || e.Xattrs != object.NoXattrs {
		b.Errorf("a new file is listed with %+v", e)
	}
	for _, name := range []string{"f", "d", "l"} {
		b.ok(user.Chown(name, somebody, another))
	}
	b.ok(user.SetXattr("f", "user.a", []byte("1")))
	b.ok(user.SetXattr("f", "user.\xff", []byte{}))
	b.ok(user.SetXattr("d", "user.a", []byte("\x00")))
	for name, want := range map[string]object.Xattrs{"f": attributes("user.a", "1", "user.\xff", ""), "d": attributes("user.a", "\x00"), "l": ""} {
		if e := b.entry(name); e.User != somebody || e.Group != another || e.Xattrs != want {
			b.Errorf("%q is listed with %q, %q, %q", name, e.User, e.Group, e.Xattrs)
		}
	}
	b.ok(user.SetXattr("f", "user.a", nil))
	b.ok(user.SetXattr("f", "user.\xff", nil))
	if e := b.entry("f"); e.Xattrs != object.NoXattrs {
		b.Errorf("without attributes it is listed with %q", e.Xattrs)
	}
}

// withOptional returns what the store could have of an entry.
func withOptional(e object.Entry) object.Entry {
	e.User, e.Group = somebody, another
	if e.Kind != object.Symlink {
		e.Xattrs = attributes("user.a", strings.Repeat("value", 100), "user.b", "")
	}
	return e
}

func optionalSet(b *bench) {
	user := b.optional()
	for _, c := range entries(b, "new") {
		want := withOptional(*c.New)
		if want.Kind == object.File {
			want.Mode = 0o6555 // which a change of owner would clear
		}
		c.New = &want
		got := b.done("", c)
		if !got.SameAttributes(want) || got.Mode != want.Mode {
			b.Errorf("made %+v, not %+v", *got, want)
		}
		b.done("", replica.Change{Old: got})
	}
	b.ok(user.Write("f", "1"))
	b.ok(user.Mkdir("d"))
	b.ok(user.Symlink("l", "f"))
	b.ok(user.SetXattr("f", "user.old", []byte("1")))
	b.ok(user.Chmod("f", 0o4400))
	for _, name := range []string{"f", "d", "l"} {
		old := b.known(name)
		updated := withOptional(old)
		if got := b.done("", replica.Change{Old: &old, New: &updated}); !got.Equal(updated) {
			b.Errorf("%q became %+v, not %+v", name, *got, updated)
		}
	}
	b.holds("f", "1")
	c := b.update("f", "2")
	c.New.User, c.New.Group, c.New.Xattrs = another, somebody, object.NoXattrs
	if got := b.done("", c); !got.SameAttributes(*c.New) {
		b.Errorf("with new content: %+v, not %+v", *got, *c.New)
	}
	b.holds("f", "2")
}

// optionalUnknown: what an entry does not know of owner and attributes is left as it is.
func optionalUnknown(b *bench) {
	user := b.optional()
	for _, name := range []string{"f", "d"} {
		if name == "f" {
			b.ok(user.Write(name, "1"))
		} else {
			b.ok(user.Mkdir(name))
		}
		b.ok(user.Chown(name, somebody, another))
		b.ok(user.SetXattr(name, "user.a", []byte("1")))
		want := b.known(name)
		old := want
		old.User, old.Group, old.Xattrs = "", "", ""
		updated := old
		updated.Mode = 0o700
		if got := b.done("", replica.Change{Old: &old, New: &updated}); !got.SameAttributes(want) {
			b.Errorf("%q got %+v, not those of %+v", name, *got, want)
		}
	}
	c := b.update("f", "2")
	if got := b.done("", c); !got.SameAttributes(*c.Old) {
		b.Errorf("new content brings %+v, not those of %+v", *got, *c.Old)
	}
}

func optionalChanged(b *bench) {
	user := b.optional()
	for what, edit := range map[string]func(string) error{
		"owner":     func(name string) error { return user.Chown(name, somebody, "") },
		"group":     func(name string) error { return user.Chown(name, "", somebody) },
		"attribute": func(name string) error { return user.SetXattr(name, "user.a", []byte("2")) },
		"one more":  func(name string) error { return user.SetXattr(name, "user.b", []byte("2")) },
	} {
		b.ok(user.Write("f", "1"))
		b.ok(user.Mkdir("d"))
		for _, name := range []string{"f", "d"} {
			b.ok(user.SetXattr(name, "user.a", []byte("1")))
			old := b.known(name)
			b.ok(edit(name))
			want := b.known(name)
			updated := withOptional(old)
			updated.User, updated.Group = another, another
			if r := b.apply("", replica.Change{Old: &old, New: &updated})[0]; !errors.Is(r.Err, replica.ErrChanged) {
				b.Errorf("%s of %q: %v, not ErrChanged", what, name, r.Err)
			}
			if got := b.known(name); !got.Equal(want) {
				b.Errorf("%s of %q: %+v became %+v", what, name, want, got)
			}
			b.ok(user.Remove(name))
		}
	}
}

// optionalSettle: a change of owner or attributes alone makes a replica dirty, and settling it as it is, or as it is here
// in place of what it can't be, makes it clean.
func optionalSettle(b *bench) {
	user := b.optional()
	b.ok(user.Write("d/f", "1"))
	settle := func(held bool) {
		b.Helper()
		for _, dir := range []string{"", "d"} {
			for _, e := range b.list(dir) {
				e = b.known(replica.Join(dir, e.Name))
				if held {
					e.Held = &object.Held{User: e.User, Xattrs: e.Xattrs}
					e.User, e.Xattrs = another, attributes("user.elsewhere", "1")
				}
				b.ok(b.Client.Sync(b.ctx))
				b.ok(b.Client.Settle(b.ctx, dir, []object.Entry{e}))
			}
		}
	}
	settle(false)
	always, err := b.Client.Dirty(b.ctx, "")
	b.ok(err)
	for i, edit := range []func() error{
		func() error { return user.Chown("d/f", somebody, "") },
		func() error { return user.Chown("d", "", somebody) },
		func() error { return user.SetXattr("d/f", "user.a", []byte("1")) },
		func() error { return user.SetXattr("d", "user.a", []byte("1")) },
	} {
		b.ok(edit())
		if dirty, err := b.Client.Dirty(b.ctx, ""); err != nil || !dirty {
			b.Errorf("edit %d: clean, %v", i, err)
		}
		settle(i%2 == 1)
		if dirty, err := b.Client.Dirty(b.ctx, ""); err != nil || dirty != always {
			b.Errorf("edit %d, settled: dirty is %v, %v", i, dirty, err)
		}
	}
	if names := b.entry("d").Xattrs.Names(); !slices.Equal(names, []string{"user.a"}) {
		b.Errorf("attributes %q", names)
	}
}
