package backend

import (
	"fmt"
	"strings"
)

// The bounds of a name, in bytes: S3 allows keys of 1024 and most file systems parts of 255, and backends add to both.
const (
	MaxName = 512
	MaxPart = 128
)

// CheckName returns an error that wraps ErrInvalid unless name can name an object. A part may not start with '.',
// because file systems and the programs that copy files put their own files there (".nfs0042", ".x.tmp"), nor end with
// it, because FAT drops it.
func CheckName(name string) error {
	if why := flaw(name); why != "" {
		return fmt.Errorf("object name %q: %w: %s", shorten(name), ErrInvalid, why)
	}
	return nil
}

// CheckPrefix returns an error that wraps ErrInvalid unless a valid name can start with prefix.
func CheckPrefix(prefix string) error {
	// A prefix may end anywhere: completing it must give a name.
	if why := flaw(prefix + "a"); why != "" {
		return fmt.Errorf("name prefix %q: %w: %s", shorten(prefix), ErrInvalid, why)
	}
	return nil
}

// CheckRange returns an error that wraps ErrInvalid if offset is negative or the range's end has no number.
func CheckRange(name string, offset, length int64) error {
	if offset < 0 || length > 0 && offset+length < 0 {
		return fmt.Errorf("read %s: %w: range of %d bytes from %d", name, ErrInvalid, length, offset)
	}
	return nil
}

func flaw(name string) string {
	if name == "" {
		return "empty"
	}
	if len(name) > MaxName {
		return fmt.Sprintf("longer than %d bytes", MaxName)
	}
	for i := 0; i < len(name); i++ {
		if !allowed(name[i]) {
			return fmt.Sprintf("byte %q is not allowed", name[i])
		}
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "":
			return "a part is empty"
		case len(part) > MaxPart:
			return fmt.Sprintf("a part is longer than %d bytes", MaxPart)
		case part[0] == '.' || part[len(part)-1] == '.':
			return "a part starts or ends with '.'"
		}
	}
	return ""
}

func allowed(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '/'
}

func shorten(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
