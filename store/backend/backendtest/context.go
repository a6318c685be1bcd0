package backendtest

import (
	"context"
	"errors"
	"fmt"

	"ensync/store/backend"
)

func testCancelled(s *suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	dead(s, ctx, context.Canceled)
}

func testExpired(s *suite) {
	ctx, cancel := context.WithTimeout(s.ctx, 0)
	defer cancel()
	dead(s, ctx, context.DeadlineExceeded)
}

// dead calls everything with a context that has ended: nothing happens, and nobody takes it for absence.
func dead(s *suite, ctx context.Context, want error) {
	s.put("p/x", "x")
	v := s.swap("m/x", "", "x")
	check := func(what string, err error) {
		s.Helper()
		s.wantErr(what, err, want)
		for _, wrong := range []error{backend.ErrNotExist, backend.ErrExist, backend.ErrChanged, backend.ErrDenied} {
			if errors.Is(err, wrong) {
				s.Errorf("%s with an ended context: %v, which claims knowledge", what, err)
			}
		}
	}
	_, err := s.Get(ctx, "p/x", 0, -1)
	check("Get", err)
	_, err = s.Get(ctx, "p/none", 0, -1)
	check("Get of nothing", err)
	_, _, err = s.Load(ctx, "m/x")
	check("Load", err)
	_, _, err = s.Load(ctx, "m/none")
	check("Load of nothing", err)
	check("Put", s.Put(ctx, "p/y", []byte("y")))
	check("Put of what is there", s.Put(ctx, "p/x", []byte("y")))
	_, err = s.Swap(ctx, "m/x", v, []byte("y"))
	check("Swap", err)
	_, err = s.Swap(ctx, "m/y", "", []byte("y"))
	check("Swap that creates", err)
	check("Delete", s.Delete(ctx, "p/x"))
	check("Delete of a mutable object", s.Delete(ctx, "m/x"))
	check("List", s.List(ctx, "", func(i backend.Info) error {
		return fmt.Errorf("fn was called for %s", i.Name)
	}))
	s.wantList(s, "", "m/x=1 p/x=1")
	s.wantGet("p/x", "x")
	s.wantLoad("m/x", "x")
}
