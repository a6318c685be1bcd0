package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ensync/store/backend"
	"ensync/store/s3/s3test"
)

// transient are the faults after which another attempt goes well.
var transient = map[string]s3test.Fault{"lost request": s3test.LostRequest, "lost answer": s3test.LostAnswer,
	"500": s3test.InternalError, "500 after it was done": s3test.ErrorAfter, "503": s3test.SlowDown, "409": s3test.Conflict,
	"cut": s3test.Truncated, "502": s3test.GatewayPage, "portal 200": s3test.OKPage, "expired": s3test.Expired}

// story is a bit of everything that a store does.
func story(ctx context.Context, c *Client) error {
	if err := c.Put(ctx, "packs/a", []byte("content")); err != nil {
		return err
	}
	v, err := c.Swap(ctx, "head", "", []byte("one"))
	if err != nil {
		return err
	}
	if v, err = c.Swap(ctx, "head", v, []byte("two")); err != nil {
		return err
	}
	if data, now, err := c.Load(ctx, "head"); err != nil || string(data) != "two" || now != v {
		return fmt.Errorf("load: %q %q %w", data, now, err)
	}
	if data, err := c.Get(ctx, "packs/a", 3, 2); err != nil || string(data) != "te" {
		return fmt.Errorf("get: %q %w", data, err)
	}
	if _, err := c.Get(ctx, "packs/none", 0, -1); !errors.Is(err, backend.ErrNotExist) {
		return fmt.Errorf("get of nothing: %w", err)
	}
	var names []string
	if err := c.List(ctx, "", func(i backend.Info) error { names = append(names, i.Name); return nil }); err != nil {
		return err
	}
	if got := strings.Join(names, " "); got != "head packs/a" {
		return fmt.Errorf("list: %s", got)
	}
	if err := c.Delete(ctx, "packs/a"); err != nil {
		return err
	}
	if err := c.Put(ctx, "head", nil); !errors.Is(err, backend.ErrExist) {
		return fmt.Errorf("put of what is there: %w", err)
	}
	return nil
}

// TestFaults lets each fault happen to each request, alone and twice in a row: every call ends as without it.
func TestFaults(t *testing.T) {
	s := s3test.Start(t)
	if err := story(t.Context(), client(t, s, nil)); err != nil {
		t.Fatal(err)
	}
	for name, fault := range transient {
		for twice := range 2 {
			if name == "expired" && twice == 1 {
				continue // renewed credentials that are refused, too, are a refusal
			}
			for at := 1; at <= 12; at++ {
				for _, key := range s.Keys() {
					delKey(s, t, key)
				}
				s.Reset()
				s.SetFault(func(n int, _ *http.Request) s3test.Fault {
					if n >= at && n <= at+twice {
						return fault
					}
					return s3test.None
				})
				if err := story(t.Context(), client(t, s, nil)); err != nil {
					t.Errorf("%s at request %d (and %d more): %v", name, at, twice, err)
				}
			}
		}
	}
}

func delKey(s *s3test.Server, t *testing.T, key string) {
	s.SetFault(nil)
	if err := client(t, s, nil).Delete(t.Context(), strings.TrimPrefix(key, "a/prefix/")); err != nil {
		t.Fatal(err)
	}
}

// TestNeverAbsent: what is no NoSuchKey of S3 is never absence, and never knowledge of another kind than what it says.
func TestNeverAbsent(t *testing.T) {
	for name, c := range map[string]struct {
		fault s3test.Fault
		want  error
	}{
		"404 page": {s3test.NotFoundPage, backend.ErrUnavailable}, "bare 404": {s3test.BareNotFound, backend.ErrUnavailable},
		"403 page": {s3test.DeniedPage, backend.ErrUnavailable}, "200 page": {s3test.OKPage, backend.ErrUnavailable},
		"no bucket": {s3test.BucketGone, backend.ErrUnavailable}, "500": {s3test.InternalError, backend.ErrUnavailable},
		"503": {s3test.SlowDown, backend.ErrUnavailable}, "cut": {s3test.Truncated, backend.ErrUnavailable},
		"lost": {s3test.LostAnswer, backend.ErrUnavailable}, "403": {s3test.Denied, backend.ErrDenied},
		"507": {s3test.Full, backend.ErrFull}, "expired": {s3test.Expired, backend.ErrDenied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := s3test.Start(t)
			cl := client(t, s, nil)
			s.SetFault(func(int, *http.Request) s3test.Fault { return c.fault })
			calls := map[string]error{}
			_, calls["get"] = cl.Get(t.Context(), "x", 0, -1)
			_, calls["range"] = cl.Get(t.Context(), "x", 1, 1)
			_, _, calls["load"] = cl.Load(t.Context(), "x")
			calls["put"] = cl.Put(t.Context(), "x", []byte("y"))
			_, calls["swap"] = cl.Swap(t.Context(), "x2", "v", []byte("y"))
			calls["list"] = cl.List(t.Context(), "", func(backend.Info) error { t.Error("listed"); return nil })
			calls["delete"] = cl.Delete(t.Context(), "x")
			for call, err := range calls {
				if c.fault == s3test.LostAnswer && call == "put" && err == nil {
					continue
				}
				if !errors.Is(err, c.want) {
					t.Errorf("%s: %v, want %v", call, err, c.want)
				}
				for _, wrong := range []error{backend.ErrNotExist, backend.ErrExist, backend.ErrChanged} {
					if errors.Is(err, wrong) {
						t.Errorf("%s: %v, which claims knowledge", call, err)
					}
				}
			}
		})
	}
}

