package session

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"ensync/engine/config"
	"ensync/store/backend"
	"ensync/store/s3"
	"ensync/store/s3/s3test"
)

// atBucket is a machine whose store is in a bucket; client is that of its last sync.
type atBucket struct {
	t      *testing.T
	cfg    *config.Config
	home   string // of its cache
	client *s3.Client
}

func (m *atBucket) options() Options {
	m.t.Setenv("ENSYNC_CACHE_DIR", m.home)
	return Options{Open: func(server config.Server) (_ backend.Backend, err error) {
		opt := S3Options(server)
		opt.Getenv = s3test.Getenv
		m.client, err = s3.New(opt)
		return m.client, err
	}}
}

func newAtBucket(t *testing.T, s *s3test.Server) *atBucket {
	m := &atBucket{t: t, cfg: machine(t, "unused"), home: t.TempDir()}
	var err error
	if m.cfg.General.Server, err = config.ParseServer("s3:"+s.URL+"/"+s3test.Bucket+"/p", "/"); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestS3Requests counts what goes to a bucket, where every request costs money: of a sync that changes one file, whatever
// the size of the tree, at most 5 PUT and 3 GET. ENSYNC_TRIPS is as in TestTrips.
func TestS3Requests(t *testing.T) {
	dirs := 20
	if n, err := strconv.Atoi(os.Getenv("ENSYNC_TRIPS")); err == nil {
		dirs = n
	}
	server := s3test.Start(t)
	a, b := newAtBucket(t, server), newAtBucket(t, server)
	created, err := CreateStore(t.Context(), a.cfg, pass(), "original", a.options())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := created.CreateRoot(t.Context(), "root", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := created.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("create, with the self-test: %+v", a.client.Requests())
	forest(t, a.cfg.General.Path, dirs, 100, 100)
	step := func(what string, m *atBucket, most s3.Requests) {
		t.Helper()
		if _, err := trySyncWith(t.Context(), m.cfg, Request{}, m.options()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		got := m.client.Requests()
		t.Logf("%-15s %+v", what, got)
		if got.Gets > most.Gets || got.Puts > most.Puts || got.Lists > most.Lists || got.Deletes > most.Deletes || got.Heads > 0 {
			t.Errorf("%s: %+v is more than %+v", what, got, most)
		}
	}
	step("first sync", a, s3.Requests{Gets: 10, Puts: 10 + int64(dirs/10), Lists: 2})
	step("second machine", b, s3.Requests{Gets: 20 + int64(dirs/5), Lists: 2})
	for i := range 3 {
		writeNoise(t, filepath.Join(a.cfg.General.Path, "d0000", "f000007"), uint64(1_000_000+i), 5000)
		// What is deleted is the index objects of a first sync in many steps, once they were merged.
		step("one file", a, s3.Requests{Gets: 3, Puts: 3, Lists: 1, Deletes: int64(dirs) / 20})
		step("it arrives", b, s3.Requests{Gets: 7, Lists: 1})
	}
	step("nothing", a, s3.Requests{Gets: 3})
	step("nothing", b, s3.Requests{Gets: 3})
}
