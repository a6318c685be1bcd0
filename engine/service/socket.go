package service

import (
	"crypto/sha3"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// ErrNotRunning says that no mount of a configuration is running.
var ErrNotRunning = errors.New("not mounted")

// ErrMounted says that an unmount was not done, and that the mount goes on.
var ErrMounted = errors.New("still mounted")

// socketPath returns where the mount of a configuration directory is asked: in the runtime directory of the user, since
// a path below the configuration may be too long for a socket, and tells nothing but a hash.
func socketPath(configDir string) (string, error) {
	abs, err := filepath.Abs(configDir)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	dir, err := runtimeDir()
	if err != nil {
		return "", err
	}
	sum := sha3.Sum256([]byte(abs))
	return filepath.Join(dir, hex.EncodeToString(sum[:8])+".sock"), nil
}

// runtimeDir makes sure that the directory for sockets is this user's alone.
func runtimeDir() (string, error) {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), fmt.Sprintf("ensync-%d", os.Getuid()))
	} else {
		dir = filepath.Join(dir, "ensync")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the runtime directory %s: %w", dir, err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || ok && int(st.Uid) != os.Getuid() || info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("use the runtime directory %s: it is not this user's alone; remove it, or set XDG_RUNTIME_DIR", dir)
	}
	return dir, nil
}

// listen takes the socket, and what a killed process left in its place. The caller holds the lock of the configuration's
// state, so no other process is using it.
func listen(path string) (*net.UnixListener, error) {
	if err := ignoreMissing(os.Remove(path)); err != nil {
		return nil, fmt.Errorf("listen on %s: %w; remove it", path, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // by then it may be another process's
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
