package store

import "testing"

// TestUsage: what the newest state needs, what only history needs, and what nobody needs are told apart to the byte.
func TestUsage(t *testing.T) {
	p := newPlace(t)
	s := p.create(Params{BlockSize: 8192})
	usage := func() (map[string]Usage, int64) {
		t.Helper()
		trees, rest, err := s.Usage(t.Context())
		must(t, err)
		all := map[string]Usage{}
		for _, u := range trees {
			all[u.Root] = u
		}
		return all, rest
	}
	one, err := s.CreateRoot(t.Context(), "one", 0o755)
	must(t, err)
	two, err := s.CreateRoot(t.Context(), "two", 0o755)
	must(t, err)
	w := begin(t, s)
	commitTree(t, one, w, putFile(t, w, "f", noise(1, 300_000)), putFile(t, w, "g", noise(2, 100_000)))
	all, rest := usage()
	if u := all["one"]; u.Current < 400_000 || u.Current > 420_000 || u.History != 0 || all["two"].Current != 0 || rest != 0 {
		t.Errorf("at first: %+v, rest %d", all, rest)
	}
	first := all["one"].Current
	commitTree(t, one, w, putFile(t, w, "f", noise(1, 300_000)))
	commitTree(t, two, w, putFile(t, w, "f", noise(1, 300_000)))
	all, rest = usage()
	if u := all["one"]; u.Current < 300_000 || u.Current > 320_000 || u.History < 100_000 || u.Current+u.History < first || rest != 0 {
		t.Errorf("with history: %+v, rest %d", all, rest)
	}
	if u := all["two"]; u.Current < 300_000 || u.Current > 320_000 || u.History != 0 {
		t.Errorf("what two trees have: %+v", u)
	}
	putFile(t, w, "lost", noise(9, 50_000)) // and never committed
	must(t, w.Flush(t.Context()))
	if _, rest = usage(); rest < 50_000 || rest > 52_000 {
		t.Errorf("what nobody needs: %d", rest)
	}
	must(t, s.RemoveRoot(t.Context(), "one"))
	if all, rest = usage(); len(all) != 1 || rest < 150_000 {
		t.Errorf("without one tree: %+v, rest %d", all, rest)
	}
	kinds, err := Inventory(t.Context(), p.b)
	must(t, err)
	var bytes int64
	for _, k := range kinds {
		if bytes += k.Bytes; k.Name == "others" || k.Oldest.IsZero() || k.Newest.Before(k.Oldest) {
			t.Errorf("%+v", k)
		}
	}
	var listed int64
	for _, data := range snap(t, p.b) {
		listed += int64(len(data))
	}
	if len(kinds) != 6 || bytes != listed {
		t.Errorf("%+v: %d bytes, want %d", kinds, bytes, listed)
	}
}
