package backendtest

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"

	"ensync/store/backend"
)

func testEmpty(s *suite) {
	_, err := s.Get(s.ctx, "packs/ab/none", 0, -1)
	s.wantErr("Get", err, backend.ErrNotExist)
	_, err = s.Get(s.ctx, "packs/ab/none", 5, 10)
	s.wantErr("Get of a range", err, backend.ErrNotExist)
	_, v, err := s.Load(s.ctx, "roots/none")
	s.wantErr("Load", err, backend.ErrNotExist)
	if v != "" {
		s.Errorf("Load of nothing has version %q", v)
	}
	s.wantList(s, "", "")
	s.wantList(s, "packs/", "")
}

// BadNames are names that every backend must refuse with backend.ErrInvalid.
func BadNames() []string {
	return []string{
		"", "/", "//", "/a", "a/", "a//b", ".", "..", "./a", "../a", "a/..", "a/../b", "a/./b", "a/.", "/etc/passwd",
		"A", "packs/AB", "a_b", "a b", "a\x00", "a\nb", "a\\b", "..\\a", "a:b", "a*", "a?b", "a%2fb", "a@", "a~", "é", "\xff",
		".hidden", "a/.nfs01", "a.", "a./b", strings.Repeat("a", backend.MaxPart+1), strings.Repeat("a/", backend.MaxName/2) + "a",
	}
}

func testNames(s *suite) {
	for _, name := range BadNames() {
		_, err := s.Get(s.ctx, name, 0, -1)
		s.wantErr("Get "+name, err, backend.ErrInvalid)
		s.wantErr("Put "+name, s.Put(s.ctx, name, []byte("x")), backend.ErrInvalid)
		_, _, err = s.Load(s.ctx, name)
		s.wantErr("Load "+name, err, backend.ErrInvalid)
		_, err = s.Swap(s.ctx, name, "", []byte("x"))
		s.wantErr("Swap "+name, err, backend.ErrInvalid)
		s.wantErr("Delete "+name, s.Delete(s.ctx, name), backend.ErrInvalid)
	}
	for _, prefix := range []string{"/", "..", "../", "a//", "A", "a/../"} {
		err := s.List(s.ctx, prefix, func(backend.Info) error { return nil })
		s.wantErr("List "+prefix, err, backend.ErrInvalid)
	}
	s.wantList(s, "", "")
	long := strings.Repeat("a", backend.MaxPart)
	for _, name := range []string{"a", "0", "-", "a-b.c", "tmp/x", "con", "x/y/z/0", "lock", long, "d/" + long + "/" + long} {
		s.put(name, "data of "+name)
		s.wantGet(name, "data of "+name)
		s.swap("m/"+name, "", "state of "+name)
		s.wantLoad("m/"+name, "state of "+name)
	}
}

func testPutGet(s *suite) {
	s.put("packs/ab/one", "first")
	s.put("packs/ab/two", "second")
	s.put("format", "plain")
	s.wantGet("packs/ab/one", "first")
	s.wantGet("packs/ab/two", "second")
	s.wantGet("format", "plain")
	for _, near := range []string{"packs/ab/on", "packs/ab/onee", "one", "packs/one", "packs", "packs/ab", "packs/ab/one/x"} {
		_, err := s.Get(s.ctx, near, 0, -1)
		s.wantErr("Get "+near, err, backend.ErrNotExist)
	}
}

func testRanges(s *suite) {
	s.put("r", "0123456789")
	for _, c := range []struct {
		offset, length int64
		want           string
		err            error
	}{
		{0, 10, "0123456789", nil}, {0, -1, "0123456789", nil}, {3, 4, "3456", nil}, {9, 1, "9", nil},
		{4, -1, "456789", nil}, {4, -7, "456789", nil}, {10, -1, "", nil}, {0, 0, "", nil}, {7, 0, "", nil},
		{0, 11, "", io.ErrUnexpectedEOF}, {9, 2, "", io.ErrUnexpectedEOF}, {10, 1, "", io.ErrUnexpectedEOF},
		{11, 1, "", io.ErrUnexpectedEOF}, {11, -1, "", io.ErrUnexpectedEOF}, {1 << 40, 1, "", io.ErrUnexpectedEOF},
		{0, math.MaxInt64, "", io.ErrUnexpectedEOF}, {5, 1 << 50, "", io.ErrUnexpectedEOF},
		{-1, 5, "", backend.ErrInvalid}, {-1, -1, "", backend.ErrInvalid}, {math.MaxInt64, 1, "", backend.ErrInvalid},
	} {
		got, err := s.Get(s.ctx, "r", c.offset, c.length)
		if !errors.Is(err, c.err) || err == nil && string(got) != c.want {
			s.Errorf("Get(%d, %d) = %q, %v; want %q, %v", c.offset, c.length, got, err, c.want, c.err)
		}
	}
}

