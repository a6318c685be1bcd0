package dir

import (
	"path/filepath"
	"testing"

	"ensync/store/backend"
	"ensync/store/backend/backendtest"
)

func open(t *testing.T, path string, how publisher) *Dir {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	d.forced = how
	return d
}

// fresh returns an empty store below the test's directory.
func fresh(t *testing.T, how publisher) *Dir {
	t.Helper()
	path := filepath.Join(t.TempDir(), "new", "store")
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	return open(t, path, how)
}

func TestConformance(t *testing.T) {
	for name, how := range map[string]publisher{"Probed": nil, "Rename": byRename, "Claim": byClaim} {
		t.Run(name, func(t *testing.T) {
			backendtest.Run(t, func(t *testing.T) backend.Backend { return fresh(t, how) }, backendtest.Options{
				Again: func(t *testing.T, b backend.Backend) backend.Backend { return open(t, b.(*Dir).path, how) },
			})
		})
	}
}
