package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"ensync/keys"
	"ensync/store/backend"
	"ensync/store/backend/faulty"
	"ensync/store/index"
	"ensync/store/object"
)

// phrase makes a passphrase that is stretched quickly.
func phrase(s string) []byte { return append([]byte(s+" "), pass...) }

// club is a store with the keys "key" (everyone, root, staff) and "member" (everyone, staff), and a root that staff reads
// and writes.
type club struct {
	*place
	boss *Store
}

const clubRoot = "club.ensync[rw=staff]"

func newClub(t *testing.T, b backend.Backend) *club {
	t.Helper()
	c := &club{place: newPlace(t)}
	if b != nil {
		c.b = b
	}
	c.boss = c.create(Params{BlockSize: 4096})
	edit := func(fn func(f *keys.File) (*keys.File, error)) {
		t.Helper()
		must(t, c.boss.EditKeys(t.Context(), fn))
	}
	edit(func(f *keys.File) (*keys.File, error) { return f.CreateGroups([]string{"staff"}, c.boss.Keys(), nil) })
	edit(func(f *keys.File) (*keys.File, error) {
		return f.Add(t.Context(), c.boss.Keys(), "member", phrase("member"), nil, time.Now())
	})
	edit(func(f *keys.File) (*keys.File, error) {
		return f.Disassociate("member", []string{keys.Root}, c.boss.Keys())
	})
	_, err := c.boss.CreateRoot(t.Context(), clubRoot, 0o755)
	must(t, err)
	_, err = c.boss.CreateRoot(t.Context(), "home", 0o755)
	must(t, err)
	return c
}

// member opens the store as a client of its own, by the passphrase of member.
func (c *club) member(client string) *Store {
	c.t.Helper()
	s, err := Open(c.t.Context(), c.b, phrase("member"), c.options(client))
	must(c.t, err)
	c.t.Cleanup(func() { s.Close() })
	return s
}

// write commits one file to a root, again and again while others are faster.
func write(ctx context.Context, s *Store, root, name, text string) error {
	r, err := s.Root(ctx, root)
	if err != nil {
		return err
	}
	w, err := s.Begin(ctx)
	if err != nil {
		return err
	}
	defer w.Close()
	for range 100 {
		h, err := r.Head(ctx)
		if err != nil {
			return err
		}
		g, err := r.ReadGroup()
		if err != nil {
			return err
		}
		var entries []object.Entry
		if h.Seq > 0 {
			if entries, err = s.ReadTree(ctx, g, h.Tree); err != nil {
				return err
			}
		}
		content := object.Content{Known: true, Size: int64(len(text)), Data: []byte(text)}
		entries = append(entries, object.Entry{Name: name, Kind: object.File, Mode: 0o644, Content: content})
		tree, err := w.PutTree(ctx, g, entries)
		if err != nil {
			return err
		}
		if _, err = r.Commit(ctx, w, h, tree, nil); !errors.Is(err, ErrOvertaken) {
			return err
		}
	}
	return ErrOvertaken
}

func names(ctx context.Context, s *Store, root string) (map[string]bool, error) {
	r, err := s.Root(ctx, root)
	if err != nil {
		return nil, err
	}
	h, err := r.Head(ctx)
	if err != nil {
		return nil, err
	}
	g, err := r.ReadGroup()
	if err != nil || h.Seq == 0 {
		return nil, err
	}
	entries, err := s.ReadTree(ctx, g, h.Tree)
	found := map[string]bool{}
	for _, e := range entries {
		found[e.Name] = true
	}
	return found, err
}

func wantNames(t *testing.T, s *Store, root string, want ...string) {
	t.Helper()
	found, err := names(t.Context(), s, root)
	must(t, err)
	for _, name := range want {
		if !found[name] {
			t.Errorf("%s has %v, not %s", root, found, name)
		}
	}
}

func rotate(t *testing.T, s *Store, group string) {
	t.Helper()
	must(t, s.Rotate(t.Context(), Rotation{Group: group, Report: func(text string) { t.Log(text) }}))
}

// TestRotateEverywhere: clients that have the store open meet the new key, take it, and go on; so do new ones.
func TestRotateEverywhere(t *testing.T) {
	everywhere(t, func(t *testing.T, d *transport) {
		c := newClub(t, d.open())
		running := c.member("running")
		idle := c.member("idle")
		must(t, write(t.Context(), running, clubRoot, "0", "before"))
		for i, group := range []string{"staff", keys.Everyone, keys.Root, "staff", keys.Everyone} {
			rotate(t, c.boss, group)
			must(t, write(t.Context(), running, clubRoot, fmt.Sprint(group, i), "after"))
			must(t, write(t.Context(), c.boss, clubRoot, fmt.Sprint("boss", i), "after"))
		}
		for _, s := range []*Store{running, idle, c.member("new"), c.boss, c.open("maker")} {
			wantNames(t, s, clubRoot, "0", "staff0", "everyone1", "root2", "staff3", "everyone4", "boss4")
		}
		must(t, c.boss.Check(t.Context(), true, func(p Problem) { t.Error(p) }))
	})
}

