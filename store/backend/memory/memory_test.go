package memory_test

import (
	"testing"

	"ensync/store/backend"
	"ensync/store/backend/backendtest"
	"ensync/store/backend/memory"
)

func TestConformance(t *testing.T) {
	again := func(t *testing.T, b backend.Backend) backend.Backend { return b.(*memory.Backend).Again() }
	backendtest.Run(t, func(t *testing.T) backend.Backend { return memory.New() }, backendtest.Options{Again: again})
}
