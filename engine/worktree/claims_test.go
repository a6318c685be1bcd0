package worktree

import (
	"io"
	"testing"
	"time"

	"ensync/engine/replica"
	"ensync/store/object"
)

// twins makes two files that only their bytes tell apart: of one size, with one time.
func (b *bench) twins(p, q string) {
	b.Helper()
	b.write(p, "version 602")
	b.write(q, "version 619")
	b.backdate(b.must(p))
	b.backdate(b.must(q))
}

// backdate sets a file's time to a fixed one, as those who want to leave no trace do.
func (b *bench) backdate(ino Ino) {
	b.Helper()
	at := time.Unix(1700000000, 0)
	_, err := b.SetAttr(ctx, ino, SetAttr{Mtime: &at})
	b.ok(err)
}

// listed returns what List shows of one name, and no more.
func (b *bench) listed(dir, name string) object.Entry {
	b.Helper()
	list, err := b.List(ctx, dir)
	b.ok(err)
	for _, e := range list {
		if e.Name == name {
			return e
		}
	}
	b.Fatalf("%s is not listed in %q", name, dir)
	return object.Entry{}
}

// upload sends a file that was listed to the store, as a sync does, and returns what it then calls agreed.
func (b *bench) upload(dir string, e object.Entry) object.Entry {
	b.Helper()
	r, err := b.Open(ctx, dir, e)
	b.ok(err)
	data, err := io.ReadAll(r)
	b.ok(err)
	b.ok(r.Close())
	e.Content = b.blocks.put(data)
	b.Learn(dir, e)
	return e
}

func (b *bench) settle(dir string, entries ...object.Entry) {
	b.Helper()
	b.ok(b.Sync(ctx))
	b.ok(b.Settle(ctx, dir, entries))
}

// TestSettleExchanged: two files that were uploaded and then changed places keep their bytes: what was agreed of a name is
// nothing that was agreed of the file there now.
func TestSettleExchanged(t *testing.T) {
	b := newBench(t, testOptions())
	b.twins("p", "q")
	list, err := b.List(ctx, "")
	b.ok(err)
	p, q := b.upload("", list[0]), b.upload("", list[1])
	b.ok(b.rename("p", "q", RenameExchange))
	b.settle("", p, q)
	b.wantFile("p", "version 619")
	b.wantFile("q", "version 602")
	b.dirty("", true)
	b.settleAll("")
	b.dirty("", false)
	b.wantFile("p", "version 619")
}

// TestSettleOtherLink: what is agreed of one name of a file is not made its content because another name was just read.
func TestSettleOtherLink(t *testing.T) {
	b := newBench(t, testOptions())
	b.mkdir("d")
	ino := b.write("x", "version 602")
	b.backdate(ino)
	_, err := b.Link(ctx, ino, b.must("d"), "y")
	b.ok(err)
	y := b.entry("d/y")
	b.writeAt(ino, "version 619", 0)
	b.backdate(ino)
	x := b.upload("", b.listed("", "x"))
	b.settle("d", y)
	b.wantFile("x", "version 619")
	b.wantFile("d/y", "version 619")
	b.settle("", x)
	b.wantFile("d/y", "version 619")
	b.dirty("d", true)
	b.settleAll("")
	b.dirty("", false)
}

// TestSettleEarlier: an agreement that is older than the last upload of the same name does not undo that.
func TestSettleEarlier(t *testing.T) {
	b := newBench(t, testOptions())
	ino := b.write("f", "version 602")
	b.backdate(ino)
	before := b.entry("f")
	b.writeAt(ino, "version 619", 0)
	b.backdate(ino)
	after := b.upload("", b.listed("", "f"))
	b.settle("", before, after)
	b.wantFile("f", "version 619")
	b.dirty("", false)
}

