package session

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ensync/engine/config"
	"ensync/engine/localdir"
)

// The state of one machine must not be used on another: its ancestor would call files deleted that were never there.
// A marker holds the inode number and the birth of the ancestor's database, which a copy can't keep (reference 1.5, step 1).
const (
	markerName   = "fsid"
	markerPrefix = "FSID3:"
)

// checkCopied refuses a state directory that was copied. Without an ancestor there is nothing to misread.
func checkCopied(private string) error {
	want, err := marker(private)
	if err != nil || want == "" {
		return err
	}
	got, err := os.ReadFile(filepath.Join(private, markerName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if strings.HasPrefix(string(got), markerPrefix) && string(got) != want {
		return fmt.Errorf("open the state in %s: it seems to have been copied, and would make this machine delete files; "+
			"remove that directory (copy only config.toml between machines), or, if you are sure that it belongs here, only "+
			"the file %s in it", private, markerName)
	}
	return nil
}

// CheckState refuses the state of a configuration, of its directory and of its mount, that was copied.
func CheckState(cfg *config.Config) error {
	private := cfg.PrivateDir()
	return errors.Join(checkCopied(private), checkCopied(filepath.Join(private, mountState)))
}

// markCopied writes the marker.
func markCopied(private string) error {
	want, err := marker(private)
	if err != nil {
		return err
	}
	path := filepath.Join(private, markerName)
	if got, err := os.ReadFile(path); err == nil && string(got) == want {
		return nil
	}
	return os.WriteFile(path, []byte(want), 0o600)
}

// marker returns what the marker should hold; "" if there is no ancestor.
func marker(private string) (string, error) {
	id, err := localdir.FileIdentity(filepath.Join(private, ancestorName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return markerPrefix + id, err
}
