package backendtest

import "ensync/store/backend"

// testReopen closes the only handle and opens the place again: all that was acknowledged is there.
func testReopen(s *suite) {
	first := s.Backend
	s.put("packs/ab/x", "pack")
	s.put("packs/ab/y", "gone")
	v := s.swap("roots/x", "", "one")
	v = s.swap("roots/x", v, "two")
	s.swap("roots/y", "", "gone")
	for _, name := range []string{"packs/ab/y", "roots/y"} {
		if err := s.Delete(s.ctx, name); err != nil {
			s.Errorf("Delete %s: %v", name, err)
		}
	}
	second := s.again(first)
	defer second.Close()
	s.Backend = second
	s.wantGet("packs/ab/x", "pack")
	if got := s.wantLoad("roots/x", "two"); got != v {
		s.Errorf("version %q before, %q after reopening", v, got)
	}
	s.wantList(s, "", "packs/ab/x=4 roots/x=3")
	_, _, err := s.Load(s.ctx, "roots/y")
	s.wantErr("Load of a deleted object", err, backend.ErrNotExist)
	s.swap("roots/x", v, "three")
	s.wantErr("Put of what is there", s.Put(s.ctx, "packs/ab/x", nil), backend.ErrExist)
}

// testSecondHandle works with two handles in turn: what one is told done, the other sees at once.
func testSecondHandle(s *suite) {
	one := s.Backend
	two := s.again(one)
	defer two.Close()
	on := func(b backend.Backend) *suite { s.Backend = b; return s }

	on(one).put("p/1", "of one")
	on(two).wantGet("p/1", "of one")
	s.wantErr("Put on the second handle", two.Put(s.ctx, "p/1", []byte("x")), backend.ErrExist)
	v1 := on(two).swap("m", "", "of two")
	if got := on(one).wantLoad("m", "of two"); got != v1 {
		s.Errorf("one handle calls the version %q, the other %q", v1, got)
	}
	v2 := on(one).swap("m", v1, "of one")
	_, err := two.Swap(s.ctx, "m", v1, []byte("late"))
	s.wantErr("Swap on the second handle", err, backend.ErrChanged)
	on(two).swap("m", v2, "last")
	on(one).wantLoad("m", "last")
	if err := two.Delete(s.ctx, "p/1"); err != nil {
		s.Error(err)
	}
	_, err = one.Get(s.ctx, "p/1", 0, -1)
	s.wantErr("Get of what the other handle deleted", err, backend.ErrNotExist)
	s.wantList(one, "", "m=4")
	s.wantList(two, "", "m=4")
	s.Backend = one
}
