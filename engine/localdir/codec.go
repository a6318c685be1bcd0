package localdir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"ensync/store/object"

	"golang.org/x/sys/unix"
)

// A directory in the cache is one blob:
//
//	version byte, fs, dev-less rows sorted by name, CRC-32C of the path and all before
//	row: name (length, bytes), ino, mode, size, mtime, ctime, btime, depth, key
//
// Numbers are varints; fs and the inode of the directory come first. Only files with known content that is to be believed
// at the next look are in it. Devices are left out: their numbers change with a reboot, so the blob counts for the file
// system that the directory lay on, and files mounted into it are not cached.
const stateVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errState = errors.New("a cached directory is damaged")

func encodeState(st *state) []byte {
	b := []byte{stateVersion}
	b = binary.AppendUvarint(b, st.fs)
	b = binary.AppendUvarint(b, st.self.ino)
	for _, name := range slices.Sorted(maps.Keys(st.rows)) {
		r := st.rows[name]
		if !r.content.Known || r.racy || r.st.dev != st.self.dev {
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(b, name...)
		b = binary.AppendUvarint(b, r.st.ino)
		b = binary.AppendUvarint(b, uint64(r.st.mode))
		for _, n := range []int64{r.st.size, r.st.mtime, r.st.ctime, r.st.btime} {
			b = binary.AppendVarint(b, n)
		}
		b = append(b, r.content.Depth)
		b = append(b, r.content.Key[:]...)
	}
	return binary.BigEndian.AppendUint32(b, checksum(st.dir, b))
}

func checksum(dir string, b []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(dir), castagnoli), castagnoli, b)
}

// decodeState reads what encodeState wrote for a directory at the path dir.
func decodeState(dir string, blob []byte) (*state, error) {
	if len(blob) < 5 {
		return nil, fmt.Errorf("%q: %w", dir, errState)
	}
	body := blob[:len(blob)-4]
	if body[0] != stateVersion || binary.BigEndian.Uint32(blob[len(body):]) != checksum(dir, body) {
		return nil, fmt.Errorf("%q: %w", dir, errState)
	}
	d := decoder{b: body[1:]}
	st := &state{dir: dir, rows: map[string]row{}}
	st.fs, st.self.ino = d.unsigned(), d.unsigned()
	for len(d.b) > 0 && !d.bad {
		name := string(d.bytes(d.unsigned()))
		var r row
		r.st.ino, r.st.mode = d.unsigned(), uint32(d.unsigned())
		r.st.size, r.st.mtime, r.st.ctime, r.st.btime = d.signed(), d.signed(), d.signed(), d.signed()
		if depth := d.bytes(1); len(depth) == 1 {
			r.content.Depth = depth[0]
		}
		copy(r.content.Key[:], d.bytes(uint64(len(object.Key{}))))
		r.content.Known, r.content.Size = true, r.st.size
		if !object.ValidName(name) || r.st.size < 0 || r.st.mode&unix.S_IFMT != unix.S_IFREG {
			d.bad = true
		}
		st.rows[name] = r
	}
	if d.bad {
		return nil, fmt.Errorf("%q: %w", dir, errState)
	}
	return st, nil
}

// decoder takes values from the front of b; after the first that is not there, bad is set and all are zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) unsigned() uint64 {
	n, size := binary.Uvarint(d.b)
	return advance(d, n, size)
}

func (d *decoder) signed() int64 {
	n, size := binary.Varint(d.b)
	return advance(d, n, size)
}

func advance[N uint64 | int64](d *decoder, n N, size int) N {
	if d.bad || size <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) bytes(n uint64) []byte {
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	taken := d.b[:n]
	d.b = d.b[n:]
	return taken
}
