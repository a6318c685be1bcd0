package plan

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"ensync/store/object"
)

// state is an entry in the oracle's words: what is '-' nothing, 'f' file, 'd' directory, 'l' link, '*' special.
type state struct {
	what       byte
	body       byte // content or target
	mode, time int
}

func (s state) String() string {
	return fmt.Sprintf("%c%c%d@%d", s.what, max(s.body, '.'), s.mode, s.time)
}

var nothing = state{what: '-'}

// entry is s as the code under test sees it. A and B have one size, C another.
func (s state) entry() object.Entry {
	e := object.Entry{Name: "n", Mode: uint32(s.mode)}
	switch s.what {
	case '-':
		return object.Entry{}
	case 'f':
		e.Kind, e.ModTime = object.File, int64(s.time)
		e.Content = object.Content{Known: true, Size: 10 + int64(s.body/'C'), Key: object.Key{s.body}}
	case 'd':
		e.Kind = object.Directory
	case 'l':
		e.Kind, e.Target, e.Mode = object.Symlink, string(s.body), 0
	case '*':
		e.Kind, e.Mode = object.Special, 0
	}
	return e
}

// stateOf is the reverse of entry.
func stateOf(e object.Entry) state {
	switch e.Kind {
	case object.File:
		return state{'f', e.Content.Key[0], int(e.Mode), int(e.ModTime)}
	case object.Directory:
		return state{what: 'd', mode: int(e.Mode)}
	case object.Symlink:
		return state{what: 'l', body: e.Target[0]}
	case object.Special:
		return state{what: '*'}
	}
	return nothing
}

// verdict is what the oracle expects: the action and all three states afterwards (of splits, the action alone).
type verdict struct {
	action                   Action
	conflict                 Conflict
	client, ancestor, server state
	descend, partial         bool
}

// The oracle's tables. In the first four, columns are inbound and outbound update:
//
//	--  -u  -U  u-  uu  uU  U-  Uu  UU
const (
	changedByClient = ".>>.>><>>" // > the server takes the client's, < the client the server's, . neither
	changedByServer = "..><<<<<<"
	changedByBoth   = ".>><<><<<"
	contentConflict = "US>SS><<N" // U unsynced, S split, N the newer
)

// In these, columns are create on the side that lacks the entry and delete on the side that has it:
//
//	--  -d  -D  c-  cd  cD  C-  Cd  CD
const (
	createdHere       = "UUDKKKKKK" // K keep (create there), D delete here, U unsynced
	deletedThere      = "UDDUDDKDD"
	editedAndDeleted  = "UIDKKKKKK" // I irreconcilable
	editedAndDeletedU = "IIDKKKKKK" // the same where the side that lacks the entry may be updated
)

func oracle(c, a, s state, m Mode) verdict {
	in, out := m.In, m.Out
	still := verdict{action: Unsync, client: c, ancestor: a, server: s, descend: c.what == 'd' && s.what == 'd'}
	switch {
	case c == s:
		still.action, still.ancestor = InSync, c
		return still
	case c.what == '*' || s.what == '*':
		return still
	case s == nothing:
		return oracleAlone(c, a, still, out.Create, in.Delete, out.Update, UseClient, UseServer, EditDeleteOnServer)
	case c == nothing:
		return oracleAlone(s, a, still, in.Create, out.Delete, in.Update, UseServer, UseClient, EditDeleteOnClient)
	}
	column := 3*in.Update + out.Update
	if c.what == s.what && c.body == s.body {
		return oracleAttributes(c, a, s, still, column)
	}
	content := contentConflict[column]
	switch {
	case a.what == c.what && a.body == c.body:
		content = changedByServer[column]
	case a.what == s.what && a.body == s.body:
		content = changedByClient[column]
	default:
		still.conflict = EditEdit
	}
	v := still
	switch {
	case content == 'U':
		return still
	case content == 'S' && in.Create > Off && out.Create > Off:
		v.action = SplitServer
		return v
	case content == 'S':
		v.action = Irreconcilable
		return v
	case content == 'N' && c.what == 'f' && s.what == 'f' && s.time > c.time:
		content = '<'
	case content == 'N':
		content = '>'
	}
	switch {
	case content == '<' && c.what == 'd':
		v.action = SplitClientMove
		return v
	case content == '>' && s.what == 'd':
		v.action = SplitServerMove
		return v
	case content == '<':
		v.client, v.ancestor = s, s
	case content == '>':
		v.server, v.ancestor = c, c
	}
	if c.what == 'f' && s.what == 'f' && a.what == 'f' {
		v.client.mode, v.server.mode = oracleMode(c, a, s, column)
		v.ancestor.mode = a.mode
		if v.client.mode == v.server.mode {
			v.ancestor.mode = v.client.mode
		}
	}
	return v.named(c, a, s)
}

