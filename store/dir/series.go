package dir

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"ensync/store/backend"
)

// A numbered file is a header and the content:
//
//	"ensync-state " 64 hex digits of SHA-256(content) " " 10 digits of the content's length "\n" content
//
// Deleting a mutable object adds a number with the content "deleted\n" and no header. So the numbers of an object never
// start again, and a client that slept through a deletion and a new creation cannot swap against what it never saw.
const (
	magic       = "ensync-state "
	headerSize  = len(magic) + 2*sha256.Size + 1 + lengthSize + 1
	lengthSize  = 10
	tombstone   = "deleted\n"
	numberSize  = 20
	suffix      = "@"
	keepNumbers = 8
	// maxNumber is far from where the next number would have no name: a foreign file cannot end a series.
	maxNumber = 1 << 62
	// maxState bounds a mutable object, in bytes.
	maxState = 16 << 20
)

// Two ways in which a numbered file is no state. A torn one never was: a crash cut it, and the number before it
// counts. A damaged one was a state that someone may have relied on, so the number before it does not count.
var (
	errTorn    = errors.New("cut off by a crash")
	errDamaged = errors.New("damaged")
)

// isNumber reports whether the path name in the store is that of a numbered file.
func isNumber(name string) bool {
	dir, base := split(name)
	_, ok := parseNumber(base)
	return ok && strings.HasSuffix(dir, suffix)
}

// parseNumber reads the name of a numbered file: exactly 20 digits, from 1 on.
func parseNumber(base string) (uint64, bool) {
	if len(base) != numberSize {
		return 0, false
	}
	for i := range len(base) {
		if base[i] < '0' || base[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(base, 10, 64)
	return n, err == nil && 0 < n && n < maxNumber
}

func formatNumber(n uint64) string { return fmt.Sprintf("%0*d", numberSize, n) }

// numberPath is where state n of a mutable object lies.
func numberPath(name string, n uint64) string { return name + suffix + "/" + formatNumber(n) }

func encodeHeader(hash [sha256.Size]byte, length int) []byte {
	return fmt.Appendf(nil, "%s%x %0*d\n", magic, hash, lengthSize, length)
}

// version names content as state n. The number alone would do here; the hash makes it hold even if somebody restores
// the directory from a backup.
func version(n uint64, hash [sha256.Size]byte) backend.Version {
	return backend.Version(fmt.Sprintf("%d-%x", n, hash[:16]))
}

// decodeState reads a numbered file that is no tombstone. An error is errTorn or errDamaged.
func decodeState(file []byte) (data []byte, hash [sha256.Size]byte, err error) {
	if len(file) < headerSize || len(bytes.Trim(file[:headerSize], "\x00")) == 0 {
		return nil, hash, errTorn
	}
	header, data := file[:headerSize], file[headerSize:]
	if _, err := hex.Decode(hash[:], header[len(magic):][:2*sha256.Size]); err != nil {
		return nil, hash, errDamaged
	}
	length, err := strconv.ParseUint(string(header[headerSize-1-lengthSize:headerSize-1]), 10, 63)
	if err != nil || length > maxState {
		return nil, hash, errDamaged
	}
	if !bytes.Equal(header, encodeHeader(hash, int(length))) {
		return nil, hash, errDamaged
	}
	same := sha256.Sum256(data) == hash
	switch {
	case uint64(len(data)) < length && !same:
		return nil, hash, errTorn
	case uint64(len(data)) != length || !same:
		return nil, hash, errDamaged
	}
	return data, hash, nil
}
