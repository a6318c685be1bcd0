package backendtest

import (
	"bytes"

	"ensync/store/backend"
)

func testSwap(s *suite) {
	_, err := s.Swap(s.ctx, "roots/x", "no-such-version", []byte("x"))
	s.wantErr("Swap of a version of nothing", err, backend.ErrChanged)
	_, _, err = s.Load(s.ctx, "roots/x")
	s.wantErr("Load after a refused creation", err, backend.ErrNotExist)

	v1 := s.swap("roots/x", "", "one")
	if got := s.wantLoad("roots/x", "one"); got != v1 {
		s.Errorf("Load gives version %q after Swap gave %q", got, v1)
	}
	_, err = s.Swap(s.ctx, "roots/x", "", []byte("again"))
	s.wantErr("Swap that creates what is there", err, backend.ErrChanged)

	v2 := s.swap("roots/x", v1, "two")
	_, err = s.Swap(s.ctx, "roots/x", v1, []byte("late"))
	s.wantErr("Swap of an old version", err, backend.ErrChanged)
	_, err = s.Swap(s.ctx, "roots/x", v1+"0", []byte("odd"))
	s.wantErr("Swap of an unknown version", err, backend.ErrChanged)
	if got := s.wantLoad("roots/x", "two"); got != v2 {
		s.Errorf("Load gives version %q after Swap gave %q", got, v2)
	}
	s.wantList(s, "", "roots/x=3")
}

func testSwapVersions(s *suite) {
	seen := map[backend.Version]string{}
	var v backend.Version
	for i, data := range []string{"a", "b", "a", "", "b", "c", "a", "d", "e", "f", "g", "h", "i", "j", "k", "l"} {
		v = s.swap("m", v, data)
		if old, ok := seen[v]; ok && old != data {
			s.Errorf("swap %d: version %q stood for %q and now for %q", i, v, old, data)
		}
		seen[v] = data
		s.wantLoad("m", data)
	}
	s.wantList(s, "", "m=1")
	for old := range seen {
		if old != v {
			_, err := s.Swap(s.ctx, "m", old, []byte("stale"))
			s.wantErr("Swap of the old version "+string(old), err, backend.ErrChanged)
		}
	}
	s.wantLoad("m", "l")
}

func testMutableSizes(s *suite) {
	var v backend.Version
	for _, size := range []int{1, 100, 4096, 1 << 20, 3} {
		data := pattern(size)
		var err error
		if v, err = s.Swap(s.ctx, "keys", v, data); err != nil {
			s.Fatalf("Swap of %d bytes: %v", size, err)
		}
		got, now, err := s.Load(s.ctx, "keys")
		if err != nil || !bytes.Equal(got, data) || now != v {
			s.Errorf("Load: %d bytes, version %q, %v; want the %d bytes of %q", len(got), now, err, size, v)
		}
	}
}

func testDeleteMutable(s *suite) {
	v1 := s.swap("roots/x", "", "one")
	s.swap("roots/x", v1, "two")
	s.swap("roots/y", "", "other")
	for range 2 {
		if err := s.Delete(s.ctx, "roots/x"); err != nil {
			s.Errorf("Delete: %v", err)
		}
		_, _, err := s.Load(s.ctx, "roots/x")
		s.wantErr("Load of a deleted object", err, backend.ErrNotExist)
		s.wantList(s, "", "roots/y=5")
	}
	_, err := s.Swap(s.ctx, "roots/x", v1, []byte("late"))
	s.wantErr("Swap of a version from before the deletion", err, backend.ErrChanged)
	v3 := s.swap("roots/x", "", "three")
	s.wantLoad("roots/x", "three")
	if v3 == v1 {
		s.Errorf("version %q of %q came back for %q", v1, "one", "three")
	}
	_, err = s.Swap(s.ctx, "roots/x", v1, []byte("late"))
	s.wantErr("Swap of a version from before the deletion", err, backend.ErrChanged)
	s.swap("roots/x", v3, "four")
	s.wantList(s, "roots/", "roots/x=4 roots/y=5")
}
