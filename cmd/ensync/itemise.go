package main

import (
	"fmt"
	"io"

	"ensync/engine"
	"ensync/engine/plan"
	"ensync/engine/replica"
	"ensync/store/object"
)

// An itemiser prints one line for each change, much as rsync does; reference 1.7. Names are printed as they are.
type itemiser struct {
	w         io.Writer
	unchanged bool // also a line for what is left as it is
}

// event prints the lines of an event.
func (i itemiser) event(e engine.Event) {
	switch e.Kind {
	case engine.Inspected:
		still := e.Outcome.Action == plan.InSync || e.Outcome.Action == plan.Unsync || e.Outcome.Action == plan.Irreconcilable
		if still && (i.unchanged || e.Outcome.Conflict != plan.NoConflict) {
			i.line(".?", e.Path)
		}
	case engine.Created:
		i.line(createdCode(e), e.Path)
	case engine.Updated:
		i.line(updatedCode(e), e.Path)
	case engine.Renamed:
		i.line("*renamefrom", e.Path)
		i.line("*renameto", replica.Join(replica.Parent(e.Path), e.NewName))
	case engine.Moved:
		i.line("*renamefrom", e.Path)
		i.line("*renameto", e.NewName)
	case engine.Deleted:
		i.line("*delete", e.Path)
		if isRemovedDirectory(e) { // a line for each side, though it was gone from one of them before
			i.line("*delete", e.Path)
		}
	}
}

func (i itemiser) line(code, path string) { fmt.Fprintf(i.w, "%-11s %s\n", code, path) }

func createdCode(e engine.Event) string {
	return string([]byte{updateType(e, true), fileType(e.New)}) + "+++++++++"
}

func updatedCode(e engine.Event) string {
	c := changesOf(e.Old, e.New)
	flags := []byte(".........")
	for i, f := range []struct {
		letter byte
		set    bool
	}{{'c', c.content}, {'s', c.size}, {'t', c.time}, {'p', c.mode}, {'o', c.user}, {'g', c.group}, {}, {}, {'x', c.xattrs}} {
		if f.set {
			flags[i] = f.letter
		}
	}
	return string([]byte{updateType(e, c.content), fileType(e.New)}) + string(flags)
}

type changes struct{ content, size, time, mode, user, group, xattrs bool }

// changesOf compares two states of a name. What is not known of one, did not change.
func changesOf(a, b *replica.Entry) changes {
	if a == nil || b == nil || a.Kind != b.Kind {
		return changes{content: true, mode: true}
	}
	now := b.WithUnknownFrom(*a)
	was := a.WithUnknownFrom(now)
	c := changes{user: was.User != now.User, group: was.Group != now.Group, xattrs: was.Xattrs != now.Xattrs}
	switch a.Kind {
	case object.File:
		c.size = a.Content.Size != b.Content.Size
		c.content = c.size || (a.Content.Known || b.Content.Known) && !a.Content.Same(b.Content) // unread, it was not replaced
		c.time, c.mode = a.ModTime != b.ModTime, a.Mode != b.Mode
	case object.Symlink:
		c.content = a.Target != b.Target
	default:
		c.mode = a.Mode != b.Mode
	}
	return c
}

func updateType(e engine.Event, content bool) byte {
	switch {
	case !content:
		return '.'
	case e.New == nil || e.New.Kind != object.File:
		return 'c'
	case e.Side == engine.Local:
		return '>'
	}
	return '<'
}

func fileType(e *replica.Entry) byte {
	if e == nil {
		return '?'
	}
	switch e.Kind {
	case object.File:
		return 'f'
	case object.Directory:
		return 'd'
	case object.Symlink:
		return 'L'
	case object.Special:
		return 'S'
	}
	return '?'
}
