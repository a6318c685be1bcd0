package ancestor

import (
	"context"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestLocalNames(t *testing.T) {
	ctx := context.Background()
	at := time.Unix(0, 1_700_000_000_123_456_789).UTC()
	clash := LocalName{Dir: "d", Store: "F", Local: "F~aside1", Beside: "f", Why: Clash, DirID: "1", Since: at}
	odd := LocalName{Store: "a\xff", Local: "a_~aside1", Why: Refused, Since: at}
	same := LocalName{Dir: "d", Store: "\u00e9", Local: "e\u0301", Why: Respelled, Since: at}
	for _, key := range []*[32]byte{nil, {1}} {
		path := filepath.Join(t.TempDir(), "a.sqlite")
		d := open(t, path, key)
		if err := d.ChangeLocalNames(ctx, nil, []LocalName{clash, odd, same}); err != nil {
			t.Fatal(err)
		}
		moved := clash
		moved.Dir = "e"
		if err := d.ChangeLocalNames(ctx, []LocalName{clash, odd}, []LocalName{moved}); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := open(t, path, key).LocalNames(ctx)
		slices.SortFunc(got, func(a, b LocalName) int { return strings.Compare(a.Dir, b.Dir) })
		if err != nil || !reflect.DeepEqual(got, []LocalName{same, moved}) {
			t.Errorf("sealed %v: %+v, error %v", key != nil, got, err)
		}
	}
	if i := clash.Issue(); i.Path != "d/F" || i.Kind != Aside || !strings.Contains(i.Reason, `"F~aside1"`) || !strings.Contains(i.Reason, `"f"`) {
		t.Errorf("%+v", i)
	}
	if !odd.IsAside() || same.IsAside() {
		t.Error("only what has another spelling is as everybody expects it")
	}
}
