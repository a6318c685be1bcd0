//go:build linux || darwin

package dir

import "os"

// between calls rename with the directories of two paths in the store opened, so that it cannot lead out.
func between(r *os.Root, from, to string, rename func(int, string, int, string) error) error {
	fromDir, fromName := split(from)
	toDir, toName := split(to)
	f, err := r.Open(fromDir)
	if err != nil {
		return err
	}
	defer f.Close()
	t, err := r.Open(toDir)
	if err != nil {
		return err
	}
	defer t.Close()
	if err := rename(int(f.Fd()), fromName, int(t.Fd()), toName); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}
