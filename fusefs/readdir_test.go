//go:build linux

package fusefs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"ensync/fusefs"
	"ensync/fusefs/fusetest"
)

// TestRemoveAll is rm -r with another reader at work.
func TestRemoveAll(t *testing.T) {
	dir := mount(t, fusetest.New(), fusefs.Options{}).MountPoint()
	for round := range 3 {
		d := filepath.Join(dir, fmt.Sprint(round), "sub")
		must(t, os.MkdirAll(d, 0755))
		for i := range 1000 {
			mustFile(t, filepath.Join(d, fmt.Sprint(i)), "")
		}
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
					os.ReadDir(d)
				}
			}
		}()
		err := os.RemoveAll(filepath.Dir(d))
		close(stop)
		<-stopped
		must(t, err)
	}
}
