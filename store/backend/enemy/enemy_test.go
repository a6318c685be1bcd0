package enemy_test

import (
	"bytes"
	"testing"

	"ensync/store/backend"
	"ensync/store/backend/backendtest"
	"ensync/store/backend/enemy"
	"ensync/store/backend/memory"
)

type led struct {
	*enemy.Line
	m *memory.Backend
}

func TestLineKeepsThePromises(t *testing.T) {
	lead := func(m *memory.Backend) backend.Backend { return led{enemy.NewLine(m), m} }
	backendtest.Run(t, func(t *testing.T) backend.Backend { return lead(memory.New()) }, backendtest.Options{
		Again: func(t *testing.T, b backend.Backend) backend.Backend { return lead(b.(led).m.Again()) },
	})
}

func TestPutBringsBack(t *testing.T) {
	ctx, b := t.Context(), memory.New()
	put := func(name, data string) {
		t.Helper()
		if err := b.Put(ctx, name, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	put("p/a", "1")
	put("p/b", "2")
	v, _ := b.Swap(ctx, "m", "", []byte("old"))
	was, err := enemy.Take(ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	b.Swap(ctx, "m", v, []byte("new"))
	b.Delete(ctx, "p/a")
	put("p/c", "3")
	if err := was.With("p/b", []byte("forged")).Put(ctx, b, "p/"); err != nil {
		t.Fatal(err)
	}
	now, _ := enemy.Take(ctx, b)
	want := was.With("p/b", []byte("forged"))
	want["m"] = enemy.Object{Data: []byte("new"), Mutable: true}
	if len(now) != len(want) {
		t.Errorf("%q instead of %q", now.Names(), want.Names())
	}
	for name, o := range want {
		if !bytes.Equal(now[name].Data, o.Data) || now[name].Mutable != o.Mutable {
			t.Errorf("%s is %q", name, now[name].Data)
		}
	}
}

func TestLineIsLed(t *testing.T) {
	ctx, one, two := t.Context(), memory.New(), memory.New()
	l := enemy.NewLine(one)
	l.Put(ctx, "x", []byte("secret"))
	l.Lead(two)
	if _, err := l.Get(ctx, "x", 0, -1); err == nil {
		t.Error("the line still leads to the first store")
	}
	if calls := l.Calls(); len(calls) != 2 || calls[1] != "Get x 0 -1" || string(l.Sent()[0]) != "secret" {
		t.Errorf("kept %q, %q", calls, l.Sent())
	}
}
