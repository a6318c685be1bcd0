// Package rules says which sync mode applies to which file: the language of the configuration's [rules] table. It is
// pure: no I/O, no clock.
//
// The language is that of reference 2.3 and 2.4. A rule set is a set of named states, each with two groups of rules,
// "files" and "siblings"; a walk down the tree starts in state root and carries a State along. See Parse for the text
// and State for the walk.
package rules

import (
	"crypto/sha256"

	"ensync/engine/plan"
	"ensync/store/object"
)

// Facts is what rules can ask about one file.
type Facts struct {
	Name   string
	Kind   object.Kind
	Mode   uint32 // the low 12 bits of st_mode; files and directories
	Size   int64  // bytes; files
	Target string // symlinks
}

// FactsOf returns what rules can ask about an entry.
func FactsOf(e object.Entry) Facts {
	return Facts{Name: e.Name, Kind: e.Kind, Mode: e.Mode, Size: e.Content.Size, Target: e.Target}
}

// Set is a rule set. It never changes, and may be used by any number of goroutines.
type Set struct {
	states      []ruleState // [0] is root
	siblings    bool        // some rule is in a siblings group
	paths       bool        // some rule asks for a path
	owner       bool        // some rule turns sync_owner on
	xattrs      bool        // some rule turns sync_xattrs on
	fingerprint [32]byte
}

type ruleState struct {
	name   string
	groups [2][]rule // files, siblings
}

// The groups of a state.
const (
	files = iota
	siblings
)

// rule is conditions, all of which must hold, and actions in the order in which they are executed.
type rule struct {
	conditions []condition
	mode       *plan.Mode
	trust      *bool
	owner      *bool
	xattrs     *bool
	include    []int
	next       int // the state to switch to, or none
	stop       stop
}

// none stands for no state.
const none = -1

type stop uint8

const (
	goOn       stop = iota
	stopReturn      // leave this state
	stopAll         // leave all states
)

// Always returns the set with which one mode applies to everything, as --override-mode wants it.
func Always(m plan.Mode) *Set {
	only := ruleState{name: "root"}
	only.groups[files] = []rule{{mode: &m, next: none}}
	return &Set{states: []ruleState{only}, fingerprint: sha256.Sum256([]byte("always " + m.String()))}
}

// Fingerprint changes when the rules do (and may change with the text alone).
func (s *Set) Fingerprint() [32]byte { return s.fingerprint }

// NeedsListings reports whether Enter looks at the listings; if not they may be nil.
func (s *Set) NeedsListings() bool { return s.siblings }

// SyncsOwner and SyncsXattrs report whether anything at all can be synchronised so.
func (s *Set) SyncsOwner() bool { return s.owner }

// SyncsXattrs is explained at SyncsOwner.
func (s *Set) SyncsXattrs() bool { return s.xattrs }

// Uniform returns the mode that applies to everything, if the same one does whatever its name, kind or place.
func (s *Set) Uniform() (plan.Mode, bool) {
	if s.siblings || len(s.states) != 1 {
		return plan.Mode{}, false
	}
	for _, r := range s.states[0].groups[files] {
		if len(r.conditions) > 0 {
			return plan.Mode{}, false
		}
	}
	mode, _, _ := s.Root().Enter(nil, nil).Entry(Facts{})
	return mode, true
}

// Root returns the state in which the root directory is to be entered: mode ---/---, client modes trusted, owners and
// extended attributes left alone.
func (s *Set) Root() State { return State{set: s, trust: true, next: none} }

// State is what a walk carries from a directory to what is in it: for each directory first Enter, then Entry for each
// name in it, whose third result is where the walk of a sub-directory goes on (with Enter). It is an immutable value.
type State struct {
	set     *Set
	mode    plan.Mode
	trust   bool
	owner   bool
	xattrs  bool
	current int    // the state whose rules are evaluated
	next    int    // the state that a rule switched to when the directory was evaluated, until it is entered
	path    string // of the directory, "" for the root; kept only where rules ask for it
}

// Enter returns the state for the entries of a directory, given what the client and the server list in it. Its
// siblings rules are those of the state before a switch that the directory itself caused; a rule holds if any one
// file on either side meets all its conditions, hence never in an empty directory.
func (st State) Enter(client, server []Facts) State {
	if st.set.siblings {
		st.evaluate(siblings, &subject{client: client, server: server, dir: st.path})
	}
	if st.next != none {
		st.current, st.next = st.next, none
	}
	return st
}

// Entry evaluates one name of a directory that was entered. f is the client's version, else the ancestor's, else the
// server's. It returns the mode that applies to the name, whether the client's permissions can be trusted, and, for a
// directory, the state in which to enter it.
func (st State) Entry(f Facts) (mode plan.Mode, trust bool, inside State) {
	path := ""
	if st.set.paths {
		path = st.path + "/" + f.Name
	}
	st.evaluate(files, &subject{single: true, one: f, path: path})
	st.path = path
	return st.mode, st.trust, st
}

// SyncsOwner reports whether owner and group of the name that Entry returned this for are synchronised.
func (st State) SyncsOwner() bool { return st.owner }

// SyncsXattrs reports whether its extended attributes are.
func (st State) SyncsXattrs() bool { return st.xattrs }

// evaluate applies a group of the current state.
func (st *State) evaluate(group int, about *subject) {
	st.apply(group, about, frame{state: st.current})
}

// frame is one of the states that are being evaluated, each included by the one above.
type frame struct {
	state int
	above *frame
}

func (f *frame) has(state int) bool {
	for ; f != nil; f = f.above {
		if f.state == state {
			return true
		}
	}
	return false
}

// apply runs the rules of one state and reports whether to go on with the state that included it.
func (st *State) apply(group int, about *subject, at frame) bool {
	rules := st.set.states[at.state].groups[group]
	for i := range rules {
		r := &rules[i]
		if !about.meets(r) {
			continue
		}
		if r.mode != nil {
			st.mode = *r.mode
		}
		if r.trust != nil {
			st.trust = *r.trust
		}
		if r.owner != nil {
			st.owner = *r.owner
		}
		if r.xattrs != nil {
			st.xattrs = *r.xattrs
		}
		for _, state := range r.include {
			if at.has(state) {
				continue // recursion ends here
			}
			if !st.apply(group, about, frame{state, &at}) {
				return false
			}
		}
		if r.next != none {
			st.next = r.next
		}
		switch r.stop {
		case stopReturn:
			return true
		case stopAll:
			return false
		}
	}
	return true
}
