package worktree

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ensync/store/object"
)

// fork opens a copy of the state directory as a power cut now would leave it, if it takes nothing that was handed to the
// kernel. The bench goes on.
func (b *bench) fork() *bench {
	b.Helper()
	b.ok(b.log.Sync(ctx, 0))
	c := &bench{TB: b.TB, dir: b.dir, opt: b.opt, blocks: b.blocks, key: b.key}
	c.copyState()
	c.open()
	return c
}

// TestRewrittenAgainAndAgain: a file that is emptied and rewritten without a pause is at every moment, for who looks after a
// crash, one of its versions, whole and young, whatever the timer and the checkpoints do meanwhile.
func TestRewrittenAgainAndAgain(t *testing.T) {
	for _, size := range []int{1000, 5000, 3*unit + 100, 40 * 4096} { // inline, one extent, several, with rows of its own
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			clock := &clock{now: time.Unix(1e9, 0)}
			opt := testOptions()
			opt.Now, opt.Checkpoint, opt.Delay = clock.Now, time.Second, time.Second
			b := newBench(t, opt)
			half := uint64(size / 2)
			version := func(i int) string { return fmt.Sprintf("version %04d", i) + pattern(i, size-12) }
			ino := b.write("f", version(0))
			b.ok(b.Sync(ctx))
			rounds, saved := 24, 0
			if testing.Short() {
				rounds = 14
			}
			for i := 1; i < rounds; i++ {
				look := func() {
					t.Helper()
					clock.advance(100 * time.Millisecond)
					before := b.savedAt
					b.ok(b.Tick(ctx))
					if !b.savedAt.Equal(before) {
						saved++
					}
					c := b.fork()
					defer c.close()
					c.verify()
					got := c.readAll(c.must("f"))
					for k := i; k >= max(0, i-4); k-- {
						if got == version(k) {
							return
						}
					}
					t.Fatalf("in round %d: %.12q, %d bytes of %d", i, got, len(got), size)
				}
				b.truncate(ino, 0)
				look()
				write := func(s string, off uint64) {
					for at := 0; at < len(s); at += 4096 {
						b.writeAt(ino, s[at:min(at+4096, len(s))], off+uint64(at))
					}
				}
				write(version(i)[:half], 0)
				look()
				write(version(i)[half:], half)
				look()
			}
			if saved < 3 {
				t.Errorf("only %d checkpoints", saved)
			}
		})
	}
}

// TestSyncWhileRewritten: a sync in the middle of a rewrite, whatever it reads and settles, shows no half of it, neither to
// other machines nor to who looks after a crash.
func TestSyncWhileRewritten(t *testing.T) {
	for _, known := range []bool{false, true} { // whether the store has the old content
		opt := testOptions()
		clock := &clock{now: time.Unix(1e9, 0)} // on which nothing takes long
		opt.Now = clock.Now
		b := newBench(t, opt)
		ino := b.write("f", pattern(1, 5000))
		b.ok(b.Sync(ctx))
		if known {
			b.settleAll("")
		}
		b.truncate(ino, 0)
		for round := range 3 {
			list, err := b.List(ctx, "")
			b.ok(err)
			e := list[0]
			if !known {
				e = b.upload("", e)
			}
			if !e.Content.Same(hashBytes([]byte(pattern(1, 5000)))) {
				t.Fatalf("round %d: the reconciler reads %d bytes", round, e.Content.Size)
			}
			b.ok(b.Tree.Sync(ctx))
			b.ok(b.Settle(ctx, "", []object.Entry{e}))
			b.ok(b.checkpoint(ctx))
			c := b.fork()
			c.wantFile("f", pattern(1, 5000))
			c.close()
			b.writeAt(ino, pattern(2+round, 100), uint64(round)*100)
		}
		want := pattern(2, 100) + pattern(3, 100) + pattern(4, 100)
		b.dirty("", true)
		b.wantFile("f", want)
		b.settleAll("")
		b.dirty("", true) // the end of the rewrite is not known yet
		clock.advance(opt.Delay / 2)
		b.settleAll("")
		b.dirty("", false)
		b.wantFile("f", want)
	}
}

