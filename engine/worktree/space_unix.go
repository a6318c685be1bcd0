//go:build unix

package worktree

import "golang.org/x/sys/unix"

// diskSpace returns the size of the file system that holds dir, and what an ordinary user may still write, in bytes.
func diskSpace(dir string) (total, free uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return uint64(st.Blocks) * uint64(st.Bsize), uint64(st.Bavail) * uint64(st.Bsize), nil
}
