package dir

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"ensync/store/backend"
)

// emptyWait is how long the directory of a mutable object that shows no number is looked at again: a listing may have been
// overtaken by eight swaps and their clean-up, or be an old one. Who died before the first number was made leaves one, too.
const emptyWait = 500 * time.Millisecond

// state is what a mutable object is at one moment.
type state struct {
	top     uint64 // the highest number in use, also by a torn file or a tombstone; 0: none
	data    []byte
	version backend.Version // zero: the object is not there
	err     error           // why the object cannot be told: its highest number is damaged
}

// Load implements backend.Backend.
func (d *Dir) Load(ctx context.Context, name string) ([]byte, backend.Version, error) {
	if err := backend.CheckName(name); err != nil {
		return nil, "", err
	}
	s, err := call(ctx, d, "load", name, func(l *lease, r *os.Root) (state, error) {
		s, err := d.current(l, r, name)
		if err == nil {
			err = s.err
		}
		if err == nil && s.version == "" {
			err = backend.ErrNotExist
		}
		return s, err
	})
	return s.data, s.version, err
}

// Swap implements backend.Backend.
func (d *Dir) Swap(ctx context.Context, name string, old backend.Version, data []byte) (backend.Version, error) {
	if err := backend.CheckName(name); err != nil {
		return "", err
	}
	if len(data) > maxState {
		return "", fmt.Errorf("replace %s: %w: %d bytes; mutable objects have at most %d", name, backend.ErrInvalid, len(data), maxState)
	}
	return call(ctx, d, "replace", name, func(l *lease, r *os.Root) (backend.Version, error) {
		s, err := d.current(l, r, name)
		if err == nil {
			err = s.err
		}
		if err != nil {
			return "", err
		}
		if s.version != old {
			return "", backend.ErrChanged
		}
		var header []byte
		var next backend.Version
		// Hashing 16 MiB takes less than 100 ms, and needs the caller's bytes.
		err = l.hold(func() {
			hash := sha256.Sum256(data)
			header, next = encodeHeader(hash, len(data)), version(s.top+1, hash)
		})
		if err != nil {
			return "", err
		}
		return next, d.add(l, r, name, s.top+1, header, data)
	})
}

// removeSeries makes a mutable object's highest number a tombstone.
func (d *Dir) removeSeries(l *lease, r *os.Root, name string) error {
	for {
		s, err := d.current(l, r, name)
		if err != nil || s.err == nil && s.version == "" {
			return err
		}
		if err := d.add(l, r, name, s.top+1, []byte(tombstone)); !errors.Is(err, backend.ErrChanged) {
			return err
		}
	}
}

// add makes state n of a mutable object, if nobody else did, and removes states that are too old to matter.
func (d *Dir) add(l *lease, r *os.Root, name string, n uint64, parts ...[]byte) error {
	err := d.create(l, r, numberPath(name, n), parts...)
	if errors.Is(err, backend.ErrExist) {
		return backend.ErrChanged
	}
	if err != nil {
		return err
	}
	numbers, err := d.numbers(r, name)
	if err != nil {
		return err
	}
	// RACE: between looking and creating, this process may have slept while others went on so far that they removed
	// number n again; then creating it proved nothing. Number n is removed only once n+8 exists, so if there is nothing
	// that high, n was new. If there is, the outcome is unclear, and reading back is up to the caller: no state is
	// lost, because nobody reads a number that is not the highest.
	if len(numbers) > 0 && numbers[0].n >= n+keepNumbers {
		return fmt.Errorf("%w: too many others changed it meanwhile to tell whether this change was one of them", backend.ErrUnavailable)
	}
	for _, x := range numbers {
		if x.n+keepNumbers <= n {
			r.Remove(numberPath(name, x.n)) // who cannot remove it loses only room
			if x.claimed {
				r.Remove(numberPath(name, x.n) + "@claim")
			}
		}
	}
	return nil
}

// number is one number of a series as the directory shows it.
type number struct {
	n       uint64
	burnt   bool // a directory: a claim that was given up
	claimed bool // there is a claim to it
}

