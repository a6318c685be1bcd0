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

	"ensync/engine/config"
)

// ErrNotRunning says that no mount of a configuration is running.
var ErrNotRunning = errors.New("not mounted")

// ErrMounted says that an unmount was not done, and that the mount goes on.
var ErrMounted = errors.New("still mounted")

// socketName is the socket beside the state of a configuration on which its mount or watch is asked. Who may use the state
// finds it there, whatever environment they and the mount were started in, and for as long as the mount lives: a runtime
// directory goes when its user logs out.
const socketName = "socket"

// socketPath is where the mount of a configuration directory is asked.
func socketPath(configDir string) string {
	return filepath.Join(config.PrivateDir(configDir), socketName)
}

// secondPath returns where it is asked if the file system of the state has no sockets: in the runtime directory of the
// user, by a name that tells nothing but a hash.
func secondPath(configDir string) (string, error) {
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

// longestSocket is the longest path that the kernels take for a socket.
const longestSocket = 103

// atSocket calls fn with a path to a socket that the kernel takes, also if its own is too long, which works on Linux only.
func atSocket(path string, fn func(path string) error) error {
	if len(path) <= longestSocket {
		return fn(path)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return fn(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
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

// A listener is a socket, and where it is.
type listener struct {
	*net.UnixListener
	path string
}

// listen takes the socket of a configuration, whose state the caller has locked: no other process is using it.
func listen(configDir string) (listener, error) {
	l, err := listenAt(socketPath(configDir))
	if err == nil {
		return l, nil
	}
	path, second := secondPath(configDir)
	if second == nil {
		l, second = listenAt(path)
	}
	if second != nil {
		return listener{}, errors.Join(err, second)
	}
	return l, nil
}

// listenAt takes a socket, and what a killed process left in its place.
func listenAt(path string) (listener, error) {
	if err := ignoreMissing(os.Remove(path)); err != nil {
		return listener{}, fmt.Errorf("listen on %s: %w; remove it", path, err)
	}
	l := listener{path: path}
	err := atSocket(path, func(short string) (err error) {
		l.UnixListener, err = net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
		return err
	})
	if err != nil {
		return listener{}, fmt.Errorf("listen on %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false) // by then it may be another process's
	if err := os.Chmod(path, 0o600); err != nil {
		return listener{}, errors.Join(err, os.Remove(path), l.Close())
	}
	return l, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