func oracleMode(c, a, s state, column Right) (client, server int) {
	table := changedByBoth
	if a.what == c.what && a.mode == c.mode {
		table = changedByServer
	} else if a.what == c.what && a.mode == s.mode {
		table = changedByClient
	}
	switch table[column] {
	case '<':
		return s.mode, s.mode
	case '>':
		return c.mode, c.mode
	}
	return c.mode, s.mode
}

func oracleAttributes(c, a, s state, v verdict, column Right) verdict {
	v.client.mode, v.server.mode = oracleMode(c, a, s, column)
	v.ancestor = c
	v.ancestor.mode = v.client.mode
	if v.client.mode != v.server.mode && a.what == c.what {
		v.ancestor.mode = a.mode
	}
	table, loser := changedByClient, s
	switch old := a.what == 'f' && a.body == c.body; {
	case old && a.time == s.time:
	case old && a.time == c.time, s.time > c.time:
		table, loser = changedByServer, c
	}
	switch way := table[column]; {
	case way == '<':
		v.client.time, v.ancestor.time = s.time, s.time
	case way == '>':
		v.server.time, v.ancestor.time = c.time, c.time
	default:
		v.ancestor.time = loser.time
	}
	return v.named(c, a, s)
}

// named fills in the action, given what changed.
func (v verdict) named(c, a, s state) verdict {
	v.partial = v.client.mode != v.server.mode || v.client.body != v.server.body || v.client.what != v.server.what
	switch {
	case v.client != c && v.server != s:
		v.action = Merge
	case v.client != c:
		v.action = UseServer
	case v.server != s:
		v.action = UseClient
	case v.partial:
		v.action, v.partial = Unsync, false
		if !v.descend || a.what == 'd' {
			v.ancestor = a
		}
	default:
		v.action = InSync
	}
	return v
}

func oracleAlone(e, a state, v verdict, create, del, update Right, keep, drop Action, lost Conflict) verdict {
	column := 3*create + del
	result := createdHere[column]
	switch {
	case a == nothing:
	case a.what == e.what && a.body == e.body:
		result = deletedThere[column]
	default:
		v.conflict = lost
		result = editedAndDeleted[column]
		if update > Off {
			result = editedAndDeletedU[column]
		}
	}
	switch result {
	case 'K':
		v.action, v.client, v.ancestor, v.server = keep, e, e, e
	case 'D':
		v.action, v.client, v.ancestor, v.server = drop, nothing, nothing, nothing
	case 'I':
		v.action = Irreconcilable
	}
	return v
}

// The states of each side, complete up to renaming: the client has content A, mode 1, time 2; the server has that or
// another; the ancestor one of theirs or a third. Times also come in every order.
func clientStates() []state {
	return []state{nothing, {'f', 'A', 1, 2}, {what: 'd', mode: 1}, {what: 'l', body: 'A'}, {what: '*'}}
}

func serverStates() []state { return states("AB", 2, 1, 3) }

func ancestorStates() []state { return states("ABC", 3, 0, 4) }

