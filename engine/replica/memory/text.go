package memory

import (
	"fmt"
	"strconv"
	"strings"

	"ensync/engine/replica"
	"ensync/store/object"
)

// Parse builds a tree from one line of text:
//
//	f=1          a file f that holds "1"
//	d/f=1        the same in a directory d
//	d/           a directory
//	l->f         a symlink to f
//	s!           a special file
//
// A file or directory may end in @MODE (octal), and then a file in #TIME (seconds): f=1@755#12, d/@700. Without them
// it has FileMode, DirectoryMode and time 1. Bytes that would be misread are written %XX. A nil hash is SHA256.
func Parse(text string, hash func([]byte) object.Content) (*Tree, error) {
	t := New(hash)
	for _, word := range strings.Fields(text) {
		if err := t.parse(word); err != nil {
			return nil, fmt.Errorf("tree %q: %w", word, err)
		}
	}
	t.durable = t.root.clone()
	return t, nil
}

// Must is Parse with the default hash for texts that are part of a test: it panics where Parse fails.
func Must(text string) *Tree {
	t, err := Parse(text, nil)
	if err != nil {
		panic(err)
	}
	return t
}

const unset = 1 << 31 // no mode was given

func (t *Tree) parse(word string) error {
	if path, target, ok := strings.Cut(word, "->"); ok && !strings.Contains(path, "=") {
		return t.place(path, &node{kind: object.Symlink, target: unescape(target)})
	}
	n := &node{kind: object.File, mode: unset, modTime: second}
	rest, err := n.parseSuffixes(word)
	if err != nil {
		return err
	}
	if path, data, ok := strings.Cut(rest, "="); ok {
		n.data = []byte(unescape(data))
		if n.mode == unset {
			n.mode = FileMode
		}
		return t.place(path, n)
	}
	if path, ok := strings.CutSuffix(rest, "!"); ok {
		return t.place(path, &node{kind: object.Special})
	}
	path, ok := strings.CutSuffix(rest, "/")
	if !ok {
		return fmt.Errorf("neither NAME=DATA nor NAME/ nor NAME->TARGET nor \"NAME!\"")
	}
	n.kind, n.children, n.modTime = object.Directory, map[string]*node{}, 0
	if n.mode == unset {
		n.mode = DirectoryMode
	}
	return t.place(path, n)
}

func (n *node) parseSuffixes(word string) (rest string, err error) {
	rest, time, ok := strings.Cut(word, "#")
	if ok {
		seconds, err := strconv.ParseInt(time, 10, 32)
		if err != nil {
			return "", err
		}
		n.modTime = seconds * second
	}
	rest, mode, ok := strings.Cut(rest, "@")
	if ok {
		bits, err := strconv.ParseUint(mode, 8, 12)
		if err != nil {
			return "", err
		}
		n.mode = uint32(bits)
	}
	return rest, nil
}

// place puts n at an escaped path; a directory that is already there only takes the mode.
func (t *Tree) place(path string, n *node) error {
	path = unescapePath(path)
	if was := t.find(path); was != nil && was.kind == object.Directory && n.kind == object.Directory {
		was.mode = n.mode
		return nil
	}
	return t.put(path, n)
}

// String returns the tree in the notation of Parse, modes where they are not the usual ones, without times.
func (t *Tree) String() string { return t.text(false) }

// StringWithTimes is String with the times of files that are not 1.
func (t *Tree) StringWithTimes() string { return t.text(true) }

func (t *Tree) text(times bool) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var words []string
	var walk func(string, *node)
	walk = func(dir string, n *node) {
		for _, name := range n.names() {
			child, path := n.children[name], replica.Join(dir, escape(name))
			if word := child.text(path, times); word != "" {
				words = append(words, word)
			}
			walk(path, child)
		}
	}
	walk("", t.root)
	return strings.Join(words, " ")
}

// text is one word, or nothing for a directory that its children imply.
func (n *node) text(path string, times bool) string {
	word, usual := path, uint32(FileMode)
	switch n.kind {
	case object.Symlink:
		return path + "->" + escapeData(n.target)
	case object.Special:
		return path + "!"
	case object.Directory:
		word, usual = path+"/", DirectoryMode
		if n.mode == usual && len(n.children) > 0 {
			return ""
		}
	case object.File:
		word += "=" + escapeData(string(n.data))
	}
	if n.mode != usual {
		word += fmt.Sprintf("@%o", n.mode)
	}
	if times && n.kind == object.File && n.modTime != second {
		word += fmt.Sprintf("#%d", n.modTime/second)
	}
	return word
}

func escape(s string) string     { return escapeBytes(s, "%/=@#!>") }
func escapeData(s string) string { return escapeBytes(s, "%@#") }

func escapeBytes(s, odd string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(odd, c) >= 0 {
			fmt.Fprintf(&b, "%%%02x", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func unescapePath(path string) string {
	parts := strings.Split(path, "/")
	for i := range parts {
		parts[i] = unescape(parts[i])
	}
	return strings.Join(parts, "/")
}
