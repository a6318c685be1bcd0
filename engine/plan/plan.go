// Package plan decides what becomes of one name: which side's version holds, given what the client, the server and
// their last agreement have there. It is pure: no I/O, no clock.
package plan

import "ensync/store/object"

// Action is what to do with a name.
type Action uint8

// The outcomes of reference 3.2.
const (
	InSync          Action = iota // both sides agree
	Unsync                        // they differ, and the mode lets nothing be done
	Irreconcilable                // they conflict, and the mode lets nothing be done
	UseClient                     // the server takes Result
	UseServer                     // the client takes Result
	Merge                         // both sides take Result: each had a part of it (content from one, mode from the other)
	SplitServer                   // the server's entry moves aside to a new name, and the ancestor forgets the name
	SplitServerMove               // the server's entry and the ancestor's move aside together (a directory makes room)
	SplitClientMove               // the client's entry and the ancestor's move aside together
)

// String returns the word that messages use.
func (a Action) String() string {
	names := [...]string{"in sync", "out of sync", "irreconcilable", "use local", "use remote", "merge",
		"move remote aside", "move remote directory aside", "move local directory aside"}
	if int(a) < len(names) {
		return names[a]
	}
	return "unknown action"
}

// Conflict says what both sides did.
type Conflict uint8

// The conflicts of reference 3.2.
const (
	NoConflict         Conflict = iota
	EditEdit                    // both changed the content, differently
	EditDeleteOnServer          // the client changed it, the server deleted it
	EditDeleteOnClient          // the server changed it, the client deleted it
)

// String returns the words that messages use.
func (c Conflict) String() string {
	names := [...]string{"no conflict", "edited on both sides", "edited locally, deleted remotely",
		"edited remotely, deleted locally"}
	if int(c) < len(names) {
		return names[c]
	}
	return "unknown conflict"
}

// Outcome is a decision.
type Outcome struct {
	Action   Action
	Conflict Conflict
	// Result is what the name shall hold on the side that changes (both sides for Merge): kind Absent for a deletion.
	// Content and target are always one side's whole; mode and mtime may be the other's. For InSync it is the
	// client's state; for splits and where nothing is done it means nothing.
	Result object.Entry
	// Ancestor is what the ancestor shall hold for this name when the action is done: the input's where nothing was
	// agreed on, Absent to forget it. It differs from Result where the two sides still differ (Partial, or an mtime
	// that must not travel): it then keeps the state from which the next decision is the same. See Agreed.
	Ancestor object.Entry
	// Descend says that both sides hold a directory now, so that the engine may enter it whatever the action is.
	Descend bool
	// Partial says that the action is only the half that the mode permits: content or mode still differ afterwards,
	// as if the action were Unsync.
	Partial bool
}

// ChangesClient reports whether the action changes the client's tree.
func (o Outcome) ChangesClient() bool {
	return o.Action == UseServer || o.Action == Merge || o.Action == SplitClientMove
}

// ChangesServer reports whether the action changes the server's tree.
func (o Outcome) ChangesServer() bool {
	switch o.Action {
	case UseClient, Merge, SplitServer, SplitServerMove:
		return true
	}
	return false
}

// IsSplit reports whether an entry moves aside to a fresh name; both names are then to be decided again.
func (o Outcome) IsSplit() bool { return o.Action >= SplitServer }

// LeavesDifference reports whether the two sides still differ in what counts when the action is done: the entry is
// to be remembered as unsynced.
func (o Outcome) LeavesDifference() bool {
	return o.Action == Unsync || o.Action == Irreconcilable || o.Partial
}

// Agreed returns what the ancestor shall hold, given what the changed side reports back after taking Result: the
// content that was really transferred, and the mode and mtime that the side could really keep, except for those
// that the two sides do not share. Owner, group and extended attributes that a client could not keep are agreed on all
// the same, and what it has instead is noted beside them (Held): it is never taken for somebody's change.
func (o Outcome) Agreed(reported object.Entry) object.Entry {
	switch {
	case o.Action != UseClient && o.Action != UseServer && o.Action != Merge:
		return o.Ancestor
	case reported.Kind == object.Absent || reported.Kind != o.Ancestor.Kind:
		return reported
	}
	agreed := reported
	was, is := o.Ancestor.Content, o.Result.Content
	switch {
	case reported.Kind == object.File && (was.Known || is.Known) && !was.Same(is): // only fields were transferred
		agreed = o.Ancestor
		if o.Ancestor.Mode == o.Result.Mode {
			agreed.Mode = reported.Mode
		}
	default:
		if o.Ancestor.Mode != o.Result.Mode {
			agreed.Mode = o.Ancestor.Mode
		}
		if o.Ancestor.ModTime != o.Result.ModTime {
			agreed.ModTime = o.Ancestor.ModTime
		}
	}
	agreed.User, agreed.Group, agreed.Xattrs, agreed.Held = o.Ancestor.User, o.Ancestor.Group, o.Ancestor.Xattrs, o.Ancestor.Held
	if o.Action != UseClient {
		if agreed.Xattrs == "" && reported.Xattrs == object.NoXattrs {
			agreed.Xattrs = reported.Xattrs
		}
		agreed.Held = held(o.Ancestor, o.Result, reported)
	}
	return agreed
}

// held returns what a client has instead of the agreed fields that it was given; nil if it has them.
func held(agreed, given, has object.Entry) *object.Held {
	var h object.Held
	if given.User != "" && given.User == agreed.User && has.User != given.User {
		h.User = has.User
	}
	if given.Group != "" && given.Group == agreed.Group && has.Group != given.Group {
		h.Group = has.Group
	}
	if given.Xattrs != "" && given.Xattrs == agreed.Xattrs && has.Xattrs != given.Xattrs {
		h.Xattrs = has.Xattrs
	}
	if h == (object.Held{}) {
		return nil
	}
	return &h
}

// Input is what is known of one name. An entry of kind Absent is not there. The server's and the ancestor's contents
// are always known; the client's must be where NeedsContent says so.
type Input struct {
	Client, Ancestor, Server object.Entry
}
