package plan

import "ensync/store/object"

// NeedsContent reports whether Decide must know the client's content, which costs reading the file. It does not where
// the client's file can't be equal to the other two whatever it holds: they are no files, or of other sizes.
func NeedsContent(in Input) bool {
	c, a, s := in.Client, in.Ancestor, in.Server
	if c.Kind != object.File || c.Content.Known || s.Kind == object.Special {
		return false
	}
	mayBe := func(e object.Entry) bool { return e.Kind == object.File && e.Content.Size == c.Content.Size }
	return mayBe(s) || mayBe(a)
}

// Decide returns what becomes of a name under a mode: the table of reference 3.2, with everything but content merged
// field by field.
//
// Content (bytes, link target, or being a directory) is what conflicts are about. Mode, owner, group and extended
// attributes are each compared with the ancestor's by themselves: a side that alone changed one wins, if both did the
// server wins. mtime belongs to the content; where only mtimes differ the side that alone changed it wins, otherwise the
// newer. An owner, group or set of extended attributes that a side does not know is no difference: what the client has
// and nobody stored goes out, and what the client does not know stays as the server has it.
//
// Rights hold for each part: what must not travel stays as it is on both sides, and what may travel does
// (Outcome.Partial). A client's content that NeedsContent asks for and that is unknown all the same is taken for a
// new one, which is the safe side.
func Decide(in Input, m Mode) Outcome {
	c, a, s := in.Client, in.Ancestor, in.Server
	switch {
	case c.Kind == object.Absent && s.Kind == object.Absent:
		gone := object.Entry{Name: a.Name}
		return Outcome{Action: InSync, Result: gone, Ancestor: gone}
	case c.Equal(s):
		return Outcome{Action: InSync, Result: c, Ancestor: c, Descend: c.Kind == object.Directory}
	case c.Kind == object.Special || s.Kind == object.Special:
		return Outcome{Action: Unsync, Ancestor: a}
	case s.Kind == object.Absent:
		return decideAlone(c, a, alone{keep: UseClient, drop: UseServer, conflict: EditDeleteOnServer,
			here: m.In, there: m.Out})
	case c.Kind == object.Absent:
		return decideAlone(s, a, alone{keep: UseServer, drop: UseClient, conflict: EditDeleteOnClient,
			here: m.Out, there: m.In})
	case c.SameContent(s):
		return mergeAttributes(c, a, s, m)
	}
	return mergeContent(c, a, s, m)
}

// alone describes from which side an entry is seen that the other side lacks.
type alone struct {
	keep, drop  Action // what gives it to the other side, what deletes it here
	conflict    Conflict
	here, there Rights // what may be done on the side that has it, and on the other
}

// decideAlone is lines 4 to 9: only one side has e. Only changed content counts as an edit.
func decideAlone(e, a object.Entry, w alone) Outcome {
	kept := Outcome{Action: w.keep, Result: e, Ancestor: e}
	if w.keep == UseClient && e.Xattrs == object.NoXattrs {
		kept.Result.Xattrs = "" // nothing that needs to be told
	}
	gone := object.Entry{Name: e.Name}
	dropped := Outcome{Action: w.drop, Result: gone, Ancestor: gone}
	idle := Outcome{Action: Unsync, Ancestor: a}

	if a.Kind != object.Absent && e.SameContent(a) { // deleted on the other side
		switch {
		case w.here.Delete != Off:
			return dropped
		case w.there.Create == Force:
			return kept
		}
		return idle
	}
	if a.Kind != object.Absent { // deleted on the other side and edited here
		kept.Conflict, dropped.Conflict, idle.Conflict = w.conflict, w.conflict, w.conflict
		if w.here.Delete != Off || w.there.Update != Off {
			idle.Action = Irreconcilable
		}
	}
	switch {
	case w.there.Create != Off:
		return kept
	case w.here.Delete == Force:
		return dropped
	}
	return idle
}

// way is where one part of an entry travels.
type way uint8

const (
	stay    way = iota // nowhere: it is equal, or it may not
	inward             // the client takes the server's
	outward            // the server takes the client's
)

// change says who changed one part of an entry since the ancestor.
type change uint8

const (
	none change = iota
	onClient
	onServer
	onBoth
)

// travel says where a part goes under a mode. Force sends the other side's back over a change that may not travel
// (lines 11 and 12), and settles who wins if both changed (line 13, with the server before the client).
func travel(c change, m Mode) way {
	iu, ou := m.In.Update, m.Out.Update
	switch {
	case c == onServer && iu != Off, c == onClient && ou == Off && iu == Force:
		return inward
	case c == onClient && ou != Off, c == onServer && iu == Off && ou == Force:
		return outward
	case c != onBoth:
		return stay
	case iu == Force, iu == On && ou != Force:
		return inward
	case ou != Off:
		return outward
	}
	return stay
}

// modeChange says who changed the mode. An ancestor of another kind knows nothing of it.
func modeChange(c, a, s object.Entry) change {
	switch {
	case c.Mode == s.Mode:
		return none
	case a.Kind == c.Kind && a.Mode == c.Mode:
		return onServer
	case a.Kind == c.Kind && a.Mode == s.Mode:
		return onClient
	}
	return onBoth
}

