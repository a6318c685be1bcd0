package ancestor

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"ensync/engine/replica"
	"ensync/store/object"
)

func open(t *testing.T, path string, key *[32]byte) *DB {
	t.Helper()
	db, err := Open(path, key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func file(name string, n byte) replica.Entry {
	return replica.Entry{Name: name, Kind: object.File, Mode: 0o644, ModTime: 123456789,
		Content: object.Content{Known: true, Size: 5000, Depth: 1, Key: object.Key{n}}}
}

func directory(name string) replica.Entry {
	return replica.Entry{Name: name, Kind: object.Directory, Mode: 0o755}
}

func commit(t *testing.T, db *DB, u Update) {
	t.Helper()
	if err := db.Commit(context.Background(), u); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, db *DB, dir string) string {
	t.Helper()
	d, err := db.Dir(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range d.Entries {
		all = append(all, e.Name)
	}
	return strings.Join(all, " ")
}

func TestCommitIsReadBack(t *testing.T) {
	for _, key := range []*[32]byte{nil, {1, 2, 3}} {
		path := filepath.Join(t.TempDir(), "a?b#c.sqlite")
		db := open(t, path, key)
		want := file("f\xff\n", 7)
		link := replica.Entry{Name: "l", Kind: object.Symlink, Target: "to\x01"}
		commit(t, db, Update{Entries: []Agreed{{"", directory("d")}, {"d", link}, {"d", want}},
			Marks: map[string]string{"d": "mark"}})
		db.Close()
		db = open(t, path, key)
		d, err := db.Dir(context.Background(), "d")
		if err != nil || d.Mark != "mark" || !d.Find(want.Name).Equal(want) || !d.Find("l").Equal(link) {
			t.Fatalf("read back %+v, %v", d, err)
		}
		if d.Find("g").Kind != object.Absent {
			t.Error("a name that was never agreed on is there")
		}
	}
}

func TestChangeClearsMarksAbove(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "x"), nil)
	commit(t, db, Update{
		Entries: []Agreed{{"", directory("a")}, {"a", directory("b")}, {"a/b", file("f", 1)}, {"", directory("z")}},
		Marks:   map[string]string{"": "m0", "a": "m1", "a/b": "m2", "z": "m3"}})
	commit(t, db, Update{Entries: []Agreed{{"a/b", file("f", 2)}}, Marks: map[string]string{"a/b": "m4"}})
	for dir, want := range map[string]string{"": "", "a": "", "a/b": "m4", "z": "m3"} {
		if d, _ := db.Dir(context.Background(), dir); d.Mark != want {
			t.Errorf("mark of %q is %q, want %q", dir, d.Mark, want)
		}
	}
}

func TestDirectoryVanishesWithAllBelow(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "x"), &[32]byte{9})
	commit(t, db, Update{Entries: []Agreed{{"", directory("a")}, {"a", directory("b")}, {"a/b", file("f", 1)}}})
	commit(t, db, Update{Entries: []Agreed{{"", replica.Entry{Name: "a"}}}})
	commit(t, db, Update{Entries: []Agreed{{"", directory("a")}}})
	if got := names(t, db, "a") + names(t, db, "a/b"); got != "" {
		t.Errorf("records came back with the directory: %q", got)
	}
}

func TestMoveTakesSubtree(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "x"), &[32]byte{9})
	commit(t, db, Update{Entries: []Agreed{{"", directory("a")}, {"a", directory("b")}, {"a/b", file("f", 1)}}})
	commit(t, db, Update{Moves: []Move{{From: "a", To: "a~1"}}, Entries: []Agreed{{"", file("a", 3)}}})
	if got := names(t, db, ""); got != "a a~1" {
		t.Errorf("root has %q", got)
	}
	if got := names(t, db, "a~1/b"); got != "f" {
		t.Errorf("moved subtree has %q", got)
	}
	if got := names(t, db, "a/b"); got != "" {
		t.Errorf("old place still has %q", got)
	}
}

