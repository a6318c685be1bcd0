package replica

import "ensync/store/object"

// Limited is a Client whose file system may keep less than an entry says, or have names that fall together.
type Limited interface {
	// Limits returns what is not kept of the entries of a directory.
	Limits(dir string) Limits
	// Taken reports whether a directory can't hold both what it has and something of that name.
	Taken(dir, name string) bool
}

// Limits are what a file system does not keep. The zero value is one that keeps everything.
type Limits struct {
	NoModes bool  // what it shows as modes says nothing
	Grain   int64 // times are multiples of this many nanoseconds; 0: any
	// Earliest and Latest stand for all times before and after; 0: there is no bound.
	Earliest, Latest int64
}

// Kept returns a modification time as it is shown after it was set.
func (l Limits) Kept(modTime int64) int64 {
	if l.Earliest != 0 {
		modTime = max(modTime, l.Earliest)
	}
	if l.Latest != 0 {
		modTime = min(modTime, l.Latest)
	}
	if l.Grain > 1 {
		modTime -= (modTime%l.Grain + l.Grain) % l.Grain
	}
	return modTime
}

// Shown returns an entry with the time that is shown of it: that of the file that client is, if it is the same within
// what is kept.
func (l Limits) Shown(e, client Entry) Entry {
	switch {
	case e.Kind != object.File:
	case client.Kind == object.File && l.Kept(client.ModTime) == l.Kept(e.ModTime):
		e.ModTime = client.ModTime
	default:
		e.ModTime = l.Kept(e.ModTime)
	}
	return e
}
