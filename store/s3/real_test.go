package s3

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"ensync/store/backend"
	"ensync/store/backend/backendtest"
	"ensync/store/s3/s3test"
)

func realClient(t *testing.T, v *s3test.Versitygw, prefix string) *Client {
	c, err := New(Options{Endpoint: v.Endpoint, Plain: true, Bucket: s3test.Bucket, Prefix: prefix, Getenv: s3test.Getenv})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestRealConformance: the suite against a real server, and its own check of signatures.
func TestRealConformance(t *testing.T) {
	v := s3test.StartVersitygw(t)
	n := 0
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		n++
		return realClient(t, v, fmt.Sprintf("test %d+/Ä", n))
	}, backendtest.Options{NoNesting: true, Again: func(t *testing.T, b backend.Backend) backend.Backend {
		return realClient(t, v, b.(*Client).opt.Prefix)
	}})
}

// TestRealSelfTest: a real server passes, and holds nothing of it afterwards.
func TestRealSelfTest(t *testing.T) {
	c := realClient(t, s3test.StartVersitygw(t), "p")
	start := time.Now()
	if err := c.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v in %v", c.Requests(), time.Since(start))
	if err := c.below(testDir).List(t.Context(), "", func(i backend.Info) error { t.Errorf("left: %s", i.Name); return nil }); err != nil {
		t.Error(err)
	}
}

// TestRealKill kills the server again and again while many write: all that was acknowledged is there.
func TestRealKill(t *testing.T) {
	v := s3test.StartVersitygw(t)
	c := realClient(t, v, "p")
	if _, _, err := c.Load(t.Context(), "none"); !errors.Is(err, backend.ErrNotExist) {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			head := fmt.Sprintf("heads/%d", w)
			version := backend.Version("")
			for i := range 100 {
				data := fmt.Appendf(nil, "%d of %d", i, w)
				if err := c.Put(t.Context(), fmt.Sprintf("packs/%d/%d", w, i), data); err != nil {
					t.Error(err)
					return
				}
				var err error
				if version, err = c.Swap(t.Context(), head, version, data); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for range 5 {
		select {
		case <-done:
			t.Error("all was written before the last kill")
		case <-time.After(100 * time.Millisecond):
			v.Kill()
			v.Start()
		}
	}
	<-done
	for w := range 4 {
		for i := range 100 {
			want := fmt.Appendf(nil, "%d of %d", i, w)
			if got, err := c.Get(t.Context(), fmt.Sprintf("packs/%d/%d", w, i), 0, -1); err != nil || !bytes.Equal(got, want) {
				t.Errorf("packs/%d/%d: %q, %v", w, i, got, err)
			}
		}
		if got, _, err := c.Load(t.Context(), fmt.Sprintf("heads/%d", w)); err != nil || string(got) != fmt.Sprintf("99 of %d", w) {
			t.Errorf("head %d: %q, %v", w, got, err)
		}
	}
}
