package fusefs

import (
	"strings"
	"testing"
)

// FuzzMounts: other users name what is in the table of mounts.
func FuzzMounts(f *testing.F) {
	f.Add("36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw\n")
	f.Add("36 35 98:0 / /\\ - fuse.ensync\n-\n\\777")
	f.Fuzz(func(t *testing.T, table string) {
		list := parseMounts(table)
		if len(list) > strings.Count(table, "\n")+1 {
			t.Errorf("%d mounts in %q", len(list), table)
		}
		for _, m := range list {
			if m.path == "" || m.kind == "" {
				t.Errorf("mount %+v in %q", m, table)
			}
		}
	})
}
