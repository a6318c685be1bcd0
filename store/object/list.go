package object

import (
	"encoding/binary"
	"fmt"
)

// Ref is one item of a list: a block and how many bytes of the stream lie under it.
type Ref struct {
	Key    Key
	Length int64
}

// The number of items after which a list may end, and must.
const (
	ListMin = 128
	ListMax = 2048
)

// AppendRef appends the encoding of r: the length as an integer, then the key.
func AppendRef(dst []byte, r Ref) []byte {
	dst = binary.AppendUvarint(dst, uint64(r.Length))
	return append(dst, r.Key[:]...)
}

// ListEnds reports whether a list of n items ends after r. Like the cutting of data it depends on content alone, so
// that an insertion near the front of a long stream leaves the later lists as they are.
func ListEnds(n int, r Ref) bool {
	return n >= ListMax || n >= ListMin && binary.BigEndian.Uint64(r.Key[:])%512 == 0
}

// ParseList reads all items of a list and checks that they make up length bytes; a negative length is any.
func ParseList(b []byte, length int64) ([]Ref, error) {
	exact := length >= 0
	if !exact {
		length = MaxSize
	}
	refs := make([]Ref, 0, min(len(b)/33, ListMax))
	for total := int64(0); len(b) > 0; {
		n, rest, err := cutUvarint(b, MaxSize)
		if err != nil || len(rest) < 32 {
			return nil, fmt.Errorf("list of blocks: %w: cut off", ErrMalformed)
		}
		if n == 0 || int64(n) > length-total || len(refs) == ListMax {
			return nil, fmt.Errorf("list of blocks: %w: too long for its stream", ErrMalformed)
		}
		total += int64(n)
		refs = append(refs, Ref{Key: Key(rest), Length: int64(n)})
		if b = rest[32:]; len(b) == 0 && (total == length || !exact) {
			return refs, nil
		}
	}
	return nil, fmt.Errorf("list of blocks: %w: not as long as its stream", ErrMalformed)
}
