// Package s3test is a small S3 server in this process that keeps what S3 promises, unless it is told to fail or to lie.
package s3test

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What clients have to say who they are.
const (
	Bucket = "bucket"
	ID     = "test-id"
	Secret = "test-secret"
)

// Server is an S3 server with one bucket, in memory.
type Server struct {
	*httptest.Server
	Lies Lies // to be set before the first request, as what follows
	// Answers are bodies for the bucket's sub-resources ("lifecycle", "versioning", "object-lock"), by name.
	Answers map[string]string
	Skew    time.Duration // of the server's clock
	MaxKeys int           // of a page; 0: as asked for

	mu      sync.Mutex
	fault   func(n int, r *http.Request) Fault
	objects map[string]*object
	old     map[string]*object // some time ago, for lies
	n       int                // requests
	swaps   int
	counts  Counts
}

// Counts are the requests that came in, by kind, and the bytes of objects.
type Counts struct{ Gets, Puts, Lists, Deletes, Up, Down int }

// Lies are promises that a server breaks silently.
type Lies struct {
	IgnoreIfMatch, IgnoreIfNoneMatch bool
	LoseEach                         int // every so many replacements is acknowledged and not done
	StaleLists, StaleReads           bool
	IgnoreRange                      bool
}

type object struct {
	data  []byte
	etag  string
	mtime time.Time
}

// Start starts a server that ends with the test.
func Start(t testing.TB) *Server {
	s := &Server{objects: map[string]*object{}, old: map[string]*object{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

// Endpoint is the host and port.
func (s *Server) Endpoint() string { return strings.TrimPrefix(s.URL, "http://") }

// Getenv is the environment of a client that may use the server, and knows nothing else.
func Getenv(name string) string {
	return map[string]string{"AWS_ACCESS_KEY_ID": ID, "AWS_SECRET_ACCESS_KEY": Secret, "HOME": "/nonexistent"}[name]
}

// SetFault says who is asked before each request, numbered since the last Reset, what is to go wrong with it; nil:
// nothing. It may be called concurrently.
func (s *Server) SetFault(choose func(n int, r *http.Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = choose
}

// Counts returns what came in since the last Reset.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// Reset begins to count anew, requests for Fault, too.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts, s.n = Counts{}, 0
}

// Keys returns the keys of all objects, in order.
func (s *Server) Keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.objects))
}

// SetObject puts an object past all conditions.
func (s *Server) SetObject(key, data string, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[key] = newObject([]byte(data), time.Now().Add(-age))
}

func newObject(data []byte, mtime time.Time) *object {
	sum := md5.Sum(data)
	return &object{data, `"` + hex.EncodeToString(sum[:]) + `"`, mtime.UTC()}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", time.Now().Add(s.Skew).UTC().Format(http.TimeFormat))
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.n++
	n, choose, fault := s.n, s.fault, None
	s.mu.Unlock()
	if choose != nil {
		fault = choose(n, r)
	}
	if fault.before(w, r) {
		return
	}
	answer := httptest.NewRecorder()
	s.answer(answer, r, body)
	fault.after(w, answer)
}

// answer does what is asked for.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case !strings.Contains(r.Header.Get("Authorization"), "Credential="+ID+"/"):
		fail(w, http.StatusForbidden, "InvalidAccessKeyId")
	case bucket != Bucket:
		fail(w, http.StatusNotFound, "NoSuchBucket")
	case key == "":
		s.bucket(w, r)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		s.get(w, r, key)
	case r.Method == http.MethodPut:
		s.put(w, r, key, body)
	case r.Method == http.MethodDelete:
		s.counts.Deletes++
		s.keepOld()
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		fail(w, http.StatusMethodNotAllowed, "MethodNotAllowed")
	}
}

// keepOld remembers what a server that lies still shows.
func (s *Server) keepOld() {
	if s.Lies.StaleLists || s.Lies.StaleReads {
		s.old = maps.Clone(s.objects)
	}
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>for a test</Message></Error>", code)
}

func (s *Server) get(w http.ResponseWriter, r *http.Request, key string) {
	s.counts.Gets++
	objects := s.objects
	if s.Lies.StaleReads {
		objects = s.old
	}
	o := objects[key]
	if o == nil {
		fail(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	w.Header().Set("ETag", o.etag)
	data, status := o.data, http.StatusOK
	if spec := r.Header.Get("Range"); spec != "" && !s.Lies.IgnoreRange {
		var from, to int
		fmt.Sscanf(spec, "bytes=%d-%d", &from, &to)
		if from >= len(data) {
			fail(w, http.StatusRequestedRangeNotSatisfiable, "InvalidRange")
			return
		}
		to = min(to, len(data)-1)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(data)))
		data, status = data[from:to+1], http.StatusPartialContent
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		s.counts.Down += len(data)
		w.Write(data)
	}
}

func (s *Server) put(w http.ResponseWriter, r *http.Request, key string, body []byte) {
	s.counts.Puts++
	s.counts.Up += len(body)
	old := s.objects[key]
	match := r.Header.Get("If-Match")
	switch {
	case r.Header.Get("If-None-Match") == "*" && old != nil && !s.Lies.IgnoreIfNoneMatch:
		fail(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	case match != "" && old == nil:
		fail(w, http.StatusNotFound, "NoSuchKey")
		return
	case match != "" && match != old.etag && !s.Lies.IgnoreIfMatch:
		fail(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	o := newObject(body, time.Now())
	if match != "" {
		s.swaps++
	}
	if match == "" || s.Lies.LoseEach == 0 || s.swaps%s.Lies.LoseEach != 0 {
		s.keepOld()
		s.objects[key] = o
	}
	w.Header().Set("ETag", o.etag)
}

func (s *Server) bucket(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for _, name := range []string{"lifecycle", "versioning", "object-lock"} {
		if q.Has(name) {
			if body, ok := s.Answers[name]; ok {
				io.WriteString(w, body)
			} else {
				fail(w, http.StatusNotImplemented, "NotImplemented")
			}
			return
		}
	}
	s.list(w, q.Get("prefix"), q.Get("start-after"), q.Get("max-keys"))
}

func (s *Server) list(w http.ResponseWriter, prefix, after, maxKeys string) {
	type entry struct {
		Key, ETag, LastModified string
		Size                    int
	}
	var page struct {
		XMLName     xml.Name `xml:"ListBucketResult"`
		IsTruncated bool
		Contents    []entry
	}
	s.counts.Lists++
	most, _ := strconv.Atoi(maxKeys)
	if s.MaxKeys > 0 {
		most = s.MaxKeys
	}
	objects := s.objects
	if s.Lies.StaleLists {
		objects = s.old
	}
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		if !strings.HasPrefix(key, prefix) || key <= after {
			continue
		}
		if len(page.Contents) == most {
			page.IsTruncated = true
			break
		}
		o := objects[key]
		page.Contents = append(page.Contents, entry{key, o.etag, o.mtime.Format(time.RFC3339Nano), len(o.data)})
	}
	body, _ := xml.Marshal(page)
	w.Write(body)
}
