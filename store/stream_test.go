package store

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// TestCutOffSource: only io.EOF ends a content. What breaks off in another way, even one that is called an unexpected
// end, is an error, and never a shorter content.
func TestCutOffSource(t *testing.T) {
	s := newPlace(t).create(Params{BlockSize: 4096})
	for _, size := range []int{0, 10, 2048, 2049, 20000} {
		whole, err := s.Hash(t.Context(), strings.NewReader(strings.Repeat("x", size)))
		must(t, err)
		if whole.Size != int64(size) {
			t.Errorf("%d of %d bytes", whole.Size, size)
		}
		for _, cause := range []error{io.ErrUnexpectedEOF, fmt.Errorf("object: %w", io.ErrUnexpectedEOF), fmt.Errorf("object: %w", io.EOF)} {
			r := io.MultiReader(strings.NewReader(strings.Repeat("x", size)), iotest.ErrReader(cause))
			if c, err := s.Hash(t.Context(), r); !errors.Is(err, cause) {
				t.Errorf("%v after %d bytes: content of %d bytes, %v", cause, size, c.Size, err)
			}
		}
	}
}
