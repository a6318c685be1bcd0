package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"ensync/engine"
	"ensync/engine/plan"
	"ensync/store/backend"
	"ensync/store/object"
)

// A level is how important a line of the log is; reference 1.6.
type level int

// The levels.
const (
	fatalLevel level = 1 + iota
	errorLevel
	warnLevel
	editLevel
	infoLevel
)

var levelNames = [...]string{fatalLevel: "FATAL", errorLevel: "ERROR", warnLevel: "WARN ", editLevel: "EDIT ", infoLevel: "INFO "}
var levelColours = [...]string{fatalLevel: "\x1b[1;31m", errorLevel: "\x1b[31m", warnLevel: "\x1b[33m", editLevel: "\x1b[36m", infoLevel: ""}

// eraseLine takes away what a progress line left.
const eraseLine = "\x1b[K"

// A logger prints what a sync does, for people.
type logger struct {
	w      io.Writer
	level  level
	deep   bool // also what happens below directories that are made or deleted
	colour bool
	erase  string // what each line begins with: eraseLine if there is, or may be, a progress line; else nothing
}

// newLogger returns a logger for lines above which a progress line may be shown (spin), and which may be in colour.
func newLogger(w io.Writer, verbose, quiet int, colour, spin bool) *logger {
	l := &logger{w: w, level: level(int(editLevel) + verbose - quiet), colour: colour}
	if spin {
		l.erase = eraseLine
	}
	if l.level > editLevel {
		l.level--
		l.deep = true
	}
	l.level = max(l.level, fatalLevel)
	return l
}

// shows reports whether lines of a level are printed.
func (l *logger) shows(v level) bool { return v <= l.level }

// say prints a sentence about the whole run.
func (l *logger) say(v level, format string, args ...any) {
	if l.shows(v) {
		fmt.Fprintf(l.w, "%s%s\n", l.erase, fmt.Sprintf(format, args...))
	}
}

// event prints an event, if its level is shown, and reports whether it did.
func (l *logger) event(e engine.Event) bool {
	v, text := describe(e)
	if text == "" || !l.shows(v) || !l.deep && e.Below && v == editLevel {
		return false
	}
	if !l.deep && isRemovedDirectory(e) {
		return false // its recursive deletion was told
	}
	start, bold, end := "", "", ""
	if l.colour {
		start, bold, end = levelColours[v], "\x1b[1m", "\x1b[0m"
	}
	path := e.Path
	if path == "" {
		path = "."
	}
	fmt.Fprintf(l.w, "%s%s[%s] %-6s %s%s%s: %s\n", l.erase, start, levelNames[v], e.Side, bold, printable(path), end,
		strings.ReplaceAll(text, "\n", "\n        "))
	return true
}

func isRemovedDirectory(e engine.Event) bool {
	return e.Kind == engine.Deleted && e.Old != nil && e.Old.Kind == object.Directory
}

// describe returns an event's level and text; no text for what is not logged.
func describe(e engine.Event) (level, string) {
	switch e.Kind {
	case engine.Inspected:
		return describeInspection(e.Outcome)
	case engine.Created:
		return editLevel, "create\n+ " + dataText(e.New)
	case engine.Updated:
		return editLevel, "update\n- " + dataText(e.Old) + "\n+ " + dataText(e.New)
	case engine.Moved:
		return editLevel, "move\n-> " + printable(e.NewName)
	case engine.Renamed:
		return editLevel, "rename\n-> " + printable(e.NewName)
	case engine.DeleteTree:
		return editLevel, "delete recursively"
	case engine.Deleted:
		if isRemovedDirectory(e) {
			return editLevel, "remove directory"
		}
		return editLevel, "delete\n- " + dataText(e.Old)
	case engine.Error:
		if errors.Is(e.Err, backend.ErrUnavailable) {
			return fatalLevel, e.Err.Error()
		}
		return errorLevel, e.Err.Error()
	}
	return infoLevel, ""
}

var actionTexts = map[plan.Action]string{
	plan.InSync: "in sync", plan.Unsync: "out of sync, not changing", plan.Irreconcilable: "irreconcilable",
	plan.UseClient: "using local version", plan.UseServer: "using remote version", plan.Merge: "merging both versions",
	plan.SplitServer: "renaming file on remote", plan.SplitServerMove: "renaming file on remote",
	plan.SplitClientMove: "renaming file on local",
}

var conflictTexts = map[plan.Conflict]string{
	plan.EditEdit:           "(content changed on local, content changed on remote)",
	plan.EditDeleteOnServer: "(changed on local, deleted on remote)",
	plan.EditDeleteOnClient: "(deleted on local, changed on remote)",
}

func describeInspection(o plan.Outcome) (level, string) {
	if o.Conflict == plan.NoConflict {
		return infoLevel, actionTexts[o.Action]
	}
	return warnLevel, actionTexts[o.Action] + "\n" + conflictTexts[o.Conflict]
}
