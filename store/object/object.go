// Package object is the vocabulary of a store: keys, contents, and the entries of a directory. It does no I/O.
package object

import "bytes"

// Key opens one block: it is KT128 (RFC 9861) of the block's plaintext, keyed with the MAC key of a group. Whoever
// has it can find, decrypt and verify the block; it never leaves the sealed parts of a store.
type Key [32]byte

// ID names a block in indexes: SHA3-256("id" ‖ key). It opens nothing.
type ID [32]byte

// InlineMax is the size in bytes up to which content lies in its directory entry instead of in a block.
const InlineMax = 2048

// Content is the content of a regular file, as a store knows it. Two files have the same content exactly if
// Same says so: cutting and hashing are properties of the store, so every client computes the same Key.
type Content struct {
	Known bool   // false: nobody has hashed the file yet; only Size is meaningful
	Size  int64  // bytes
	Depth uint8  // 0: Key is one block of data (or inline); n: Key is a list of blocks, n levels above the data
	Key   Key    // of the only block, of the topmost list, or what a block with the inline bytes would have
	Data  []byte // the content itself if Size <= InlineMax; may be nil where only identity is needed
}

// Same reports whether two known contents are equal. An unknown content equals nothing.
func (c Content) Same(d Content) bool {
	return c.Known && d.Known && c.Size == d.Size && c.Depth == d.Depth && c.Key == d.Key
}

// Kind is what an entry is.
type Kind uint8

// The kinds of entries. Special is whatever is not synchronised: sockets, devices, unknown kinds of a later format.
const (
	Absent Kind = iota
	File
	Directory
	Symlink
	Special
)

// String returns the word that messages use.
func (k Kind) String() string {
	switch k {
	case Absent:
		return "nothing"
	case File:
		return "file"
	case Directory:
		return "directory"
	case Symlink:
		return "symlink"
	}
	return "special file"
}

// Tree names a stored directory: the stream of its encoded entries. Equal directories have equal trees.
type Tree struct {
	Depth uint8
	Key   Key
}

// IsZero reports whether t names nothing.
func (t Tree) IsZero() bool { return t == Tree{} }

// RootID names a root: a tree with a head, groups and a history of its own.
type RootID [16]byte

// Entry is one name in a directory.
type Entry struct {
	Name    string // raw bytes, 1 to 255 of them, no '/' and no NUL, not "." or ".."
	Kind    Kind
	Mode    uint32  // the low 12 bits of st_mode; files and directories
	ModTime int64   // nanoseconds since 1970; files only
	Content Content // files
	Target  string  // symlinks; raw bytes. Of a special entry in a local tree: why it can't be looked at, if it can't
	Tree    Tree    // directories, where the entry comes from a store, but for roots of their own
	Root    RootID  // directories that are roots of their own, likewise; zero for others
	Roots   bool    // directories, likewise: one or more below are roots of their own
	Extra   []byte  // encoded fields beyond these, kept as they are: Copy, and what this version does not know

	// What is synchronised only where the rules say so; "" is not known, which is never the same as none.
	User, Group Owner
	Xattrs      Xattrs // files and directories
	Held        *Held  // in the ancestor: what the client has instead
}

// Equal reports whether two entries agree in kind and in everything that is synchronised for that kind, with the
// name left out: reference 3.1, with mtime in nanoseconds. Unknown content equals nothing.
func (e Entry) Equal(f Entry) bool {
	return e.EqualButTime(f) && (e.Kind != File || e.ModTime == f.ModTime)
}

// EqualButTime is Equal with the modification time left out.
func (e Entry) EqualButTime(f Entry) bool {
	if !e.SameContent(f) || !e.SameAttributes(f) {
		return false
	}
	return e.Kind != File && e.Kind != Directory || e.Mode == f.Mode
}

// SameContent reports whether two entries are of one kind and hold the same bytes or target; directories always do.
func (e Entry) SameContent(f Entry) bool {
	if e.Kind != f.Kind {
		return false
	}
	switch e.Kind {
	case File:
		return e.Content.Same(f.Content)
	case Symlink:
		return e.Target == f.Target
	}
	return true
}

// ValidName reports whether a name can stand in a directory. A store made by an enemy may hold any bytes.
func ValidName(name string) bool {
	if name == "" || len(name) > 255 || name == "." || name == ".." {
		return false
	}
	return !bytes.ContainsAny([]byte(name), "/\x00")
}
