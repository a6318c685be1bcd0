// Package printable makes text of another machine harmless for a terminal and a log.
package printable

import (
	"strings"
	"unicode"
)

// Text returns text on one line, without control characters, cut after limit bytes.
func Text(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, strings.TrimSpace(text))
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "..."
	}
	return text
}
