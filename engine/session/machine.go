package session

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ensync/engine/config"
)

// MachineFile is the file, in the private directory, that tells this machine from another with the same host name.
const MachineFile = "machine"

// Machine returns how this machine calls itself in the store: its host name, '#', and a random number that goes with the
// configuration's state. MachineName leaves the number out.
func Machine(cfg *config.Config) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	host = host[:min(len(host), 200)]
	path := filepath.Join(cfg.PrivateDir(), MachineFile)
	id, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		id, err = makeMachineNumber(path)
	}
	if err != nil || len(id) != 8 {
		return host // it is only for people to read
	}
	return host + "#" + string(id)
}

// makeMachineNumber makes the number, unless another process is faster or there is no state yet.
func makeMachineNumber(path string) ([]byte, error) {
	b := make([]byte, 4)
	if _, err := rand.Read(b); err != nil {
		return nil, err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), MachineFile+".")
	if err != nil {
		return nil, err
	}
	defer os.Remove(tmp.Name())
	_, err = fmt.Fprintf(tmp, "%x", b)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Link(tmp.Name(), path)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = os.Rename(tmp.Name(), path) // no hard links here
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.ReadFile(path)
}

// MachineName is a machine's name for people.
func MachineName(machine string) string {
	host, _, _ := strings.Cut(machine, "#")
	return host
}