func testEmptyObjects(s *suite) {
	s.put("e/empty", "")
	s.wantGet("e/empty", "")
	_, err := s.Get(s.ctx, "e/empty", 0, 1)
	s.wantErr("Get of a byte of nothing", err, io.ErrUnexpectedEOF)
	s.wantErr("Put over an empty object", s.Put(s.ctx, "e/empty", []byte("x")), backend.ErrExist)
	v := s.swap("m/empty", "", "")
	if got := s.wantLoad("m/empty", ""); got != v {
		s.Errorf("Load gives version %q after Swap gave %q", got, v)
	}
	s.wantList(s, "", "e/empty=0 m/empty=0")
	s.swap("m/empty", v, "no more")
	s.wantLoad("m/empty", "no more")
}

func testPutNeverOverwrites(s *suite) {
	s.put("p/x", "old")
	for _, data := range []string{"new", "old", ""} {
		s.wantErr("Put", s.Put(s.ctx, "p/x", []byte(data)), backend.ErrExist)
	}
	s.wantGet("p/x", "old")
	s.wantList(s, "", "p/x=3")
}

func testDataIsCopied(s *suite) {
	data := []byte("mine")
	if err := s.Put(s.ctx, "c", data); err != nil {
		s.Fatal(err)
	}
	v, err := s.Swap(s.ctx, "m", "", data)
	if err != nil {
		s.Fatal(err)
	}
	copy(data, "gone")
	got, err := s.Get(s.ctx, "c", 0, -1)
	if err == nil {
		copy(got, "used")
	}
	state, _, err := s.Load(s.ctx, "m")
	if err == nil {
		copy(state, "used")
	}
	s.wantGet("c", "mine")
	if s.wantLoad("m", "mine") != v {
		s.Error("the version changed without a Swap")
	}
}

func testBigObject(s *suite) {
	want := pattern(9<<20 + 12345)
	if err := s.Put(s.ctx, "packs/00/big", want); err != nil {
		s.Fatal(err)
	}
	got, err := s.Get(s.ctx, "packs/00/big", 0, -1)
	if err != nil || !bytes.Equal(got, want) {
		s.Errorf("Get: %d bytes, %v; want the %d that were put", len(got), err, len(want))
	}
	got, err = s.Get(s.ctx, "packs/00/big", 8<<20-17, 1<<20)
	if err != nil || !bytes.Equal(got, want[8<<20-17:][:1<<20]) {
		s.Errorf("Get of 1 MiB from 8 MiB - 17: %d bytes, %v; or other bytes", len(got), err)
	}
}

func testDelete(s *suite) {
	if err := s.Delete(s.ctx, "d/none"); err != nil {
		s.Errorf("Delete of nothing: %v", err)
	}
	s.wantList(s, "", "")
	s.put("d/x", "1")
	s.put("d/y", "2")
	for range 2 {
		if err := s.Delete(s.ctx, "d/x"); err != nil {
			s.Errorf("Delete: %v", err)
		}
		_, err := s.Get(s.ctx, "d/x", 0, -1)
		s.wantErr("Get of a deleted object", err, backend.ErrNotExist)
	}
	for _, near := range []string{"d", "d/xx", "d/y/z"} {
		if err := s.Delete(s.ctx, near); err != nil {
			s.Errorf("Delete %s, which is not there: %v", near, err)
		}
	}
	s.wantList(s, "", "d/y=1")
	s.wantGet("d/y", "2")
}

func testLocation(s *suite) {
	if s.Location() == "" {
		s.Error("Location is empty")
	}
}

// testRenew: whatever is renewed holds what it held. How young it gets is for those to test who can make it old.
func testRenew(s *suite) {
	r, ok := s.Backend.(backend.Renewer)
	if !ok {
		s.Skip("this backend renews nothing")
	}
	s.put("format", "what it is")
	if err := r.Renew(s.ctx, "format", []byte("what it is")); err != nil {
		s.Errorf("Renew: %v", err)
	}
	s.wantErr("Renew of what holds something else", r.Renew(s.ctx, "format", []byte("another")), backend.ErrChanged)
	s.wantGet("format", "what it is")
	s.wantErr("Renew of what is not there", r.Renew(s.ctx, "nothing", []byte("x")), backend.ErrNotExist)
	s.wantErr("Renew of no name", r.Renew(s.ctx, "No/Name", nil), backend.ErrInvalid)
	s.wantList(s, "", "format=10")
}
