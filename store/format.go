package store

import (
	"bytes"
	"context"
	"crypto/sha3"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/BurntSushi/toml"

	"ensync/store/backend"
	"ensync/store/chunk"
)

// The names of the objects that exist once.
const (
	formatObject = "format"
	keysObject   = "keys"
	keysCopy     = "copy/keys" // under another prefix, so that no single rule reaches both
	rootsObject  = "roots/index"
	packPrefix   = "packs/"
	indexPrefix  = "index/"
	rootPrefix   = "roots/"
)

const (
	formatVersion = 1
	suite         = "kt128-aes256gcm-zstd-ed25519"
	maxFormat     = 64 << 10
)

// Params are the properties of a store that all its clients share. They are fixed when it is created.
type Params struct {
	BlockSize int    // average length of a block in bytes, or the exact one if fixed; 0: chunk.DefaultSize
	Chunking  string // "cdc": by content (also if empty); "fixed": every BlockSize bytes
}

func (p Params) chunking() (chunk.Params, error) {
	c := chunk.Params{Size: p.BlockSize, Fixed: p.Chunking == "fixed"}
	if p.BlockSize == 0 {
		c.Size = chunk.DefaultSize
	}
	if p.Chunking != "" && p.Chunking != "cdc" && p.Chunking != "fixed" {
		return c, fmt.Errorf("chunking %q: not known; choose cdc or fixed", p.Chunking)
	}
	return c, c.Validate()
}

// format is the object that says what a store is. It is written once and never changed.
type format struct {
	id      [16]byte
	chunk   chunk.Params
	encoded []byte
}

func (f *format) params() Params {
	p := Params{BlockSize: f.chunk.Size, Chunking: "cdc"}
	if f.chunk.Fixed {
		p.Chunking = "fixed"
	}
	return p
}

// digest stands for all bytes of the object; the list of roots signs it.
func (f *format) digest() [32]byte { return sha3.Sum256(f.encoded) }

type formatFile struct {
	Version   int    `toml:"version"`
	ID        string `toml:"id"`
	Suite     string `toml:"suite"`
	Chunking  string `toml:"chunking"`
	BlockSize int    `toml:"block-size"`
}

func newFormat(id [16]byte, c chunk.Params) (*format, error) {
	f := formatFile{Version: formatVersion, ID: hex.EncodeToString(id[:]), Suite: suite, Chunking: "cdc", BlockSize: c.Size}
	if c.Fixed {
		f.Chunking = "fixed"
	}
	var b bytes.Buffer
	b.WriteString("# This directory is an ensync store. Nothing in it can be read or repaired by hand.\n")
	if err := toml.NewEncoder(&b).Encode(f); err != nil {
		return nil, err
	}
	return &format{id: id, chunk: c, encoded: b.Bytes()}, nil
}

// parseFormat reads the format object. A version or suite that is not known is told apart from damage.
func parseFormat(b []byte) (*format, error) {
	if len(b) > maxFormat {
		return nil, damaged(formatObject, fmt.Errorf("%d bytes", len(b)))
	}
	var f formatFile
	meta, err := toml.Decode(string(b), &f)
	if err != nil {
		return nil, damaged(formatObject, err)
	}
	if f.Version > formatVersion || f.Version == formatVersion && (f.Suite != suite || len(meta.Undecoded()) > 0) {
		return nil, &Fault{Kind: ErrUnsupported, Object: formatObject,
			Cause: fmt.Errorf("version %d, suite %q", f.Version, f.Suite), Next: "update ensync"}
	}
	id, err := hex.DecodeString(f.ID)
	if err != nil || len(id) != 16 || f.Version < 1 {
		return nil, damaged(formatObject, errors.New("version or store id makes no sense"))
	}
	if f.Chunking == "" || f.BlockSize == 0 {
		return nil, damaged(formatObject, errors.New("chunking is not given"))
	}
	c, err := Params{BlockSize: f.BlockSize, Chunking: f.Chunking}.chunking()
	if err != nil {
		return nil, damaged(formatObject, err)
	}
	return &format{id: [16]byte(id), chunk: c, encoded: bytes.Clone(b)}, nil
}

// Exists reports whether a store lies in b. false is only what is certain: nothing at all lies there. A place with
// other objects but no format object is an error.
func Exists(ctx context.Context, b backend.Backend) (bool, error) {
	_, err := b.Get(ctx, formatObject, 0, -1)
	if err == nil {
		return true, nil
	}
	if err = absent(ctx, b, formatObject, err); errors.Is(err, ErrNoStore) {
		return false, nil
	}
	return false, err
}

// absent turns the failed reading of an object that every store has into what that means.
func absent(ctx context.Context, b backend.Backend, object string, err error) error {
	if !errors.Is(err, backend.ErrNotExist) {
		return fmt.Errorf("read object %s of %s: %w", object, b.Location(), err)
	}
	other, err := anyObject(ctx, b)
	switch {
	case err != nil:
		return fmt.Errorf("list %s: %w", b.Location(), err)
	case other == "":
		return fmt.Errorf("%s: %w; ensync key init makes one", b.Location(), ErrNoStore)
	}
	if mark, err := unfinished(ctx, b); err != nil {
		return err
	} else if mark != nil {
		return unfinishedCopy(object)
	}
	return &Fault{Kind: ErrMissing, Object: object, Cause: fmt.Errorf("but %.100q is there", other),
		Next: "if this is no store, choose an empty place (in a bucket, a prefix of its own); if it was one, the store is damaged: " + becauseMissing + putBack(object)}
}

var errFound = errors.New("found")

// anyObject returns the name of one object, or "" if there certainly is none.
func anyObject(ctx context.Context, b backend.Backend) (string, error) {
	name := ""
	err := b.List(ctx, "", func(i backend.Info) error {
		name = i.Name
		return errFound
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return name, err
}