// TestRotateSealsAnew: after a rotation nothing that the store points to first is under the old key.
func TestRotateSealsAnew(t *testing.T) {
	for _, group := range []string{"staff", keys.Everyone, keys.Root} {
		c := newClub(t, nil)
		must(t, write(t.Context(), c.boss, clubRoot, "f", "text"))
		rotate(t, c.boss, group)
		// A chain whose version of the group is gone: whatever still needs it fails.
		for _, name := range []string{clubRoot, "home"} {
			r, err := c.boss.Root(t.Context(), name)
			must(t, err)
			raw, _, err := c.b.Load(t.Context(), headObject(r.info.ID))
			must(t, err)
			_, seals, err := r.parseOpen(raw)
			must(t, err)
			for g, epoch := range map[string]uint32{r.info.Write: seals.signer, keys.Everyone: sealEpoch(seals.open), r.info.Read: sealEpoch(seals.private)} {
				if want, _ := c.boss.Keys().Group(g); epoch != want.Epoch() {
					t.Errorf("%s rotated: head of %s is of version %d of %s", group, name, epoch, g)
				}
			}
		}
		for name := range indexObjects(t, c.b) {
			sealed, err := c.b.Get(t.Context(), name, 0, -1)
			must(t, err)
			rec, _, err := c.boss.readIndex(t.Context(), name, -1)
			must(t, err)
			if want, _ := c.boss.Keys().Group(keys.Everyone); sealEpoch(sealed) != want.Epoch() || rec.Author != keys.Root {
				t.Errorf("%s rotated: index object of version %d, author %q", group, sealEpoch(sealed), rec.Author)
			}
		}
	}
}

// TestFormerMember: who was removed from a group kept its key, has the whole store in hand, and signs a head. Neither who
// has seen the rotation takes it, nor who comes new; nor does anything that was sealed since open to the old key.
func TestFormerMember(t *testing.T) {
	c := newClub(t, nil)
	former := c.member("former")
	seen := c.open("seen")
	must(t, write(t.Context(), former, clubRoot, "mine", "text"))
	must(t, c.boss.EditKeys(t.Context(), func(f *keys.File) (*keys.File, error) { return f.Remove("member", c.boss.Keys()) }))
	for _, group := range []string{"staff", keys.Everyone} {
		rotate(t, c.boss, group)
	}
	wantNames(t, seen, clubRoot, "mine")
	must(t, write(t.Context(), c.boss, clubRoot, "secret", "text"))

	r, err := seen.Root(t.Context(), clubRoot)
	must(t, err)
	name := headObject(r.info.ID)
	raw, version, err := c.b.Load(t.Context(), name)
	must(t, err)
	fr := &Root{s: former, info: r.info}
	if _, err := fr.parse(raw); !errors.Is(err, errOtherKey) {
		t.Errorf("the former member reads the new head: %v", err)
	}
	wantErr(t, write(t.Context(), former, clubRoot, "late", "text"), keys.ErrStale)

	h, err := r.Head(t.Context())
	must(t, err)
	h.Seq++ // a successor, as far as the number goes
	priv, err := fr.seal(h)
	must(t, err)
	forged, err := fr.encode(h, priv)
	must(t, err)
	_, err = c.b.Swap(t.Context(), name, version, forged)
	must(t, err)
	for who, s := range map[string]*Store{"one who has seen it": seen, "one who comes new": c.open("new"), "the one who rotated": c.boss} {
		if _, err := names(t.Context(), s, clubRoot); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s takes a head that the old key signed: %v", who, err)
		}
	}
	// Likewise what they say about blocks is not believed any more.
	staff, err := former.group("staff")
	must(t, err)
	index := indexPrefix + fmt.Sprintf("%032x", 1)
	rec, err := former.sealIndexRecord(index, indexRecord(t, c.boss), staff)
	must(t, err)
	must(t, c.b.Put(t.Context(), index, rec))
	for _, o := range []*Store{seen, c.boss} {
		told, _, err := o.readIndex(t.Context(), index, -1)
		must(t, err)
		if told.Author != "" {
			t.Errorf("an index object that the old key signed is %q's", told.Author)
		}
	}
}

