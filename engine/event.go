package engine

import (
	"ensync/engine/plan"
	"ensync/engine/replica"
)

// Side is one of the two trees, as users call them.
type Side uint8

// The two sides.
const (
	Local  Side = iota // the client
	Remote             // the server
)

// String returns the word that messages use.
func (s Side) String() string {
	if s == Local {
		return "local"
	}
	return "remote"
}

// EventKind says what an Event tells.
type EventKind uint8

// The kinds of events.
const (
	Inspected  EventKind = iota // a name was looked at; Outcome says what becomes of it
	Created                     // New was created on Side
	Updated                     // Old became New on Side
	Renamed                     // Old became NewName on Side
	Deleted                     // Old was deleted on Side
	DeleteTree                  // a directory begins to be deleted on Side, from the bottom up
	Error                       // Err happened to Path
	Transfer                    // Bytes of content were transferred
	Overtaken                   // another machine was faster; the sync starts anew
	Moving                      // Bytes of the content of Path were moved so far; when all are, Transfer tells it
	Moved                       // Old went from Path to the path NewName on Side, with all in it, as it did on the other side
	Planned                     // Plan is to be done in this sync, done parts included; later ones replace earlier ones
)

// Event tells one thing that a sync saw or did. In a dry run the things done are those that would be.
type Event struct {
	Kind    EventKind
	Side    Side
	Path    string
	Old     *replica.Entry
	New     *replica.Entry
	NewName string
	Outcome plan.Outcome
	Err     error
	Bytes   int64
	Plan    *Plan
	// Below says that it happened below a directory that this sync created or is deleting: one line for that directory
	// tells enough to most.
	Below bool
}

// Counts is what changed on one side.
type Counts struct {
	Created, Updated, Deleted int
	Bytes                     int64 // of content created or updated
}

func (c *Counts) add(more Counts) {
	c.Created += more.Created
	c.Updated += more.Updated
	c.Deleted += more.Deleted
	c.Bytes += more.Bytes
}

// Summary is what a sync did, and what it left.
type Summary struct {
	In, Out   Counts // changes of the client, of the server
	Conflicts int    // names that both sides changed, whatever became of them
	Copies    int    // conflict copies made
	Unsynced  int    // entries that the rules or a conflict keep from being in sync, now, in the whole tree
	Failed    int    // entries that could not be synced, now, in the whole tree
	Examined  int    // directories looked at
}

// Clean reports whether everything is in sync now.
func (s Summary) Clean() bool { return s.Unsynced == 0 && s.Failed == 0 }

func (s *Summary) count(e Event) {
	side := &s.In
	if e.Side == Remote {
		side = &s.Out
	}
	switch e.Kind {
	case Created:
		side.Created++
	case Updated, Moved:
		side.Updated++
	case Deleted:
		side.Deleted++
	case Transfer:
		side.Bytes += e.Bytes
	case Error:
		s.Failed++
	case Inspected:
		if e.Outcome.Conflict != plan.NoConflict {
			s.Conflicts++
		}
	}
}
