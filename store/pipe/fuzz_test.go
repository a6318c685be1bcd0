package pipe

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"ensync/store/backend"
	"ensync/store/backend/memory"
)

func FuzzHello(f *testing.F) {
	for _, s := range []string{hello("v1").line(), "ensync-server 1 1 v\n", "noise\nensync-server 1 2 v0.3.0\n", "ensync-server 2 1 v\n",
		"ensync-server 1 1 a b\n", "ensync-server 65536 65536 v\n", "Welcome!\x00", "\x1b[2J\n", strings.Repeat("x", 100000)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(bufio.NewReaderSize(bytes.NewReader(b), 1<<10))
		if err != nil {
			if strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 1000 {
				t.Errorf("%q", err)
			}
			return
		}
		if again, ok := ParseHello(strings.Trim(h.line(), "\n")); !ok || again != h || h.Lowest > highest || h.Highest < lowest {
			t.Errorf("%+v from %q", h, b)
		}
	})
}

func FuzzList(f *testing.F) {
	for _, s := range []string{".\n", "packs/a 1 2\n.\n", "packs/a 1 2\npacks/b 3 4\n.\n", "!denied no\n", "!", "packs/a 1 2", "packs/b 1 1\npacks/a 1 1\n.\n"} {
		f.Add([]byte(s), "packs/", "")
	}
	f.Add([]byte("packs/b 1 2\n.\n"), "packs/", "packs/a")
	f.Fuzz(func(t *testing.T, b []byte, prefix, after string) {
		last := after
		err := readList(bytes.NewReader(b), prefix, after, func(i backend.Info) error {
			if i.Name <= last || !strings.HasPrefix(i.Name, prefix) || backend.CheckName(i.Name) != nil || i.Size < 0 {
				t.Errorf("%+v after %q", i, last)
			}
			if got, ok := parseInfo(strings.TrimSuffix(string(appendInfo(nil, i)), "\n")); !ok || got != i {
				t.Errorf("%+v became %+v", i, got)
			}
			last = i.Name
			return nil
		})
		if err == nil && !bytes.HasPrefix(b, []byte(listEnd)) && !bytes.Contains(b, []byte("\n"+listEnd)) {
			t.Errorf("%q is taken for whole", b)
		}
	})
}

func FuzzRefusal(f *testing.F) {
	for _, k := range kinds {
		f.Add(k.word, k.status, []byte("why"))
	}
	f.Add("not-exist", 200, []byte("\x1b]0;x\a"))
	f.Fuzz(func(t *testing.T, word string, status int, text []byte) {
		r := parseRefusal(word, status, text)
		if r == nil {
			return
		}
		if strings.ContainsAny(r.Error(), "\x00\x07\x1b\n\r") || len(r.Error()) > maxText+200 {
			t.Errorf("%q", r.Error())
		}
		if w, s := kindOf(r); w != word || s != status {
			t.Errorf("%s %d became %s %d", word, status, w, s)
		}
	})
}

// FuzzFrames cuts the same bytes in two ways: what went by is the same.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{0, 0, 8, framePing, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}, uint8(3))
	f.Add([]byte{0, 0, 1, 0, 0, 0, 0, 0, 1, 9}, uint8(1))
	f.Add([]byte{0, 0, 0, frameSettings, 1, 0, 0, 0, 0, 0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1}, uint8(9))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		var whole, parts frames
		want, got := whole.progress(b), false
		for rest := b; len(rest) > 0; {
			n := min(len(rest), int(step)+1)
			got = parts.progress(rest[:n]) || got
			rest = rest[n:]
		}
		if got != want || whole != parts {
			t.Errorf("%v and %v, %+v and %+v", want, got, whole, parts)
		}
	})
}

// FuzzServe lets a server read anything. It must end when that ends.
func FuzzServe(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add(recorded(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := Serve(ctx, bytes.NewReader(b), io.Discard, shared{memory.New()}, ServerOptions{}); ctx.Err() != nil {
			t.Errorf("Serve does not end: %v", err)
		}
	})
}

// recorded is what a client sends that does one of everything.
func recorded(f *testing.F) []byte {
	var sent bytes.Buffer
	c := New(func(context.Context) (io.ReadWriteCloser, error) {
		client, server := ends()
		go Serve(context.Background(), io.TeeReader(server, &sent), server, shared{memory.New()}, ServerOptions{})
		return client, nil
	}, Options{})
	ctx := context.Background()
	c.Put(ctx, "packs/x", []byte("some bytes"))
	c.Get(ctx, "packs/x", 2, 3)
	c.Swap(ctx, "roots/x", "", []byte("state"))
	c.Load(ctx, "roots/x")
	c.List(ctx, "", func(backend.Info) error { return nil })
	c.Delete(ctx, "packs/x")
	c.Close()
	if !bytes.HasPrefix(sent.Bytes(), []byte("PRI * HTTP/2.0")) {
		f.Fatal("nothing was recorded")
	}
	return bytes.Clone(sent.Bytes())
}
