package rules

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"

	"ensync/store/object"
)

// subject is what a group is evaluated for: one file, or the listings of a directory.
type subject struct {
	single         bool
	one            Facts
	path           string // of one
	client, server []Facts
	dir            string // of the listings
}

func (s *subject) meets(r *rule) bool {
	if s.single {
		return r.holds(&s.one, s.path)
	}
	for _, side := range [2][]Facts{s.client, s.server} {
		for i := range side {
			path := ""
			if r.asksPath() {
				path = s.dir + "/" + side[i].Name
			}
			if r.holds(&side[i], path) {
				return true
			}
		}
	}
	return false
}

func (r *rule) holds(f *Facts, path string) bool {
	for i := range r.conditions {
		if !r.conditions[i].holds(f, path) {
			return false
		}
	}
	return true
}

func (r *rule) asksPath() bool {
	for i := range r.conditions {
		if r.conditions[i].field == byPath {
			return true
		}
	}
	return false
}

// field is what a condition looks at.
type field uint8

const (
	byName field = iota
	byPath
	byPermissions
	byType
	byTarget
	bySizeOver
	bySizeUnder
)

type condition struct {
	field       field
	text        pattern          // name, path, target
	size        int64            // bigger, smaller
	permissions *[1 << 12]bool   // the pattern's answer for each mode
	kinds       [len("fds")]bool // the pattern's answer for file, directory, symlink
}

func (c *condition) holds(f *Facts, path string) bool {
	switch c.field {
	case byName:
		return c.text.found(f.Name)
	case byPath:
		return c.text.found(path)
	case byTarget:
		return f.Kind == object.Symlink && c.text.found(f.Target)
	case byPermissions:
		return (f.Kind == object.File || f.Kind == object.Directory) && c.permissions[f.Mode&07777]
	case byType:
		switch f.Kind {
		case object.File:
			return c.kinds[0]
		case object.Directory:
			return c.kinds[1]
		case object.Symlink:
			return c.kinds[2]
		}
		return false
	case bySizeOver:
		return f.Kind == object.File && f.Size > c.size
	}
	return f.Kind == object.File && f.Size < c.size
}

// possible reports whether any file can meet the condition, where all that it is compared with is known.
func (c *condition) possible() bool {
	switch c.field {
	case byType:
		return slices.Contains(c.kinds[:], true)
	case byPermissions:
		return slices.Contains(c.permissions[:], true)
	}
	return true
}

// newTextCondition compiles a condition whose value is a regular expression.
func newTextCondition(f field, expr string) (condition, error) {
	p, err := compile(expr)
	c := condition{field: f, text: p}
	if err != nil {
		return c, err
	}
	switch f {
	case byPermissions:
		c.permissions = new([1 << 12]bool)
		for mode := range c.permissions {
			c.permissions[mode] = p.found(fmt.Sprintf("%04o", mode))
		}
	case byType:
		for i, letter := range "fds" {
			c.kinds[i] = p.found(string(letter))
		}
	}
	return c, nil
}

// pattern is a regular expression, searched for anywhere. Patterns that are plain text, perhaps anchored, need none.
type pattern struct {
	literal    string
	start, end bool // the literal is anchored there
	re         *regexp.Regexp
}

// found reports whether the pattern occurs in raw bytes, which are read as UTF-8; each byte that is none reads as U+FFFD.
func (p *pattern) found(s string) bool {
	if !utf8.ValidString(s) {
		s = string([]rune(s))
	}
	switch {
	case p.re != nil:
		return p.re.MatchString(s)
	case p.start && p.end:
		return s == p.literal
	case p.start:
		return strings.HasPrefix(s, p.literal)
	case p.end:
		return strings.HasSuffix(s, p.literal)
	}
	return strings.Contains(s, p.literal)
}

// compile reads a regular expression in Go's syntax. What the original's dialect (Rust's regex) reads in another way
// without an error on either side is refused.
func compile(expr string) (pattern, error) {
	re, err := regexp.Compile(expr)
	if err != nil {
		var detail *syntax.Error
		if errors.As(err, &detail) {
			return pattern{}, fmt.Errorf("regular expression %q: %s in %q", expr, detail.Code, detail.Expr)
		}
		return pattern{}, fmt.Errorf("regular expression %q: %w", expr, err)
	}
	if err := checkDialect(expr); err != nil {
		return pattern{}, fmt.Errorf("regular expression %q: %w", expr, err)
	}
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return pattern{}, fmt.Errorf("regular expression %q: %w", expr, err)
	}
	if p, ok := plain(tree.Simplify()); ok {
		return p, nil
	}
	return pattern{re: re}, nil
}

// plain reports whether an expression is nothing but text, perhaps anchored at the start, the end or both.
func plain(tree *syntax.Regexp) (pattern, bool) {
	parts := []*syntax.Regexp{tree}
	if tree.Op == syntax.OpConcat {
		parts = tree.Sub
	}
	var p pattern
	if len(parts) > 0 && parts[0].Op == syntax.OpBeginText {
		p.start, parts = true, parts[1:]
	}
	if n := len(parts); n > 0 && parts[n-1].Op == syntax.OpEndText {
		p.end, parts = true, parts[:n-1]
	}
	if len(parts) != 1 || parts[0].Op != syntax.OpLiteral || parts[0].Flags&syntax.FoldCase != 0 {
		return pattern{}, false
	}
	p.literal = string(parts[0].Rune)
	return p, true
}

// misread are the texts that the original's expressions know and Go's read as something else, outside of classes and
// within.
var misread = [2][]struct{ text, advice string }{
	{
		{`\<`, `is not supported; write < for the character`},
		{`\>`, `is not supported; write > for the character`},
		{`\b{`, `is not supported; write \b alone`},
		{`\B{`, `is not supported; write \B alone`},
		{`{,`, `is ambiguous; write {0, for a repetition, \{ for the character`},
	}, {
		{`[`, `within a class is ambiguous; write \[ for the character, or one class for all`},
		{`&&`, `within a class: intersections are not supported; write \& for the character`},
		{`--`, `within a class: differences are not supported; write \- for the character`},
		{`~~`, `within a class: symmetric differences are not supported; write \~ for the character`},
	},
}

// checkDialect looks for what is misread in an expression that Go accepts.
func checkDialect(expr string) error {
	class := 0 // 1 within a class
	for i := 0; i < len(expr); i++ {
		rest := expr[i:]
		if class == 1 && strings.HasPrefix(rest, "[:") && strings.Contains(rest, ":]") {
			i += strings.Index(rest, ":]") + 1
			continue
		}
		for _, m := range misread[class] {
			if strings.HasPrefix(rest, m.text) {
				return fmt.Errorf("%q %s", m.text, m.advice)
			}
		}
		switch {
		case strings.HasPrefix(rest, `\Q`) && class == 0:
			end := strings.Index(rest, `\E`)
			if end < 0 {
				return nil
			}
			i += end + 1
		case rest[0] == '\\':
			i++
		case class == 0 && rest[0] == '[':
			class = 1
			if strings.HasPrefix(rest, "[^") {
				i++
			}
			if strings.HasPrefix(expr[i+1:], "]") {
				i++ // first in its class: itself
			}
		case class == 1 && rest[0] == ']':
			class = 0
		}
	}
	return nil
}
