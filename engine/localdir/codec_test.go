package localdir

import (
	"reflect"
	"strings"
	"testing"

	"ensync/store/object"

	"golang.org/x/sys/unix"
)

func FuzzState(f *testing.F) {
	st := &state{dir: "d", fs: 7, self: stat{ino: 9}, rows: map[string]row{
		"f": {st: stat{ino: 1, mode: unix.S_IFREG | 0o644, size: 5, mtime: -1, ctime: 2, btime: 3},
			content: object.Content{Known: true, Size: 5, Depth: 1, Key: object.Key{1, 2}}}}}
	blob := encodeState(st)
	got, err := decodeState("d", blob)
	if err != nil || !reflect.DeepEqual(got, st) {
		f.Fatalf("came back as %+v, error %v", got, err)
	}
	if _, err := decodeState("e", blob); err == nil {
		f.Error("a blob is taken for another directory's")
	}
	f.Add("d", blob[:len(blob)-4])
	f.Add("d", []byte{stateVersion})
	f.Add("", []byte{})
	f.Fuzz(func(t *testing.T, dir string, body []byte) {
		sum := checksum(dir, body) // so that the parser behind the checksum is reached
		st, err := decodeState(dir, append(body, byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)))
		if err == nil {
			again, err := decodeState(dir, encodeState(st))
			if err != nil || !reflect.DeepEqual(again, st) {
				t.Errorf("%+v comes back as %+v, error %v", st, again, err)
			}
		}
	})
}

func FuzzTempName(f *testing.F) {
	o := owner("123-0f-7")
	for _, s := range []string{o.tempName(), o.transitName(exchanged, 5, stat{ino: 6, size: 7, mtime: -8}, "a.b.c"), ".ensync-tmp.x....."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parsed, ok := parseTemp(s)
		if ok && parsed.kind != writing && parsed.kind != trying && !object.ValidName(parsed.name) {
			t.Errorf("%q gives the name %q", s, parsed.name)
		}
		dead(parsed.owner)
	})
	old := stat{ino: 6, size: 7, mtime: -8}
	got, ok := parseTemp(o.transitName(aside, 5, old, "a.b.c"))
	if !ok || got != (tempName{kind: aside, owner: string(o), mine: 5, old: old, name: "a.b.c"}) {
		f.Errorf("parsed as %+v, %v", got, ok)
	}
}

func TestConflictName(t *testing.T) {
	for name, want := range map[string]string{"foo.txt": "foo~1.txt", "foo~1.txt": "foo~1.txt", "a.tar.gz": "a.tar~1.gz",
		".bashrc": ".bashrc~1", "foo~": "foo~1", "backup~old.txt": "backup~1.txt"} {
		if got := conflictName(name, 1); got != want {
			t.Errorf("%q becomes %q, not %q", name, got, want)
		}
	}
}

// FuzzConflictName: whatever a name is, its fresh names are names, too, and differ from each other.
func FuzzConflictName(f *testing.F) {
	for _, s := range []string{"a", ".a", "a.b", "a~1.b", strings.Repeat("x", 255), "a." + strings.Repeat("y", 250), "~", "\xff.\xfe"} {
		f.Add(s, 1)
	}
	f.Fuzz(func(t *testing.T, name string, n int) {
		if !object.ValidName(name) || n < 0 || n > 1<<30 {
			return
		}
		fresh := conflictName(name, n)
		if !object.ValidName(fresh) || fresh == conflictName(name, n+1) {
			t.Errorf("%q becomes %q, and then %q", name, fresh, conflictName(name, n+1))
		}
	})
}