// TestLearnOther: what the store says of an upload is not believed of a file that came to the name meanwhile, nor of
// another version of the same.
func TestLearnOther(t *testing.T) {
	for _, meanwhile := range []string{"exchanged", "edited"} {
		b := newBench(t, testOptions())
		b.twins("p", "q")
		list, err := b.List(ctx, "")
		b.ok(err)
		r, err := b.Open(ctx, "", list[0])
		b.ok(err)
		_, err = io.ReadAll(r)
		b.ok(err)
		b.ok(r.Close())
		if meanwhile == "exchanged" {
			b.ok(b.rename("p", "q", RenameExchange))
		} else {
			b.writeAt(b.must("p"), "version 619", 0)
			b.backdate(b.must("p"))
		}
		p := list[0]
		p.Content = b.blocks.put([]byte("version 602"))
		b.Learn("", p)
		b.settle("", p)
		b.wantFile("p", "version 619")
		b.dirty("", true)
	}
}

// TestStaleApplyExchanged: a file that only its bytes tell from the one that was listed is not replaced or removed for it.
func TestStaleApplyExchanged(t *testing.T) {
	b := newBench(t, testOptions())
	b.twins("p", "q")
	list, err := b.List(ctx, "")
	b.ok(err)
	b.ok(b.rename("p", "q", RenameExchange))
	p := list[0]
	new := p
	new.Content = b.blocks.put([]byte("remote"))
	b.wantErr(b.remote("", replica.Change{Old: &p, New: &new}).Err, replica.ErrChanged)
	b.wantErr(b.remote("", replica.Change{Old: &p}).Err, replica.ErrChanged)
	if e, err := b.Hash(ctx, "", p); err != nil || !e.Content.Same(hashBytes([]byte("version 602"))) {
		t.Errorf("what was listed has hash %v, %v", e.Content, err)
	}
	if got := b.upload("", p).Content; !got.Same(hashBytes([]byte("version 602"))) {
		t.Errorf("what was listed is read as %v", got)
	}
	b.wantFile("p", "version 619")
}

// TestStaleApplyOtherLink: a file that was listed, edited and then listed under another name is not as it was listed.
func TestStaleApplyOtherLink(t *testing.T) {
	b := newBench(t, testOptions())
	b.mkdir("d")
	ino := b.write("x", "version 602")
	b.backdate(ino)
	_, err := b.Link(ctx, ino, b.must("d"), "y")
	b.ok(err)
	x := b.listed("", "x")
	b.writeAt(ino, "version 619", 0)
	b.backdate(ino)
	b.listed("d", "y")
	b.wantErr(b.remote("", replica.Change{Old: &x}).Err, replica.ErrChanged)
	b.entry("d/y")
	b.wantErr(b.remote("", replica.Change{Old: &x}).Err, replica.ErrChanged)
	b.wantFile("x", "version 619")
}

// TestRemoteTakesAllLinks: a file that a sync takes all names from, in one step, is known as such, and what is written to
// it by who has it open becomes a conflict copy.
func TestRemoteTakesAllLinks(t *testing.T) {
	b := newBench(t, testOptions())
	ino := b.write("x", "version 602")
	_, err := b.Link(ctx, ino, RootIno, "y")
	b.ok(err)
	x, y := b.entry("x"), b.entry("y")
	new := y
	new.Content = b.blocks.put([]byte("remote"))
	for _, r := range b.Apply(ctx, "", []replica.Change{{Old: &x}, {Old: &y, New: &new}}) {
		b.ok(r.Err)
	}
	b.writeAt(ino, "version 619", 0)
	b.dirty("", true)
	b.wantFile("y", "remote")
	b.wantFile("y~1", "version 619")
	if a, err := b.GetAttr(ctx, ino); err != nil || a.Nlink != 1 {
		t.Errorf("%d links, %v", a.Nlink, err)
	}
}

// TestHeirLinked: who gives a file a name again that a sync took its name from has it under that name, and no copy beside.
func TestHeirLinked(t *testing.T) {
	b := newBench(t, testOptions())
	ino := b.write("x", "version 602")
	b.ok(b.Ref(ctx, ino))
	x := b.entry("x")
	b.ok(b.remote("", replica.Change{Old: &x}).Err)
	b.writeAt(ino, "version 619", 0)
	_, err := b.Link(ctx, ino, RootIno, "y")
	b.ok(err)
	b.writeAt(ino, "version 620", 0)
	b.dirty("", true)
	if got := b.names(""); got != "y" {
		t.Errorf("the tree holds %q", got)
	}
	b.Forget(ino, 2)
	b.ok(b.Sync(ctx))
	b.crash()
	b.wantFile("y", "version 620")
}