// timeChange says whose mtime wins where content is the same: never both's.
func timeChange(c, a, s object.Entry) change {
	known := a.SameContent(c)
	switch {
	case c.Kind != object.File || c.ModTime == s.ModTime:
		return none
	case known && a.ModTime == c.ModTime:
		return onServer
	case known && a.ModTime == s.ModTime:
		return onClient
	case newer(s, c):
		return onServer
	}
	return onClient
}

// newer reports whether both are files and e was modified after f.
func newer(e, f object.Entry) bool {
	return e.Kind == object.File && f.Kind == object.File && e.ModTime > f.ModTime
}

// mergeAttributes is lines 10 to 13 where both sides hold the same content, or the same kind of thing: only the fields
// apart from content differ.
func mergeAttributes(c, a, s object.Entry, m Mode) Outcome {
	out := Outcome{Descend: c.Kind == object.Directory}
	to := outcomes{client: s, server: s, agreed: s} // with what only a store knows: tree, unknown fields
	to.client.ModTime = c.ModTime
	out.Partial = to.mergeMode(c, a, s, travel(modeChange(c, a, s), m))
	if out.Partial && a.Kind != c.Kind {
		to.agreed.Mode = c.Mode
	}
	if to.mergeOptional(c, a, s, func(by change) way { return travel(by, m) }, travel(onClient, m)) {
		out.Partial = true
	}
	switch who := timeChange(c, a, s); travel(who, m) {
	case inward:
		to.client.ModTime = s.ModTime
	case outward:
		to.server.ModTime, to.agreed.ModTime = c.ModTime, c.ModTime
	default:
		if who == onServer { // the winner is not let through: the ancestor stays with the other, lest that look new
			to.agreed.ModTime = c.ModTime
		}
	}
	return finish(out, c, a, s, to)
}

// mergeContent is lines 11 to 16 where content differs. mtime goes with content.
func mergeContent(c, a, s object.Entry, m Mode) Outcome {
	var out Outcome
	var content way
	switch {
	case a.Kind != object.Absent && a.SameContent(c):
		content = travel(onServer, m)
	case a.Kind != object.Absent && a.SameContent(s):
		content = travel(onClient, m)
	default:
		out.Conflict = EditEdit
		content = settleConflict(c, s, m)
		if content == stay {
			return split(out, a, m)
		}
	}
	if c.Kind == object.Directory && content == inward || s.Kind == object.Directory && content == outward {
		// The directory guard: never replaced, it moves aside with what is known of it. The source is no directory,
		// as two directories have the same content.
		out.Action = SplitClientMove
		if content == outward {
			out.Action = SplitServerMove
		}
		out.Ancestor.Name = c.Name
		return out
	}

	to := outcomes{client: c, server: s, agreed: a}
	switch content {
	case inward:
		to.client, to.agreed = s, s
	case outward:
		to.server, to.agreed = c, c
		if c.Kind == s.Kind && to.server.Extra == nil {
			to.agreed.Extra, to.server.Extra = s.Extra, s.Extra
		}
	}
	apart := func(by change) way { return travel(by, m) }
	if a.Kind != c.Kind || a.Kind != s.Kind {
		apart = func(change) way { return content } // two creations, or other kinds: nothing of the loser's is kept
	}
	out.Partial = content == stay
	if to.mergeMode(c, a, s, apart(modeChange(c, a, s))) {
		out.Partial = true
	}
	if c.Kind == s.Kind && to.mergeOptional(c, a, s, apart, travel(onClient, m)) {
		out.Partial = true
	}
	return finish(out, c, a, s, to)
}

// settleConflict is the first half of line 16: force decides, for the newer if it is on both sides.
func settleConflict(c, s object.Entry, m Mode) way {
	iu, ou := m.In.Update == Force, m.Out.Update == Force
	switch {
	case iu && (!ou || newer(s, c)):
		return inward
	case ou:
		return outward
	}
	return stay
}

// split is NEED-SPLIT: both versions are kept if both may be created on the other side.
func split(out Outcome, a object.Entry, m Mode) Outcome {
	switch {
	case m.In.Update == Off && m.Out.Update == Off:
		out.Action, out.Ancestor = Unsync, a
	case m.In.Create != Off && m.Out.Create != Off:
		out.Action, out.Ancestor.Name = SplitServer, a.Name
	default:
		out.Action, out.Ancestor = Irreconcilable, a
	}
	return out
}

// finish names the action that takes the two sides to their new states.
func finish(out Outcome, c, a, s object.Entry, to outcomes) Outcome {
	client := differs(c, to.client)
	server := differs(s, to.server)
	out.Ancestor = to.agreed
	switch {
	case client && server:
		out.Action, out.Result = Merge, to.server
	case client:
		out.Action, out.Result = UseServer, to.client
	case server:
		out.Action, out.Result = UseClient, to.server
	case out.Partial:
		out.Action, out.Partial = Unsync, false
		if !out.Descend || a.Kind == object.Directory { // a directory must be in the ancestor to be entered
			out.Ancestor = a
		}
	default:
		out.Action, out.Result = InSync, c
	}
	return out
}

// differs is not Equal for two states of one side; a client's content that nobody has read is itself.
func differs(old, now object.Entry) bool {
	if old.Kind == object.File && now.Kind == object.File && !old.Content.Known && !now.Content.Known {
		return old.Mode != now.Mode || old.ModTime != now.ModTime || !old.SameAttributes(now)
	}
	return !old.Equal(now)
}
