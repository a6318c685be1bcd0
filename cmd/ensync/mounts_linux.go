package main

import (
	"os"
	"strings"
)

// ourMount is a mounted tree: where, and of which configuration.
type ourMount struct{ dir, source string }

// ourMounts returns the trees mounted on this machine; it is not nil.
func ourMounts() []ourMount {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return []ourMount{}
	}
	found := []ourMount{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "fuse.ensync" {
			found = append(found, ourMount{dir: unescape(f[1]), source: unescape(f[0])})
		}
	}
	return found
}

// unescape takes back how the kernel writes blanks in its table of mounts.
func unescape(text string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`, `\043`, "#").Replace(text)
}
