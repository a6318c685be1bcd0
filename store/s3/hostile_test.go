package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"ensync/store/backend"
	"ensync/store/s3/s3test"
)

// TestEndlessAnswers has servers that never come to an end, in bodies, headers and lists. Each call ends soon, holds little, and
// takes none of it for knowledge.
func TestEndlessAnswers(t *testing.T) {
	much := bytes.Repeat([]byte("x"), 1<<16)
	endless := func(w io.Writer) {
		for {
			if _, err := w.Write(much); err != nil {
				return
			}
		}
	}
	raw := func(text string, then func(io.Writer)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			defer conn.Close()
			defer context.AfterFunc(t.Context(), func() { conn.Close() })()
			io.WriteString(conn, text)
			then(conn)
		}
	}
	repeat := func(text string) func(io.Writer) {
		text = strings.Repeat(text, 1+8192/len(text))
		return func(w io.Writer) {
			for {
				if _, err := io.WriteString(w, text); err != nil {
					return
				}
			}
		}
	}
	page := func(w http.ResponseWriter, r *http.Request) { // each page tells of more, and of names that do not end
		after := r.URL.Query().Get("start-after")
		var b strings.Builder
		b.WriteString("<ListBucketResult><IsTruncated>true</IsTruncated>")
		for i := range 100 {
			b.WriteString("<Contents><Key>p/packs/" + strings.TrimPrefix(after, "p/packs/") + "z" + strconv.Itoa(1000+i) + "</Key><Size>1</Size></Contents>")
		}
		io.WriteString(w, b.String()+"</ListBucketResult>")
	}
	for name, h := range map[string]http.HandlerFunc{
		"a body":                    func(w http.ResponseWriter, _ *http.Request) { endless(w) },
		"an error":                  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403); endless(w) },
		"a body of announced 2^60":  raw("HTTP/1.1 200 OK\r\nContent-Length: 1152921504606846976\r\n\r\n", endless),
		"headers":                   raw("HTTP/1.1 200 OK\r\n", repeat("X: "+strings.Repeat("v", 1000)+"\r\n")),
		"one header":                raw("HTTP/1.1 200 OK\r\nX: ", endless),
		"answers before the answer": raw("", repeat("HTTP/1.1 103 Early Hints\r\nX: v\r\n\r\n")),
		"a chunk of 2^62":           raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4000000000000000\r\n", endless),
		"trailers":                  raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n1\r\nx\r\n0\r\n", repeat("X: "+strings.Repeat("v", 1000)+"\r\n")),
		"nested elements":           func(w http.ResponseWriter, _ *http.Request) { repeat("<a>")(w) },
		"entities":                  raw("HTTP/1.1 200 OK\r\n\r\n<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\">", repeat("<!ENTITY b \"&a;&a;&a;&a;&a;\">")),
		"lists":                     page,
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(h)
			defer server.Close()
			defer server.CloseClientConnections()
			c, err := New(Options{Endpoint: strings.TrimPrefix(server.URL, "http://"), Plain: true, Bucket: s3test.Bucket, Prefix: "p",
				Getenv: s3test.Getenv, Backoff: time.Millisecond, Stall: 2 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			peak := watchHeap()
			begun := time.Now()
			calls := map[string]func() error{
				"Get":  func() error { _, err := c.Get(ctx, "packs/x", 0, 7); return err },
				"Load": func() error { _, _, err := c.Load(ctx, "roots/x"); return err },
				"List": func() error { return c.List(ctx, "packs/", func(backend.Info) error { return nil }) },
			}
			for what, call := range calls {
				if err := call(); err == nil || errors.Is(err, backend.ErrNotExist) || ctx.Err() != nil {
					t.Errorf("%s: %v, after %v", what, err, time.Since(begun))
				}
			}
			if most := peak(); most > 256<<20 {
				t.Errorf("took %d MiB, with those of the server", most>>20)
			} else {
				t.Logf("%v, %d MiB at most", time.Since(begun), most>>20)
			}
		})
	}
}

// watchHeap looks at the heap again and again. What it returns ends that, and tells how much it grew at most.
func watchHeap() func() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before, stop, most := m.HeapAlloc, make(chan struct{}), make(chan uint64)
	go func() {
		for peak := before; ; {
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
			select {
			case <-stop:
				most <- peak - before
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() uint64 { close(stop); return <-most }
}
