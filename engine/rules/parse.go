package rules

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"ensync/engine/internal/nearest"
	"ensync/engine/plan"
)

// The words of the language.
var (
	groupNames = []string{files: "files", siblings: "siblings"}
	textFields = map[string]field{"name": byName, "path": byPath, "permissions": byPermissions, "type": byType, "target": byTarget}
	sizeFields = map[string]field{"bigger": bySizeOver, "smaller": bySizeUnder}
	valuesOf   = map[field]string{byType: `f (file), d (directory) or s (symbolic link), like "[fd]"`,
		byPermissions: `it for four octal digits, like "^0[0-7]00$"`}
	stopWords  = map[string]stop{"return": stopReturn, "all": stopAll}
	ruleFields = append([]string{"mode", "trust_client_unix_mode", "sync_owner", "sync_xattrs", "include", "switch", "stop"},
		append(slices.Sorted(maps.Keys(textFields)), slices.Sorted(maps.Keys(sizeFields))...)...)
	usualModes = append(plan.ModeNames(), "cud/cud", "CUD/CUD", "---/cud", "cud/---", "---/CUD", "CUD/---", "---/---")
)

// Parse reads the decoded [rules] table of a configuration (tables as map[string]any, arrays as []any or
// []map[string]any, integers as int64).
//
// The table's keys are states, one of them root; a state's are files and siblings, each an array of rules. A rule's
// conditions, all of which must hold, are regular expressions found anywhere: name, path (from the root of the tree,
// with a leading slash), permissions (of files and directories, four octal digits), type (f, d or s), target (of
// symlinks), and for files bigger and smaller (bytes). Its actions, executed in this order: mode, trust_client_unix_mode,
// sync_owner, sync_xattrs (both off unless a rule says true), include (states whose same group is evaluated here), switch
// (the state for what is in this directory), stop (return: leave this state; all: leave all).
//
// Regular expressions are Go's. They differ from the original's (Rust's regex) in this: \d, \w, \s and \b know ASCII
// only; there is no (?x) and no \u{...} (write \x{...}); what Go would read in another way, such as && and [ within a
// class, is refused. docs/config.md has all of it.
//
// The error, which joins all mistakes, one a line, names section, rule number (from 1) and field of each.
func Parse(table map[string]any) (*Set, error) {
	p := parser{set: &Set{}, index: map[string]int{}}
	p.numberStates(table)
	for i := range p.set.states {
		p.state(i, table[p.set.states[i].name])
	}
	if len(p.problems) == 0 {
		p.checkReachable()
	}
	if len(p.problems) > 0 {
		return nil, errors.Join(p.problems...)
	}
	text, err := json.Marshal(table) // sorts keys
	if err != nil {
		return nil, fmt.Errorf("[rules]: %w", err)
	}
	p.set.fingerprint = sha256.Sum256(text)
	return p.set, nil
}

type parser struct {
	set      *Set
	index    map[string]int
	problems []error
}

// where is the place of a mistake.
type where struct {
	section string // rules.root.files
	rule    int    // from 1
	field   string
}

func (w where) String() string {
	s := "[" + w.section + "]"
	if w.rule > 0 {
		s = fmt.Sprintf("[[%s]], rule %d", w.section, w.rule)
	}
	if w.field != "" {
		s += ", " + w.field
	}
	return s
}

func (p *parser) fail(w where, format string, args ...any) {
	p.problems = append(p.problems, fmt.Errorf("%v: "+format, append([]any{w}, args...)...))
}

// numberStates gives root the number 0 and the others theirs by name.
func (p *parser) numberStates(table map[string]any) {
	names := slices.Sorted(maps.Keys(table))
	if _, ok := table["root"]; !ok {
		p.fail(where{section: "rules"}, `there is no state "root", where evaluation starts; write at least [[rules.root.files]] with a mode%s`,
			stateHint(names))
	}
	slices.SortStableFunc(names, func(a, b string) int {
		switch {
		case a == "root":
			return -1
		case b == "root":
			return 1
		}
		return strings.Compare(a, b)
	})
	for i, name := range names {
		p.index[name] = i
		p.set.states = append(p.set.states, ruleState{name: name})
	}
}

// stateHint names the state that was probably meant to be root.
func stateHint(names []string) string {
	if near := nearest.Word("root", names); near != "" {
		return fmt.Sprintf("; is it the one called %q?", near)
	}
	return ""
}

func (p *parser) state(i int, value any) {
	name := p.set.states[i].name
	at := where{section: "rules." + name}
	table, ok := value.(map[string]any)
	if !ok {
		p.fail(at, "a state is a table, not %s; write [[rules.%s.files]]", kindOf(value), name)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(table)) {
		group := slices.Index(groupNames, key)
		if group < 0 {
			p.fail(at, "unknown group %q; allowed are files and siblings%s", key, nearest.Hint(key, groupNames))
			continue
		}
		at := where{section: at.section + "." + key}
		rules, ok := tables(table[key])
		if !ok {
			p.fail(at, "a group is an array of tables, not %s; write [[%s]]", kindOf(table[key]), at.section)
			continue
		}
		for n, rule := range rules {
			at.rule = n + 1
			p.set.states[i].groups[group] = append(p.set.states[i].groups[group], p.rule(at, rule))
		}
		p.set.siblings = p.set.siblings || group == siblings && len(rules) > 0
	}
}

