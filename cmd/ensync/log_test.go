package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"ensync/engine"
	"ensync/engine/plan"
	"ensync/engine/replica"
	"ensync/store/backend"
	"ensync/store/object"
)

func file(mode uint32, size int64, key byte) *replica.Entry {
	return &replica.Entry{Kind: object.File, Mode: mode, ModTime: 1e18, Content: object.Content{Known: true, Size: size, Key: object.Key{key}}}
}

var (
	aDir    = &replica.Entry{Kind: object.Directory, Mode: 0o755}
	link    = &replica.Entry{Kind: object.Symlink, Target: "x\x1by"}
	created = engine.Event{Kind: engine.Created, Side: engine.Remote, Path: "d/f", New: file(0o644, 7, 1)}
	below   = engine.Event{Kind: engine.Created, Side: engine.Local, Path: "d/f", New: link, Below: true}
	gone    = engine.Event{Kind: engine.Deleted, Side: engine.Local, Path: "d", Old: aDir}
	tree    = engine.Event{Kind: engine.DeleteTree, Side: engine.Local, Path: "d", Old: aDir}
	same    = engine.Event{Kind: engine.Inspected, Path: "f"}
	both    = engine.Event{Kind: engine.Inspected, Path: "f", Outcome: plan.Outcome{Action: plan.SplitServer, Conflict: plan.EditEdit}}
	failed  = engine.Event{Kind: engine.Error, Path: "f", Err: errors.New("read f: no")}
	lost    = engine.Event{Kind: engine.Error, Path: "f", Err: fmt.Errorf("read f: %w", backend.ErrUnavailable)}
)

// TestLevels is the table of reference 1.6.
func TestLevels(t *testing.T) {
	all := []engine.Event{lost, failed, both, created, tree, gone, below, same}
	for _, c := range []struct {
		verbose, quiet int
		shown          int // of all, which are in the order in which they appear with more -v
	}{
		{0, 4, 1}, {0, 3, 1}, {0, 2, 2}, {0, 1, 3}, {0, 0, 5}, {1, 0, 7}, {2, 0, 8}, {3, 0, 8}, {2, 2, 5},
	} {
		l := newLogger(&strings.Builder{}, c.verbose, c.quiet, false, false)
		for i, e := range all {
			if got := l.event(e); got != (i < c.shown) {
				t.Errorf("-v %d -q %d: event %d shown: %v", c.verbose, c.quiet, i, got)
			}
		}
	}
}

