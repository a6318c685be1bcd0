package plan

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxName is the longest name in bytes that a directory may hold; see object.ValidName.
const maxName = 255

// FreshName returns a name for an entry that moves aside, such as foo~1.txt for foo.txt and foo~2.txt for foo~1.txt:
// the first that is not taken. taken should know the names of client, ancestor and server alike.
//
// The rules are those of reference 3.3: the extension starts at the last dot, a leading dot starts none; the number
// replaces what follows the last '~' of the stem. Beyond them, bytes that are no UTF-8 are kept as they are, and a
// name that would grow over 255 bytes loses the end of what stands before the '~', or, where that is not enough, its
// extension.
func FreshName(name string, taken func(string) bool) string {
	stem, ext := name, ""
	if dot := strings.LastIndexByte(name, '.'); dot > 0 {
		stem, ext = name[:dot], name[dot:]
	}
	for n := uint64(1); ; n++ {
		fresh := numbered(stem, ext, n)
		if len(fresh) > maxName {
			fresh = numbered(name, "", n)
		}
		if !taken(fresh) {
			return fresh
		}
	}
}

// numbered joins stem, number and extension. The result is too long only if number and extension alone leave no room.
func numbered(stem, ext string, n uint64) string {
	if tilde := strings.LastIndexByte(stem, '~'); tilde >= 0 {
		stem = stem[:tilde]
	}
	tail := "~" + strconv.FormatUint(n, 10) + ext
	return cut(stem, max(maxName-len(tail), min(len(stem), 1))) + tail
}

// cut shortens s to at most n bytes, not within a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for back := 0; back < utf8.UTFMax && back <= n; back++ {
		if utf8.RuneStart(s[n-back]) {
			return s[:n-back]
		}
	}
	return s[:n] // no UTF-8
}
