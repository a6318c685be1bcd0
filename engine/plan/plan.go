// Package plan decides what becomes of one name: which side's version holds, given what the client, the server and
// their last agreement have there. It is pure: no I/O, no clock.
package plan

import "ensync/store/object"

// Action is what to do with a name.
type Action uint8

// The outcomes of reference 3.2.
const (
	InSync          Action = iota // both sides agree: the ancestor takes their state
	Unsync                        // they differ, and the mode lets nothing be done
	Irreconcilable                // they conflict, and the mode lets nothing be done
	UseClient                     // the server takes Result
	UseServer                     // the client takes Result
	Merge                         // both sides take Result: each had a part of it (content from one, mode from the other)
	SplitServer                   // the server's entry moves aside to a new name, and the ancestor forgets the name
	SplitServerMove               // the server's entry and the ancestor's move aside together (a directory makes room)
	SplitClientMove               // the client's entry and the ancestor's move aside together
)

// Conflict says what both sides did.
type Conflict uint8

// The conflicts of reference 3.2.
const (
	NoConflict         Conflict = iota
	EditEdit                    // both changed the content, differently
	EditDeleteOnServer          // the client changed it, the server deleted it
	EditDeleteOnClient          // the server changed it, the client deleted it
)

// Outcome is a decision.
type Outcome struct {
	Action   Action
	Conflict Conflict
	// Result is what the name shall hold on the side that changes: kind Absent for a deletion. For InSync it is the
	// client's state. Content and target are always one side's whole; the mode may be the other's.
	Result object.Entry
}

// Input is what is known of one name. An entry of kind Absent is not there. Contents must be known wherever two
// sides hold a file (see NeedsContent).
type Input struct {
	Client, Ancestor, Server object.Entry
}