// indexRecord is something true to tell.
func indexRecord(t *testing.T, s *Store) (rec index.Record) {
	must(t, s.refreshIndex(t.Context()))
	must(t, s.index.Packs(t.Context(), func(p index.Pack) error {
		rec.Packs = []index.Pack{p}
		return nil
	}))
	return rec
}

// TestForgedInTheLastMoment: between the fence and the end of the rotation the old key still counts.
func TestForgedInTheLastMoment(t *testing.T) {
	c := newClub(t, nil)
	former := c.member("former")
	must(t, write(t.Context(), former, clubRoot, "mine", "text"))
	r, err := former.Root(t.Context(), clubRoot)
	must(t, err)
	h, err := r.Head(t.Context())
	must(t, err)
	h.Seq++
	priv, err := r.seal(h)
	must(t, err)
	forged, err := r.encode(h, priv)
	must(t, err)
	must(t, c.boss.EditKeys(t.Context(), func(f *keys.File) (*keys.File, error) { return f.Remove("member", c.boss.Keys()) }))

	// The moment is the second change of the key store.
	swaps := 0
	c.boss.b = &hooked{Backend: c.b, swap: func(name string) {
		if name == keysObject {
			if swaps++; swaps == 2 {
				_, version, err := c.b.Load(t.Context(), headObject(r.info.ID))
				must(t, err)
				_, err = c.b.Swap(t.Context(), headObject(r.info.ID), version, forged)
				must(t, err)
			}
		}
	}}
	rotate(t, c.boss, "staff")
	if swaps != 2 {
		t.Fatalf("the key store was changed %d times", swaps)
	}
	wantNames(t, c.open("new"), clubRoot, "mine")
	must(t, write(t.Context(), c.boss, clubRoot, "after", "text"))
}

// hooked calls swap before each Swap.
type hooked struct {
	backend.Backend
	swap func(name string)
}

func (h *hooked) Swap(ctx context.Context, name string, old backend.Version, data []byte) (backend.Version, error) {
	h.swap(name)
	return h.Backend.Swap(ctx, name, old, data)
}

// TestRotateCutOff: wherever a rotation is cut off, all clients work on, and the next rotation ends what was begun.
func TestRotateCutOff(t *testing.T) {
	groups := []string{"staff", keys.Everyone, keys.Root}
	if testing.Short() {
		groups = groups[1:2]
	}
	for _, group := range groups {
		for cut := 1; ; cut++ {
			c := newClub(t, nil)
			running := c.member("running")
			must(t, write(t.Context(), running, clubRoot, "0", "text"))
			f := faulty.Wrap(c.b, 1, faulty.Rule{Ops: faulty.Writes, Skip: cut, Fault: faulty.FailAfter})
			c.boss.b = f
			err := c.boss.Rotate(t.Context(), Rotation{Group: group})
			c.boss.b = c.b
			must(t, write(t.Context(), running, clubRoot, "1", "text"))
			wantNames(t, c.open("new"), clubRoot, "0", "1")
			again := c.open("maker")
			rotate(t, again, group)
			for _, g := range again.file.GroupList() {
				if g.Rotating {
					t.Errorf("%s, cut after %d writes: the rotation did not end", group, cut)
				}
			}
			must(t, write(t.Context(), running, clubRoot, "2", "text"))
			again.ForgetEarly()
			wantNames(t, again, clubRoot, "0", "1", "2")
			must(t, again.Check(t.Context(), true, func(p Problem) { t.Error(p) }))
			if err == nil {
				break
			}
		}
	}
}

// TestRotateWhileOthersWork: two rotate, others commit; nothing is lost.
func TestRotateWhileOthersWork(t *testing.T) {
	c := newClub(t, nil)
	clients := []*Store{c.member("m1"), c.member("m2"), c.open("m3")}
	rotators := []*Store{c.boss, c.open("second")}
	rounds := 6
	if testing.Short() {
		rounds = 3
	}
	var working, rotating sync.WaitGroup
	for i, s := range clients {
		working.Go(func() {
			for n := range rounds * 4 {
				if err := write(t.Context(), s, clubRoot, fmt.Sprint(i, "-", n), "text"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, s := range rotators {
		rotating.Go(func() {
			for n := range rounds {
				group := []string{"staff", keys.Everyone, keys.Root}[n%3]
				if err := s.Rotate(t.Context(), Rotation{Group: group}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	working.Wait()
	rotating.Wait()
	var want []string
	for i := range clients {
		for n := range rounds * 4 {
			want = append(want, fmt.Sprint(i, "-", n))
		}
	}
	for _, s := range append(clients, c.open("late"), c.member("late member")) {
		wantNames(t, s, clubRoot, want...)
	}
	must(t, c.boss.Check(t.Context(), true, func(p Problem) { t.Error(p) }))
}
