package replicatest

import (
	"errors"

	"ensync/engine/replica"
)

func relocating(b *bench) {
	r, ok := b.Client.(replica.Relocator)
	if !ok {
		b.Skip("it can't move things from one directory to another")
	}
	for path, data := range map[string]string{"d/f": "data", "d/s/g": "more", "e/h": "other", "e/taken": "taken", "file": "file"} {
		b.ok(b.User.Write(path, data))
	}
	refused := func(from, to string, want error) {
		b.Helper()
		err := r.Relocate(b.ctx, from, to, b.known(from))
		if errors.Is(err, errors.ErrUnsupported) {
			b.Skip("not on this file system")
		}
		if !errors.Is(err, want) {
			b.Errorf("move %q to %q: %v, not %v", from, to, err, want)
		}
	}
	b.known("d/f")
	refused("file", "e/taken", replica.ErrChanged)
	refused("d", "e/taken", replica.ErrChanged)
	refused("d", "nowhere/d", replica.ErrNotExist)
	b.holds("d/s/g", "more")

	stale := b.known("file")
	b.ok(b.User.Write("file", "edited since"))
	if err := r.Relocate(b.ctx, "file", "e/file", stale); !errors.Is(err, replica.ErrChanged) {
		b.Errorf("a file that was edited: %v, not ErrChanged", err)
	}
	b.holds("file", "edited since")
	b.ok(r.Relocate(b.ctx, "file", "e/file", b.known("file")))
	b.holds("e/file", "edited since")

	b.ok(b.User.Write("d/f", "edited too")) // it goes with its directory
	b.ok(r.Relocate(b.ctx, "d", "e/d", b.entry("d")))
	b.ok(b.Client.Sync(b.ctx))
	b.only("", "e")
	b.only("e", "d", "file", "h", "taken")
	b.holds("e/d/f", "edited too")
	if e := b.known("e/d/s/g"); !e.Content.Same(b.Hash([]byte("more"))) {
		b.Errorf("what came is listed as %+v", e)
	}
	if dirty, err := b.Client.Dirty(b.ctx, "e/d"); err != nil || !dirty {
		b.Errorf("what nobody settled is not dirty (error %v)", err)
	}
}

func tracking(b *bench) {
	tracker, ok := b.Client.(replica.Tracker)
	if !ok {
		b.Skip("it does not know directories again")
	}
	b.ok(b.User.Write("d/s/f", "data"))
	for _, dir := range []string{"", "d", "d/s"} {
		list := b.list(dir)
		for i, e := range list {
			list[i] = b.known(replica.Join(dir, e.Name))
		}
		b.ok(b.Client.Sync(b.ctx))
		b.ok(b.Client.Settle(b.ctx, dir, list))
	}
	if was, err := tracker.Was(b.ctx, "d"); err != nil || was != "" {
		b.Errorf("before it moved it was at %q (error %v)", was, err)
	}
	b.ok(b.User.Rename("d", "n"))
	b.ok(b.User.Mkdir("d"))
	for path, want := range map[string]string{"n": "d", "d": "", "missing": ""} {
		if was, err := tracker.Was(b.ctx, path); err != nil || was != want {
			b.Errorf("%q was at %q (error %v), not %q", path, was, err, want)
		}
	}
}
