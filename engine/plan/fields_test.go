package plan

import (
	"fmt"
	"testing"

	"ensync/store/object"
)

// values of a field, complete up to renaming as those of decide_test.go are: the client has X, the server that or Y, the
// ancestor one of theirs or Z. '-' is not known, 'n' is known to be nothing (extended attributes only).
const (
	clientValues   = "-X"
	serverValues   = "-XY"
	ancestorValues = "-XYZ"
)

// with gives an entry that value in one of the optional fields.
func with(e object.Entry, field, value byte) object.Entry {
	if value == '-' || e.Kind == object.Absent || e.Kind == object.Special {
		return e
	}
	switch field {
	case 'u':
		e.User = object.Owner(fmt.Sprintf(":%d", value))
	case 'g':
		e.Group = object.Owner(fmt.Sprintf(":%d", value))
	case 'x':
		if e.Kind == object.Symlink {
			return e
		}
		e.Xattrs = object.MakeXattrs(map[string][]byte{"user.v": {value}})
		if value == 'n' {
			e.Xattrs = object.NoXattrs
		}
	}
	return e
}

// valueOf is the reverse of with.
func valueOf(e object.Entry, field byte) byte {
	for _, v := range []byte("nXYZ") {
		if w := with(object.Entry{Kind: e.Kind}, field, v); w.SameAttributes(object.Entry{User: pick(field, 'u', e.User),
			Group: pick(field, 'g', e.Group), Xattrs: pick(field, 'x', e.Xattrs)}) && !w.SameAttributes(object.Entry{}) {
			return v
		}
	}
	return '-'
}

func pick[T ~string](field, want byte, v T) T {
	if field == want {
		return v
	}
	return ""
}

// oracleField is what the three hold of a field afterwards, where both sides stay what they are or become one another's.
func oracleField(c, a, s byte, column Right) (client, ancestor, server byte) {
	if s == '-' && c == 'n' {
		return c, c, s
	}
	table := changedByBoth
	switch {
	case c == s:
		return c, c, s
	case c == '-':
		return c, a, s
	case s == '-':
		if changedByClient[column] == '>' {
			return c, c, c
		}
		return c, a, s
	case a == c, a == '-' && c == 'n':
		table = changedByServer
	case a == s, a == '-' && s == 'n':
		table = changedByClient
	}
	switch table[column] {
	case '<':
		return s, s, s
	case '>':
		return c, c, c
	}
	if a == '-' && table == changedByServer || a == '-' && table == changedByClient {
		a = 'n'
	}
	return c, a, s
}

// someModes are all rights to update, with all the others on, off or forced.
func someModes() []Mode {
	var modes []Mode
	for _, m := range allModes() {
		if m.In.Create == m.In.Delete && m.Out.Create == m.Out.Delete && m.In.Create == m.Out.Create {
			modes = append(modes, m)
		}
	}
	return modes
}

func forAllFields(t *testing.T, f func(c, a, s object.Entry, field byte, m Mode) error) {
	t.Helper()
	kinds := []state{nothing, {'f', 'A', 1, 2}, {'f', 'B', 1, 2}, {what: 'd', mode: 1}, {what: 'l', body: 'A'}, {what: 'l', body: 'B'}}
	modes := someModes()
	for _, field := range []byte("ugx") {
		more := ""
		if field == 'x' {
			more = "n"
		}
		for _, c := range kinds {
			for _, a := range kinds {
				for _, s := range kinds {
					for _, cv := range []byte(clientValues + more) {
						for _, av := range []byte(ancestorValues + more) {
							for _, sv := range []byte(serverValues + more) {
								for _, m := range modes {
									ce, ae, se := with(c.entry(), field, cv), with(a.entry(), field, av), with(s.entry(), field, sv)
									if err := f(ce, ae, se, field, m); err != nil {
										t.Fatalf("client %v %c, ancestor %v %c, server %v %c, field %c, mode %v: %v", c, cv, a, av, s, sv, field, m, err)
									}
								}
							}
						}
					}
				}
			}
		}
	}
}

// bare is an entry without the optional fields.
func bare(e object.Entry) object.Entry {
	e.User, e.Group, e.Xattrs = "", "", ""
	return e
}

// after returns the three entries after an outcome that is no split.
func after(c, s object.Entry, o Outcome) (client, ancestor, server object.Entry) {
	client, server = c, s
	if o.Action == UseServer || o.Action == Merge {
		client = o.Result
		if s.Kind != object.Absent && c.Kind == client.Kind {
			client = client.WithUnknownFrom(c)
		}
	}
	if o.Action == UseClient || o.Action == Merge {
		server = o.Result
	}
	return client, o.Ancestor, server
}

