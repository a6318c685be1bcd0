package s3

import (
	"testing"
	"time"

	"ensync/store/backend"
	"ensync/store/backend/backendtest"
	"ensync/store/s3/s3test"
)

// client returns a client of a server in this process, with a prefix.
func client(t testing.TB, s *s3test.Server, change func(*Options)) *Client {
	opt := Options{Endpoint: s.Endpoint(), Plain: true, Bucket: s3test.Bucket, Prefix: "a/prefix", Getenv: s3test.Getenv,
		Backoff: time.Millisecond, Stall: 10 * time.Second}
	if change != nil {
		change(&opt)
	}
	c, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestConformance(t *testing.T) {
	for name, change := range map[string]func(*Options){"prefix": nil, "bucket": func(o *Options) { o.Prefix = "" }} {
		t.Run(name, func(t *testing.T) {
			if name == "bucket" && testing.Short() {
				t.Skip("differs in the prefix only")
			}
			servers := map[backend.Backend]*s3test.Server{}
			open := func(t *testing.T, s *s3test.Server) backend.Backend {
				c := client(t, s, change)
				servers[c] = s
				return c
			}
			backendtest.Run(t, func(t *testing.T) backend.Backend {
				s := s3test.Start(t)
				s.MaxKeys = 3
				s.SetObject("a/prefix/IMG_1.JPG", "somebody else's", 0) // no name in a store
				if name == "prefix" {
					s.SetObject("a/prefiy", "beside it", 0)
				}
				return open(t, s)
			}, backendtest.Options{Again: func(t *testing.T, b backend.Backend) backend.Backend { return open(t, servers[b]) }})
		})
	}
}
