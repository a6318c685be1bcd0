package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// A piece's file is a header and the bytes:
//
//	0   8   "ensyncC1"
//	8   32  the key: SHA-256 of object name and range, so that a file under a wrong name is not taken for another
//	40  8   length of the bytes, little endian
//	48  4   CRC-32C of the bytes
//	52  4   CRC-32C of the 52 bytes before
const (
	entryMagic = "ensyncC1"
	headerSize = 56
)

var (
	errDamaged = errors.New("damaged")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// key identifies a piece.
type key [sha256.Size]byte

func keyOf(name string, offset, length int64) key {
	if length < 0 {
		length = -1
	}
	b := make([]byte, 0, 128)
	b = binary.LittleEndian.AppendUint64(b, uint64(offset))
	b = binary.LittleEndian.AppendUint64(b, uint64(length))
	return sha256.Sum256(append(b, name...))
}

func encodeHeader(k key, data []byte) []byte {
	h := append(make([]byte, 0, headerSize), entryMagic...)
	h = append(h, k[:]...)
	h = binary.LittleEndian.AppendUint64(h, uint64(len(data)))
	h = binary.LittleEndian.AppendUint32(h, crc32.Checksum(data, castagnoli))
	return binary.LittleEndian.AppendUint32(h, crc32.Checksum(h, castagnoli))
}

// readEntry reads the piece k from a file of size bytes. It allocates no more than that. errDamaged if the file is
// anything but that piece, whole.
func readEntry(r io.Reader, size int64, k key) ([]byte, error) {
	if size < headerSize {
		return nil, errDamaged
	}
	header := make([]byte, headerSize)
	if err := readFull(r, header); err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint64(header[40:])
	if string(header[:8]) != entryMagic || !bytes.Equal(header[8:40], k[:]) || length != uint64(size-headerSize) ||
		binary.LittleEndian.Uint32(header[52:]) != crc32.Checksum(header[:52], castagnoli) {
		return nil, errDamaged
	}
	data := make([]byte, length)
	if err := readFull(r, data); err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(header[48:]) != crc32.Checksum(data, castagnoli) {
		return nil, errDamaged
	}
	return data, nil
}

func readFull(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errDamaged
	}
	return err
}
