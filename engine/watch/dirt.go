package watch

import "ensync/engine/replica"

// dirt is a set of directories in which something changed.
type dirt struct {
	all   bool
	dirs  map[string]bool     // true: everything below, too
	above map[string]struct{} // the directories above those
}

// maxDirt is how many directories are kept apart, at about 300 bytes each; beyond, looking at all is little more.
const maxDirt = 100_000

func (d *dirt) add(dir string, below bool) {
	if was, ok := d.dirs[dir]; d.all || ok && (was || !below) {
		return
	}
	if dir == "" && below || len(d.dirs) >= maxDirt {
		*d = dirt{all: true}
		return
	}
	if d.dirs == nil {
		d.dirs, d.above = map[string]bool{}, map[string]struct{}{}
	}
	d.dirs[dir] = below
	for dir != "" {
		dir = replica.Parent(dir)
		if _, ok := d.above[dir]; ok {
			return
		}
		d.above[dir] = struct{}{}
	}
}

// has reports whether dir, or anything below it, is in the set.
func (d *dirt) has(dir string) bool {
	if d.all {
		return true
	}
	if _, ok := d.dirs[dir]; ok {
		return true
	}
	if _, ok := d.above[dir]; ok {
		return true
	}
	for dir != "" {
		dir = replica.Parent(dir)
		if d.dirs[dir] {
			return true
		}
	}
	return false
}

// join adds the directories of another set.
func (d *dirt) join(other *dirt) {
	if other.all {
		d.add("", true)
	}
	for dir, below := range other.dirs {
		d.add(dir, below)
	}
}