// numbers lists a series, highest first. No directory is an empty list.
func (d *Dir) numbers(r *os.Root, name string) ([]number, error) {
	entries, err := readDir(r, name+suffix)
	if err != nil {
		if notThere(err) {
			return nil, nil
		}
		return nil, err
	}
	claimed := map[uint64]bool{}
	var list []number
	for _, e := range entries {
		if n, ok := parseNumber(e.Name()); ok {
			list = append(list, number{n: n, burnt: e.IsDir()})
		} else if base := e.Name(); len(base) > numberSize && base[numberSize:] == "@claim" {
			if n, ok := parseNumber(base[:numberSize]); ok {
				claimed[n] = true
			}
		}
	}
	for i := range list {
		list[i].claimed = claimed[list[i].n]
	}
	slices.SortFunc(list, func(a, b number) int {
		if a.n > b.n {
			return -1
		}
		return 1
	})
	return list, nil
}

// current reads the state of a mutable object. Numbers may come and go while it looks; it looks again until what it
// saw makes sense, since a series that has begun never lacks a number.
func (d *Dir) current(l *lease, r *os.Root, name string) (state, error) {
	wait, waited := time.Duration(0), time.Duration(0)
	for ; ; wait = min(2*wait+time.Millisecond, 50*time.Millisecond) {
		time.Sleep(wait) // an old listing may stay for a while
		waited += wait
		if err := l.hold(func() {}); err != nil {
			return state{}, err
		}
		list, err := d.numbers(r, name)
		if err != nil {
			return state{}, err
		}
		// RACE: a network file system may show a listing from before the first number for longer than we wait, while others
		// have gone on so far that they removed that. The object then seems not to be there. Nobody makes one because of that
		// but who creates a store, which needs format too, or a root, whose name is random.
		if len(list) == 0 && (waited >= emptyWait || !d.seriesExists(r, name)) {
			if err := d.absent(r); !errors.Is(err, backend.ErrNotExist) {
				return state{}, err
			}
			return state{}, nil
		}
		s, again, err := d.choose(r, name, list)
		if err != nil || !again && s.top > 0 {
			return s, err
		}
	}
}

func (d *Dir) seriesExists(r *os.Root, name string) bool {
	_, err := r.Lstat(name + suffix)
	return err == nil
}

// choose finds the number that counts. again says that the numbers changed meanwhile.
func (d *Dir) choose(r *os.Root, name string, list []number) (s state, again bool, err error) {
	if len(list) > 0 {
		s.top = list[0].n
	}
	// A network file system may show an old listing; asking for the next number itself goes to the server.
	for {
		st, err := r.Lstat(numberPath(name, s.top+1))
		if notThere(err) {
			break
		}
		if err != nil {
			return s, false, err
		}
		s.top++
		list = slices.Insert(list, 0, number{n: s.top, burnt: st.IsDir()})
	}
	for _, x := range list {
		if x.burnt {
			continue
		}
		file, err := readState(r, numberPath(name, x.n))
		if notThere(err) {
			return s, true, nil
		}
		if err != nil {
			return s, false, err
		}
		if string(file) == tombstone {
			return s, false, nil
		}
		data, hash, err := decodeState(file)
		switch {
		case err == nil:
			s.data, s.version = data, version(x.n, hash)
			return s, false, nil
		case errors.Is(err, errDamaged):
			s.err = damaged(name, x.n, err)
			return s, false, nil
		}
	}
	if s.top > 0 {
		s.err = damaged(name, s.top, errTorn)
	}
	return s, false, nil
}

func damaged(name string, n uint64, why error) error {
	return fmt.Errorf("%w: %s is %w; put back a copy of it, or delete the object to start it again",
		backend.ErrUnavailable, numberPath(name, n), why)
}

// readState reads a numbered file, bounded.
func readState(r *os.Root, name string) ([]byte, error) {
	f, size, err := openFile(r, name)
	if errors.Is(err, errDirectory) {
		err = fmt.Errorf("%w: %s is no state of an object: %w", backend.ErrUnavailable, name, err)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > int64(headerSize+maxState) {
		return nil, fmt.Errorf("%w: %s is no state of an object (%d bytes)", backend.ErrUnavailable, name, size)
	}
	data := make([]byte, size)
	n, err := io.ReadFull(f, data)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // shorter than it was a moment ago: torn, and seen as that
	}
	return data[:n], err
}
