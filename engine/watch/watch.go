// Package watch tells whether a directory tree changed, by looking at all of it.
package watch

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"os"

	"golang.org/x/sys/unix"

	"ensync/engine/replica"
)

// A Fingerprint stands for everything that a listing shows of a tree: names, kinds, inodes, modes, sizes and times.
type Fingerprint [sha256.Size]byte

// Look lists a tree. What can't be read counts as it is: unreadable. It ends early with ctx, and with its error.
func Look(ctx context.Context, root string) (Fingerprint, error) {
	h := sha256.New()
	if err := walk(ctx, h, root); err != nil {
		return Fingerprint{}, err
	}
	return Fingerprint(h.Sum(nil)), nil
}

func walk(ctx context.Context, h hash.Hash, dir string) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		h.Write([]byte("unreadable\x00"))
	}
	for _, e := range entries {
		if replica.Reserved(e.Name()) {
			continue
		}
		path := dir + "/" + e.Name()
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			continue // gone again
		}
		h.Write([]byte(e.Name()))
		var b [8]byte
		for _, n := range []int64{int64(st.Ino), int64(st.Mode), st.Size, st.Mtim.Nano(), st.Ctim.Nano()} {
			binary.LittleEndian.PutUint64(b[:], uint64(n))
			h.Write(b[:])
		}
		if e.IsDir() {
			if err := walk(ctx, h, path); err != nil {
				return err
			}
		}
	}
	h.Write([]byte{0}) // the end of the directory
	return nil
}