func TestLogLines(t *testing.T) {
	for _, c := range []struct {
		e    engine.Event
		want string
	}{
		{created, "[EDIT ] remote d/f: create\n        + regular file, mode 0644, size 7 bytes, modified 2001-09-09 01:46Z\n"},
		{below, "[EDIT ] local  d/f: create\n        + symlink to x\\x1by\n"},
		{gone, "[EDIT ] local  d: remove directory\n"},
		{tree, "[EDIT ] local  d: delete recursively\n"},
		{same, "[INFO ] local  f: in sync\n"},
		{both, "[WARN ] local  f: renaming file on remote\n        (content changed on local, content changed on remote)\n"},
		{failed, "[ERROR] local  f: read f: no\n"},
		{lost, "[FATAL] local  f: read f: store is out of reach\n"},
		{engine.Event{Kind: engine.Renamed, Side: engine.Remote, Path: "f", NewName: "f~1"}, "[EDIT ] remote f: rename\n        -> f~1\n"},
		{engine.Event{Kind: engine.Updated, Side: engine.Local, Path: "", Old: aDir, New: aDir},
			"[EDIT ] local  .: update\n        - directory, mode 0755\n        + directory, mode 0755\n"},
	} {
		var b strings.Builder
		newLogger(&b, 2, 0, false, false).event(c.e)
		if b.String() != c.want {
			t.Errorf("got %q, want %q", b.String(), c.want)
		}
	}
	var b strings.Builder
	newLogger(&b, 0, 0, true, true).event(failed)
	if want := eraseLine + "\x1b[31m[ERROR] local  \x1b[1mf\x1b[0m: read f: no\n"; b.String() != want {
		t.Errorf("coloured: %q, want %q", b.String(), want)
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 10_000: "10000 bytes", 10_001: "9 kB", 10_000 * 1024: "10000 kB",
		10_001 * 1024: "9 MB", 1 << 62: "4096 PB"} {
		if got := sizeText(n); got != want {
			t.Errorf("sizeText(%d) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "   0B", 9_999: "9999B", 10_000: "   9k", 1 << 62: "4096P"} {
		if got := humanSize(n); got != want {
			t.Errorf("humanSize(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestModes(t *testing.T) {
	for _, c := range []struct {
		kind object.Kind
		mode uint32
		want string
	}{
		{object.File, 0o644, "-rw-r--r--"}, {object.Directory, 0o1777, "drwxrwxrwt"}, {object.File, 0o7666, "-rwSrwSrwT"},
		{object.File, 0o6755, "-rwsr-sr-x"}, {object.Symlink, 0o7777, "lrwsrwsrwt"}, {object.Special, 0, "c---------"},
	} {
		if got := modeText(c.kind, c.mode); got != c.want {
			t.Errorf("modeText(%v, %o) = %s, want %s", c.kind, c.mode, got, c.want)
		}
	}
}

func owned(user, group object.Owner, x object.Xattrs) *replica.Entry {
	e := file(0o644, 7, 1)
	e.User, e.Group, e.Xattrs = user, group, x
	return e
}

// TestItemise is reference 1.7.
func TestItemise(t *testing.T) {
	update := func(side engine.Side, a, b *replica.Entry) engine.Event {
		return engine.Event{Kind: engine.Updated, Side: side, Path: "p/n", Old: a, New: b}
	}
	later := file(0o644, 7, 1)
	later.ModTime++
	for _, c := range []struct {
		e    engine.Event
		want string
	}{
		{created, "<f+++++++++ d/f\n"},
		{below, "cL+++++++++ d/f\n"},
		{engine.Event{Kind: engine.Created, Side: engine.Local, Path: "f", New: file(0, 1, 1)}, ">f+++++++++ f\n"},
		{engine.Event{Kind: engine.Created, Path: "d", New: aDir}, "cd+++++++++ d\n"},
		{update(engine.Local, file(0o644, 7, 1), file(0o600, 8, 2)), ">fcs.p..... p/n\n"},
		{update(engine.Remote, file(0o644, 7, 1), later), ".f..t...... p/n\n"},
		{update(engine.Remote, file(0o644, 7, 1), file(0o600, 7, 1)), ".f...p..... p/n\n"},
		{update(engine.Remote, aDir, &replica.Entry{Kind: object.Directory, Mode: 0o700}), ".d...p..... p/n\n"},
		{update(engine.Remote, file(0o644, 7, 1), aDir), "cdc..p..... p/n\n"},
		{update(engine.Remote, link, &replica.Entry{Kind: object.Symlink, Target: "z"}), "cLc........ p/n\n"},
		{update(engine.Local, owned(":1", ":2", object.NoXattrs), owned(":3", ":4", "\x01\x06user.a\x00")), ".f....og..x p/n\n"},
		{update(engine.Local, owned(":1", "", object.NoXattrs), owned(":1", ":4", "")), ".f......... p/n\n"},
		{engine.Event{Kind: engine.Renamed, Path: "p/n", NewName: "n~1"}, "*renamefrom p/n\n*renameto   p/n~1\n"},
		{gone, "*delete     d\n*delete     d\n"},
		{engine.Event{Kind: engine.Deleted, Path: "f", Old: file(0, 0, 1)}, "*delete     f\n"},
		{same, ""},
		{tree, ""},
		{failed, ""},
		{engine.Event{Kind: engine.Inspected, Path: "f", Outcome: plan.Outcome{Action: plan.Irreconcilable, Conflict: plan.EditEdit}},
			".?          f\n"},
		{both, ""},
	} {
		var b strings.Builder
		itemiser{w: &b}.event(c.e)
		if b.String() != c.want {
			t.Errorf("got %q, want %q", b.String(), c.want)
		}
	}
	var b strings.Builder
	itemiser{w: &b, unchanged: true}.event(same)
	if b.String() != ".?          f\n" {
		t.Errorf("unchanged: %q", b.String())
	}
}

func TestJSONNames(t *testing.T) {
	var b strings.Builder
	j := newJSONWriter(&b)
	if err := j.event(engine.Event{Kind: engine.Created, Side: engine.Local, Path: "a\xff<", New: &replica.Entry{Kind: object.Symlink, Target: "\xfe"}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"path":"a` + "\ufffd" + `<","path_base64":"Yf88"`, `"target":"` + "\ufffd" + `","target_base64":"/g=="`,
		`"status_version":1`} {
		if !strings.Contains(strings.ReplaceAll(b.String(), `\ufffd`, "\ufffd"), want) {
			t.Errorf("%s is not in %s", want, b.String())
		}
	}
}

func TestProgress(t *testing.T) {
	var b strings.Builder
	now := time.Unix(100, 0)
	p := &progress{meter: newMeter(now), w: &b, now: func() time.Time { return now }}
	p.event(created, false)
	now = now.Add(10 * time.Millisecond)
	p.event(engine.Event{Kind: engine.Transfer, Side: engine.Remote, Bytes: 40_960}, false) // too soon to be drawn
	now = now.Add(2 * time.Second)
	p.event(gone, false)
	want := "\r\x1b[K\\ in: +0 *0 -0 0 bytes, out: +1 *0 -0 0 bytes\r" +
		"\r\x1b[K| in: +0 *0 -0 0 bytes, out: +1 *0 -0 40 kB, 19 kB/s\r"
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestErrors(t *testing.T) {
	inner := errors.New("disk on fire")
	for _, c := range []struct {
		err  error
		want string
		exit int
	}{
		{nil, "", 0},
		{errOutOfSync, "", 3},
		{fmt.Errorf("read x: %w", inner), "error: read x: disk on fire\n", 1},
		{hiding{inner}, "error: hidden\ncaused by: disk on fire\n", 1},
		{errors.Join(inner, errors.New("two")), "error: disk on fire\nerror: two\n", 1},
		{fmt.Errorf("%w: no", engine.ErrLoss), "error: stopped by the loss guard: no\n", 4},
		{usagef("no %d", 1), "error: no 1\nRun the command with --help to see how it is used.\n", 2},
		{errors.Join(errOutOfSync, errInterrupted), "error: not everything is in sync\nerror: " + errInterrupted.Error() + "\n", 1},
		{failedAs{readiness{Error: "x", Exit: 4}}, "error: x\n", 4},
	} {
		var b strings.Builder
		printError(&b, c.err)
		if b.String() != c.want || exitCode(c.err) != c.exit {
			t.Errorf("%v: %q, exit %d; want %q, exit %d", c.err, b.String(), exitCode(c.err), c.want, c.exit)
		}
	}
}

// hiding is an error that does not tell its cause.
type hiding struct{ error }

func (hiding) Error() string   { return "hidden" }
func (h hiding) Unwrap() error { return h.error }