// tables reads an array of tables; elements that are none come as nil.
func tables(value any) ([]map[string]any, bool) {
	switch v := value.(type) {
	case []map[string]any:
		return v, true
	case []any:
		list := make([]map[string]any, len(v))
		for i := range v {
			list[i], _ = v[i].(map[string]any)
		}
		return list, true
	}
	return nil, false
}

func (p *parser) rule(at where, table map[string]any) rule {
	r := rule{next: none}
	if table == nil {
		p.fail(at, "a rule is a table")
		return r
	}
	for _, key := range slices.Sorted(maps.Keys(table)) {
		at.field = key
		p.field(at, &r, table[key])
	}
	return r
}

func (p *parser) field(at where, r *rule, value any) {
	if f, ok := textFields[at.field]; ok {
		p.textCondition(at, r, f, value)
		return
	}
	if f, ok := sizeFields[at.field]; ok {
		p.sizeCondition(at, r, f, value)
		return
	}
	switch at.field {
	case "mode":
		p.mode(at, r, value)
	case "trust_client_unix_mode":
		r.trust = p.flag(at, value)
	case "sync_owner":
		r.owner = p.flag(at, value)
		p.set.owner = p.set.owner || r.owner != nil && *r.owner
	case "sync_xattrs":
		r.xattrs = p.flag(at, value)
		p.set.xattrs = p.set.xattrs || r.xattrs != nil && *r.xattrs
	case "include":
		p.include(at, r, value)
	case "switch":
		if name, ok := p.word(at, value); ok {
			r.next = p.reference(at, name)
		}
	case "stop":
		if word, ok := p.word(at, value); ok {
			if r.stop = stopWords[word]; r.stop == goOn {
				words := slices.Sorted(maps.Keys(stopWords))
				p.fail(at, `unknown word %q; allowed are "return" and "all"%s`, word, nearest.Hint(word, words))
			}
		}
	default:
		p.fail(at, "unknown field; allowed are %s%s", strings.Join(ruleFields, ", "), nearest.Hint(at.field, ruleFields))
	}
}

func (p *parser) textCondition(at where, r *rule, f field, value any) {
	expr, ok := p.word(at, value)
	if !ok {
		return
	}
	c, err := newTextCondition(f, expr)
	if err != nil {
		p.fail(at, "%w; the syntax is that of Go's regexp package (RE2)", err)
		return
	}
	if !c.possible() {
		p.fail(at, "regular expression %q is found in none of what it is compared with; write %s", expr, valuesOf[f])
		return
	}
	p.set.paths = p.set.paths || f == byPath
	r.conditions = append(r.conditions, c)
}

func (p *parser) sizeCondition(at where, r *rule, f field, value any) {
	size, ok := value.(int64)
	switch {
	case !ok:
		p.fail(at, "must be a whole number of bytes, not %s", kindOf(value))
	case size < 0:
		p.fail(at, "must not be negative: %d; allowed are 0 to %d bytes", size, int64(math.MaxInt64))
	default:
		r.conditions = append(r.conditions, condition{field: f, size: size})
	}
}

func (p *parser) mode(at where, r *rule, value any) {
	text, ok := p.word(at, value)
	if !ok {
		return
	}
	mode, err := plan.ParseMode(text)
	if err != nil {
		p.fail(at, "%w%s", err, nearest.Hint(text, usualModes))
		return
	}
	r.mode = &mode
}

func (p *parser) flag(at where, value any) *bool {
	set, ok := value.(bool)
	if !ok {
		p.fail(at, "must be true or false, not %s", kindOf(value))
	}
	return &set
}

func (p *parser) include(at where, r *rule, value any) {
	names := []any{value}
	if list, ok := value.([]any); ok {
		names = list
	}
	for _, v := range names {
		if name, ok := p.word(at, v); ok {
			r.include = append(r.include, p.reference(at, name))
		}
	}
}

// word reads a string.
func (p *parser) word(at where, value any) (string, bool) {
	s, ok := value.(string)
	if !ok {
		p.fail(at, "must be a string, not %s", kindOf(value))
	}
	return s, ok
}

// reference returns the number of a state.
func (p *parser) reference(at where, name string) int {
	i, ok := p.index[name]
	if !ok {
		p.fail(at, "there is no state %q%s", name, nearest.Hint(name, slices.Sorted(maps.Keys(p.index))))
		return none
	}
	return i
}

// checkReachable finds the states that no chain of include and switch leads to from root.
func (p *parser) checkReachable() {
	reached := make([]bool, len(p.set.states))
	reached[0] = true
	for queue := []int{0}; len(queue) > 0; queue = queue[1:] {
		for _, group := range p.set.states[queue[0]].groups {
			for _, r := range group {
				for _, to := range append([]int{r.next}, r.include...) {
					if to != none && !reached[to] {
						reached[to] = true
						queue = append(queue, to)
					}
				}
			}
		}
	}
	for i, ok := range reached {
		if name := p.set.states[i].name; !ok {
			p.fail(where{section: "rules." + name}, "no include or switch leads here from root; use state %q or remove it", name)
		}
	}
}

// kindOf names a TOML value's type.
func kindOf(value any) string {
	switch value.(type) {
	case string:
		return "a string"
	case int64, int:
		return "an integer"
	case float64:
		return "a fraction"
	case bool:
		return "true or false"
	case []any, []map[string]any:
		return "an array"
	case map[string]any:
		return "a table"
	}
	return "a date or time"
}