func TestPreparedTakesEffectOnlyIfItHappened(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "x")
	db := open(t, path, &[32]byte{9})
	for tag, name := range map[string]string{"yes": "f", "no": "g"} {
		u := Update{Entries: []Agreed{{"", file(name, 1)}}, Marks: map[string]string{"": "m"}}
		if err := db.Prepare(ctx, Prepared{tag, u}); err != nil {
			t.Fatal(err)
		}
	}
	db.Close()
	db = open(t, path, &[32]byte{9})
	err := db.Recover(ctx, func(_ context.Context, tag string) (bool, error) { return tag == "yes", nil })
	if err != nil || names(t, db, "") != "f" {
		t.Fatalf("after recovery: %q, %v", names(t, db, ""), err)
	}
	if open, err := db.preparedUpdates(ctx); err != nil || len(open) != 0 {
		t.Errorf("still prepared: %v, %v", open, err)
	}
}

func TestMarksHoldForBothHalvesOfACommit(t *testing.T) {
	ctx := context.Background()
	db := open(t, filepath.Join(t.TempDir(), "x"), nil)
	out := Update{Entries: []Agreed{{"", file("f", 1)}}, Marks: map[string]string{"": "m"}}
	if err := db.Prepare(ctx, Prepared{"tag", out}); err != nil {
		t.Fatal(err)
	}
	in := Update{Entries: []Agreed{{"", file("g", 1)}}}
	if err := db.CommitPrepared(ctx, []string{"tag"}, out, in); err != nil {
		t.Fatal(err)
	}
	if d, _ := db.Dir(ctx, ""); d.Mark != "m" || len(d.Entries) != 2 {
		t.Errorf("after the commit: %+v", d)
	}
	// A crash in between keeps only what was prepared: then the mark would say too much.
	out = Update{Entries: []Agreed{{"", file("f", 2)}}, Marks: map[string]string{"": "m2"}}
	if err := db.Prepare(ctx, Prepared{"tag2", out}); err != nil {
		t.Fatal(err)
	}
	if err := db.Recover(ctx, func(context.Context, string) (bool, error) { return true, nil }); err != nil {
		t.Fatal(err)
	}
	if d, _ := db.Dir(ctx, ""); d.Mark != "" || !d.Find("f").Equal(file("f", 2)) {
		t.Errorf("after recovery: %+v", d)
	}
}

func TestStopOutOfOrderIsNoticed(t *testing.T) {
	ctx := context.Background()
	db := open(t, filepath.Join(t.TempDir(), "x"), &[32]byte{9})
	step := func(what string, err error, want bool) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := db.Unsettled(ctx); err != nil || got != want {
			t.Errorf("after %s: unsettled is %v, %v", what, got, err)
		}
	}
	step("the first start", db.Start(ctx), false)
	step("a stop in order", db.Stop(ctx), false)
	step("another start", db.Start(ctx), false)
	step("a start after a kill", db.Start(ctx), true)
	step("a sync that told all", db.Settled(ctx), false)
}

func TestIssuesStayUntilResolved(t *testing.T) {
	ctx := context.Background()
	db := open(t, filepath.Join(t.TempDir(), "x"), &[32]byte{9})
	commit(t, db, Update{Issues: map[string][]Issue{"d": {{Path: "d/f", Kind: Failed, Reason: "permission denied"}}}})
	if list, err := db.Issues(ctx); err != nil || len(list) != 1 || list[0].Path != "d/f" {
		t.Fatalf("issues: %v, %v", list, err)
	}
	commit(t, db, Update{Issues: map[string][]Issue{"d": nil}})
	if list, _ := db.Issues(ctx); len(list) != 0 {
		t.Errorf("resolved issues are still there: %v", list)
	}
}

func TestSealedDatabaseHidesNamesAndRefusesOtherKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	db := open(t, path, &[32]byte{9})
	secret := "a-very-secret-name"
	commit(t, db, Update{Entries: []Agreed{{"", directory(secret)}, {secret, file(secret, 1)}},
		Issues: map[string][]Issue{secret: {{Path: secret, Kind: Failed, Reason: secret}}}})
	db.Close()
	for _, f := range []string{path, path + "-wal"} {
		if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte(secret)) {
			t.Errorf("%s holds a name in clear", f)
		}
	}
	if _, err := Open(path, &[32]byte{8}); !errors.Is(err, ErrDamaged) {
		t.Errorf("opened with another key: %v", err)
	}
}

func TestDamagedDatabaseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, bytes.Repeat([]byte("garbage "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("garbage opened as a database: %v", err)
	}
}