func states(bodies string, modes, firstTime, lastTime int) []state {
	all := []state{nothing, {what: '*'}}
	for mode := 1; mode <= modes; mode++ {
		all = append(all, state{what: 'd', mode: mode})
	}
	for _, body := range []byte(bodies) {
		all = append(all, state{what: 'l', body: body})
		for mode := 1; mode <= modes; mode++ {
			for time := firstTime; time <= lastTime; time++ {
				all = append(all, state{'f', body, mode, time})
			}
		}
	}
	return all
}

func allModes() []Mode {
	var modes []Mode
	for n := 0; n < 729; n++ {
		digit := func(i int) Right {
			k := n
			for ; i > 0; i-- {
				k /= 3
			}
			return Right(k % 3)
		}
		modes = append(modes, Mode{Rights{digit(0), digit(1), digit(2)}, Rights{digit(3), digit(4), digit(5)}})
	}
	return modes
}

// forAll calls f for every combination, on all processors, and stops at its first error.
func forAll(t *testing.T, f func(c, a, s state, m Mode) error) {
	t.Helper()
	servers := make(chan state)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for s := range servers {
				if err := forAllOfServer(s, f); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	for _, s := range serverStates() {
		servers <- s
	}
	close(servers)
	workers.Wait()
}

func forAllOfServer(s state, f func(c, a, s state, m Mode) error) error {
	modes := allModes()
	for _, c := range clientStates() {
		for _, a := range ancestorStates() {
			for _, m := range modes {
				if err := f(c, a, s, m); err != nil {
					return fmt.Errorf("client %v, ancestor %v, server %v, mode %v: %w", c, a, s, m, err)
				}
			}
		}
	}
	return nil
}

// applied returns the three states after an outcome that is no split.
func applied(c, a, s state, o Outcome) verdict {
	v := verdict{action: o.Action, conflict: o.Conflict, client: c, ancestor: stateOf(o.Ancestor), server: s,
		descend: o.Descend, partial: o.Partial}
	if o.IsSplit() {
		v.ancestor = a
		return v
	}
	if o.Action == UseServer || o.Action == Merge {
		v.client = stateOf(o.Result)
	}
	if o.Action == UseClient || o.Action == Merge {
		v.server = stateOf(o.Result)
	}
	return v
}

func decide(c, a, s state, m Mode) Outcome {
	return Decide(Input{c.entry(), a.entry(), s.entry()}, m)
}

func TestDecideAgainstOracle(t *testing.T) {
	forAll(t, func(c, a, s state, m Mode) error {
		o := decide(c, a, s, m)
		got, want := applied(c, a, s, o), oracle(c, a, s, m)
		if got != want {
			return fmt.Errorf("\n got %v %+v\nwant %v %+v", got.action, got, want.action, want)
		}
		return properties(c, a, s, m, o, got)
	})
}

// properties are the promises that hold for every decision, said without the table.
func properties(c, a, s state, m Mode, o Outcome, after verdict) error {
	off, on := Rights{}, Rights{On, On, On}
	symmetric := m == Mode{on, on}
	switch {
	case m == Mode{} && o.Action != InSync && o.Action != Unsync:
		return fmt.Errorf("---/---: %v", o.Action)
	case m.In == off && o.ChangesClient():
		return fmt.Errorf("changes the client: %v", o.Action)
	case m.Out == off && o.ChangesServer():
		return fmt.Errorf("changes the server: %v", o.Action)
	case m == Mode{Out: Rights{Force, Force, Force}} && o.LeavesDifference() && c.what != '*' && s.what != '*':
		return fmt.Errorf("a mirror leaves it unsynced: %v", o.Action)
	case c.what == '*' && (o.ChangesClient() || o.ChangesServer() && s != c):
		return fmt.Errorf("touches a special file: %v", o.Action)
	case symmetric && !o.IsSplit() && (lost(c, a, after) || lost(s, a, after)):
		return fmt.Errorf("%v loses content", o.Action)
	case symmetric && o.LeavesDifference() && c.what != '*' && s.what != '*':
		return fmt.Errorf("cud/cud leaves it unsynced: %v", o.Action)
	case o.IsSplit() && o.Conflict == NoConflict && c.what == s.what:
		return fmt.Errorf("%v without a conflict", o.Action)
	case o.Conflict == EditEdit && c.what == s.what && (c.what == 'd' || c.body == s.body):
		return fmt.Errorf("a conflict over equal content")
	}
	if o.IsSplit() {
		return settlesAfterSplit(c, a, s, m, o.Action)
	}
	return settled(after.client, after.ancestor, after.server, m, 0)
}

// lost reports whether the content of x, which is not the ancestor's, is on neither side afterwards.
func lost(x, a state, after verdict) bool {
	has := func(y state) bool { return x.what == y.what && x.body == y.body }
	return x.what != '-' && !has(a) && !has(after.client) && !has(after.server)
}

// settled follows the decisions on one name for a number of steps, after which it must be at rest: nothing changes,
// not even the ancestor.
func settled(c, a, s state, m Mode, steps int) error {
	for {
		o := decide(c, a, s, m)
		after := applied(c, a, s, o)
		if after.client == c && after.server == s && after.ancestor == a && !o.IsSplit() {
			return nil
		}
		if steps == 0 || o.IsSplit() {
			return fmt.Errorf("not at rest: from %v %v %v again %v", c, a, s, o.Action)
		}
		c, a, s = after.client, after.ancestor, after.server
		steps--
	}
}

// settlesAfterSplit follows both names.
func settlesAfterSplit(c, a, s state, m Mode, split Action) error {
	var old, aside [3]state
	switch split {
	case SplitServer:
		old, aside = [3]state{c, nothing, nothing}, [3]state{nothing, nothing, s}
	case SplitServerMove:
		old, aside = [3]state{c, nothing, nothing}, [3]state{nothing, a, s}
	case SplitClientMove:
		old, aside = [3]state{nothing, nothing, s}, [3]state{c, a, nothing}
	}
	for _, x := range [][3]state{old, aside} {
		if err := settled(x[0], x[1], x[2], m, 1); err != nil {
			return fmt.Errorf("after %v: %w", split, err)
		}
	}
	return nil
}

// TestDecideUnknownContent: where NeedsContent says no, an unread file is decided like a read one.
func TestDecideUnknownContent(t *testing.T) {
	asked := 0
	for _, body := range []byte("ABC") {
		c := state{'f', body, 1, 2}
		for _, a := range ancestorStates() {
			for _, s := range serverStates() {
				in := Input{c.entry(), a.entry(), s.entry()}
				if NeedsContent(in) {
					t.Fatalf("needs content that is known: %v %v %v", c, a, s)
				}
				in.Client.Content.Known = false
				if NeedsContent(in) {
					asked++
					continue
				}
				for _, m := range allModes() {
					o := Decide(in, m)
					if got, want := applied(c, a, s, o), oracle(c, a, s, m); got != want {
						t.Fatalf("%v %v %v %v:\n got %+v\nwant %+v", c, a, s, m, got, want)
					}
				}
			}
		}
	}
	never := Input{Client: state{'f', 'A', 1, 2}.entry()}
	never.Client.Content.Known = false
	same := never
	same.Ancestor = state{'f', 'B', 1, 2}.entry()
	if NeedsContent(never) || !NeedsContent(same) || asked == 0 {
		t.Error("NeedsContent: a new file must not be read to decide, an equally large one must")
	}
}

// TestDecideStories are the cases worth reading.
func TestDecideStories(t *testing.T) {
	none, A1, A2, B1, B2 := nothing, state{'f', 'A', 1, 2}, state{'f', 'A', 2, 2}, state{'f', 'B', 1, 3}, state{'f', 'B', 2, 3}
	A3, d1, d2 := state{'f', 'A', 3, 2}, state{what: 'd', mode: 1}, state{what: 'd', mode: 2}
	for _, x := range []struct {
		story   string
		c, a, s state
		mode    string
		want    Action
		result  state
	}{
		{"chmod here, edit there: both", A2, A1, B1, "cud/cud", Merge, B2},
		{"edit here, chmod there: both", B1, A1, A2, "cud/cud", Merge, B2},
		{"chmod here, edit there, nothing goes out: the edit comes in, the mode stays", A2, A1, B1, "cud/---", UseServer, B2},
		{"edit here, chmod there, nothing comes in: the edit goes out, the mode stays", B1, A1, A2, "---/cud", UseClient, B2},
		{"edit here, chmod there, nothing goes out: only the mode comes in", B1, A1, A2, "cud/---", UseServer, B2},
		{"chmod on both: the server's", A2, A1, A3, "cud/cud", UseServer, A3},
		{"no ancestor, same content: the server's mode, no split", A1, none, A2, "cud/cud", UseServer, A2},
		{"no ancestor, directories: likewise", d1, none, d2, "cud/cud", UseServer, d2},
		{"a mirror resets a mode", A1, A1, A2, "---/CUD", UseClient, A1},
		{"chmod here, deleted there: deleted", A2, A1, none, "cud/cud", UseServer, none},
		{"edit on both", B1, A1, state{'f', 'C', 1, 1}, "cud/cud", SplitServer, none},
		{"forced inbound settles it", B1, A1, state{'f', 'C', 1, 1}, "cUd/cud", UseServer, state{'f', 'C', 1, 1}},
		{"forced inbound, chmod here: the mode is kept", B2, A1, state{'f', 'C', 1, 1}, "cUd/cud", Merge, state{'f', 'C', 2, 1}},
		{"directory became a file there", d1, d1, A1, "cud/cud", SplitClientMove, none},
	} {
		mode, err := ParseMode(x.mode)
		if err != nil {
			t.Fatal(err)
		}
		o := decide(x.c, x.a, x.s, mode)
		if o.Action != x.want || !o.IsSplit() && stateOf(o.Result) != x.result {
			t.Errorf("%s: got %v with %v, want %v with %v", x.story, o.Action, stateOf(o.Result), x.want, x.result)
		}
	}
	if o := decide(d1, none, d2, Mode{}); !o.Descend || o.Ancestor.Kind != object.Directory {
		t.Errorf("directories with different modes can't be entered: %+v", o)
	}
}

func TestAgreed(t *testing.T) {
	in := Input{Client: state{'f', 'B', 2, 3}.entry(), Ancestor: state{'f', 'A', 1, 2}.entry(), Server: state{'f', 'A', 1, 2}.entry()}
	in.Client.Content.Known = false
	mode, _ := ParseMode("cud/cud")

	out := Decide(in, mode)
	reported := state{'f', 'C', 3, 4}.entry()
	if got := stateOf(out.Agreed(reported)); got != (state{'f', 'C', 3, 4}) {
		t.Errorf("upload: ancestor is %v, want what was really read", got)
	}
	in.Client = state{'f', 'A', 2, 2}.entry()
	in.Server = state{'f', 'B', 1, 3}.entry()
	mode.Out = Rights{}
	out = Decide(in, mode)
	if got := stateOf(out.Agreed(out.Result)); !out.Partial || got != (state{'f', 'B', 1, 3}) {
		t.Errorf("content came in, mode stays: ancestor is %v, want the server's whole state", got)
	}
	in.Client, in.Server = state{'f', 'B', 1, 3}.entry(), state{'f', 'A', 2, 2}.entry()
	in.Client.Content.Known = false
	out = Decide(in, mode)
	if got := stateOf(out.Agreed(out.Result)); !out.Partial || got != (state{'f', 'A', 2, 2}) {
		t.Errorf("only the mode came in: ancestor is %v, want the old content", got)
	}
	in.Server = object.Entry{}
	mode.In.Delete = Force
	out = Decide(in, mode)
	if got := out.Agreed(object.Entry{}); got.Kind != object.Absent {
		t.Errorf("deletion: ancestor is %v", stateOf(got))
	}
}

func BenchmarkDecide(b *testing.B) {
	in := Input{state{'f', 'A', 2, 2}.entry(), state{'f', 'A', 1, 2}.entry(), state{'f', 'B', 1, 3}.entry()}
	mode, _ := ParseMode("cud/cud")
	for b.Loop() {
		Decide(in, mode)
	}
}
