package backendtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"ensync/store/backend"
)

func testList(s *suite) {
	// '-' and '.' sort before '/', digits and letters after: the order is that of whole names, not of directories.
	s.put("a/x", "1")
	s.put("a-b/x", "22")
	s.put("a.b", "333")
	s.put("a0", "4444")
	s.put("b/c/d", "55555")
	if !s.opts.NoNesting {
		s.swap("a", "", "state")
	}
	s.swap("a/m", "", "other state")
	s.put("b/c.d", "")
	want := "a-b/x=2 a.b=3 a/m=11 a/x=1 a0=4 b/c.d=0 b/c/d=5"
	if !s.opts.NoNesting {
		want = "a=5 " + want
	}
	s.wantList(s, "", want)
	start := time.Now()
	err := s.List(s.ctx, "", func(i backend.Info) error {
		if age := start.Sub(i.ModTime).Abs(); age > 24*time.Hour {
			s.Errorf("%s was made at %v, %v from now", i.Name, i.ModTime, age)
		}
		return nil
	})
	if err != nil {
		s.Error(err)
	}
}

func testListPrefix(s *suite) {
	for _, name := range []string{"index/1", "index/2", "packs/ab/1", "packs/ab/12", "packs/ac/1", "packs/b", "pac"} {
		s.put(name, "x")
	}
	mutable := ""
	if !s.opts.NoNesting {
		s.swap("packs/ab", "", "mutable")
		mutable = "packs/ab=7 "
	}
	for prefix, want := range map[string]string{
		"packs/":       mutable + "packs/ab/1=1 packs/ab/12=1 packs/ac/1=1 packs/b=1",
		"packs/a":      mutable + "packs/ab/1=1 packs/ab/12=1 packs/ac/1=1",
		"packs/ab":     mutable + "packs/ab/1=1 packs/ab/12=1",
		"packs/ab/":    "packs/ab/1=1 packs/ab/12=1",
		"packs/ab/1":   "packs/ab/1=1 packs/ab/12=1",
		"packs/ab/12":  "packs/ab/12=1",
		"packs/ab/123": "",
		"pac":          "pac=1 " + mutable + "packs/ab/1=1 packs/ab/12=1 packs/ac/1=1 packs/b=1",
		"index/1/":     "",
		"q":            "",
		"none/at/all":  "",
		"index/":       "index/1=1 index/2=1",
	} {
		s.wantList(s, prefix, want)
	}
}

func testListEnds(s *suite) {
	for i := range 20 {
		s.put(fmt.Sprintf("l/%02d", i), "x")
	}
	enough, calls := errors.New("enough"), 0
	err := s.List(s.ctx, "l/", func(backend.Info) error {
		if calls++; calls == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || calls != 3 {
		s.Errorf("List: %v after %d calls; want the error of fn after 3", err, calls)
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	calls = 0
	err = s.List(ctx, "l/", func(backend.Info) error { calls++; cancel(); return nil })
	if !errors.Is(err, context.Canceled) || calls != 1 {
		s.Errorf("List: %v after %d calls; want the context's error after 1", err, calls)
	}
	err = s.List(s.ctx, "l/", func(i backend.Info) error { return s.Delete(s.ctx, i.Name) })
	if err != nil {
		s.Errorf("List whose fn deletes: %v", err)
	}
	s.wantList(s, "", "")
}

// testListUnderChange lists while others create and delete: what stays is listed each time, once and in order.
func testListUnderChange(s *suite) {
	var stay []string
	for i := range 12 {
		name := fmt.Sprintf("packs/%02x/stay", i)
		stay = append(stay, name)
		s.put(name, "x")
	}
	done := make(chan struct{})
	var changers, listers sync.WaitGroup
	for w := range 4 {
		changers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				name := fmt.Sprintf("packs/%02x/w%d-%d", i%14, w, i)
				if err := s.Put(s.ctx, name, []byte("y")); err != nil {
					s.Errorf("Put: %v", err)
					return
				}
				if err := s.Delete(s.ctx, name); err != nil {
					s.Errorf("Delete: %v", err)
					return
				}
			}
		})
	}
	for range 4 {
		listers.Go(func() {
			for range 5 {
				listOnce(s, stay)
			}
		})
	}
	listers.Wait()
	close(done)
	changers.Wait()
}

func listOnce(s *suite, stay []string) {
	var got, all []string
	err := s.List(s.ctx, "packs/", func(i backend.Info) error {
		all = append(all, i.Name)
		if strings.HasSuffix(i.Name, "/stay") {
			got = append(got, i.Name)
		}
		return nil
	})
	if err != nil || !slices.Equal(got, stay) {
		s.Errorf("List while others change: %v, %v; want %v", got, err, stay)
	}
	if !slices.IsSorted(all) || len(slices.Compact(slices.Clone(all))) != len(all) {
		s.Errorf("List while others change is not ascending: %v", all)
	}
}