// TestOptionalFieldsAreReadBack: and who has none pays nothing for them.
func TestOptionalFieldsAreReadBack(t *testing.T) {
	plain := file("a", 1)
	rich := file("b", 1)
	rich.User, rich.Group, rich.Xattrs = "alice:1000", ":7", object.MakeXattrs(map[string][]byte{"user.a": []byte("1")})
	rich.Held = &object.Held{User: "bob:5", Xattrs: object.NoXattrs}
	link := replica.Entry{Name: "c", Kind: object.Symlink, Target: "x", Group: ":1"}
	d, err := decodeDir(encodeDir(Dir{Entries: []replica.Entry{plain, rich, link}}))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []replica.Entry{plain, rich, link} {
		if !reflect.DeepEqual(d.Entries[i], want) {
			t.Errorf("got %+v, want %+v", d.Entries[i], want)
		}
	}
	before := []byte{1, 0, 1, 1, 'd', byte(object.Directory), 0xed, 3, 0, 0} // as written before there were any
	if now := encodeDir(Dir{Entries: []replica.Entry{directory("d")}}); !bytes.Equal(now, before) {
		t.Errorf("without them: %x, not %x", now, before)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encodeDir(Dir{Mark: "m", Entries: []replica.Entry{file("f", 1), directory("g")}}))
	rich := file("r", 1)
	rich.User, rich.Held = ":1", &object.Held{Xattrs: object.NoXattrs}
	f.Add(encodeDir(Dir{Entries: []replica.Entry{rich}}))
	f.Add(encodeUpdate(Update{Moves: []Move{{"a/b", "a/c", true}}, Entries: []Agreed{{"d", file("f", 1)}},
		Marks: map[string]string{"d": "m"}}))
	f.Add(encodeIssues([]Issue{{Path: "p", Kind: Failed, Reason: "r"}}))
	f.Add(encodeName(LocalName{Dir: "d", Store: "F", Local: "F~aside1", Beside: "f", Why: Clash, DirID: "1"}))
	f.Fuzz(func(_ *testing.T, b []byte) {
		decodeDir(b)
		decodeUpdate(b)
		decodeIssues(b)
		decodeName(b)
	})
}

func TestAnnouncedStaysUntilRecorded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sqlite")
	ctx := context.Background()
	for _, key := range []*[32]byte{nil, {1}} {
		db, err := Open(path, key)
		if err != nil {
			t.Fatal(err)
		}
		entry := replica.Entry{Name: "f", Kind: object.Symlink, Target: "x"}
		tag, err := db.Announce(ctx, []Agreed{{Dir: "d", Entry: entry}})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil { // as a kill would
			t.Fatal(err)
		}
		if db, err = Open(path, key); err != nil {
			t.Fatal(err)
		}
		entries, tags, err := db.Announced(ctx)
		if err != nil || len(entries) != 1 || entries[0].Dir != "d" || !entries[0].Entry.Equal(entry) {
			t.Errorf("announced %v, %v", entries, err)
		}
		if len(tags) != 1 || tags[0] != tag {
			t.Errorf("tags %v, want %s", tags, tag)
		}
		if err := db.Commit(ctx, Update{Announced: tags}); err != nil {
			t.Fatal(err)
		}
		if entries, _, err := db.Announced(ctx); err != nil || len(entries) != 0 {
			t.Errorf("recorded, and still announced: %v, %v", entries, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		path += "2"
	}
}

// What was prepared first is settled first: the second of two moves may take along what the first has taken out.
func TestRecoverKeepsTheOrder(t *testing.T) {
	for range 20 { // a map would give another order now and then
		db := open(t, filepath.Join(t.TempDir(), "ancestor.sqlite"), nil)
		commit(t, db, Update{Entries: []Agreed{{"", directory("d")}, {"d", file("f", 1)}, {"d", file("g", 2)}}})
		for _, m := range []Move{{From: "d/f", To: "c"}, {From: "d", To: "e"}, {From: "e/g", To: "h"}} {
			if err := db.Prepare(t.Context(), Prepared{m.From + ">" + m.To, Update{Moves: []Move{m}}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Recover(t.Context(), func(context.Context, string) (bool, error) { return true, nil }); err != nil {
			t.Fatal(err)
		}
		top, err := db.Dir(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"c", "e", "h"} {
			if top.Find(name).Kind == object.Absent {
				t.Fatalf("%q is not known", name)
			}
		}
	}
}
