package s3

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"ensync/store/backend"
	"ensync/store/s3/s3test"
)

// TestSelfTest: a server that keeps its promises passes, also over a bad line, and nothing is left, of others neither.
func TestSelfTest(t *testing.T) {
	s := s3test.Start(t)
	s.SetObject("a/prefix/_selftest/0123/old", "left by one that was killed", 2*time.Hour)
	s.SetObject("a/prefix/_selftest/4567/new", "of one that is running", 0)
	c := client(t, s, nil)
	start := time.Now()
	if err := c.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v in %v", c.Requests(), time.Since(start))
	if err := c.List(t.Context(), "", func(i backend.Info) error { t.Errorf("%s is listed", i.Name); return nil }); err != nil {
		t.Error(err)
	}
	if got := strings.Join(s.Keys(), " "); got != "a/prefix/_selftest/4567/new" {
		t.Errorf("left: %s", got)
	}
	s.SetFault(func(n int, _ *http.Request) s3test.Fault {
		return map[int]s3test.Fault{0: s3test.SlowDown, 1: s3test.Conflict, 2: s3test.LostRequest}[n%50]
	})
	if err := c.SelfTest(t.Context()); err != nil {
		t.Errorf("over a bad line: %v", err)
	}
}

// TestLiars: a server that breaks a promise is refused, and the promise is named.
func TestLiars(t *testing.T) {
	for name, l := range map[string]struct {
		lies s3test.Lies
		want string
	}{
		"ignores If-Match":      {s3test.Lies{IgnoreIfMatch: true}, conditions},
		"ignores If-None-Match": {s3test.Lies{IgnoreIfNoneMatch: true}, conditions},
		"loses one in 100":      {s3test.Lies{LoseEach: 100}, atomicity},
		"stale lists":           {s3test.Lies{StaleLists: true}, lists},
		"stale reads":           {s3test.Lies{StaleReads: true}, reads},
		"no ranges":             {s3test.Lies{IgnoreRange: true}, ranges},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := s3test.Start(t)
			s.Lies = l.lies
			err := client(t, s, nil).Create(t.Context())
			if !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), l.want) {
				t.Errorf("%v; want %q", err, l.want)
			}
		})
	}
}

// TestSelfTestKnowsNothing: what is no answer is no finding.
func TestSelfTestKnowsNothing(t *testing.T) {
	s := s3test.Start(t)
	for _, fault := range []s3test.Fault{s3test.InternalError, s3test.NotFoundPage, s3test.Denied, s3test.BucketGone} {
		s.SetFault(func(int, *http.Request) s3test.Fault { return fault })
		if err := client(t, s, nil).SelfTest(t.Context()); err == nil || errors.Is(err, ErrUnfit) {
			t.Errorf("fault %d: %v", fault, err)
		}
	}
}
