package replica

import "strings"

// StateName is the name of our own state directory. Wherever it stands, it is listed as Special and never touched.
const StateName = "internal.ensync"

// TempPrefix starts the names of files on their way into or out of a directory. The names are reserved: no store may plant one.
const TempPrefix = ".ensync-tmp."

// Reserved reports whether a name is never synchronised, because it is ours.
func Reserved(name string) bool {
	return name == StateName || strings.HasPrefix(name, TempPrefix)
}