// TestUnclearSwap: an answer is lost and somebody else replaces what was written. Nobody can tell, and nobody says so.
func TestUnclearSwap(t *testing.T) {
	s := s3test.Start(t)
	c := client(t, s, nil)
	v, err := c.Swap(t.Context(), "head", "", []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	s.Reset()
	s.SetFault(func(n int, _ *http.Request) s3test.Fault {
		if n == 1 {
			return s3test.LostAnswer
		}
		s.SetObject("a/prefix/head", "of somebody else", 0)
		return s3test.None
	})
	if _, err := c.Swap(t.Context(), "head", v, []byte("two")); !errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrChanged) {
		t.Errorf("swap: %v", err)
	}
	// Without a lost answer, it was certainly changed.
	s.SetFault(nil)
	if _, err := c.Swap(t.Context(), "head", v, []byte("two")); !errors.Is(err, backend.ErrChanged) {
		t.Errorf("swap: %v", err)
	}
}

// TestContextEnds: a call ends with its context although the server stalls; and without one, when nothing moved for long.
func TestContextEnds(t *testing.T) {
	s := s3test.Start(t)
	s.SetFault(func(int, *http.Request) s3test.Fault { return s3test.Stall })
	c := client(t, s, func(o *Options) { o.Stall = 50 * time.Millisecond })
	if err := c.Put(t.Context(), "x", make([]byte, 1<<20)); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("stalled: %v", err)
	}
	c = client(t, s, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := c.Get(ctx, "x", 0, -1)
	if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > 250*time.Millisecond {
		t.Errorf("%v after %v", err, took)
	}
}

// TestOutage: a call makes many attempts at a server that has answered before; those after it make few, until it is back.
func TestOutage(t *testing.T) {
	s := s3test.Start(t)
	c := client(t, s, nil)
	if err := c.Put(t.Context(), "x", nil); err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		fault s3test.Fault
		many  bool
	}{{s3test.LostRequest, true}, {s3test.LostRequest, false}, {s3test.None, false}, {s3test.LostRequest, true}} {
		var attempts atomic.Int64
		s.SetFault(func(int, *http.Request) s3test.Fault { attempts.Add(1); return step.fault })
		if _, err := c.Get(t.Context(), "x", 0, -1); errors.Is(err, backend.ErrUnavailable) != (step.fault != s3test.None) {
			t.Errorf("call %d: %v", i, err)
		}
		// net/http makes one more by itself on a connection that it kept.
		if n := attempts.Load(); step.many && n < maxAttempts || !step.many && n > firstAttempts+1 {
			t.Errorf("call %d: %d attempts", i, n)
		}
	}
}

// TestSlowDown: who is asked for fewer requests makes fewer at a time, and more again when that has passed.
func TestSlowDown(t *testing.T) {
	g := newGate()
	for range startAtOnce {
		if err := g.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.enter(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("one more was let in: %v", err)
	}
	g.leave(errSlow)
	g.leave(errSlow) // of the same burst
	if g.limit != startAtOnce/2 {
		t.Errorf("limit %v", g.limit)
	}
	for range startAtOnce - 2 {
		g.leave(nil)
	}
	for range 2000 {
		if err := g.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		g.leave(nil)
	}
	if g.limit < startAtOnce || g.limit > mostAtOnce || g.active != 0 {
		t.Errorf("limit %v, %d active", g.limit, g.active)
	}
}

// TestRetryAfter: the server's wish is honoured.
func TestRetryAfter(t *testing.T) {
	c := client(t, s3test.Start(t), nil)
	if d := c.wait(1, http.Header{"Retry-After": {"3"}}); d < 3*time.Second || d > 4*time.Second {
		t.Errorf("%v", d)
	}
	if d := c.wait(1, nil); d > 2*time.Millisecond {
		t.Errorf("%v", d)
	}
	if d := c.wait(1, http.Header{"Retry-After": {"100000000000000000000"}}); d > time.Minute {
		t.Errorf("%v", d)
	}
}

// TestNoSecrets: no error shows what only the two sides may know.
func TestNoSecrets(t *testing.T) {
	s := s3test.Start(t)
	var seen atomic.Int64
	s.SetFault(func(int, *http.Request) s3test.Fault { seen.Add(1); return s3test.Denied })
	err := client(t, s, nil).Put(t.Context(), "x", nil)
	if err == nil || strings.Contains(err.Error(), s3test.Secret) || seen.Load() != 1 {
		t.Errorf("%v after %d requests", err, seen.Load())
	}
	if text := fmt.Sprintf("%v %+v %#v", Credentials{Secret: "hush"}, Credentials{Secret: "hush"}, Credentials{Secret: "hush"}); strings.Contains(text, "hush") {
		t.Error(text)
	}
}