// TestFieldsApart: owner, group and extended attributes change nothing about what becomes of all else, never make a
// conflict, and are at rest afterwards.
func TestFieldsApart(t *testing.T) {
	forAllFields(t, func(c, a, s object.Entry, field byte, m Mode) error {
		with, without := Decide(Input{c, a, s}, m), Decide(Input{bare(c), bare(a), bare(s)}, m)
		if with.IsSplit() || without.IsSplit() {
			if with.Action != without.Action || with.Conflict != without.Conflict {
				return fmt.Errorf("%v, %v; without the field %v, %v", with.Action, with.Conflict, without.Action, without.Conflict)
			}
			return nil
		}
		if with.Conflict != without.Conflict || with.Descend != without.Descend {
			return fmt.Errorf("%v; without the field %v", with.Conflict, without.Conflict)
		}
		c1, a1, s1 := after(c, s, with)
		c2, a2, s2 := after(bare(c), bare(s), without)
		if stateOf(c1) != stateOf(c2) || stateOf(s1) != stateOf(s2) {
			return fmt.Errorf("%v %v; without the field %v %v", stateOf(c1), stateOf(s1), stateOf(c2), stateOf(s2))
		}
		if !with.LeavesDifference() && stateOf(a1) != stateOf(a2) {
			return fmt.Errorf("the ancestor gets %v; without the field %v", stateOf(a1), stateOf(a2))
		}
		if c1.Kind == object.Symlink && c1.Xattrs != "" || s1.Kind == object.Symlink && s1.Xattrs != "" {
			return fmt.Errorf("a symlink with extended attributes: %v", with.Action)
		}
		again := Decide(Input{c1, a1, s1}, m)
		c3, a3, s3 := after(c1, s1, again)
		if again.ChangesClient() || again.ChangesServer() || !c3.Equal(c1) || !a3.Equal(a1) || !s3.Equal(s1) {
			return fmt.Errorf("not at rest: again %v, ancestor %+v, then %+v", again.Action, a1, a3)
		}
		return nil
	})
}

// TestFieldsAgainstOracle looks at the fields where both sides hold things of one kind, and the ancestor too.
func TestFieldsAgainstOracle(t *testing.T) {
	forAllFields(t, func(c, a, s object.Entry, field byte, m Mode) error {
		o := Decide(Input{c, a, s}, m)
		if c.Kind != s.Kind || a.Kind != c.Kind || c.Kind == object.Absent || o.IsSplit() || o.Action == Irreconcilable ||
			o.Conflict != NoConflict {
			return nil
		}
		client, ancestor, server := after(c, s, o)
		var got, want [3]byte
		got = [3]byte{valueOf(client, field), valueOf(ancestor, field), valueOf(server, field)}
		want[0], want[1], want[2] = oracleField(valueOf(c, field), valueOf(a, field), valueOf(s, field), 3*m.In.Update+m.Out.Update)
		if o.Action == Unsync {
			want[1] = got[1] // of what nothing can be done about, the ancestor is not told
		}
		if got != want {
			return fmt.Errorf("%v: got %s, want %s", o.Action, got, want)
		}
		if apart := want[0] != want[2] && want[0] != '-' && want[2] != '-'; apart && !o.LeavesDifference() {
			return fmt.Errorf("%v leaves the field apart, and does not say so", o.Action)
		}
		return nil
	})
}

// TestFieldsTravelWithCreations: what is new has all that is known of it, unless that is nothing.
func TestFieldsTravelWithCreations(t *testing.T) {
	mode, _ := ParseMode("cud/cud")
	e := with(with(with(state{'f', 'A', 1, 2}.entry(), 'u', 'X'), 'g', 'X'), 'x', 'n')
	out := Decide(Input{Client: e}, mode)
	if out.Action != UseClient || out.Result.User != e.User || out.Result.Group != e.Group || out.Result.Xattrs != "" ||
		out.Ancestor.Xattrs != object.NoXattrs {
		t.Errorf("out goes %+v, the ancestor gets %+v", out.Result, out.Ancestor)
	}
	out = Decide(Input{Server: e}, mode)
	if out.Action != UseServer || !out.Result.SameAttributes(e) {
		t.Errorf("in comes %+v", out.Result)
	}
}

func TestAgreedHeld(t *testing.T) {
	mode, _ := ParseMode("cud/cud")
	plain := state{'f', 'A', 1, 2}.entry()
	c, s := with(with(plain, 'u', 'X'), 'x', 'n'), with(with(plain, 'u', 'Y'), 'x', 'Y')
	out := Decide(Input{Client: c, Ancestor: c, Server: s}, mode)
	if got := out.Agreed(s); out.Action != UseServer || !got.SameAttributes(s) || got.Held != nil {
		t.Errorf("all was taken: %v, agreed is %+v", out.Action, got)
	}
	got := out.Agreed(c)
	if !got.SameAttributes(s) || got.Held == nil || got.Held.User != c.User || got.Held.Group != "" || got.Held.Xattrs != c.Xattrs {
		t.Errorf("nothing was taken: agreed is %+v, held %+v", got, got.Held)
	}
	if !got.OnClient().SameAttributes(c) {
		t.Errorf("on the client it is %+v", got.OnClient())
	}
}