// TestSyncWhileEmptied: a program that was slow to write after it had emptied a file, as on a busy machine, finds no sync that
// took the file for empty, and no crash that left it so.
func TestSyncWhileEmptied(t *testing.T) {
	opt := testOptions()
	clock := &clock{now: time.Unix(1e9, 0)}
	opt.Now = clock.Now
	b := newBench(t, opt)
	ino := b.write("f", pattern(1, 5000))
	b.settleAll("")
	b.truncate(ino, 0)
	clock.advance(opt.Delay * 3 / 4)
	list, err := b.List(ctx, "")
	b.ok(err)
	if size := list[0].Content.Size; size != 5000 {
		t.Errorf("the reconciler sees %d bytes", size)
	}
	b.ok(b.Tree.Sync(ctx))
	c := b.fork()
	c.wantFile("f", pattern(1, 5000))
	c.close()
	b.writeAt(ino, pattern(2, 100), 0)
	clock.advance(opt.Delay)
	b.settleAll("")
	b.wantFile("f", pattern(2, 100))
}

// TestRewriteUnderBudget: a file that is being rewritten and is larger than the buffer is recorded when it is whole.
func TestRewriteUnderBudget(t *testing.T) {
	opt := testOptions()
	opt.Buffer = 20_000
	b := newBench(t, opt)
	ino := b.write("f", "old")
	b.ok(b.Sync(ctx))
	b.truncate(ino, 0)
	for i := range 20 { // pieces with gaps, which fill no unit
		b.writeAt(ino, strings.Repeat("x", 5000), uint64(i)*unit)
		if b.ram > opt.Buffer {
			t.Fatalf("%d bytes wait", b.ram)
		}
		c := b.fork()
		c.wantFile("f", "old")
		c.close()
	}
}

// rest waits until nothing has reached the disk for so long.
func (b *bench) rest(quiet time.Duration) {
	b.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for before := ^uint64(0); before != b.log.Stats().Syncs; {
		if before = b.log.Stats().Syncs; time.Now().After(deadline) {
			b.Fatalf("the log never comes to rest; %d fdatasyncs so far", before)
		}
		time.Sleep(quiet)
	}
}

// TestTheSecond: what is written, or made, and never synced, is durable within Options.Delay, whatever it is.
func TestTheSecond(t *testing.T) {
	opt := testOptions()
	opt.NoTimer, opt.Delay = false, 400*time.Millisecond
	b := newBench(t, opt)
	ino := b.write("f", "old")
	for what, do := range map[string]func(i int){
		"written":   func(i int) { b.writeAt(ino, pattern(i, 5000), uint64(i)*5000) },
		"made":      func(i int) { b.write(fmt.Sprint("new", i), "x") },
		"truncated": func(i int) { b.truncate(ino, 10) },
	} {
		best := time.Hour // a slow machine is no fault
		for i := 0; i < 4 && best > opt.Delay; i++ {
			b.rest(3 * opt.Delay / 2)
			begin := time.Now()
			do(i)
			for waits := true; waits; {
				time.Sleep(5 * time.Millisecond)
				b.mu.Lock()
				waits = len(b.pending) > 0 && !b.pending[0].void() || b.log.Durable() < b.log.Last()
				b.mu.Unlock()
			}
			best = min(best, time.Since(begin))
		}
		if best > opt.Delay {
			t.Errorf("what was %s is durable after %v", what, best)
		}
	}
}

// TestIdle: a tree in which nothing happens does not touch the disk.
func TestIdle(t *testing.T) {
	opt := testOptions()
	opt.NoTimer = false
	opt.Delay, opt.Checkpoint = 20*time.Millisecond, 50*time.Millisecond
	b := newBench(t, opt)
	b.write("f", "x")
	b.rest(25 * opt.Delay) // all of its timers go off many times
	if n := b.log.Stats().Syncs; n > 8 {
		t.Errorf("%d fdatasyncs for one file", n)
	}
}

// TestSyncOfTheRoot: fsync of the top directory makes everything durable, also what was only written.
func TestSyncOfTheRoot(t *testing.T) {
	b := newBench(t, testOptions())
	b.mkdir("d")
	ino := b.write("d/f", "old")
	b.ok(b.Fsync(ctx, RootIno))
	b.truncate(ino, 0)
	b.writeAt(ino, "new", 0)
	b.write("d/g", "g")
	b.ok(b.Fsync(ctx, RootIno))
	c := b.fork()
	defer c.close()
	c.wantFile("d/f", "new")
	c.wantFile("d/g", "g")
	if b.log.Durable() != b.log.Last() {
		t.Error("not all is durable")
	}
}
