package replica

import "strings"

// Join returns the path of a name in a directory.
func Join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// Split returns the directory of a path, "" if that is the root, and the name in it.
func Split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

// Parent returns the directory of a path; the root's is the root.
func Parent(path string) string {
	dir, _ := Split(path)
	return dir
}
